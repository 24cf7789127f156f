//! A row that is being read, and those who wait for it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Instant,
};

use super::Profile;

/// One reading of a row; shared by all who want it.
#[derive(Debug)]
pub(crate) struct Ask {
    /// When it was asked: the answer is not older.
    pub(super) at: Instant,
    /// How often all rows were outdated before.
    pub(super) epoch: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// Each waiter is a request in flight, of which there is a bound.
    Reading(Vec<Waker>),
    /// Without a profile, it could not be read.
    Read(Option<Arc<Profile>>),
}

impl Ask {
    pub(super) fn new(at: Instant, epoch: u64) -> Arc<Self> {
        Arc::new(Self { at, epoch, state: Mutex::new(State::Reading(Vec::new())) })
    }

    /// Tells those who wait.
    pub(super) fn end(&self, profile: Option<Arc<Profile>>) {
        let before = std::mem::replace(&mut *self.lock(), State::Read(profile));
        match before {
            State::Reading(waiters) => waiters.into_iter().for_each(Waker::wake),
            State::Read(_) => {}
        }
    }

    /// Ready with the row, or with none when it could not be read. Cancel-safe.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Arc<Profile>>> {
        match &mut *self.lock() {
            State::Reading(waiters) => {
                waiters.push(cx.waker().clone());
                Poll::Pending
            }
            State::Read(profile) => Poll::Ready(profile.clone()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
