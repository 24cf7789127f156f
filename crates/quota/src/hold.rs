//! Holds: quota set aside for a request in flight.

use std::sync::Arc;

use arrayvec::ArrayVec;
use tollgate_core::UnixMillis;

use crate::{CHECKS_MAX, Mark, MeterId, Subject, ask::enqueue, subject::Book};

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

    /// Replaces the hold by what was used: `charges`, which `journal` writes down and says where.
    ///
    /// The journal is written under the subjects' locks, so that whoever has the lock knows of every
    /// settlement before the journal's end; it must neither wait nor take one of these locks. A load that
    /// runs meanwhile tells by the mark whether its answer already has the settlement. Every counter of a
    /// charged meter counts it, limited or not.
    pub fn settle(
        mut self,
        journal: impl FnOnce() -> Mark,
        charges: impl Iterator<Item = (MeterId, i64)> + Clone,
    ) {
        self.settled = true;
        self.end(Some(journal), charges);
    }

    fn end<J: FnOnce() -> Mark>(
        &self,
        journal: Option<J>,
        charges: impl Iterator<Item = (MeterId, i64)> + Clone,
    ) {
        // In the order of admission.
        let mut user = self.user.lock();
        let mut org = self.org.as_ref().map(|org| org.lock());
        let mark = journal.map(|journal| journal());
        self.end_one(&self.user, &mut user, false, mark, charges.clone());
        if let (Some(subject), Some(book)) = (&self.org, &mut org) {
            self.end_one(subject, book, true, mark, charges);
        }
    }

    fn end_one(
        &self,
        subject: &Arc<Subject>,
        book: &mut Book,
        in_org: bool,
        mark: Option<Mark>,
        charges: impl Iterator<Item = (MeterId, i64)>,
    ) {
        self.release(book, in_org);
        if let Some(mark) = mark {
            let since = subject.member.as_ref().map_or(UnixMillis::MIN, |member| member.since());
            book.last_mark = book.last_mark.max(mark);
            let Book { calendar, counters, .. } = &mut *book;
            for (meter, amount) in charges {
                for counter in counters.iter_mut().filter(|counter| counter.key.meter == meter) {
                    counter.charge((self.at, since), mark, amount, calendar);
                }
            }
        }
        if let Some(member) = &subject.member {
            if !book.calls.active {
                book.calls.active = true;
                member.gate.activate(Arc::clone(subject));
            }
            let owes = book
                .counters
                .iter()
                .any(|counter| counter.lease().is_some_and(|l| l.owes(counter.usage.held)));
            if owes {
                enqueue(subject, book);
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
            self.end(None::<fn() -> Mark>, std::iter::empty());
        }
    }
}
