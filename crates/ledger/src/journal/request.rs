//! An open request: the evidence that room for its settlement is set aside.

use std::sync::Arc;

use tollgate_core::{Charge, Settlement};

use super::{Journal, Position, slots::Slot};
use crate::codec::{self, Encoded};

/// An admitted request whose settlement is still owed.
///
/// It ends once: settled, or cancelled because it was refused after all. Dropping it settles it as it
/// was opened, marked as estimated, so that a request whose task dies is still charged what was held.
#[must_use = "dropping an open request charges what was held"]
#[derive(Debug)]
pub struct OpenRequest {
    journal: Arc<Journal>,
    /// Taken when it ends.
    slot: Option<Slot>,
}

/// What is known of a request only when it is over.
#[derive(Clone, Copy, Debug)]
pub struct Outcome<'a> {
    /// The answer's status; 0 when there was none.
    pub status: u16,
    /// From admission to settlement, in milliseconds of the monotonic clock.
    pub duration_ms: u64,
    /// What the request was about, if the route says so.
    pub resource: Option<&'a str>,
    /// As [`Settlement::metadata`].
    pub metadata: Option<&'a str>,
    /// What is charged.
    pub charges: &'a [Charge<'a>],
}

impl OpenRequest {
    pub(crate) fn new(journal: Arc<Journal>, slot: Slot) -> Self {
        Self { journal, slot: Some(slot) }
    }

    /// Writes the settlement and returns where it is. Survives the death of the process from here on.
    pub fn settle(mut self, settlement: &Settlement<'_>) -> Position {
        let mut bytes = Encoded::new();
        codec::encode(settlement, &mut bytes);
        match self.slot.take() {
            Some(slot) => self.journal.shared.settle(slot, &bytes),
            None => self.journal.tail(),
        }
    }

    /// As [`OpenRequest::settle`], where all but the outcome is as the request was opened.
    pub fn end(mut self, outcome: &Outcome<'_>) -> Position {
        let mut bytes = Encoded::new();
        match self.slot.take() {
            Some(slot) => {
                codec::encode_ended(slot.payload(), outcome, &mut bytes);
                self.journal.shared.settle(slot, &bytes)
            }
            None => self.journal.tail(),
        }
    }

    /// Forgets the request: it was refused after all, and nothing is charged.
    pub fn cancel(mut self) {
        if let Some(slot) = self.slot.take() {
            self.journal.shared.cancel(slot);
        }
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            let bytes = as_opened(slot.payload());
            self.journal.shared.settle(slot, &bytes);
        }
    }
}

/// The settlement of a request of which only the opening is known.
fn as_opened(opening: &[u8]) -> Encoded {
    let mut bytes = Encoded::new();
    if let Ok(mut settlement) = codec::decode(opening) {
        for charge in &mut settlement.charges {
            charge.estimated = true;
        }
        codec::encode(&settlement, &mut bytes);
    }
    debug_assert!(!bytes.is_empty(), "a slot holds what was encoded");
    bytes
}
