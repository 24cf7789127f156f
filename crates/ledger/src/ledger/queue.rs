//! What the shipping thread is asked: loads, and to stop.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{LoadError, LoadRequest};
use crate::journal::lock;

/// Most loads that wait: as many subjects may come back at once after a restart, and at some 50 µs
/// each the last one is answered within half a second.
const LOADS_MAX: usize = 8192;

#[derive(Debug, Default)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    asked: Condvar,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    loads: Vec<LoadRequest>,
    stop: Option<Instant>,
    ended: bool,
}

/// What there is to do.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) loads: Vec<LoadRequest>,
    /// Told to stop: until when to ship before.
    pub(super) stop: Option<Instant>,
}

impl Queue {
    pub(super) fn push(&self, load: LoadRequest) {
        let mut inner = lock(&self.inner);
        let refused = if inner.ended {
            LoadError::Unavailable
        } else if inner.loads.len() >= LOADS_MAX {
            LoadError::Overloaded
        } else {
            inner.loads.push(load);
            drop(inner);
            self.asked.notify_one();
            return;
        };
        drop(inner);
        (load.reply)(Err(refused));
    }

    /// Waits for loads, for the order to stop, or for `timeout`.
    pub(super) fn wait(&self, timeout: Duration) -> Turn {
        let inner = lock(&self.inner);
        let idle = |inner: &mut Inner| inner.loads.is_empty() && inner.stop.is_none();
        let waited = self.asked.wait_timeout_while(inner, timeout, idle);
        let mut inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        Turn { loads: std::mem::take(&mut inner.loads), stop: inner.stop }
    }

    /// Lets the thread end once all is shipped or `deadline` is over, and waits for that; whether it
    /// ended.
    pub(super) fn stop(&self, deadline: Duration) -> bool {
        let mut inner = lock(&self.inner);
        inner.stop = Some(Instant::now() + deadline);
        self.asked.notify_one();
        let waited = self.ended.wait_timeout_while(inner, deadline, |inner| !inner.ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.ended
    }

    /// The thread ends: nobody will answer any longer.
    pub(super) fn end(&self) {
        let mut inner = lock(&self.inner);
        inner.ended = true;
        let loads = std::mem::take(&mut inner.loads);
        drop(inner);
        self.ended.notify_all();
        refuse(loads);
    }
}

/// Answers that the ledger is unavailable.
pub(super) fn refuse(loads: impl IntoIterator<Item = LoadRequest>) {
    for load in loads {
        (load.reply)(Err(LoadError::Unavailable));
    }
}
