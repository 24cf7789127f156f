//! Header lines that the gateway says of its own in answers.
//!
//! HTTP/1 is text: there they are written as such, and the list of headers never knows of them.

use bytes::{BufMut as _, Bytes, BytesMut};
use http::HeaderName;

use crate::{headers::Headers, ratelimit::Scratch};

/// Takes lines, each of which replaces all others of its name.
pub(crate) trait Lines {
    /// Takes the line that says what `write` writes, in visible ASCII.
    fn say(&mut self, name: &HeaderName, write: impl FnOnce(&mut BytesMut));

    /// Where whole lines can be written as text, with their ends, instead.
    fn text(&mut self) -> Option<&mut BytesMut> {
        None
    }
}

/// Lines as header fields.
pub(crate) struct InMap<'a> {
    pub(crate) headers: &'a mut Headers,
    pub(crate) scratch: &'a mut Scratch,
}

impl Lines for InMap<'_> {
    fn say(&mut self, name: &HeaderName, write: impl FnOnce(&mut BytesMut)) {
        self.headers.insert(name, &self.scratch.value(write));
    }
}

/// Lines as text.
pub(crate) struct InText<'a>(pub(crate) &'a mut BytesMut);

impl Lines for InText<'_> {
    fn say(&mut self, name: &HeaderName, write: impl FnOnce(&mut BytesMut)) {
        self.0.put_slice(name.as_str().as_bytes());
        self.0.put_slice(b": ");
        write(self.0);
        self.0.put_slice(b"\r\n");
    }

    fn text(&mut self) -> Option<&mut BytesMut> {
        Some(self.0)
    }
}

/// Lines that an answer has beside its headers.
#[derive(Debug, Default)]
pub(crate) struct Said(pub(crate) Bytes);

impl Said {
    /// Whether a header of this name is not to be written beside them.
    pub(crate) fn replaces(&self, name: &[u8]) -> bool {
        // All that is said begins so; decided by that for most headers.
        matches!(name, [b'x', b'-', b'r' | b'q', ..] | [b'r', b'a', ..]) && self.has(name)
    }

    fn has(&self, name: &[u8]) -> bool {
        let mut lines = self.0.split(|byte| *byte == b'\n');
        lines.any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(b": ")))
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut as _;

    use super::*;

    #[test]
    fn what_is_said_replaces_what_is_called_so_and_nothing_else() {
        let mut text = BytesMut::new();
        for name in ["x-ratelimit-limit", "ratelimit-policy", "x-request-id"] {
            InText(&mut text).say(&HeaderName::from_static(name), |buffer| buffer.put_slice(b"ratelimit: 1"));
        }
        let said = Said(text.freeze());
        for (name, is_replaced) in [
            ("x-ratelimit-limit", true),
            ("ratelimit-policy", true),
            ("x-request-id", true),
            ("ratelimit", false),
            ("x-request", false),
            ("x-ratelimit-limit-day", false),
            ("date", false),
        ] {
            assert_eq!(said.replaces(name.as_bytes()), is_replaced, "{name}");
        }
    }
}
