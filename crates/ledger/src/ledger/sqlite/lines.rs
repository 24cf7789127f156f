//! The settlements of a batch, in the order of their ids.

use std::ops::Range;

use rusqlite::Result;
use tollgate_core::{Event, RequestKey};

use crate::{codec, journal::Record};

/// Settlements as the journal has them. The one that is inserted next is then most often behind all that are
/// there: SQLite need not look for its place, and writes each page once.
#[derive(Debug, Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    /// Where in `bytes` each settlement is.
    settlements: Vec<(RequestKey, Range<usize>)>,
    count: usize,
}

impl Lines {
    pub(super) fn push(&mut self, record: &Record<'_>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(record.payload);
        self.settlements.push((record.settlement.key, start..self.bytes.len()));
        self.count += record.settlement.charges.len();
    }

    /// Puts them in the order of their ids. A request may be settled twice after a crash; the first one stays
    /// the first.
    pub(super) fn sort(&mut self) {
        self.settlements.sort_by_key(|(key, _)| *key);
    }

    /// How many events they have.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Gives every event to `each`.
    pub(super) fn each(&self, mut each: impl FnMut(&Event<'_>) -> Result<()>) -> Result<()> {
        for (_, range) in &self.settlements {
            // It was decoded before: there is no other case.
            if let Ok(settlement) = codec::decode(&self.bytes[range.clone()]) {
                settlement.events().try_for_each(|event| each(&event))?;
            }
        }
        Ok(())
    }
}
