//! Holds: quota set aside for a request in flight.

use std::sync::Arc;

use arrayvec::ArrayVec;
use tollgate_core::UnixMillis;

use crate::{CHECKS_MAX, Mark, MeterId, Subject, subject::Book};

/// What one admitted request holds of its limits.
///
/// It ends once: by [`Hold::settle`], or by being dropped, which gives everything back and charges
/// nothing. Neither does I/O or waits for longer than another thread's few stores under the lock.
#[derive(Debug)]
#[must_use = "dropping a hold gives back what it holds"]
pub struct Hold {
    user: Arc<Subject>,
    org: Option<Arc<Subject>>,
    at: UnixMillis,
    taken: ArrayVec<Taken, CHECKS_MAX>,
    settled: bool,
}

/// What was taken of one counter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub(crate) in_org: bool,
    pub(crate) position: usize,
    pub(crate) generation: u32,
    pub(crate) amount: i64,
}

impl Hold {
    pub(crate) fn new(
        user: Arc<Subject>,
        org: Option<Arc<Subject>>,
        at: UnixMillis,
        taken: ArrayVec<Taken, CHECKS_MAX>,
    ) -> Self {
        Self { user, org, at, taken, settled: false }
    }

    /// The instant that the request is charged at.
    #[must_use]
    pub fn at(&self) -> UnixMillis {
        self.at
    }

    /// Replaces the hold by what was used: `charges`, journalled at `mark`.
    ///
    /// The settlement must be in the journal before: a load that runs meanwhile tells by `mark` whether
    /// its answer already has it. Every counter of a charged meter counts it, limited or not.
    pub fn settle(mut self, mark: Mark, charges: impl Iterator<Item = (MeterId, i64)> + Clone) {
        self.settled = true;
        self.end(Some(mark), charges);
    }

    fn end(&self, mark: Option<Mark>, charges: impl Iterator<Item = (MeterId, i64)> + Clone) {
        for (subject, in_org) in [(Some(&self.user), false), (self.org.as_ref(), true)] {
            let Some(subject) = subject else { continue };
            let mut book = subject.lock();
            self.release(&mut book, in_org);
            let Some(mark) = mark else { continue };
            book.last_mark = book.last_mark.max(mark);
            let Book { calendar, counters, .. } = &mut *book;
            for (meter, amount) in charges.clone() {
                for counter in counters.iter_mut().filter(|counter| counter.key.meter == meter) {
                    counter.charge(self.at, mark, amount, calendar);
                }
            }
        }
    }

    fn release(&self, book: &mut Book, in_org: bool) {
        book.holds = book.holds.saturating_sub(1);
        for taken in self.taken.iter().filter(|taken| taken.in_org == in_org) {
            if let Some(counter) = book.counters.get_mut(taken.position) {
                counter.release(taken.generation, taken.amount);
            }
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.settled {
            self.end(None, std::iter::empty());
        }
    }
}
