//! A decoded body, cut into documents by its framing.

use crate::Framing;
use crate::document::Document;
use crate::frames::Frames;
use crate::lines;
use crate::paths::Paths;
use crate::readings::Readings;
use crate::sse::EventStream;

/// How the body is cut.
#[derive(Debug)]
enum Cut {
    /// Not at all.
    Whole,
    Lines,
    Events(EventStream),
    /// Boxed, because few bodies come in frames and they need a second document.
    Frames(Box<Frames>),
}

/// The reader of one body.
#[derive(Debug)]
pub(crate) struct Body {
    cut: Cut,
    document: Document,
    readings: Readings,
}

impl Body {
    /// A reader of what is at `paths` in each document.
    pub(crate) fn new(framing: Framing, paths: Paths) -> Self {
        let (cut, document) = match framing {
            Framing::Json => (Cut::Whole, Document::new(paths)),
            Framing::JsonArray => (Cut::Whole, Document::of_many(paths)),
            Framing::Lines => (Cut::Lines, Document::new(paths)),
            Framing::Sse => (Cut::Events(EventStream::new()), Document::new(paths)),
            Framing::Frames => (Cut::Frames(Box::new(Frames::new(paths.clone()))), Document::new(paths)),
        };
        Self { cut, document, readings: Readings::default() }
    }

    /// Reads the body's next bytes.
    pub(crate) fn feed(&mut self, chunk: &[u8]) {
        let Self { cut, document, readings } = self;
        match cut {
            Cut::Whole => document.feed(chunk, readings),
            Cut::Lines => lines::feed(chunk, document, readings),
            Cut::Events(events) => events.feed(chunk, document, readings),
            Cut::Frames(frames) => frames.feed(chunk, document, readings),
        }
    }

    /// What its documents said so far.
    pub(crate) fn readings(&self) -> &Readings {
        &self.readings
    }
}
