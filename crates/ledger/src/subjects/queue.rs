//! What a directory's thread is asked: lookups, and to stop.

use std::{
    fmt,
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use super::SubjectRow;
use crate::{LoadError, Subject, journal::lock};

/// Most lookups that wait: as many subjects may come back at once after a restart, and at some 20 µs each
/// the last one is answered within a fraction of a second.
const LOOKUPS_MAX: usize = 8192;

/// Asks for a row.
pub struct Lookup {
    /// Whose.
    pub subject: Subject,
    /// Called exactly once, on the directory's thread or, when the lookup is turned away, at once. It must
    /// not wait for anything.
    pub reply: LookupReply,
}

/// Takes the answer to a [`Lookup`]; none when there is no such row.
pub type LookupReply = Box<dyn FnOnce(Result<Option<SubjectRow>, LoadError>) + Send>;

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, reply: _ } = self;
        f.debug_struct("Lookup").field("subject", subject).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    asked: Condvar,
    /// As `asked`, for a thread that waits for other things, too.
    woken: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    lookups: Vec<Lookup>,
    stopped: bool,
}

impl Queue {
    pub(crate) fn push(&self, lookup: Lookup) {
        let mut inner = lock(&self.inner);
        let refused = if inner.stopped {
            LoadError::Unavailable
        } else if inner.lookups.len() >= LOOKUPS_MAX {
            LoadError::Overloaded
        } else {
            inner.lookups.push(lookup);
            drop(inner);
            self.wake();
            return;
        };
        drop(inner);
        (lookup.reply)(Err(refused));
    }

    /// Waits for lookups or for `timeout`; none when it is time to stop.
    pub(crate) fn wait(&self, timeout: Duration) -> Option<Vec<Lookup>> {
        let inner = lock(&self.inner);
        let idle = |inner: &mut Inner| inner.lookups.is_empty() && !inner.stopped;
        let waited = self.asked.wait_timeout_while(inner, timeout, idle);
        let mut inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        (!inner.stopped).then(|| std::mem::take(&mut inner.lookups))
    }

    /// Waits for lookups, or for the order to stop. Cancel-safe.
    pub(crate) async fn asked(&self) {
        self.woken.notified().await;
    }

    /// What is asked now; none when it is time to stop.
    pub(crate) fn take(&self) -> Option<Vec<Lookup>> {
        let mut inner = lock(&self.inner);
        (!inner.stopped).then(|| std::mem::take(&mut inner.lookups))
    }

    fn wake(&self) {
        self.asked.notify_one();
        self.woken.notify_one();
    }

    /// Turns away what waits and what comes.
    pub(crate) fn stop(&self) {
        let mut inner = lock(&self.inner);
        inner.stopped = true;
        let lookups = std::mem::take(&mut inner.lookups);
        drop(inner);
        self.wake();
        for lookup in lookups {
            (lookup.reply)(Err(LoadError::Unavailable));
        }
    }
}
