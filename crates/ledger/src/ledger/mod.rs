//! The ledger, and the thread that ships the journal to it: to SQLite, which is this process's own, or to
//! Postgres, which several gateways share.
//!
//! Contract, of both stores
//! - One thread writes. It takes the journal's settlements in their order, a batch per transaction:
//!   inserts the lines, adds those that were new to the rollups, moves the watermark, commits. Minutes
//!   that are over for long are merged along the way. Repeating a batch changes nothing, and neither does
//!   a commit whose confirmation is lost.
//! - Any error leaves the settlements in the journal and is tried again with a bounded pause; it shows in
//!   [`Ledger::status`] and is logged when it begins and when it ends. No wait for a store is without bound.
//! - A [`LoadRequest`] is answered exactly once, with sums that cover exactly the settlements before the
//!   watermarks in the answer. While the ledger fails, the answer is an error, at once.
//! - What resources have is a sum like the others, of the lines that name one; what has nothing left has no row.
//! - Keys of requests are written at once, each by itself, and told of after their commit.
//! - Segments are given free only after the commit.
//!
//! What is different lies in `sqlite` and `postgres`; reading the journal, the sums of a batch, how a span is
//! made of rollups, who waits and how failures show is here.

mod event;
mod feed;
mod idempotency;
mod load;
pub(crate) mod minutes;
pub(crate) mod period;
pub(crate) mod postgres;
mod progress;
mod queue;
mod reader;
mod resource;
mod resources;
pub(crate) mod sqlite;
pub(crate) mod totals;
mod waiting;

use std::{
    fmt, io,
    path::PathBuf,
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::Duration,
};

use tollgate_core::UnixMillis;

pub(crate) use self::reader::Store;
pub use self::{
    event::{EventFilter, LedgerEvent},
    idempotency::{
        BeginIdempotent, BeginReply, Begun, FinishIdempotent, FinishReply, IDEMPOTENCY_KEY_BYTES_MAX,
        IDEMPOTENT_ANSWER_BYTES_MAX,
    },
    load::{FlushReply, InstancesReply, LoadError, LoadReply, LoadRequest, Loaded, Subject},
    postgres::{PostgresError, PostgresHost, PostgresOptions, PostgresTls},
    reader::LedgerReader,
    resource::{
        FirstLine, OpenResource, OpenResources, OpenResourcesReply, OpenResourcesRequest, ResourcePlace,
        ResourceReply, ResourceRequest, ResourceSum,
    },
};
use self::{
    load::Ask,
    progress::{Health, Shared},
};
use crate::{Journal, Position, journal::lock};

/// From one look at the journal to the next, unless somebody asks: a batch of this much traffic costs
/// little per line, and the journal keeps all of it meanwhile.
const PERIOD: Duration = Duration::from_millis(500);

/// Where the ledger is.
#[derive(Clone, Debug)]
pub enum LedgerOptions {
    /// In a file of this process's own.
    Sqlite {
        /// `<data_dir>/ledger.sqlite3`; made when missing.
        path: PathBuf,
    },
    /// In a database that several gateways share.
    Postgres(PostgresOptions),
}

/// Why a ledger cannot be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// SQLite refused.
    #[error("the ledger's SQLite file cannot be used: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// Postgres refused, or is away.
    #[error("the ledger's Postgres cannot be used: {0}")]
    Postgres(#[from] PostgresError),
    /// The tables are of a version that this program does not know.
    #[error(
        "the ledger's schema is version {found}, and this program knows {known}: {}",
        if found > known {
            "a newer one made it; use that, or restore a copy from before"
        } else {
            "run `tollgate migrate`, or start the gateway"
        }
    )]
    Schema {
        /// The version in the store.
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

/// A ledger that is open.
struct Started {
    shared: Arc<Shared>,
    /// Ships until told to stop: for a thread of its own.
    run: Box<dyn FnOnce() + Send>,
}

/// What [`migrate`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The schema's version before; 0 when there was none.
    pub from: usize,
    /// And now.
    pub to: usize,
}

/// Makes the ledger's tables, or brings them up to date. Several processes may do so at once.
///
/// # Errors
///
/// When the store refuses, or its schema is newer than this program.
pub fn migrate(options: &LedgerOptions) -> Result<Migrated, LedgerError> {
    match options {
        LedgerOptions::Sqlite { path } => sqlite::migrate(path),
        LedgerOptions::Postgres(options) => postgres::migrate(options),
    }
}

impl Ledger {
    /// Opens the ledger, makes it when there is none, and starts to ship `journal` to it.
    ///
    /// # Errors
    ///
    /// When the store refuses, its schema is newer than this program, or it belongs to a later state of
    /// the journal.
    pub fn start(journal: Arc<Journal>, options: LedgerOptions) -> Result<Self, LedgerError> {
        let Started { shared, run } = match options {
            LedgerOptions::Sqlite { path } => sqlite::start(journal, &path)?,
            LedgerOptions::Postgres(options) => postgres::start(journal, options)?,
        };
        let thread = thread::Builder::new()
            .name("ledger-shipper".to_owned())
            .spawn(run)
            .map_err(LedgerError::Thread)?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Asks what a subject has used. The answer comes through the request's `reply`, exactly once: soon
    /// after the journal is shipped far enough, or an error when the ledger fails or too many wait.
    pub fn load(&self, request: LoadRequest) {
        self.shared.queue.push(Ask::Load(request));
    }

    /// Ships at once, and calls `reply` when all before `reached`, as [`Journal::tail`] gave it, is
    /// committed; exactly once, and with an error when the ledger fails, is too far behind or too many wait.
    /// `reply` runs on the shipping thread or, when turned away, at once, and must not wait for anything.
    pub fn flush(&self, reached: Position, reply: FlushReply) {
        self.shared.queue.push(Ask::Flush { reached, reply });
    }

    /// Asks which journals have a gateway that runs: those seen within `fresh`, by the store's clock, this
    /// one included. A gateway is seen about once a second. `reply` is as for [`Ledger::flush`].
    pub fn instances(&self, fresh: Duration, reply: InstancesReply) {
        self.shared.queue.push(Ask::Instances { fresh, reply });
    }

    /// Asks what a resource has of some meters; `reply` is as for [`Ledger::load`]. Of names that are longer than the ledger
    /// keeps, it is asked by what is kept.
    pub fn resource_sums(&self, request: ResourceRequest) {
        let request = request.into_kept();
        self.shared.queue.push(Ask::Resource(request));
    }

    /// Asks for a page of the resources that have something of a meter, whoever's they are; `reply` is as for
    /// [`Ledger::load`].
    pub fn open_resources(&self, request: OpenResourcesRequest) {
        self.shared.queue.push(Ask::OpenResources(request));
    }

    /// Begins a request with an idempotency key. `reply` is as for [`Ledger::load`], and comes after the commit;
    /// [`LoadError::TooLong`] when the key or its scope is.
    pub fn begin_idempotent(&self, begin: BeginIdempotent) {
        if begin.is_too_long() {
            return (begin.reply)(Err(LoadError::TooLong));
        }
        self.shared.queue.push(Ask::Begin(begin));
    }

    /// Keeps the answer to a request that was begun, or forgets the request. `reply` is as for
    /// [`Ledger::begin_idempotent`], too long is also an answer.
    pub fn finish_idempotent(&self, finish: FinishIdempotent) {
        if finish.is_too_long() {
            return (finish.reply)(Err(LoadError::TooLong));
        }
        self.shared.queue.push(Ask::Finish(finish));
    }

    /// All settlements before this position are in the ledger.
    #[must_use]
    pub fn shipped(&self) -> Position {
        self.shared.shipped()
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

/// Refuses a ledger that has more of the journal than there is.
fn ahead(watermark: Position, journal: &Journal) -> Result<(), LedgerError> {
    let tail = journal.tail();
    if watermark > tail {
        return Err(LedgerError::AheadOfJournal { watermark: watermark.get(), tail: tail.get() });
    }
    Ok(())
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
