//! Looking rows up, and hearing of changes.

use std::{
    fmt,
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
};

use super::{Lookup, Queue, SubjectObserver};
use crate::{
    LedgerError, LedgerOptions,
    journal::lock,
    ledger::{postgres, sqlite},
};

/// The table as a running gateway reads it. See the module's contract.
pub struct Directory {
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Directory {
    /// Opens the table of a ledger whose tables are up to date, and tells `observer` whether
    /// it is empty before it returns.
    ///
    /// # Errors
    ///
    /// When there is no ledger, the store refuses, or the system gives no thread.
    pub fn start(options: &LedgerOptions, observer: SubjectObserver) -> Result<Self, LedgerError> {
        let queue = Arc::new(Queue::default());
        let run: Box<dyn FnOnce(&Queue) + Send> = match options {
            LedgerOptions::Sqlite { path } => {
                let watch = sqlite::subjects::Watch::open(path, observer)?;
                Box::new(move |queue| watch.run(queue))
            }
            LedgerOptions::Postgres(options) => {
                let watch = postgres::subjects::Watch::open(options, observer)?;
                Box::new(move |queue| watch.run(queue))
            }
        };
        let ending = Ending(Arc::clone(&queue));
        let thread = thread::Builder::new()
            .name("ledger-subjects".to_owned())
            .spawn(move || run(&ending.0))
            .map_err(LedgerError::Thread)?;
        Ok(Self { queue, thread: Mutex::new(Some(thread)) })
    }

    /// Asks for a row. The answer comes through the lookup's `reply`, exactly once.
    pub fn look_up(&self, lookup: Lookup) {
        self.queue.push(lookup);
    }
}

impl Drop for Directory {
    /// Ends the thread; lookups that wait are answered with an error.
    fn drop(&mut self) {
        self.queue.stop();
        let thread = lock(&self.thread).take();
        // A reply may have been the last to know the directory: a thread cannot wait for itself.
        let other = thread.filter(|thread| thread.thread().id() != thread::current().id());
        // A thread that panicked has said so.
        let _ = other.map(JoinHandle::join);
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").finish_non_exhaustive()
    }
}

/// Turns lookups away when the thread has ended, however it did.
struct Ending(Arc<Queue>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.stop();
    }
}
