//! The journal as batches for the ledger.

use tollgate_core::Settlement;

use crate::{Journal, Position, journal::ReadError};

/// Most bytes of records in a transaction: some thousand settlements, well below a second.
pub(super) const BATCH_BYTES_MAX: u64 = 4 << 20;
/// Records read and encoded at once where others wait for their turn: about a millisecond, and just less than
/// what the journal's reader takes from the file at once.
pub(super) const TURN_BYTES: u64 = 240 << 10;

/// Gives the settlements from `from` on to `each`, as many as about `bytes_max` bytes hold; returns the
/// position behind them, which is `from` when there are none.
pub(super) fn next<E: From<ReadError>>(
    journal: &Journal,
    from: Position,
    bytes_max: u64,
    mut each: impl FnMut(&Settlement<'_>) -> Result<(), E>,
) -> Result<Position, E> {
    // Read first: what is between the last record and this tail is no record.
    let tail = journal.tail();
    let Some(stretch) = journal.stretch(from) else { return Ok(tail) };
    journal.read_records(stretch, bytes_max, |_, settlement| each(settlement))
}
