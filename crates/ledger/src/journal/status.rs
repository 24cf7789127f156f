//! What a journal tells about itself, and why it refuses.

use super::{
    record::RECORD_BYTES_MAX,
    writer::{Admitting, Usage},
};

/// A place in a journal: a byte offset that only ever grows, across segments and restarts.
///
/// A settlement's position is where its record begins. A watermark covers the settlements whose
/// position is less than it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

impl Position {
    /// The position at byte `offset`.
    #[must_use]
    pub const fn new(offset: u64) -> Self {
        Self(offset)
    }

    /// The byte offset.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// Why a request cannot be opened. None of them is the caller's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// No room is left; there is again when the ledger takes settlements or the disk gets space.
    #[error("the journal is full: it needs space on its disk, or the ledger must take what it holds")]
    Full,
    /// All slots are taken, or as many settlements wait for the disk; worth trying again at once.
    #[error("too many requests are in flight")]
    TooManyInFlight,
    /// A sync failed, which only a restart can mend, or the journal was shut down.
    #[error("the journal does not admit requests: its disk failed, or it is shut down")]
    Failed,
}

/// A settlement may not survive a loss of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the journal could not be synced to its disk: check the disk, then restart")]
pub struct SyncFailed;

/// How a journal is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalStatus {
    /// Bytes that its segment files take.
    pub bytes_on_disk: u64,
    /// Bytes of the current segment and the spares that nothing is written to yet.
    pub bytes_free: u64,
    /// Bytes of those set aside for the settlements of open requests.
    pub bytes_reserved: u64,
    /// Segment files, spares included.
    pub segments: u64,
    /// Whether a request that came now would be refused for want of room.
    pub full: bool,
    /// Whether a sync failed.
    pub failed: bool,
    /// Requests that are open.
    pub in_flight: u32,
}

impl JournalStatus {
    pub(crate) fn of(usage: Usage) -> Self {
        let Usage { bytes_on_disk, bytes_free, segments, spares: _, reserved, room, admitting, next_base: _ } =
            usage;
        Self {
            bytes_on_disk,
            bytes_free,
            bytes_reserved: u64::from(reserved) * RECORD_BYTES_MAX,
            segments,
            full: u64::from(reserved) >= room,
            failed: admitting == Admitting::SyncFailed,
            in_flight: reserved,
        }
    }
}
