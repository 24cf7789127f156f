//! A decoded body, cut into documents by its framing.

use crate::Framing;
use crate::decoder::Sink;
use crate::document::{Document, Row};
use crate::ending::Place;
use crate::frames::Frames;
use crate::lines;
use crate::paths::Paths;
use crate::readings::Readings;
use crate::sse::EventStream;
use crate::stream::Remembered;

/// How the body is cut.
#[derive(Debug)]
enum Cut {
    /// Not at all.
    Whole,
    Lines,
    Events(EventStream<Remembered>),
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

    fn read(&mut self, chunk: &[u8]) {
        let Self { cut, document, readings } = self;
        match cut {
            Cut::Whole => document.feed(chunk, readings),
            Cut::Lines => lines::feed(chunk, document, readings),
            Cut::Events(events) => events.feed(chunk, document, readings),
            Cut::Frames(frames) => frames.feed(chunk, document, readings),
        }
    }

    /// Reads the body's next bytes up to where another document could begin; returns how many those are, or `None`
    /// when all were read and none could.
    pub(crate) fn feed_to_boundary(&mut self, chunk: &[u8]) -> Option<usize> {
        let mut read = 0;
        while self.place().is_none() {
            let rest = chunk.get(read..).filter(|rest| !rest.is_empty())?;
            read += self.step(rest);
        }
        Some(read)
    }

    /// Reads some bytes, none beyond the next place, or none and is changed; returns how many. `rest` is not empty.
    fn step(&mut self, rest: &[u8]) -> usize {
        let Self { cut, document, readings } = self;
        match cut {
            Cut::Whole => document.step(rest, readings),
            Cut::Lines => {
                let line = lines::first(rest);
                lines::feed(line, document, readings);
                line.len()
            }
            Cut::Events(events) => events.step(rest, document, readings),
            Cut::Frames(frames) => frames.step(rest, document, readings),
        }
    }

    /// How another document could be put here; `None` within one, and where none may follow.
    pub(crate) fn place(&self) -> Option<Place> {
        match &self.cut {
            Cut::Whole if !self.document.may_be_many() => None,
            Cut::Whole => match self.document.between()? {
                Row::Begin | Row::Line => None,
                Row::Before => Some(Place::Array { before: "" }),
                Row::After => Some(Place::Array { before: "," }),
                Row::NextLine => Some(Place::Lines),
            },
            Cut::Lines => self.document.between().map(|_| Place::Lines),
            Cut::Events(events) => {
                let (before, end) = events.line_ends();
                events.is_between().then_some(Place::Events { before, end })
            }
            Cut::Frames(frames) => frames.is_between().then_some(Place::Frames),
        }
    }

    /// What its documents said so far.
    pub(crate) fn readings(&self) -> &Readings {
        &self.readings
    }
}

impl Sink for Body {
    fn feed(&mut self, chunk: &[u8]) {
        self.read(chunk);
    }
}
