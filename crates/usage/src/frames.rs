//! The binary AWS event stream, cut into the documents that its payloads are.
//!
//! A frame is its length, the length of its headers, a checksum of these eight bytes, the headers, the payload and a
//! checksum of all; numbers are 32 bits, most significant byte first. A prelude that does not add up ends the reading:
//! where the next frame begins is then unknown. The last checksum is the client's to verify.

use crate::base64::Decoder;
use crate::document::Document;
use crate::headers::Headers;
use crate::paths::{Mark, Paths, Take, Text};
use crate::readings::{Piece, Readings, Sink};
use crate::scalar::Reading;

const PRELUDE_BYTES: usize = 12;
const CHECKSUM_BYTES: usize = 4;

/// Bytes of a frame at most, as the protocol has it.
const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Where in a frame the next byte is, and how many bytes are left of that.
#[derive(Clone, Copy, Debug)]
enum Section {
    Prelude {
        read: usize,
    },
    Headers {
        left: usize,
        payload: usize,
    },
    Payload {
        left: usize,
    },
    Checksum {
        left: usize,
    },
    /// The frames cannot be told apart any more.
    Broken,
}

/// The reader of one stream of frames; it holds a prelude and headers, never a payload.
#[derive(Debug)]
pub(crate) struct Frames {
    section: Section,
    prelude: [u8; PRELUDE_BYTES],
    headers: Headers,
    wrapped: Wrapped,
}

impl Frames {
    /// Whether the last frame has ended and the next has not begun.
    pub(crate) fn is_between(&self) -> bool {
        matches!(self.section, Section::Prelude { read: 0 })
    }

    /// A reader of what is at `paths` in wrapped documents.
    pub(crate) fn new(paths: Paths) -> Self {
        Self {
            section: Section::Prelude { read: 0 },
            prelude: [0; PRELUDE_BYTES],
            headers: Headers::new(),
            wrapped: Wrapped { document: Document::new(paths), base64: Decoder::default() },
        }
    }

    /// Reads the stream's next bytes into `document`, which is restarted after each frame.
    pub(crate) fn feed(&mut self, chunk: &[u8], document: &mut Document, readings: &mut Readings) {
        let mut rest = chunk;
        while !rest.is_empty() {
            let read = self.step(rest, document, readings);
            rest = rest.get(read..).unwrap_or_default();
        }
    }

    /// Reads at least one byte, and none of the next frame; returns how many. `rest` is not empty.
    pub(crate) fn step(&mut self, rest: &[u8], document: &mut Document, readings: &mut Readings) -> usize {
        match self.section {
            Section::Prelude { read } => {
                self.prelude[read] = rest[0];
                let read = read + 1;
                self.headers.restart();
                self.section = if read < PRELUDE_BYTES { Section::Prelude { read } } else { self.sections() };
                1
            }
            Section::Headers { left, payload } => {
                let read = left.min(rest.len());
                self.headers.push(&rest[..read]);
                if read == left {
                    if self.headers.is_error() {
                        readings.fault();
                    }
                    readings.event(self.headers.event());
                }
                self.section = after_headers(left - read, payload);
                read
            }
            Section::Payload { left } => {
                let read = left.min(rest.len());
                let mut sink = Unwrapping { wrapped: &mut self.wrapped, readings };
                document.feed(&rest[..read], &mut sink);
                self.section = after_payload(left - read);
                if read == left {
                    document.restart();
                    readings.next_document();
                }
                read
            }
            Section::Checksum { left } => {
                let read = left.min(rest.len());
                let left = left - read;
                self.section =
                    if left > 0 { Section::Checksum { left } } else { Section::Prelude { read: 0 } };
                read
            }
            Section::Broken => rest.len(),
        }
    }

    /// What follows the prelude.
    fn sections(&self) -> Section {
        let [a, b, c, d, e, f, g, h, checksum @ ..] = self.prelude;
        let (total, headers) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
        let payload = |total: u32| {
            let total = usize::try_from(total).ok().filter(|&total| total <= FRAME_BYTES_MAX)?;
            let headers = usize::try_from(headers).ok()?;
            let payload = total.checked_sub(PRELUDE_BYTES + CHECKSUM_BYTES)?.checked_sub(headers)?;
            Some((headers, payload))
        };
        match payload(total) {
            Some((headers, payload))
                if crc32fast::hash(&self.prelude[..8]) == u32::from_be_bytes(checksum) =>
            {
                after_headers(headers, payload)
            }
            Some(_) | None => Section::Broken,
        }
    }
}

fn after_headers(left: usize, payload: usize) -> Section {
    if left > 0 { Section::Headers { left, payload } } else { after_payload(payload) }
}

fn after_payload(left: usize) -> Section {
    if left > 0 { Section::Payload { left } } else { Section::Checksum { left: CHECKSUM_BYTES } }
}

/// The reader of the document that a payload wraps, when a model was invoked.
#[derive(Debug)]
struct Wrapped {
    document: Document,
    base64: Decoder,
}

/// Reads wrapped documents as if they were the payload.
struct Unwrapping<'a> {
    wrapped: &'a mut Wrapped,
    readings: &'a mut Readings,
}

impl Sink for Unwrapping<'_> {
    fn take(&mut self, takes: &[Take], reading: Reading) {
        self.readings.take(takes, reading);
    }

    fn text(&mut self, text: Text, piece: Piece<'_>) {
        let Wrapped { document, base64 } = &mut *self.wrapped;
        match (text, piece) {
            (Text::Wrapped, Piece::Begin) => {
                document.restart();
                self.readings.next_document();
                *base64 = Decoder::default();
            }
            (Text::Wrapped, Piece::Bytes(bytes)) => {
                base64.decode(bytes, |decoded| document.feed(decoded, self.readings));
            }
            (Text::Wrapped, Piece::End) => {}
            (_, _) => self.readings.text(text, piece),
        }
    }

    fn mark(&mut self, mark: Mark, reading: Reading) {
        self.readings.mark(mark, reading);
    }

    fn next_document(&mut self) {
        self.readings.next_document();
    }
}
