//! Where requests and the thread that talks to the shared store meet.
//!
//! Requests only ever look at atomics here and put subjects into a queue; they never wait for the thread.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;
use tollgate_core::{Scope, UnixMillis};

use crate::Subject;

/// What all subjects that are counted in a shared store have in common.
#[derive(Debug)]
pub struct Gate {
    buckets: Box<[Bucket]>,
    /// Milliseconds that the store's clock is ahead of this machine's.
    clock_offset: AtomicI64,
    down_since: Mutex<Option<Instant>>,
    /// Since when the store's last answer was none.
    failing_since: Mutex<Option<Instant>>,
    /// Since when counters are being rebuilt.
    rebuilding_since: Mutex<Option<Instant>>,
    /// As `down_since`, for those who only ask whether; 0 while the store answers.
    is_down: AtomicU32,
    queue: Mutex<Queue>,
    pub(crate) queued: Notify,
}

/// Subjects whose counters lie together in the store, and are lost together.
#[derive(Debug)]
struct Bucket {
    /// Changes when the store has lost what it knew: all that was granted before is void.
    generation: AtomicU32,
    /// When the store's epoch began; the largest instant while there is none.
    since: AtomicI64,
}

#[derive(Debug, Default)]
struct Queue {
    asking: Vec<Arc<Subject>>,
    active: Vec<Arc<Subject>>,
}

/// One subject's place in the shared store.
pub(crate) struct Member {
    pub(crate) gate: Arc<Gate>,
    pub(crate) bucket: usize,
    pub(crate) scope: Scope,
    pub(crate) id: Box<str>,
}

impl Gate {
    /// For a store whose keys lie in `buckets` places.
    pub(crate) fn new(buckets: usize) -> Self {
        let bucket = || Bucket { generation: AtomicU32::new(1), since: AtomicI64::new(i64::MAX) };
        Self {
            buckets: (0..buckets.max(1)).map(|_| bucket()).collect(),
            clock_offset: AtomicI64::new(0),
            down_since: Mutex::new(None),
            failing_since: Mutex::new(None),
            rebuilding_since: Mutex::new(Some(Instant::now())),
            is_down: AtomicU32::new(0),
            queue: Mutex::default(),
            queued: Notify::new(),
        }
    }

    /// How many buckets there are.
    pub(crate) fn buckets(&self) -> usize {
        self.buckets.len()
    }

    pub(crate) fn generation(&self, bucket: usize) -> u32 {
        self.buckets[bucket].generation.load(Ordering::Acquire)
    }

    pub(crate) fn since(&self, bucket: usize) -> UnixMillis {
        UnixMillis(self.buckets[bucket].since.load(Ordering::Acquire))
    }

    /// Voids everything granted in the bucket.
    pub(crate) fn freeze(&self, bucket: usize) {
        let bucket = &self.buckets[bucket];
        bucket.since.store(i64::MAX, Ordering::Release);
        bucket.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// An epoch is in force.
    pub(crate) fn open(&self, bucket: usize, since: UnixMillis) {
        self.buckets[bucket].since.store(since.0, Ordering::Release);
    }

    /// Milliseconds that the shared store's clock is ahead of this machine's.
    #[must_use]
    pub fn clock_offset(&self) -> i64 {
        self.clock_offset.load(Ordering::Relaxed)
    }

    pub(crate) fn set_clock_offset(&self, millis: i64) {
        self.clock_offset.store(millis, Ordering::Relaxed);
    }

    /// Whether the store does not answer.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.is_down.load(Ordering::Relaxed) != 0
    }

    /// For how many whole seconds the store has not answered; 0 while it does.
    #[must_use]
    pub fn down_seconds(&self) -> u64 {
        lock(&self.down_since).map_or(0, |since| since.elapsed().as_secs())
    }

    /// For how many whole seconds the store has not answered or has had nothing to give as it is being
    /// rebuilt; none while neither is the case.
    pub(crate) fn useless_seconds(&self) -> Option<u64> {
        let since = [*lock(&self.failing_since), *lock(&self.rebuilding_since)];
        since.into_iter().flatten().min().map(|since| since.elapsed().as_secs())
    }

    pub(crate) fn set_failing(&self, failing: bool) {
        let mut since = lock(&self.failing_since);
        *since = failing.then(|| since.unwrap_or_else(Instant::now));
    }

    /// For how long counters have been rebuilt.
    pub(crate) fn rebuilding(&self) -> Duration {
        lock(&self.rebuilding_since).map_or(Duration::ZERO, |since| since.elapsed())
    }

    pub(crate) fn set_rebuilding(&self, rebuilding: bool) {
        let mut since = lock(&self.rebuilding_since);
        *since = rebuilding.then(|| since.unwrap_or_else(Instant::now));
    }

    pub(crate) fn set_down(&self, down: bool) {
        let mut since = lock(&self.down_since);
        *since = down.then(|| since.unwrap_or_else(Instant::now));
        self.is_down.store(down.into(), Ordering::Relaxed);
    }

    /// The subject's turn comes; it must not be queued already.
    pub(crate) fn ask(&self, subject: Arc<Subject>) {
        lock(&self.queue).asking.push(subject);
        self.queued.notify_one();
    }

    /// Something of the subject may have to be told to the store later.
    pub(crate) fn activate(&self, subject: Arc<Subject>) {
        lock(&self.queue).active.push(subject);
    }

    pub(crate) fn take_asking(&self) -> Vec<Arc<Subject>> {
        std::mem::take(&mut lock(&self.queue).asking)
    }

    pub(crate) fn take_active(&self) -> Vec<Arc<Subject>> {
        std::mem::take(&mut lock(&self.queue).active)
    }
}

impl Member {
    pub(crate) fn generation(&self) -> u32 {
        self.gate.generation(self.bucket)
    }

    pub(crate) fn since(&self) -> UnixMillis {
        self.gate.since(self.bucket)
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
