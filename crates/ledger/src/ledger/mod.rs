//! The ledger in SQLite, and the thread that ships the journal to it.
//!
//! Contract
//! - One thread writes. It takes the journal's settlements in their order, a batch per transaction:
//!   inserts the lines, adds those that were new to the rollups, merges minutes that are over for long,
//!   moves the watermark, commits. Repeating
//!   a batch changes nothing.
//! - Any error leaves the settlements in the journal and is tried again with a bounded pause; it shows in
//!   [`Ledger::status`] and is logged when it begins and when it ends.
//! - A [`LoadRequest`] is answered exactly once, with sums that cover exactly the settlements before the
//!   watermark in the answer. While the ledger fails, the answer is an error, at once.
//! - Segments are given free only after the commit.

mod batch;
mod events;
mod insert;
mod load;
pub(crate) mod minutes;
pub(crate) mod period;
mod queue;
mod reader;
pub(crate) mod schema;
mod shipper;
pub(crate) mod sums;
mod totals;

use std::{
    fmt, io,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tollgate_core::UnixMillis;

pub use self::{
    events::{EventFilter, LedgerEvent},
    load::{LoadError, LoadReply, LoadRequest, Loaded, Subject},
    reader::LedgerReader,
};
use self::{queue::Queue, shipper::Shipper};
use crate::{Journal, Position, journal::lock};

/// Where the ledger is.
#[derive(Clone, Debug)]
pub struct LedgerOptions {
    /// The SQLite file, `<data_dir>/ledger.sqlite3`; made when missing.
    pub path: PathBuf,
}

/// Why a ledger cannot be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// SQLite refused.
    #[error("the ledger's SQLite file cannot be used: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The tables are of a version that this program does not know.
    #[error(
        "the ledger's schema is version {found}, and this program knows {known}: use the program that fits"
    )]
    Schema {
        /// The version in the file.
        found: usize,
        /// The newest version known.
        known: usize,
    },
    /// The ledger has more of the journal than there is.
    #[error(
        "the ledger has the journal up to {watermark}, but the journal ends at {tail}: \
         one of them was restored from an older copy; restore both, or move the journal's directory elsewhere"
    )]
    AheadOfJournal {
        /// In bytes.
        watermark: u64,
        /// In bytes.
        tail: u64,
    },
    /// The system gives no thread.
    #[error("cannot start the thread that ships to the ledger: {0}")]
    Thread(#[source] io::Error),
}

/// The shutdown ended before all was shipped; the rest stays in the journal for the next start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pending_bytes} bytes of settlements were not shipped in time: the next start ships them")]
pub struct Unshipped {
    /// Bytes of records that are not in the ledger.
    pub pending_bytes: u64,
}

/// How shipping goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Bytes of records that are not in the ledger yet.
    pub pending_bytes: u64,
    /// While shipping fails: when the oldest settlement that waits was admitted.
    pub oldest_unshipped: Option<UnixMillis>,
    /// Since when every attempt failed; none while shipping works.
    pub failing_since: Option<UnixMillis>,
    /// Why the last attempt failed; none while shipping works.
    pub last_error: Option<String>,
}

/// The ledger of one gateway process. See the module's contract.
pub struct Ledger {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the ledger and its thread share.
struct Shared {
    journal: Arc<Journal>,
    queue: Queue,
    shipped: AtomicU64,
    health: Mutex<Health>,
}

#[derive(Debug, Default)]
struct Health {
    oldest_unshipped: Option<UnixMillis>,
    failing_since: Option<UnixMillis>,
    last_error: Option<String>,
}

impl Ledger {
    /// Opens the ledger, makes it when there is none, and starts to ship `journal` to it.
    ///
    /// # Errors
    ///
    /// When SQLite refuses, the file's schema is newer than this program, or the file belongs to a later
    /// state of the journal.
    pub fn start(journal: Arc<Journal>, options: LedgerOptions) -> Result<Self, LedgerError> {
        let LedgerOptions { path } = options;
        let connection = schema::open(&path, journal.durability())?;
        let watermark = batch::watermark(&connection, journal.id())?.unwrap_or_default();
        let tail = journal.tail();
        if watermark > tail {
            return Err(LedgerError::AheadOfJournal { watermark: watermark.get(), tail: tail.get() });
        }
        let shared = Arc::new(Shared {
            journal,
            queue: Queue::default(),
            shipped: AtomicU64::new(watermark.get()),
            health: Mutex::default(),
        });
        let shipper = Shipper::new(Arc::clone(&shared), connection, watermark);
        let thread = thread::Builder::new()
            .name("ledger-shipper".to_owned())
            .spawn(move || shipper.run())
            .map_err(LedgerError::Thread)?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Asks what a subject has used. The answer comes through the request's `reply`, exactly once: soon
    /// after the journal is shipped far enough, or an error when the ledger fails or too many wait.
    pub fn load(&self, request: LoadRequest) {
        self.shared.queue.push(request);
    }

    /// All settlements before this position are in the ledger.
    #[must_use]
    pub fn shipped(&self) -> Position {
        Position::new(self.shared.shipped.load(Ordering::Acquire))
    }

    /// How shipping goes.
    #[must_use]
    pub fn status(&self) -> Status {
        let pending_bytes = self.shared.journal.bytes_from(self.shipped());
        let Health { oldest_unshipped, failing_since, last_error } = &*lock(&self.shared.health);
        Status {
            pending_bytes,
            oldest_unshipped: *oldest_unshipped,
            failing_since: *failing_since,
            last_error: last_error.clone(),
        }
    }

    /// Ships all that is in the journal, checkpoints the file and ends the thread; waits for it at most
    /// `deadline`. Loads that come later are answered with an error.
    ///
    /// # Errors
    ///
    /// When not all was shipped in time.
    pub fn shutdown(&self, deadline: Duration) -> Result<(), Unshipped> {
        if self.shared.queue.stop(deadline) {
            self.join();
        }
        let pending_bytes = self.shared.journal.bytes_from(self.shipped());
        if pending_bytes == 0 { Ok(()) } else { Err(Unshipped { pending_bytes }) }
    }

    fn join(&self) {
        let thread = lock(&self.thread).take();
        // A thread that panicked has said so.
        let _ = thread.map(JoinHandle::join);
    }
}

impl Drop for Ledger {
    /// Ends the thread after the batch it is at; the rest stays in the journal.
    fn drop(&mut self) {
        self.shared.queue.stop(Duration::ZERO);
        self.join();
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("shipped", &self.shipped()).finish_non_exhaustive()
    }
}
