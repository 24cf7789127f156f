//! Timeouts of a worker: cheap to move, coarse to fire.
//!
//! Every exchange moves its deadline with every frame that passes. A timer that costs a lock and a wheel
//! for each move would cost more than the metering, so deadlines are plain numbers in a slab that one
//! tick in [`TICK`] looks through. A deadline fires up to two ticks late, never early.
//!
//! A task that is stuck in writing to a client who does not read is not polled into its body, and so
//! cannot see its own deadline; [`Abortable`] ends such a task from outside.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use slab::Slab;

/// How often deadlines are looked at.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// After so many ticks past its deadline, a task that did not react is ended.
const OVERDUE_TICKS: u64 = 3;

/// All deadlines of one worker.
#[derive(Clone, Default)]
pub(crate) struct Deadlines {
    inner: Rc<Inner>,
}

#[derive(Default)]
struct Inner {
    tick: Cell<u64>,
    entries: RefCell<Slab<Entry>>,
}

struct Entry {
    due: u64,
    end: u64,
    waker: Option<Waker>,
    task: Option<Rc<Task>>,
}

/// One deadline; gone when dropped.
pub(crate) struct Deadline {
    inner: Rc<Inner>,
    key: usize,
}

impl Deadlines {
    /// A deadline for the task that is being polled, not set yet.
    pub(crate) fn add(&self) -> Deadline {
        let entry = Entry { due: u64::MAX, end: u64::MAX, waker: None, task: Task::current() };
        let key = self.inner.entries.borrow_mut().insert(entry);
        Deadline { inner: Rc::clone(&self.inner), key }
    }

    /// The ticks so far.
    pub(crate) fn now(&self) -> u64 {
        self.inner.tick.get()
    }

    /// Lets one tick pass: wakes what is due, ends what is overdue.
    pub(crate) fn tick(&self) {
        let now = self.inner.tick.get() + 1;
        self.inner.tick.set(now);
        let mut wake = Vec::new();
        for (_, entry) in self.inner.entries.borrow_mut().iter_mut() {
            let due = entry.due.min(entry.end);
            if due >= now {
                continue;
            }
            wake.extend(entry.waker.take());
            if due.saturating_add(OVERDUE_TICKS) < now
                && let Some(task) = &entry.task
            {
                task.aborted.set(true);
                wake.extend(task.waker.take());
            }
        }
        wake.into_iter().for_each(Waker::wake);
    }
}

impl Deadline {
    /// Due in `after`.
    pub(crate) fn set(&self, after: Duration) {
        let due = self.inner.tick.get().saturating_add(ticks(after));
        if let Some(entry) = self.inner.entries.borrow_mut().get_mut(self.key) {
            entry.due = due;
        }
    }

    /// Due in `after` at the latest, however often [`Deadline::set`] moves it; of several such ends, the first counts.
    pub(crate) fn set_end(&self, after: Duration) {
        let end = self.inner.tick.get().saturating_add(ticks(after));
        if let Some(entry) = self.inner.entries.borrow_mut().get_mut(self.key) {
            entry.end = entry.end.min(end);
        }
    }

    /// From here on it is the deadline of the task that is being polled.
    pub(crate) fn adopt(&self) {
        if let Some(entry) = self.inner.entries.borrow_mut().get_mut(self.key) {
            entry.task = Task::current();
            entry.waker = None;
        }
    }

    /// Whether it has passed; if not, the task is woken when it does.
    pub(crate) fn poll_passed(&self, cx: &Context<'_>) -> bool {
        let mut entries = self.inner.entries.borrow_mut();
        let Some(entry) = entries.get_mut(self.key) else { return false };
        if entry.due.min(entry.end) < self.inner.tick.get() {
            return true;
        }
        if !entry.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            entry.waker = Some(cx.waker().clone());
        }
        false
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.inner.entries.borrow_mut().try_remove(self.key);
    }
}

/// In whole ticks, at least as long. Without numbers of 128 bits, which have to be divided by hand.
fn ticks(duration: Duration) -> u64 {
    const PER_SECOND: u64 = 10;
    const TICK_NANOS: u32 = TICK.subsec_nanos();
    const { assert!(TICK_NANOS as u64 * PER_SECOND == 1_000_000_000) };
    let of_seconds = duration.as_secs().saturating_mul(PER_SECOND);
    of_seconds.saturating_add(duration.subsec_nanos().div_ceil(TICK_NANOS).into())
}

/// A spawned task that can be ended from outside.
#[derive(Default)]
pub(crate) struct Task {
    aborted: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Task>>> = const { RefCell::new(None) };
}

impl Task {
    /// The task that is being polled.
    pub(crate) fn current() -> Option<Rc<Self>> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Whether it is being polled.
    pub(crate) fn is_current(&self) -> bool {
        CURRENT.with_borrow(|current| current.as_deref().is_some_and(|current| std::ptr::eq(current, self)))
    }

    /// Ends the task the next time it is polled, which is soon.
    pub(crate) fn abort(&self) {
        self.aborted.set(true);
        self.wake();
    }

    /// Has the task polled.
    pub(crate) fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Runs `future` until it ends or its task is aborted; aborting drops it.
pub(crate) struct Abortable<F> {
    task: Rc<Task>,
    future: Option<Pin<Box<F>>>,
}

impl<F: Future<Output = ()>> Abortable<F> {
    pub(crate) fn new(task: Rc<Task>, future: F) -> Self {
        Self { task, future: Some(Box::pin(future)) }
    }
}

impl<F: Future<Output = ()>> Future for Abortable<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(future) = this.future.as_mut().filter(|_| !this.task.aborted.get()) else {
            this.future = None;
            return Poll::Ready(());
        };
        let waker = this.task.waker.take().filter(|waker| waker.will_wake(cx.waker()));
        this.task.waker.set(Some(waker.unwrap_or_else(|| cx.waker().clone())));
        let outer = CURRENT.replace(Some(Rc::clone(&this.task)));
        let polled = future.as_mut().poll(cx);
        CURRENT.set(outer);
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, task::Wake};

    use super::*;

    struct Count(std::sync::atomic::AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }

    fn counter() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count(0.into()));
        (Arc::clone(&count), Waker::from(count))
    }

    #[test]
    fn fires_after_its_time_and_not_before() {
        let deadlines = Deadlines::default();
        let (count, waker) = counter();
        let cx = Context::from_waker(&waker);
        let deadline = deadlines.add();
        deadline.set(TICK * 2);
        assert!(!deadline.poll_passed(&cx));
        deadlines.tick();
        deadlines.tick();
        assert!(!deadline.poll_passed(&cx), "never early");
        deadlines.tick();
        assert!(deadline.poll_passed(&cx));
        assert_eq!(count.0.load(std::sync::atomic::Ordering::Relaxed), 1);
    }

    #[test]
    fn moving_it_does_not_move_its_end() {
        let deadlines = Deadlines::default();
        let (_, waker) = counter();
        let deadline = deadlines.add();
        deadline.set_end(TICK * 3);
        deadline.set_end(TICK * 9);
        for _ in 0..4 {
            deadline.set(TICK * 100);
            deadlines.tick();
        }
        assert!(deadline.poll_passed(&Context::from_waker(&waker)));
    }

    #[test]
    fn a_stuck_task_is_ended() {
        let deadlines = Deadlines::default();
        let (_, waker) = counter();
        let mut cx = Context::from_waker(&waker);
        let dropped = Rc::new(());
        let held = Rc::clone(&dropped);
        let inner = deadlines.clone();
        let mut task = Box::pin(Abortable::new(Rc::default(), async move {
            let _held = held;
            let deadline = inner.add();
            deadline.set(TICK);
            std::future::pending::<()>().await;
        }));
        assert!(task.as_mut().poll(&mut cx).is_pending());
        for _ in 0..=OVERDUE_TICKS + 2 {
            deadlines.tick();
        }
        assert!(task.as_mut().poll(&mut cx).is_ready());
        assert_eq!(Rc::strong_count(&dropped), 1);
    }
}
