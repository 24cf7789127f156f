//! How a journal is kept, and why one cannot be opened.

use std::{io, path::PathBuf, time::Duration};

use super::record::RECORD_BYTES_MAX;

/// Smallest segment: room for a few of the longest records.
pub(crate) const SEGMENT_BYTES_MIN: u64 = 64 * 1024;
/// Largest segment: offsets stay far from the limits of 32 bits.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// Most requests in flight: their slots then take 2 GiB, more than one machine serves.
pub(crate) const REQUESTS_IN_FLIGHT_MAX: u32 = 1 << 20;

/// How a journal is kept.
#[derive(Clone, Debug)]
pub struct JournalOptions {
    /// The journal's own directory, `<data_dir>/journal`; made when missing.
    pub dir: PathBuf,
    /// Size of a segment file in bytes, 64 KiB to 1 GiB, a multiple of 4096.
    pub segment_bytes: u64,
    /// Most bytes that all segments together may take on disk, shipped or not; at least two segments.
    /// At the bound requests are refused until shipping frees a segment.
    pub bytes_max: u64,
    /// How old the newest settlement of a shipped segment gets before the segment is deleted, for
    /// [`super::Journal::replay`]; segments that an earlier process left count from the opening. More than
    /// half of `bytes_max` is never kept so. Zero keeps nothing that is shipped.
    pub keep_shipped: Duration,
    /// Most requests open at once, 1 to 2^20; each takes 2 KiB of disk.
    pub requests_in_flight_max: u32,
    /// What a settlement survives.
    pub durability: Durability,
    /// What becomes of a request that was open when the last process died.
    pub unanswered: Unanswered,
}

/// What a settlement survives once its position is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The death of the process, at no cost to the request.
    Process,
    /// The loss of power: an `fdatasync`, shared by all requests that wait for one.
    Power,
}

/// The rule for a request that was admitted and, as far as anyone knows, never answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// Charge what was held, marked as estimated.
    Charge,
    /// Charge nothing.
    Release,
}

/// What the opening of a journal found and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Settlements in the segments that earlier processes left, whether shipped already or not.
    pub settlements_replayed: u64,
    /// Requests that were open when the last process died, now settled by the rule.
    pub unanswered: u64,
    /// Damaged places in segments and slots; each was logged with its file and offset.
    pub corrupt: u64,
    /// How long it took.
    pub took: Duration,
}

/// Why a journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum JournalOpenError {
    /// An option is out of its range.
    #[error("journal option {key} = {value} is out of range: it must be {range}")]
    Option {
        /// The option's name.
        key: &'static str,
        /// What it is.
        value: u64,
        /// What it may be.
        range: &'static str,
    },
    /// Another process has it.
    #[error("the journal {} is in use by another process: stop it, or set another data_dir", dir.display())]
    InUse {
        /// The journal's directory.
        dir: PathBuf,
    },
    /// A file is not what it should be, and nothing can be read behind it.
    #[error("{}: {reason}; move the file elsewhere to go on without what is in it", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl JournalOptions {
    pub(crate) fn check(&self) -> Result<(), JournalOpenError> {
        let refuse = |key, value, range| Err(JournalOpenError::Option { key, value, range });
        let whole_pages = self.segment_bytes.is_multiple_of(RECORD_BYTES_MAX);
        if !whole_pages || !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes) {
            return refuse(
                "segment_bytes",
                self.segment_bytes,
                "a multiple of 4096 from 65536 to 1073741824",
            );
        }
        if self.bytes_max / 2 < self.segment_bytes {
            return refuse("bytes_max", self.bytes_max, "at least two segments");
        }
        if !(1..=REQUESTS_IN_FLIGHT_MAX).contains(&self.requests_in_flight_max) {
            return refuse("requests_in_flight_max", self.requests_in_flight_max.into(), "from 1 to 1048576");
        }
        Ok(())
    }
}
