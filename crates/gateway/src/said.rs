//! Header lines that the gateway says of its own in answers.
//!
//! HTTP/1 is text: there they are written as such, and a map of headers never knows of them.

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName};

use crate::ratelimit::{self, Scratch};

/// Takes lines, each of which replaces all others of its name.
pub(crate) trait Lines {
    /// Takes the line that says what `write` writes, in visible ASCII.
    fn say(&mut self, name: &HeaderName, write: impl FnOnce(&mut BytesMut));
}

/// Lines as values of a map.
pub(crate) struct InMap<'a> {
    pub(crate) headers: &'a mut HeaderMap,
    pub(crate) scratch: &'a mut Scratch,
}

impl Lines for InMap<'_> {
    fn say(&mut self, name: &HeaderName, write: impl FnOnce(&mut BytesMut)) {
        self.headers.insert(name.clone(), self.scratch.value(write));
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
}

/// Lines that an answer has beside its headers.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) text: Bytes,
    /// Whether they tell where limits stand.
    pub(crate) has_limits: bool,
}

impl Said {
    /// Whether a header of this name is not to be written beside them.
    pub(crate) fn replaces(&self, name: &HeaderName) -> bool {
        // Decided by the first letter for most.
        matches!(name.as_str().as_bytes().first(), Some(b'r' | b'x'))
            && !self.text.is_empty()
            && (name == crate::forwarding::REQUEST_ID || self.has_limits && ratelimit::is_own(name))
    }
}
