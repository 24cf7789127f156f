//! Subjects: who is charged.

use std::{
    collections::BTreeMap,
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::Waker,
};

use tollgate_core::{Calendar, UnixMillis};

use crate::{
    CounterKey, Mark, Member,
    counter::{Counter, State},
};

/// One user's or organisation's counters.
#[derive(Debug)]
pub struct Subject {
    id: Box<str>,
    /// Where it is counted, if that is a store shared with other instances.
    pub(crate) member: Option<Member>,
    /// How new the calendar is.
    calendar_version: AtomicU64,
    ledger: Mutex<Book>,
}

/// What a subject's lock guards.
#[derive(Debug)]
pub(crate) struct Book {
    /// What its windows are measured by.
    pub(crate) calendar: Calendar,
    pub(crate) counters: Vec<Counter>,
    /// The latest instant that the subject was charged or admitted at.
    pub(crate) horizon: UnixMillis,
    /// The newest journal entry that was applied.
    pub(crate) last_mark: Mark,
    /// When it was last asked for; counts sweeps, not time.
    pub(crate) idle_sweeps: u32,
    /// Requests in flight that hold something.
    pub(crate) holds: u32,
    /// Requests that wait for a load or a call to end.
    pub(crate) waiters: Vec<Waker>,
    /// How often something that ran has ended.
    pub(crate) freed: u64,
    /// Requests that wait for that, by their tickets; who waits no longer takes its own out.
    pub(crate) slot_waiters: BTreeMap<u64, Waker>,
    pub(crate) next_ticket: u64,
    /// How the shared store is asked about it.
    pub(crate) calls: Calls,
}

/// Calls to the shared store about one subject: one at a time, numbered from 1.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    pub(crate) begun: u64,
    pub(crate) ended: u64,
    /// The last that got no answer.
    pub(crate) failed: u64,
    /// Whether it waits for its turn.
    pub(crate) queued: bool,
    /// Whether a call is under way.
    pub(crate) talking: bool,
    /// Whether the next call asks where all counters stand.
    pub(crate) look: bool,
    /// Whether the next call gives back all that is not held.
    pub(crate) give_back: bool,
    /// Whether something of it may have to be told or given back.
    pub(crate) active: bool,
    /// The plans whose meters' counters are all there.
    pub(crate) tracked: Vec<(crate::MeterId, u32)>,
    /// When the store was last told.
    pub(crate) told_at: Option<UnixMillis>,
}

impl Subject {
    pub(crate) fn new(id: Box<str>, calendar: Calendar, member: Option<Member>) -> Self {
        let book = Book {
            calendar,
            counters: Vec::new(),
            horizon: UnixMillis::MIN,
            last_mark: Mark::default(),
            idle_sweeps: 0,
            holds: 0,
            waiters: Vec::new(),
            freed: 0,
            slot_waiters: BTreeMap::new(),
            next_ticket: 0,
            calls: Calls::default(),
        };
        Self { id, member, calendar_version: AtomicU64::new(0), ledger: Mutex::new(book) }
    }

    /// What the user or organisation is called.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Measures windows by `calendar` from now on, unless it was told of a version as new already.
    /// `calendar` is asked only then, under the subject's lock.
    ///
    /// A window that is another one by the new calendar is loaded from the ledger before anything is
    /// admitted in it, and what requests in flight hold goes on counting there: no second budget, and no
    /// use that is lost.
    pub fn follow(&self, version: u64, calendar: impl FnOnce() -> Calendar) {
        if self.calendar_version.load(Ordering::Acquire) >= version {
            return;
        }
        let mut book = self.lock();
        if self.calendar_version.load(Ordering::Relaxed) >= version {
            return;
        }
        let calendar = calendar();
        if book.calendar != calendar {
            book.calendar = calendar;
            book.counters.iter_mut().for_each(Counter::doubt_span);
        }
        self.calendar_version.store(version, Ordering::Release);
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Book> {
        // Nothing that runs under the lock can leave a book half written.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    pub(crate) fn position(&self, key: CounterKey) -> Option<usize> {
        self.counters.iter().position(|counter| counter.key == key)
    }

    /// Position of the counter, made as unknown if there is none.
    pub(crate) fn position_or_new(&mut self, key: CounterKey, concurrent: bool, leased: bool) -> usize {
        self.position(key).unwrap_or_else(|| {
            let new = match (leased, concurrent) {
                (true, concurrent) => Counter::leased(key, concurrent),
                (false, true) => Counter::concurrent(key),
                (false, false) => Counter::unknown(key),
            };
            self.counters.push(new);
            self.counters.len() - 1
        })
    }

    /// As [`Book::position_or_new`], where it is looked for at `hint` first: who is on one tier and route has its
    /// counters in the order of their limits.
    pub(crate) fn position_near(
        &mut self,
        hint: usize,
        key: CounterKey,
        concurrent: bool,
        leased: bool,
    ) -> usize {
        match self.counters.get(hint) {
            Some(counter) if counter.key == key => hint,
            Some(_) | None => self.position_or_new(key, concurrent, leased),
        }
    }

    pub(crate) fn wake_waiters(&mut self) {
        for waker in self.waiters.drain(..) {
            waker.wake();
        }
    }

    /// Something that ran has ended.
    pub(crate) fn free(&mut self) {
        self.freed = self.freed.wrapping_add(1);
        for waker in mem::take(&mut self.slot_waiters).into_values() {
            waker.wake();
        }
    }

    pub(crate) fn is_loading(&self) -> bool {
        self.counters.iter().any(|counter| matches!(counter.state, State::Loading { .. }))
    }
}
