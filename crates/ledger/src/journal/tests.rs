//! The journal on a disk that is full or fails.

use std::{
    fs::File,
    future::poll_fn,
    io,
    path::Path,
    pin::pin,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
};

use tollgate_core::{Charge, Charges, RequestKey, SettledBy, Settlement, UnixMillis};

use super::{
    Disk, Durability, Journal, JournalOptions, OpenError, OpenRequest, Position, SegmentStore, SyncFailed,
    Unanswered, lock,
};

/// A disk that fails on demand.
#[derive(Debug, Default)]
struct Faulty {
    full: AtomicBool,
    sync_fails: AtomicBool,
    syncs: AtomicU64,
}

impl SegmentStore for Faulty {
    fn allocate(&self, file: &File, bytes: u64) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Disk.allocate(file, bytes)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        if self.sync_fails.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk is broken"));
        }
        Disk.sync(file)
    }
}

fn options(dir: &Path, durability: Durability) -> JournalOptions {
    JournalOptions {
        dir: dir.to_owned(),
        segment_bytes: 64 * 1024,
        bytes_max: 1 << 20,
        keep_shipped: std::time::Duration::ZERO,
        requests_in_flight_max: 8,
        durability,
        unanswered: Unanswered::Charge,
    }
}

fn open(dir: &Path, durability: Durability) -> (Arc<Journal>, Arc<Faulty>) {
    let disk = Arc::new(Faulty::default());
    let store: Arc<dyn SegmentStore> = disk.clone();
    (Journal::open_on(options(dir, durability), store).unwrap().0, disk)
}

fn settlement(number: u128) -> Settlement<'static> {
    Settlement {
        key: RequestKey::from_bits(number << 8),
        at: UnixMillis(1_795_377_600_000),
        user_id: "ada",
        org_id: None,
        tier: "free",
        route: "/",
        method: "GET",
        status: 200,
        duration_ms: 1,
        request_id: "r",
        resource: None,
        metadata: None,
        settled_by: SettledBy::Exchange,
        charges: Charges::from_iter([Charge { meter: "calls", amount: 1, estimated: false }]),
    }
}

fn open_when_there_is_room(journal: &Arc<Journal>) -> OpenRequest {
    loop {
        match journal.open_request(&settlement(1)) {
            Ok(request) => return request,
            Err(error) => assert_eq!(error, OpenError::Full),
        }
        thread::yield_now();
    }
}

/// Fills all segments that there are.
fn fill(journal: &Arc<Journal>) -> u64 {
    let mut settled = 0;
    loop {
        match journal.open_request(&settlement(settled)) {
            Ok(request) => request.settle(&settlement(settled)),
            Err(error) => {
                assert_eq!(error, OpenError::Full);
                return settled.try_into().unwrap();
            }
        };
        settled += 1;
    }
}

struct Bell {
    rung: Mutex<bool>,
    ring: Condvar,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        *lock(&self.rung) = true;
        self.ring.notify_one();
    }
}

fn durable(journal: &Journal, position: Position) -> Result<(), SyncFailed> {
    let bell = Arc::new(Bell { rung: Mutex::new(false), ring: Condvar::new() });
    let waker = Waker::from(Arc::clone(&bell));
    let mut done = pin!(poll_fn(|cx| journal.poll_durable(position, cx)));
    loop {
        if let Poll::Ready(done) = done.as_mut().poll(&mut Context::from_waker(&waker)) {
            return done;
        }
        let mut rung = bell.ring.wait_while(lock(&bell.rung), |rung| !*rung).unwrap();
        *rung = false;
    }
}

#[test]
fn a_full_disk_refuses_before_anything_is_lost_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, disk) = open(dir.path(), Durability::Process);
    disk.full.store(true, Ordering::SeqCst);
    let settled = fill(&journal);
    assert!(journal.status().full && !journal.status().failed);
    disk.full.store(false, Ordering::SeqCst);
    open_when_there_is_room(&journal).cancel();
    assert!(!journal.status().full);
    drop(journal);
    let (_, recovered) = Journal::open(options(dir.path(), Durability::Process)).unwrap();
    assert_eq!(recovered.settlements_replayed, settled);
}

#[test]
fn open_requests_settle_on_a_full_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, disk) = open(dir.path(), Durability::Process);
    while journal.status().segments < 2 {
        thread::yield_now();
    }
    disk.full.store(true, Ordering::SeqCst);
    let requests: Vec<_> = (0..7).map(|_| journal.open_request(&settlement(0)).unwrap()).collect();
    let beside = fill(&journal);
    // The longest settlements there are.
    let more = "x".repeat(crate::METADATA_BYTES_MAX);
    for (request, number) in requests.into_iter().zip(1_000_000..) {
        request.settle(&Settlement { metadata: Some(&more), ..settlement(number) });
    }
    drop(journal);
    let (_, recovered) = Journal::open(options(dir.path(), Durability::Process)).unwrap();
    assert_eq!((recovered.unanswered, recovered.corrupt), (0, 0));
    assert_eq!(recovered.settlements_replayed, beside + 7);
}

#[test]
fn a_start_on_a_full_disk_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Faulty::default());
    disk.full.store(true, Ordering::SeqCst);
    let refused = Journal::open_on(options(dir.path(), Durability::Process), disk).unwrap_err().to_string();
    assert!(refused.contains("allocate") && refused.contains(dir.path().to_str().unwrap()), "{refused}");
    assert!(super::list_segments(dir.path()).unwrap().is_empty());
}

#[test]
fn settlements_become_durable_together() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, disk) = open(dir.path(), Durability::Power);
    let before = disk.syncs.load(Ordering::SeqCst);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for number in 0..100 {
                    let position = open_when_there_is_room(&journal).settle(&settlement(number));
                    assert_eq!(durable(&journal, position), Ok(()));
                }
            });
        }
    });
    assert!(disk.syncs.load(Ordering::SeqCst) > before);
    assert_eq!(durable(&journal, journal.tail()), Ok(()));
}

#[test]
fn process_durability_never_waits() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path(), Durability::Process);
    let position = open_when_there_is_room(&journal).settle(&settlement(1));
    let waker = Waker::noop();
    let polled = journal.poll_durable(position, &mut Context::from_waker(waker));
    assert_eq!(polled, Poll::Ready(Ok(())));
}

#[test]
fn a_failed_sync_is_final() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, disk) = open(dir.path(), Durability::Power);
    let first = open_when_there_is_room(&journal).settle(&settlement(1));
    assert_eq!(durable(&journal, first), Ok(()));
    disk.sync_fails.store(true, Ordering::SeqCst);
    let second = open_when_there_is_room(&journal);
    let second = second.settle(&settlement(2));
    assert_eq!(durable(&journal, second), Err(SyncFailed));
    disk.sync_fails.store(false, Ordering::SeqCst);
    assert_eq!(durable(&journal, second), Err(SyncFailed));
    assert_eq!(durable(&journal, first), Ok(()));
    assert_eq!(journal.open_request(&settlement(3)).err(), Some(OpenError::Failed));
    assert!(journal.status().failed);
}

#[test]
fn nobody_waits_for_a_journal_that_is_shut_down() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path(), Durability::Power);
    let request = open_when_there_is_room(&journal);
    journal.shutdown();
    journal.shutdown();
    let position = request.settle(&settlement(1));
    assert_eq!(durable(&journal, position), Err(SyncFailed));
    assert_eq!(journal.open_request(&settlement(2)).err(), Some(OpenError::Failed));
}
