//! What the documents of one response say, by dialect.

use crate::paths::Take;
use crate::scalar::Reading;

/// The parts of usage that dialects have fields for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Input,
    Output,
    Total,
    CachedRead,
    CacheWrite,
    Reasoning,
}

impl Part {
    const COUNT: usize = 6;
}

/// Each part as one dialect's fields give it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Parts {
    readings: [Reading; Part::COUNT],
    /// One bit per part that the present document has given.
    given: u8,
}

impl Parts {
    /// What was read of `part`.
    pub(crate) fn get(&self, part: Part) -> Reading {
        self.readings[part as usize]
    }

    /// A later document replaces what an earlier one said. Twice in one document is ambiguous, so it is no amount.
    fn set(&mut self, part: Part, reading: Reading) {
        let bit = 1 << part as u8;
        let twice = self.given & bit != 0;
        self.given |= bit;
        self.readings[part as usize] = if twice { Reading::Unreadable } else { reading };
    }
}

/// The parts of every dialect: which dialect was spoken is known only at the end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Readings {
    pub(crate) chat: Parts,
    pub(crate) responses: Parts,
    pub(crate) anthropic: Parts,
}

impl Readings {
    /// Records what a field says for all that take it. `null` says nothing.
    pub(crate) fn take(&mut self, takes: &[Take], reading: Reading) {
        if reading.is_present() {
            for &Take { dialect, part } in takes {
                self.of(dialect).set(part, reading);
            }
        }
    }

    /// A new document begins.
    pub(crate) fn next_document(&mut self) {
        let Self { chat, responses, anthropic } = self;
        for parts in [chat, responses, anthropic] {
            parts.given = 0;
        }
    }
}
