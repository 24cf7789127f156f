//! The journal as batches for the ledger.

use tollgate_core::Settlement;

use crate::{Journal, Position, journal::ReadError};

/// Most bytes of records in a transaction: some thousand settlements, well below a second.
const BATCH_BYTES_MAX: u64 = 4 << 20;

/// Gives the settlements from `from` on to `each`, as many as a batch takes; returns the position behind
/// them, which is `from` when there are none.
pub(super) fn next_batch<E: From<ReadError>>(
    journal: &Journal,
    from: Position,
    mut each: impl FnMut(&Settlement<'_>) -> Result<(), E>,
) -> Result<Position, E> {
    // Read first: what is between the last record and this tail is no record.
    let tail = journal.tail();
    let Some(stretch) = journal.stretch(from) else { return Ok(tail) };
    journal.read_records(stretch, BATCH_BYTES_MAX, |_, settlement| each(settlement))
}
