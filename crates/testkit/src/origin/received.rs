//! What an origin received.

use serde_json::json;

/// Bytes of a body that are kept; the rest is counted only.
pub(crate) const BODY_KEPT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes of a body that an echo has.
const ECHO_BYTES_MAX: usize = 1024 * 1024;

/// A request as it arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// The method.
    pub method: String,
    /// The request target: path and query as they were on the wire.
    pub target: String,
    /// `HTTP/1.1`, `HTTP/1.0` or `HTTP/2.0`.
    pub version: String,
    /// Headers in their order, spelt as they were. HTTP/2 has its pseudo-headers in `method` and `target`, and
    /// `:authority` here.
    pub headers: Vec<(String, String)>,
    /// The head's bytes with the empty line that ends it; empty for HTTP/2.
    pub raw_head: Vec<u8>,
    /// The body's first 8 MiB.
    pub body: Vec<u8>,
    /// The body's length.
    pub body_bytes: usize,
    /// The trailers in their order.
    pub trailers: Vec<(String, String)>,
    /// Which of the origin's connections it came on, counted from 1.
    pub connection: usize,
}

impl Received {
    /// The value of the first header of this name, whatever its case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// The values of all headers of this name.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The path without its query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// Keeps a piece of the body, as far as there is room, and counts it.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        self.body_bytes += piece.len();
        let room = BODY_KEPT_BYTES_MAX.saturating_sub(self.body.len());
        self.body.extend_from_slice(&piece[..piece.len().min(room)]);
    }

    pub(crate) fn echo(&self) -> String {
        let Self { method, target, version, headers, raw_head: _, body, body_bytes, trailers, connection } =
            self;
        json!({
            "method": method, "path": target, "version": version, "headers": headers, "trailers": trailers,
            "body": String::from_utf8_lossy(&body[..body.len().min(ECHO_BYTES_MAX)]), "body_bytes": body_bytes, "connection": connection,
        })
        .to_string()
    }
}
