//! Reading settlements back from the segments.

use std::{fs::File, io, path::PathBuf};

use tollgate_core::Settlement;

use super::{
    Journal, Position, lock,
    reader::{End, Item, SegmentReader},
    segment,
    writer::Stretch,
};
use crate::codec::{self, DecodeError};

/// Why records cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} at offset {offset}: {source}; use the program that wrote it", path.display())]
    Version { path: PathBuf, offset: u64, source: DecodeError },
}

/// A settlement.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    pub(crate) position: Position,
    pub(crate) settlement: Settlement<'a>,
}

impl Journal {
    /// Gives every settlement from position `from` on that is still on disk to `each`, shipped or not, in
    /// their order, up to what is the tail when it begins. Blocks for as long as reading takes.
    ///
    /// Returns the position from which on all were given. It is behind `from` when segments were deleted
    /// since, which happens only to what is shipped; then some before it may have been given, too.
    ///
    /// # Errors
    ///
    /// When a segment cannot be read, or was written by another version. Damage is logged and left out.
    pub fn replay(
        &self,
        from: Position,
        each: &mut dyn FnMut(Position, &Settlement<'_>),
    ) -> io::Result<Position> {
        let (tail, oldest, stretches) = lock(&self.shared.writer).stretches(from);
        let mut complete_from = if stretches.is_empty() { tail } else { oldest };
        for (stretch, next_base) in stretches {
            let given = self.read_records(stretch, u64::MAX, |record| {
                each(record.position, &record.settlement);
                Ok(())
            });
            match given {
                Ok(_) => {}
                // Shipped and deleted since.
                Err(ReadError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    complete_from = next_base;
                }
                Err(ReadError::Read { source, .. }) => return Err(source),
                Err(error @ ReadError::Version { .. }) => return Err(io::Error::other(error)),
            }
        }
        Ok(complete_from)
    }

    /// Gives the records in `stretch` to `each`, about as many as `bytes_max` bytes hold; returns the
    /// position behind them.
    pub(crate) fn read_records<E: From<ReadError>>(
        &self,
        stretch: Stretch,
        bytes_max: u64,
        mut each: impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<Position, E> {
        self.read_payloads(stretch, bytes_max, |position, payload| match codec::decode(payload) {
            Ok(settlement) => each(Record { position, settlement }).map(Ok),
            Err(error) => Ok(Err(error)),
        })
    }

    /// As [`Journal::read_records`], but what a record means is for `each` to say, or that it means nothing.
    pub(crate) fn read_payloads<E: From<ReadError>>(
        &self,
        stretch: Stretch,
        bytes_max: u64,
        mut each: impl FnMut(Position, &[u8]) -> Result<Result<(), DecodeError>, E>,
    ) -> Result<Position, E> {
        let Stretch { base, start, end } = stretch;
        let path = segment::path(self.dir(), base);
        let unread = |source| ReadError::Read { path: path.clone(), source };
        let mut reader = self.read_stretch(stretch).map_err(unread)?;
        while reader.at() < end && reader.at() - start < bytes_max {
            let (offset, damage) = match reader.next().map_err(unread)? {
                None => break,
                Some(Item::Record { offset, payload }) => {
                    match each(Position::new(base + offset), payload)? {
                        Ok(()) => continue,
                        Err(source @ DecodeError::Version(_)) => {
                            return Err(ReadError::Version { path, offset, source }.into());
                        }
                        Err(error) => (offset, error.to_string()),
                    }
                }
                Some(Item::Damage { offset, until }) => {
                    (offset, format!("no record can be read up to {until}"))
                }
            };
            tracing::error!(path = %path.display(), offset, damage, "damage in the journal is left out of the ledger");
        }
        Ok(Position::new(base + reader.at().min(end)))
    }

    /// A reader of the records in `stretch`.
    pub(crate) fn read_stretch(&self, stretch: Stretch) -> io::Result<SegmentReader> {
        let Stretch { base, start, end } = stretch;
        let file = File::open(segment::path(self.dir(), base))?;
        Ok(SegmentReader::new(file, start, end, End::Known))
    }
}
