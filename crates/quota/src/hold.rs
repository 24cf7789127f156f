//! Holds: quota set aside for a request in flight.

use std::sync::Arc;

use smallvec::SmallVec;
use tollgate_core::UnixMillis;

use crate::{
    Mark, MeterId, Parties, Subject, admission::CHECKS_INLINE, ask::enqueue, lease::Lease, subject::Book,
};

/// What one admitted request holds of its limits.
///
/// It ends once: by [`Hold::settle`], or by being dropped, which gives everything back and charges
/// nothing. Neither does I/O or waits for longer than another thread's few stores under the lock.
#[derive(Debug)]
#[must_use = "dropping a hold gives back what it holds"]
pub struct Hold {
    pub(crate) user: Arc<Subject>,
    pub(crate) org: Option<Arc<Subject>>,
    at: UnixMillis,
    /// In the order of the checks that it was admitted with.
    pub(crate) taken: SmallVec<[Taken; CHECKS_INLINE]>,
    settled: bool,
}

/// What was taken of one counter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub(crate) place: Place,
    pub(crate) generation: u32,
    pub(crate) amount: i64,
}

/// Where a counter is: in whose book, and where in it. Small, as a hold has many and is moved often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(u32);

impl Place {
    const ORG: u32 = 1 << 31;

    pub(crate) fn new(in_org: bool, position: usize) -> Self {
        // No book has nearly as many counters as fit into 31 bits: they would not fit into memory.
        let position = u32::try_from(position).unwrap_or(u32::MAX) & !Self::ORG;
        Self(if in_org { position | Self::ORG } else { position })
    }

    pub(crate) fn in_org(self) -> bool {
        self.0 & Self::ORG != 0
    }

    pub(crate) fn position(self) -> usize {
        (self.0 & !Self::ORG) as usize
    }
}

/// What was settled before a settlement, while the subjects are locked for it.
pub struct Before<'a> {
    user: &'a Book,
    org: Option<&'a Book>,
    at: UnixMillis,
    taken: &'a [Taken],
}

impl Before<'_> {
    /// The same, of some of the limits: numbered from the first of them.
    #[must_use]
    pub fn part(&self, checks: std::ops::Range<usize>) -> Before<'_> {
        Before { taken: self.taken.get(checks).unwrap_or_default(), ..*self }
    }

    /// What counts in the window of limit number `check` of those that the request was admitted with; none where that
    /// is not known, as the window ended some time ago. With a shared store it is what this instance knows.
    #[must_use]
    pub fn settled(&self, check: usize) -> Option<i64> {
        let place = self.taken.get(check)?.place;
        let book = if place.in_org() { self.org? } else { self.user };
        book.counters.get(place.position())?.settled_at(self.at)
    }
}

impl Hold {
    pub(crate) fn new(
        user: Arc<Subject>,
        org: Option<Arc<Subject>>,
        at: UnixMillis,
        taken: SmallVec<[Taken; CHECKS_INLINE]>,
    ) -> Self {
        Self { user, org, at, taken, settled: false }
    }

    /// A hold that holds nothing, and whose end changes nothing.
    pub(crate) fn of_nothing(user: Arc<Subject>, org: Option<Arc<Subject>>, at: UnixMillis) -> Self {
        Self { user, org, at, taken: SmallVec::new(), settled: true }
    }

    /// The instant that the request is charged at.
    #[must_use]
    pub fn at(&self) -> UnixMillis {
        self.at
    }

    /// Whose limits it holds of.
    #[must_use]
    pub fn parties(&self) -> Parties<'_> {
        Parties { user: &self.user, org: self.org.as_ref() }
    }

    /// Replaces the hold by what was used: `charges`, which `journal` writes down and says where.
    ///
    /// The journal is written under the subjects' locks, so that whoever has the lock knows of every
    /// settlement before the journal's end; it must neither wait nor take one of these locks. A load that
    /// runs meanwhile tells by the mark whether its answer already has the settlement. Every counter of a
    /// charged meter counts it, limited or not.
    pub fn settle(
        self,
        journal: impl FnOnce() -> Mark,
        charges: impl Iterator<Item = (MeterId, i64)> + Clone,
    ) {
        let at = self.at;
        self.settle_at(at, journal, charges);
    }

    /// As [`Hold::settle`], for what was used at another instant than the hold's, in the past: it counts in
    /// the windows of that instant. Of those that are over only the ledger knows.
    pub fn settle_at(
        mut self,
        at: UnixMillis,
        journal: impl FnOnce() -> Mark,
        charges: impl Iterator<Item = (MeterId, i64)> + Clone,
    ) {
        self.settled = true;
        self.end(at, Some(|_: &Before<'_>| journal()), charges);
    }

    /// As [`Hold::settle`]; `journal` is told what was settled before, of each limit.
    pub fn settle_after(
        mut self,
        journal: impl FnOnce(&Before<'_>) -> Mark,
        charges: impl Iterator<Item = (MeterId, i64)> + Clone,
    ) {
        self.settled = true;
        self.end(self.at, Some(journal), charges);
    }

    fn end<J: FnOnce(&Before<'_>) -> Mark>(
        &self,
        at: UnixMillis,
        journal: Option<J>,
        charges: impl Iterator<Item = (MeterId, i64)> + Clone,
    ) {
        // In the order of admission.
        let mut user = self.user.lock();
        let mut org = self.org.as_ref().map(|org| org.lock());
        let mark = journal.map(|journal| {
            journal(&Before { user: &user, org: org.as_deref(), at: self.at, taken: &self.taken })
        });
        let charged = mark.map(|mark| (at, mark));
        self.end_one(&self.user, &mut user, false, charged, charges.clone());
        if let (Some(subject), Some(book)) = (&self.org, &mut org) {
            self.end_one(subject, book, true, charged, charges);
        }
    }

    fn end_one(
        &self,
        subject: &Arc<Subject>,
        book: &mut Book,
        in_org: bool,
        charged: Option<(UnixMillis, Mark)>,
        charges: impl Iterator<Item = (MeterId, i64)>,
    ) {
        let mut frees = self.release(book, in_org);
        if let Some((at, mark)) = charged {
            let since = subject.member.as_ref().map_or(UnixMillis::MIN, |member| member.since());
            book.last_mark = book.last_mark.max(mark);
            let Book { calendar, counters, .. } = &mut *book;
            for (meter, amount) in charges {
                for counter in counters.iter_mut().filter(|counter| counter.key.meter == meter) {
                    // What runs on beyond its request ends by giving back.
                    frees |= counter.concurrent && amount < 0;
                    counter.charge((at, since), mark, amount, calendar);
                }
            }
        }
        if frees {
            book.free();
        }
        if let Some(member) = &subject.member {
            if !book.calls.active {
                book.calls.active = true;
                member.gate.activate(Arc::clone(subject));
            }
            // A job that was started is told at once: with this instance it would go on uncounted.
            let owes = book.counters.iter().any(|counter| {
                let started = |lease: &Lease| counter.concurrent && lease.pending > 0;
                counter.lease().is_some_and(|lease| lease.owes(counter.usage.held) || started(lease))
            });
            if owes {
                enqueue(subject, book);
            }
        }
    }

    /// Whether what ran is over.
    fn release(&self, book: &mut Book, in_org: bool) -> bool {
        let mut frees = false;
        book.holds = book.holds.saturating_sub(1);
        for taken in self.taken.iter().filter(|taken| taken.place.in_org() == in_org) {
            if let Some(counter) = book.counters.get_mut(taken.place.position()) {
                counter.release(taken.generation, taken.amount);
                frees |= counter.concurrent && taken.amount > 0;
            }
        }
        frees
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.settled {
            self.end(self.at, None::<fn(&Before<'_>) -> Mark>, std::iter::empty());
        }
    }
}
