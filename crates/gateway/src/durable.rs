//! Waiting until a settlement is as durable as `durability` says.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tollgate_ledger::{Journal, Position, SyncFailed};

/// A settlement whose answer has to wait for the disk.
pub(crate) struct Durable {
    journal: Arc<Journal>,
    position: Position,
}

impl Durable {
    pub(crate) fn new(journal: &Arc<Journal>, position: Position) -> Self {
        Self { journal: Arc::clone(journal), position }
    }

    /// Ready when it is on disk, or never will be. Cancel-safe.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<(), SyncFailed>> {
        self.journal.poll_durable(self.position, cx)
    }
}
