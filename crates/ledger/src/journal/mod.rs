//! The journal: every settlement, on this machine's disk, before the last byte of its answer leaves.
//!
//! Contract
//! - [`Journal::open_request`] sets aside a slot and room for one longest record, or refuses. From then
//!   on nothing can fail: [`OpenRequest::settle`] copies the record into a mapped file that was
//!   allocated beforehand, without a system call, without allocating memory, without waiting for
//!   anything but the copies of others.
//! - A settlement survives the death of the process once `settle` returns; it survives a loss of power
//!   once [`Journal::poll_durable`] says so, if the journal was opened with [`Durability::Power`].
//! - A request that was open when the process died is settled by rule at the next opening.
//! - Each request has exactly one record, except that a crash during recovery may repeat one with the
//!   same key; whoever reads the journal tells by the key.
//! - Records are never lost silently: a reader that meets damage reports where, and goes on behind it.
//! - At most `bytes_max` bytes are taken, and one segment more where a process starts on a full journal.
//!
//! Files in the directory: `lock` (held while open), `id`, `in-flight`, and `segment-<position>` with the
//! records. The space is taken with `fallocate` before it is mapped. On a file system that copies on
//! write that is no guarantee, and running out of space there kills the process: use ext4, XFS or tmpfs.
//!
//! Threads: the keeper makes and deletes segments; with [`Durability::Power`] another one syncs.

mod keeper;
mod mapped;
mod options;
mod reader;
mod record;
mod recovery;
mod replay;
mod request;
mod reserved;
mod segment;
mod slots;
mod status;
mod store;
mod sync;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    fmt,
    fs::{DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::{fs::FlockOperation, io::Errno};
use tollgate_core::Settlement;
use uuid::Uuid;

use self::{
    keeper::Orders,
    segment::Header,
    slots::Slot,
    store::{Disk, SegmentStore},
    sync::Syncer,
    writer::{Admitting, Writer},
};
pub use self::{
    options::{Durability, JournalOpenError, JournalOptions, Recovered, Unanswered},
    request::{OpenRequest, Outcome},
    reserved::Reserved,
    status::{JournalStatus, OpenError, Position, SyncFailed},
};
pub(crate) use self::{
    reader::{End, Item, SegmentReader},
    record::{PAYLOAD_BYTES_MAX, record_bytes},
    recovery::read_id,
    replay::{ReadError, Record},
    segment::{HEADER_BYTES, Header as SegmentHeader, list as list_segments},
    slots::{Occupied, read as read_slots},
    writer::Stretch,
};
use crate::codec::{self, Encoded};

const LOCK: &str = "lock";
/// An audit that looks whether the journal is open holds the lock for a moment.
const LOCK_ATTEMPTS: u32 = 5;
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// The journal of one gateway process. See the module's contract.
pub struct Journal {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the journal and its threads share.
pub(crate) struct Shared {
    id: Uuid,
    dir: PathBuf,
    segment_bytes: u64,
    bytes_max: u64,
    keep_shipped: Duration,
    requests_in_flight_max: u32,
    spares_wanted: usize,
    durability: Durability,
    store: Arc<dyn SegmentStore>,
    writer: Mutex<Writer>,
    /// The writer's tail, for those who do not want to wait for it.
    tail: AtomicU64,
    orders: Orders,
    syncer: Syncer,
    /// The in-flight table's file, when it has to be synced.
    table: Option<File>,
    /// Unlocked by closing it.
    _lock: File,
}

impl Journal {
    /// Opens the journal in `options.dir`, makes it when there is none, and settles the requests that the
    /// last process left open.
    ///
    /// # Errors
    ///
    /// When an option is out of range, another process has the journal, a segment's header is damaged, or
    /// the file system refuses, as a full disk does.
    pub fn open(options: JournalOptions) -> Result<(Arc<Self>, Recovered), JournalOpenError> {
        Self::open_on(options, Arc::new(Disk))
    }

    pub(crate) fn open_on(
        options: JournalOptions,
        store: Arc<dyn SegmentStore>,
    ) -> Result<(Arc<Self>, Recovered), JournalOpenError> {
        let started = Instant::now();
        options.check()?;
        let (shared, mut recovered) = recover(options, store)?;
        let shared = Arc::new(shared);
        let journal = Self { shared: Arc::clone(&shared), threads: Mutex::default() };
        shared.orders.look();
        journal.spawn("journal-keeper", keeper::run)?;
        match shared.durability {
            Durability::Process => {}
            Durability::Power => journal.spawn("journal-sync", sync::run)?,
        }
        recovered.took = started.elapsed();
        Ok((Arc::new(journal), recovered))
    }

    fn spawn(&self, name: &str, run: fn(&Shared)) -> Result<(), JournalOpenError> {
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || run(&shared));
        lock(&self.threads).push(thread.doing("start a thread for", &self.shared.dir)?);
        Ok(())
    }

    /// Admits a request to the journal: `opening` is its settlement as far as it is known, with the
    /// amounts held. Its metadata is not kept. Neither does I/O nor waits for any.
    ///
    /// # Errors
    ///
    /// When there is no room for the settlement, no free slot, or the journal has failed or is closed.
    pub fn open_request(self: &Arc<Self>, opening: &Settlement<'_>) -> Result<OpenRequest, OpenError> {
        let shared = &*self.shared;
        if shared.syncer.waiting() > shared.requests_in_flight_max {
            return Err(OpenError::TooManyInFlight);
        }
        let mut slot = lock(&shared.writer).reserve()?;
        let mut bytes = Encoded::new();
        codec::encode_opening(opening, &mut bytes);
        slot.occupy(&bytes);
        Ok(OpenRequest::new(Arc::clone(self), slot))
    }

    /// Sets room aside for a settlement of which everything is known already. Neither does I/O nor waits for
    /// any; should the process die before it is written, nothing of it is.
    ///
    /// # Errors
    ///
    /// As [`Journal::open_request`].
    pub fn reserve(self: &Arc<Self>) -> Result<Reserved, OpenError> {
        let shared = &*self.shared;
        if shared.syncer.waiting() > shared.requests_in_flight_max {
            return Err(OpenError::TooManyInFlight);
        }
        Ok(Reserved::new(Arc::clone(self), lock(&shared.writer).reserve()?))
    }

    /// Tells this journal from all others; made when the first segment is.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.shared.id
    }

    /// The position behind the last settlement: a watermark that covers all settled so far.
    #[must_use]
    pub fn tail(&self) -> Position {
        Position::new(self.shared.tail.load(Ordering::Acquire))
    }

    /// Ready when the settlement at `position` survives what the journal's durability promises; the task
    /// is woken when it is worth asking again. A position behind the last settlement, as the tail is, asks
    /// for all of them. One task at a time may wait for a settlement; giving up needs nothing.
    ///
    /// # Errors
    ///
    /// When the disk could not be synced, now or earlier, or the journal was shut down: then nobody knows
    /// whether the settlement would survive a loss of power.
    pub fn poll_durable(&self, position: Position, cx: &mut Context<'_>) -> Poll<Result<(), SyncFailed>> {
        match self.shared.durability {
            Durability::Process => Poll::Ready(Ok(())),
            Durability::Power => {
                let last = Position::new(self.tail().get() - 1);
                self.shared.syncer.poll(position.min(last), cx)
            }
        }
    }

    /// How it is doing.
    #[must_use]
    pub fn status(&self) -> JournalStatus {
        JournalStatus::of(lock(&self.shared.writer).usage())
    }

    /// Admits nothing more and ends the journal's threads. Requests that are open can still settle, but no
    /// longer become durable against a loss of power. The lock is kept until the last of them is gone.
    pub fn shutdown(&self) {
        lock(&self.shared.writer).stop_admitting(Admitting::Closed);
        self.shared.orders.stop();
        self.shared.syncer.stop();
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.shared.dir
    }

    pub(crate) fn durability(&self) -> Durability {
        self.shared.durability
    }

    /// The first records that reach beyond `from`; none when there are none yet.
    pub(crate) fn stretch(&self, from: Position) -> Option<Stretch> {
        lock(&self.shared.writer).stretch(from)
    }

    /// Bytes of records from `from` on.
    pub(crate) fn bytes_from(&self, from: Position) -> u64 {
        lock(&self.shared.writer).bytes_from(from)
    }

    /// Says that the ledger has all before `position`.
    pub(crate) fn shipped(&self, position: Position) {
        let deletable = lock(&self.shared.writer).has_shipped_segment(position);
        if deletable {
            self.shared.orders.shipped(position);
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("id", &self.id()).field("tail", &self.tail()).finish_non_exhaustive()
    }
}

impl Shared {
    /// Appends the settlement, then frees the slot: in this order a death in between is seen as settled.
    /// Both under one lock, so that the record's segment can not be deleted while its slot is occupied.
    fn settle(&self, slot: Slot, payload: &[u8]) -> Position {
        let crc = crc32fast::hash(payload);
        let mut writer = lock(&self.writer);
        let appended = if payload.is_empty() { None } else { writer.append(payload, crc) };
        let tail = writer.tail();
        self.tail.store(tail.get(), Ordering::Release);
        let Some(appended) = appended else {
            // The reservation excludes it, and an opening that is damaged. Should it be wrong, the slot stays, and the next
            // start charges it.
            drop(writer);
            tracing::error!("a settlement could not be written: the next start charges what was held for it");
            debug_assert!(false, "no room for a reserved record, or a damaged opening");
            return tail;
        };
        writer.release(slot);
        drop(writer);
        if appended.moved_on {
            self.orders.look();
        }
        appended.position
    }

    fn cancel(&self, slot: Slot) {
        lock(&self.writer).release(slot);
    }
}

/// Takes the lock, settles what was left open, and has a fresh segment and table.
fn recover(
    options: JournalOptions,
    store: Arc<dyn SegmentStore>,
) -> Result<(Shared, Recovered), JournalOpenError> {
    let JournalOptions {
        dir,
        segment_bytes,
        bytes_max,
        keep_shipped,
        requests_in_flight_max,
        durability,
        unanswered,
    } = options;
    let lock_file = take_lock(&dir)?;
    let found = recovery::look(&dir)?;
    let header = |base| Header { journal: found.id, base, bytes: segment_bytes };
    let new_segment =
        |base| segment::create(&dir, header(base), &*store).doing("allocate a segment in", &dir);
    let power = durability == Durability::Power;
    let mut writer = Writer::new(new_segment(found.next_base)?, found.segments, power);
    for opening in &found.unanswered {
        let settlement = recovery::by_rule(opening, unanswered);
        let crc = crc32fast::hash(&settlement);
        if writer.append(&settlement, crc).is_none() {
            writer.add_spare(new_segment(writer.usage().next_base)?);
            writer.append(&settlement, crc);
        }
    }
    if power {
        let (_, files) = writer.take_unsynced();
        files.iter().try_for_each(|file| store.sync(file)).doing("sync", &dir)?;
    }
    let table = slots::create(&dir, requests_in_flight_max, &*store).doing("allocate in-flight in", &dir)?;
    writer.set_slots(table.slots);
    let recovered = Recovered {
        settlements_replayed: found.settlements,
        unanswered: found.unanswered.len() as u64,
        corrupt: found.corrupt,
        took: Duration::ZERO,
    };
    let shared = Shared {
        id: found.id,
        dir,
        segment_bytes,
        bytes_max,
        keep_shipped,
        requests_in_flight_max,
        spares_wanted: keeper::spares_wanted(segment_bytes, requests_in_flight_max),
        durability,
        store,
        tail: AtomicU64::new(writer.tail().get()),
        writer: Mutex::new(writer),
        orders: Orders::default(),
        syncer: Syncer::default(),
        table: power.then_some(table.file),
        _lock: lock_file,
    };
    Ok((shared, recovered))
}

/// Makes the directory when it is missing, and takes its lock.
fn take_lock(dir: &Path) -> Result<File, JournalOpenError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).doing("make the directory", dir)?;
    let path = dir.join(LOCK);
    let file = segment::create_file(&path).doing("open", &path)?;
    for attempt in 1.. {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if attempt < LOCK_ATTEMPTS => thread::sleep(LOCK_RETRY),
            Err(Errno::WOULDBLOCK) => break,
            other => {
                other.map_err(io::Error::from).doing("lock", &path)?;
                return Ok(file);
            }
        }
    }
    Err(JournalOpenError::InUse { dir: dir.to_owned() })
}

/// Whether a process has the journal in `dir` open.
pub(crate) fn is_open(dir: &Path) -> io::Result<bool> {
    let file = match File::open(dir.join(LOCK)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(Errno::WOULDBLOCK) => Ok(true),
        other => Ok(other.map(|()| false)?),
    }
}

/// Says on which file what was tried when the system refused.
trait Io<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, JournalOpenError>;
}

impl<T> Io<T> for io::Result<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, JournalOpenError> {
        self.map_err(|source| JournalOpenError::Io { doing, path: path.to_owned(), source })
    }
}

/// Locks `mutex`. A panic of another thread does not end the journal: every change under a lock here
/// leaves a state that holds.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
