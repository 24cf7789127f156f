//! What the shipping thread is asked, and the order to stop.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{
    LoadError,
    load::{Ask, refuse},
};
use crate::journal::lock;

/// Most questions that wait: as many subjects may come back at once after a restart, and at some 50 µs
/// each the last one is answered within half a second.
const ASKS_MAX: usize = 8192;

#[derive(Debug, Default)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    asked: Condvar,
    ended: Condvar,
    /// As `asked`, for a thread that waits for other things, too.
    woken: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    asks: Vec<Ask>,
    stop: Option<Instant>,
    ended: bool,
}

/// What there is to do.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) asks: Vec<Ask>,
    /// Told to stop: until when to ship before.
    pub(super) stop: Option<Instant>,
}

impl Queue {
    pub(super) fn push(&self, ask: Ask) {
        let mut inner = lock(&self.inner);
        let refused = if inner.ended {
            LoadError::Unavailable
        } else if inner.asks.len() >= ASKS_MAX {
            LoadError::Overloaded
        } else {
            inner.asks.push(ask);
            drop(inner);
            self.wake();
            return;
        };
        drop(inner);
        ask.refuse(refused);
    }

    /// Whether nobody asks, and nobody gave the order to stop.
    pub(super) fn is_empty(&self) -> bool {
        let inner = lock(&self.inner);
        inner.asks.is_empty() && inner.stop.is_none()
    }

    /// Waits for questions, for the order to stop, or for `timeout`.
    pub(super) fn wait(&self, timeout: Duration) -> Turn {
        let inner = lock(&self.inner);
        let idle = |inner: &mut Inner| inner.asks.is_empty() && inner.stop.is_none();
        let waited = self.asked.wait_timeout_while(inner, timeout, idle);
        let mut inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        Turn { asks: std::mem::take(&mut inner.asks), stop: inner.stop }
    }

    /// Waits for questions, or for the order to stop. Cancel-safe.
    pub(super) async fn asked(&self) {
        self.woken.notified().await;
    }

    /// What there is to do now.
    pub(super) fn take(&self) -> Turn {
        let mut inner = lock(&self.inner);
        Turn { asks: std::mem::take(&mut inner.asks), stop: inner.stop }
    }

    fn wake(&self) {
        self.asked.notify_one();
        self.woken.notify_one();
    }

    /// Lets the thread end once all is shipped or `deadline` is over, and waits for that; whether it
    /// ended.
    pub(super) fn stop(&self, deadline: Duration) -> bool {
        let mut inner = lock(&self.inner);
        inner.stop = Some(Instant::now() + deadline);
        self.wake();
        let waited = self.ended.wait_timeout_while(inner, deadline, |inner| !inner.ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.ended
    }

    /// The thread ends: nobody will answer any longer.
    pub(super) fn end(&self) {
        let mut inner = lock(&self.inner);
        inner.ended = true;
        let asks = std::mem::take(&mut inner.asks);
        drop(inner);
        self.ended.notify_all();
        refuse(asks);
    }
}
