//! The journal as batches for the ledger: how much is one, and what to expect of it.

use crate::{
    Journal, Position,
    codec::DecodeError,
    journal::{ReadError, Record},
};

/// Most bytes of records in a transaction: some ten thousand settlements, well below a second. A sum is added to
/// once in a batch however many of its lines it has, so the bigger a batch is, the less a line costs.
pub(super) const BATCH_BYTES_MAX: u64 = 8 << 20;
/// The first batch over a new connection; each one after it is twice as big as the one before. A server or a
/// network that is too slow for the biggest in the time that it has gets on with small ones.
pub(super) const BATCH_BYTES_FIRST: u64 = 1 << 20;
/// Records read and encoded at once where others wait for their turn: about a millisecond, and just less than
/// what the journal's reader takes from the file at once.
pub(super) const TURN_BYTES: u64 = 240 << 10;

/// Whether a batch is expected to have lines that are in the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Expect {
    /// All is new.
    #[default]
    New,
    /// The batch before had some: the next one will, too.
    Repeated,
}

/// Gives the records from `from` on to `each`, as many as about `bytes_max` bytes hold; returns the position
/// behind them, which is `from` when there are none.
pub(super) fn next(
    journal: &Journal,
    from: Position,
    bytes_max: u64,
    mut each: impl FnMut(Record<'_>),
) -> Result<Position, ReadError> {
    // Read first: what is between the last record and this tail is no record.
    let tail = journal.tail();
    let Some(stretch) = journal.stretch(from) else { return Ok(tail) };
    journal.read_records(stretch, bytes_max, |record| {
        each(record);
        Ok(())
    })
}

/// As [`next`], but a record is given as [`Journal::read_payloads`] gives it.
pub(super) fn next_payloads<E: From<ReadError>>(
    journal: &Journal,
    from: Position,
    bytes_max: u64,
    each: impl FnMut(Position, &[u8]) -> Result<Result<(), DecodeError>, E>,
) -> Result<Position, E> {
    let tail = journal.tail();
    let Some(stretch) = journal.stretch(from) else { return Ok(tail) };
    journal.read_payloads(stretch, bytes_max, each)
}
