//! Room for the settlement of what has happened already.

use std::sync::Arc;

use tollgate_core::Settlement;

use super::{Journal, Position, slots::Slot};
use crate::codec::{self, Encoded};

/// Room for one settlement. Dropping it gives the room back, and nothing is written.
#[must_use = "dropping it writes nothing"]
#[derive(Debug)]
pub struct Reserved {
    journal: Arc<Journal>,
    /// Taken when it is used.
    slot: Option<Slot>,
}

impl Reserved {
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
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.journal.shared.cancel(slot);
        }
    }
}
