//! A response to read, as an input says it.

use tollgate_usage::{Request, Response, Scanner};

use crate::pieces::{LENGTHS, Lengths};

/// One request for each way in which responses are read.
pub const PATHS: [&str; 16] = [
    "/v1/anything",
    "/v1/chat/completions",
    "/v1/embeddings",
    "/v1/rerank",
    "/v1/responses",
    "/v1/messages",
    "/v1beta/models/g:generateContent",
    "/v1beta/models/g:streamGenerateContent",
    "/v1beta/models/g:embedContent",
    "/v1beta/interactions",
    "/model/m/converse-stream",
    "/model/m/invoke-with-response-stream",
    "/v1/embed",
    "/api/chat",
    "/api/generate",
    "/v1/moderations",
];

/// One media type for each framing.
pub const CONTENT_TYPES: [&str; 4] =
    ["application/json", "text/event-stream", "application/x-ndjson", "application/vnd.amazon.eventstream"];

/// The content codings that are decoded.
pub const CODINGS: [&str; 4] = ["gzip", "deflate", "br", "zstd"];

/// Bytes of an input before the body.
pub const HEAD_BYTES: usize = 2 + LENGTHS;

/// A response and its pieces.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    pub request: Request<'static>,
    pub response: Response<'static>,
    pub lengths: Lengths,
    pub body: &'a [u8],
}

impl<'a> Case<'a> {
    /// What `input` says; `None` when it is too short.
    pub fn of(input: &'a [u8]) -> Option<Self> {
        let (&[path, kind, ref lengths @ ..], body) = input.split_first_chunk::<HEAD_BYTES>()?;
        let coding = usize::from(kind >> 2).checked_sub(1);
        Some(Self {
            request: Request { method: "POST", path: PATHS[usize::from(path) % PATHS.len()] },
            response: Response {
                content_type: Some(CONTENT_TYPES[usize::from(kind) % CONTENT_TYPES.len()]),
                content_encoding: coding.and_then(|coding| CODINGS.get(coding).copied()),
            },
            lengths: Lengths::new(*lengths),
            body,
        })
    }

    /// The two bytes that say this path, media type and coding; `None` when none of ours is meant.
    pub fn head(path: &str, content_type: &str, coding: Option<&str>) -> Option<[u8; 2]> {
        let operation = |path: &str| -> String {
            let path = path.split('?').next().unwrap_or_default();
            path.rsplit(['/', ':']).next().unwrap_or_default().to_owned()
        };
        let path = PATHS.iter().position(|known| operation(known) == operation(path)).unwrap_or(0);
        let media_type = content_type.split(';').next()?.trim();
        let kind = CONTENT_TYPES.iter().position(|known| *known == media_type)?;
        let coding = match coding {
            None => 0,
            Some(coding) => 1 + CODINGS.iter().position(|known| *known == coding)?,
        };
        Some([u8::try_from(path).ok()?, u8::try_from(kind | coding << 2).ok()?])
    }

    /// The same, whose body is in uncompressed frames.
    pub fn in_frames(self) -> Self {
        let response = Response { content_type: Some(CONTENT_TYPES[3]), content_encoding: None };
        Self { response, ..self }
    }

    /// Its scanner; `None` when nothing of it can be charged.
    pub fn scanner(&self) -> Option<Scanner> {
        Scanner::of(self.request, self.response)
    }

    /// A scanner of the same response without a coding.
    pub fn plain_scanner(&self) -> Option<Scanner> {
        Scanner::of(self.request, Response { content_encoding: None, ..self.response })
    }
}
