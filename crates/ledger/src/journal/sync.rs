//! Group commit: one `fdatasync` for all settlements that wait for one.
//!
//! A failed `fdatasync` is final. The kernel may have dropped the pages it could not write and marked
//! them clean, so that a second call succeeds without the data; only a restart, which reads what the
//! disk really has, can be trusted. Until then nothing is admitted.

use std::{
    collections::BTreeMap,
    io, mem,
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use super::{Position, Shared, SyncFailed, lock, writer::Admitting};

/// Who waits for the disk.
#[derive(Debug, Default)]
pub(crate) struct Syncer {
    /// All before this position is on disk.
    durable: AtomicU64,
    queue: Mutex<Queue>,
    asked: Condvar,
    /// How many wait; more requests than the journal has slots are not admitted while so many do.
    waiting: AtomicU32,
}

#[derive(Debug, Default)]
struct Queue {
    /// By position: one waker for each settlement.
    wakers: BTreeMap<u64, Waker>,
    failed: bool,
    stopped: bool,
}

impl Syncer {
    /// Ready when the record at `position` is on disk, or never will be for all we know.
    pub(crate) fn poll(&self, position: Position, cx: &Context<'_>) -> Poll<Result<(), SyncFailed>> {
        if self.durable.load(Ordering::Acquire) > position.get() {
            return Poll::Ready(Ok(()));
        }
        let mut queue = lock(&self.queue);
        // Advanced before the queue is emptied, so that nobody who waits is forgotten.
        if self.durable.load(Ordering::Acquire) > position.get() {
            return Poll::Ready(Ok(()));
        }
        if queue.failed || queue.stopped {
            return Poll::Ready(Err(SyncFailed));
        }
        queue.wakers.insert(position.get(), cx.waker().clone());
        self.count(&queue);
        drop(queue);
        self.asked.notify_one();
        Poll::Pending
    }

    /// How many settlements wait for the disk.
    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether a sync failed.
    pub(crate) fn has_failed(&self) -> bool {
        lock(&self.queue).failed
    }

    /// Lets the thread end after those who wait now.
    pub(crate) fn stop(&self) {
        lock(&self.queue).stopped = true;
        self.asked.notify_one();
    }

    /// Waits until somebody wants a sync; false when the thread shall end.
    fn wait(&self) -> bool {
        let queue = lock(&self.queue);
        let idle = |queue: &mut Queue| queue.wakers.is_empty() && !queue.stopped;
        let queue = self.asked.wait_while(queue, idle).unwrap_or_else(PoisonError::into_inner);
        !queue.wakers.is_empty()
    }

    fn succeed(&self, durable: Position) {
        self.durable.store(durable.get(), Ordering::Release);
        let mut queue = lock(&self.queue);
        let still = queue.wakers.split_off(&durable.get());
        let done = mem::replace(&mut queue.wakers, still);
        self.count(&queue);
        drop(queue);
        done.into_values().for_each(Waker::wake);
    }

    /// Nothing more becomes durable.
    fn stay_failed(&self) {
        let mut queue = lock(&self.queue);
        queue.failed = true;
        let all = mem::take(&mut queue.wakers);
        self.count(&queue);
        drop(queue);
        all.into_values().for_each(Waker::wake);
    }

    fn count(&self, queue: &Queue) {
        self.waiting.store(u32::try_from(queue.wakers.len()).unwrap_or(u32::MAX), Ordering::Relaxed);
    }
}

/// The sync thread: ends when told to, or at the first failure.
pub(crate) fn run(shared: &Shared) {
    while shared.syncer.wait() {
        let (target, files) = lock(&shared.writer).take_unsynced();
        match files.iter().try_for_each(|file| shared.store.sync(file)) {
            Ok(()) => shared.syncer.succeed(target),
            Err(error) => return shared.fail(&error),
        }
    }
}

impl Shared {
    /// Ends admission for good; see the module.
    pub(crate) fn fail(&self, error: &io::Error) {
        tracing::error!(
            dir = %self.dir.display(),
            %error,
            "the journal could not be synced: nothing is admitted until a restart; check the disk first"
        );
        lock(&self.writer).stop_admitting(Admitting::SyncFailed);
        self.syncer.stay_failed();
    }
}
