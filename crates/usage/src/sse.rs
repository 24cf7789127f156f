//! Server-sent events, cut into the documents that their data are.
//!
//! Lines end in CR, LF or CRLF. The data of an event are its `data` lines, joined by LF; an empty line ends the event.

use memchr::memchr2;

use crate::document::Document;
use crate::memo::{Memo, Recall};

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

/// The reader of one event stream; it holds no line, but what lines begin with. `M` is what its sink remembers.
#[derive(Debug)]
pub(crate) struct EventStream<M> {
    line: Line,
    /// The last byte was a CR: an LF now belongs to the same line end.
    after_cr: bool,
    /// A line of the present event has begun; comments are of none.
    in_event: bool,
    has_crlf: bool,
    memo: Box<Memo<M>>,
}

impl<M: Copy> EventStream<M> {
    pub(crate) fn new() -> Self {
        Self {
            line: Line::Name(0),
            after_cr: false,
            in_event: false,
            has_crlf: false,
            memo: Box::new(Memo::new()),
        }
    }

    /// Reads the stream's next bytes into `document`, which is restarted after each event.
    pub(crate) fn feed(&mut self, chunk: &[u8], document: &mut Document, sink: &mut impl Recall<Memory = M>) {
        let mut rest = chunk;
        while !rest.is_empty() {
            let read = self.step(rest, document, sink);
            rest = rest.get(read..).unwrap_or_default();
        }
    }

    /// Whether another event could begin here.
    pub(crate) fn is_between(&self) -> bool {
        !self.in_event && matches!(self.line, Line::Name(0))
    }

    /// An LF that may belong to the line end before it, and what ends the stream's lines.
    pub(crate) fn line_ends(&self) -> (&'static str, &'static str) {
        (if self.after_cr { "\n" } else { "" }, if self.has_crlf { "\r\n" } else { "\n" })
    }

    /// Whether a line of the present event has begun.
    pub(crate) fn in_event(&self) -> bool {
        self.in_event
    }

    /// Whether an LF that comes next belongs to the line end before it.
    pub(crate) fn is_after_cr(&self) -> bool {
        self.after_cr
    }

    /// Reads some bytes, or none and is changed; returns how many. `rest` is not empty.
    pub(crate) fn step(
        &mut self,
        rest: &[u8],
        document: &mut Document,
        sink: &mut impl Recall<Memory = M>,
    ) -> usize {
        const NAME: &[u8] = b"data:";
        let byte = rest[0];
        if std::mem::take(&mut self.after_cr) && byte == b'\n' {
            self.has_crlf = true;
            return 1;
        }
        if matches!(byte, b'\r' | b'\n') {
            self.after_cr = byte == b'\r';
            self.end_line(document, sink);
            return 1;
        }
        match self.line {
            Line::Name(read) if NAME.get(read) == Some(&byte) => {
                self.line = if read + 1 == NAME.len() { Line::Colon } else { Line::Name(read + 1) };
                self.in_event = true;
                1
            }
            // A byte order mark before the first line.
            Line::Name(0) if matches!(byte, 0xef | 0xbb | 0xbf) => 1,
            Line::Name(read) => {
                self.line = Line::Other;
                self.in_event |= read > 0 || byte != b':';
                0
            }
            Line::Colon => {
                self.line = Line::Data;
                usize::from(byte == b' ')
            }
            Line::Data => {
                let data = &rest[..line_end(rest)];
                let is_whole = data.len() < rest.len();
                let begun = document.is_at_start().then(|| self.memo.begin(data, is_whole, document, sink));
                document.feed(&data[begun.unwrap_or(0)..], sink);
                data.len()
            }
            Line::Other => line_end(rest),
        }
    }

    fn end_line(&mut self, document: &mut Document, sink: &mut impl Recall<Memory = M>) {
        match self.line {
            Line::Name(0) => {
                document.restart();
                sink.next_document();
                self.in_event = false;
            }
            Line::Colon | Line::Data => document.feed(b"\n", sink),
            Line::Name(_) | Line::Other => {}
        }
        self.line = Line::Name(0);
    }
}

/// Bytes up to the end of the line, or of `rest`.
fn line_end(rest: &[u8]) -> usize {
    memchr2(b'\r', b'\n', rest).unwrap_or(rest.len())
}
