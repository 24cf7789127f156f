//! What the documents of one response say, by dialect.

use crate::dialect::Dialect;
use crate::memo::Recall;
use crate::model::Model;
use crate::paths::{Mark, Take, Text};
use crate::scalar::{Packed, Reading};
use crate::stream::{Remembered, Stream};

/// The parts of usage that dialects have fields for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Input,
    Output,
    Total,
    CachedRead,
    /// The same where a service says it in a second place.
    CachedReadElsewhere,
    CacheWrite,
    CacheWriteElsewhere,
    Reasoning,
    ReasoningElsewhere,
    /// Prompts that tools of the provider wrote, beside the input.
    ToolInput,
    /// Images read, beside the input.
    ImageInput,
    /// No part of usage: why there is none.
    Fault,
}

impl Part {
    const COUNT: usize = 12;
}

/// Each part as one dialect's fields give it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Parts {
    readings: [Packed; Part::COUNT],
}

impl Parts {
    /// What was read of `part`.
    pub(crate) fn get(&self, part: Part) -> Reading {
        self.readings[part as usize].into()
    }

    /// The count of `part`, if there is one.
    pub(crate) fn amount(&self, part: Part) -> Option<i64> {
        self.get(part).amount()
    }

    /// The first of these parts that the response has.
    pub(crate) fn first(&self, parts: &[Part]) -> Option<i64> {
        parts.iter().map(|&part| self.get(part)).find(|reading| reading.is_present())?.amount()
    }

    /// `part` with all of `beside` that is there; `None` when one of them is unreadable, because a sum without it
    /// would be silently too small.
    pub(crate) fn sum(&self, part: Part, beside: &[Part]) -> Option<i64> {
        let amount = self.amount(part)?;
        beside.iter().try_fold(amount, |sum, &part| match self.get(part) {
            Reading::Missing => Some(sum),
            Reading::Amount(amount) => sum.checked_add(amount),
            Reading::Unreadable => None,
        })
    }

    /// Whether the response has any of these parts, readable or not.
    pub(crate) fn has(&self, any: &[Part]) -> bool {
        any.iter().any(|&part| self.get(part).is_present())
    }

    /// A later document replaces what an earlier one said. Within one document the elements of an array are added;
    /// any other field said twice is ambiguous, so it is no amount.
    fn set(&mut self, part: Part, reading: Reading, again: bool, is_element: bool) {
        let reading = match (again, is_element) {
            (false, _) => reading,
            (true, true) => self.get(part).plus(reading),
            (true, false) => Reading::Unreadable,
        };
        self.readings[part as usize] = reading.into();
    }
}

/// The parts of every dialect: without a request, which dialect was spoken is known only at the end.
#[derive(Debug, Default)]
pub(crate) struct Readings {
    parts: [Parts; Dialect::ALL.len()],
    /// Of each dialect, one bit per part that the present document has given.
    given: [u16; Dialect::ALL.len()],
    model: Model,
    stream: Stream,
}

impl Readings {
    /// What was said in `dialect`.
    pub(crate) fn of(&self, dialect: Dialect) -> &Parts {
        &self.parts[dialect as usize]
    }

    /// Records that the response is an error, where no field says so.
    pub(crate) fn fault(&mut self) {
        self.parts[Dialect::Faults as usize].set(Part::Fault, Reading::Unreadable, false, false);
    }

    /// Records the name of the present event, where a frame has it.
    pub(crate) fn event(&mut self, name: &[u8]) {
        self.stream.event(name);
    }

    /// What the response has besides usage, if it is a stream.
    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The model that the response names.
    pub(crate) fn model(&self) -> Option<&str> {
        self.model.name()
    }
}

/// What becomes of what a document says.
pub(crate) trait Sink {
    /// Records what a field says for all that take it.
    fn take(&mut self, takes: &[Take], reading: Reading);

    /// Reads on in a wanted string.
    fn text(&mut self, text: Text, piece: Piece<'_>);

    /// Notes what is at a marked place.
    fn mark(&mut self, _mark: Mark, _reading: Reading) {}

    /// Notes that an array at a marked place begins.
    fn begin(&mut self, _mark: Mark) {}

    /// A new document begins.
    fn next_document(&mut self);
}

/// A piece of a string, as it stands between its quotes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Piece<'a> {
    Begin,
    Bytes(&'a [u8]),
    End,
}

impl Sink for Readings {
    /// `null` says nothing.
    fn take(&mut self, takes: &[Take], reading: Reading) {
        if reading.is_present() {
            for &Take { dialect, part, is_element } in takes {
                let (given, bit) = (&mut self.given[dialect as usize], 1 << part as u16);
                self.parts[dialect as usize].set(part, reading, *given & bit != 0, is_element);
                *given |= bit;
            }
        }
    }

    fn text(&mut self, text: Text, piece: Piece<'_>) {
        match text {
            Text::Model => self.model.push(piece),
            // Only a frame wraps a document.
            Text::Wrapped => {}
            Text::Answer
            | Text::Generated
            | Text::Call
            | Text::Reasoning
            | Text::ReasoningContent
            | Text::Id
            | Text::Kind
            | Text::Reason => self.stream.text(text, piece),
        }
    }

    fn mark(&mut self, mark: Mark, reading: Reading) {
        self.stream.mark(mark, reading);
    }

    fn next_document(&mut self) {
        self.given = Default::default();
        self.stream.next_document();
    }
}

impl Recall for Readings {
    type Memory = Remembered;

    fn memory(&self) -> Option<Remembered> {
        let is_given = self.given.iter().any(|&given| given != 0);
        if is_given { None } else { self.stream.remembered() }
    }

    /// The names of the answer and of the model are known since the document that had this beginning first.
    fn recall(&mut self, memory: Remembered) {
        self.stream.recall(memory);
    }
}
