//! Lines, each a document.

use memchr::memchr;

use crate::document::Document;
use crate::readings::{Readings, Sink as _};

/// Reads a body's next bytes into `document`, which is restarted after each line.
pub(crate) fn feed(chunk: &[u8], document: &mut Document, readings: &mut Readings) {
    let mut rest = chunk;
    while let Some(end) = memchr(b'\n', rest) {
        let (line, after) = rest.split_at(end + 1);
        document.feed(line, readings);
        document.restart();
        readings.next_document();
        rest = after;
    }
    document.feed(rest, readings);
}

/// The first line of `chunk`, with its end as far as that is there.
pub(crate) fn first(chunk: &[u8]) -> &[u8] {
    memchr(b'\n', chunk).map_or(chunk, |end| &chunk[..=end])
}
