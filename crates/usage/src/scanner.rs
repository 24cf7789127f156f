//! The scanner: one per response.

use crate::document::Document;
use crate::readings::Readings;
use crate::sse::EventStream;
use crate::{Framing, TokenUsage};

/// Bytes that a scanner holds at most; it allocates nothing that outlives a call.
pub const SCANNER_BYTES_MAX: usize = 1024;

const _: () = assert!(size_of::<Scanner>() <= SCANNER_BYTES_MAX);

/// Reads the bytes of one response as they pass, in any chunks.
///
/// ```
/// use tollgate_usage::{Framing, Scanner};
///
/// let mut scanner = Scanner::new(Framing::Json);
/// scanner.feed(br#"{"object":"chat.completion","usage":{"prompt_to"#);
/// scanner.feed(br#"kens":24,"completion_tokens":8,"total_tokens":32}}"#);
/// let usage = scanner.finish().expect("the response has usage");
/// assert_eq!((usage.input, usage.output, usage.total()), (Some(24), Some(8), Some(32)));
/// ```
#[derive(Debug)]
pub struct Scanner {
    /// Present when the documents are the data of events.
    events: Option<EventStream>,
    document: Document,
    readings: Readings,
}

impl Scanner {
    /// A scanner for a body framed like this.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        let events = match framing {
            Framing::Json => None,
            Framing::Sse => Some(EventStream::new()),
        };
        Self { events, document: Document::new(), readings: Readings::default() }
    }

    /// Reads the body's next bytes.
    pub fn feed(&mut self, chunk: &[u8]) {
        match &mut self.events {
            None => self.document.feed(chunk, &mut self.readings),
            Some(events) => events.feed(chunk, &mut self.document, &mut self.readings),
        }
    }

    /// What the body said so far; `None` when it said nothing that can be charged.
    ///
    /// Right at any point of a body that was cut: a number that may go on is not counted.
    #[must_use]
    pub fn finish(self) -> Option<TokenUsage> {
        self.readings.usage()
    }
}
