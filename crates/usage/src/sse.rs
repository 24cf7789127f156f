//! Server-sent events, cut into the documents that their data are.
//!
//! Lines end in CR, LF or CRLF. The data of an event are its `data` lines, joined by LF; an empty line ends the event.

use memchr::memchr2;

use crate::document::Document;
use crate::readings::{Readings, Sink as _};

/// Where in a line the next byte is.
#[derive(Clone, Copy, Debug)]
enum Line {
    /// This many bytes of the field's name `data` have been read.
    Name(usize),
    /// After `data:`, where one space belongs to the field and not to its value.
    Colon,
    Data,
    /// Another field, or a comment.
    Other,
}

/// The reader of one event stream; it holds no line.
#[derive(Debug)]
pub(crate) struct EventStream {
    line: Line,
    /// The last byte was a CR: an LF now belongs to the same line end.
    after_cr: bool,
}

impl EventStream {
    pub(crate) fn new() -> Self {
        Self { line: Line::Name(0), after_cr: false }
    }

    /// Reads the stream's next bytes into `document`, which is restarted after each event.
    pub(crate) fn feed(&mut self, chunk: &[u8], document: &mut Document, readings: &mut Readings) {
        let mut rest = chunk;
        while let Some(&byte) = rest.first() {
            let line_feed_of_cr = std::mem::take(&mut self.after_cr) && byte == b'\n';
            let read = if line_feed_of_cr { 1 } else { self.step(byte, rest, document, readings) };
            rest = rest.get(read..).unwrap_or_default();
        }
    }

    fn step(&mut self, byte: u8, rest: &[u8], document: &mut Document, readings: &mut Readings) -> usize {
        const NAME: &[u8] = b"data:";
        if matches!(byte, b'\r' | b'\n') {
            self.after_cr = byte == b'\r';
            self.end_line(document, readings);
            return 1;
        }
        match self.line {
            Line::Name(read) if NAME.get(read) == Some(&byte) => {
                self.line = if read + 1 == NAME.len() { Line::Colon } else { Line::Name(read + 1) };
                1
            }
            // A byte order mark before the first line.
            Line::Name(0) if matches!(byte, 0xef | 0xbb | 0xbf) => 1,
            Line::Name(_) => {
                self.line = Line::Other;
                0
            }
            Line::Colon => {
                self.line = Line::Data;
                usize::from(byte == b' ')
            }
            Line::Data => {
                let data = &rest[..line_end(rest)];
                document.feed(data, readings);
                data.len()
            }
            Line::Other => line_end(rest),
        }
    }

    fn end_line(&mut self, document: &mut Document, readings: &mut Readings) {
        match self.line {
            Line::Name(0) => {
                document.restart();
                readings.next_document();
            }
            Line::Colon | Line::Data => document.feed(b"\n", readings),
            Line::Name(_) | Line::Other => {}
        }
        self.line = Line::Name(0);
    }
}

/// Bytes up to the end of the line, or of `rest`.
fn line_end(rest: &[u8]) -> usize {
    memchr2(b'\r', b'\n', rest).unwrap_or(rest.len())
}
