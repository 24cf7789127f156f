//! Subjects: who is charged.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use tollgate_core::{Calendar, UnixMillis};

use crate::{
    CounterKey, Mark,
    counter::{Counter, State},
};

/// One user's or organisation's counters.
#[derive(Debug)]
pub struct Subject {
    pub(crate) calendar: Calendar,
    ledger: Mutex<Book>,
}

/// What a subject's lock guards.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) counters: Vec<Counter>,
    /// The latest instant that the subject was charged or admitted at.
    pub(crate) horizon: UnixMillis,
    /// The newest journal entry that was applied.
    pub(crate) last_mark: Mark,
    /// When it was last asked for; counts sweeps, not time.
    pub(crate) idle_sweeps: u32,
    /// Requests in flight that hold something.
    pub(crate) holds: u32,
    /// Requests that wait for a load to end.
    pub(crate) waiters: Vec<Waker>,
}

impl Subject {
    pub(crate) fn new(calendar: Calendar) -> Self {
        let book = Book {
            counters: Vec::new(),
            horizon: UnixMillis::MIN,
            last_mark: Mark::default(),
            idle_sweeps: 0,
            holds: 0,
            waiters: Vec::new(),
        };
        Self { calendar, ledger: Mutex::new(book) }
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
    pub(crate) fn position_or_new(&mut self, key: CounterKey, concurrent: bool) -> usize {
        self.position(key).unwrap_or_else(|| {
            let new = if concurrent { Counter::concurrent(key) } else { Counter::unknown(key) };
            self.counters.push(new);
            self.counters.len() - 1
        })
    }

    pub(crate) fn wake_waiters(&mut self) {
        for waker in self.waiters.drain(..) {
            waker.wake();
        }
    }

    pub(crate) fn is_loading(&self) -> bool {
        self.counters.iter().any(|counter| matches!(counter.state, State::Loading { .. }))
    }
}
