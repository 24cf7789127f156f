//! Extensions: a request that outgrows its hold takes more while it runs.
//!
//! An extension is charged where its hold is, at [`Hold::at`], and so is checked against the windows that
//! the hold counts in. A window that has turned since is not looked at, and neither is the one after it:
//! nobody is admitted in the old one any longer, and the new one is not charged for this request.
//!
//! A limit may let requests that run carry it further than any is admitted ([`Check::overdraw`]). With
//! shared counters that is as exact as the limit itself. The store is first asked for more within the limit,
//! for which other instances give back what they do not need; only when it says that nothing is left is it
//! asked for more within limit and overdraw. What is set aside and settled never passes these together. Where
//! a limit is overdrawn, no instance is granted anything to admit with; one that was granted something before
//! may use it again when a request gives it back, as it does not know.

use std::sync::{Arc, MutexGuard};

use tollgate_core::Max;

use crate::{
    Asked, Check, Hold, Subject, Terms,
    admission::keeps_out_longer,
    ask::enqueue,
    counter::{Counter, State},
    hold::Taken,
    room::{Room, Wanted},
    subject::Book,
};

/// The decision on more for a request that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Extension {
    /// It fits, and is held with the rest.
    Held,
    /// It does not fit: the hold is as it was.
    Refused {
        /// Position in [`Terms::checks`] of the limit that refuses; of several, as with
        /// [`Refusal::check`](crate::Refusal::check).
        check: usize,
    },
    /// The subject's calendar has changed, and what is used in the new window is not known: load it
    /// ([`Parties::begin_load`](crate::Parties::begin_load)), and ask again. The hold is as it was.
    NotLoaded,
    /// The leases do not have what is needed: ask the store ([`Hold::begin_ask`]), wait for its answer
    /// ([`Parties::poll_asked`](crate::Parties::poll_asked)), and decide again. It takes two such rounds to
    /// draw beyond a limit. The hold is as it was.
    NotLeased,
    /// The store does not answer, and the limit's policy is to refuse then. The hold is as it was.
    Unavailable {
        /// Position in [`Terms::checks`] of the limit.
        check: usize,
    },
}

impl Hold {
    /// Takes as much more as `terms` need from every limit, or from none.
    ///
    /// `terms` has the checks that the request was admitted with, whatever is configured by now, and as
    /// needs what is wanted in addition; nothing of a concurrent meter. `asked` is what the store was asked
    /// for this, if it was. Limits that do not refuse, and needs of zero, are not looked at.
    pub fn extend(&mut self, terms: Terms<'_>, asked: Asked) -> Extension {
        let Self { user, org, taken, .. } = self;
        // In the order of admission.
        let user = Party::new(user, asked.user);
        let mut parties = [Some(user), org.as_ref().map(|org| Party::new(org, asked.org))];
        let (mut unleased, mut unavailable, mut refused) = (false, None, None);
        for (index, (check, taken)) in terms.checks.iter().zip(taken.iter()).enumerate() {
            let Some(party) = &mut parties[usize::from(taken.place.in_org())] else { continue };
            match party.room(&terms, check, taken) {
                Some(Room::Fits) => {}
                Some(Room::Full) => {
                    let span = party.book.counters[taken.place.position()].span;
                    if refused.is_none_or(|(_, other)| keeps_out_longer(span, other)) {
                        refused = Some((index, span));
                    }
                }
                Some(Room::Ask) => unleased = true,
                Some(Room::Unavailable) => unavailable = Some(index),
                None => return Extension::NotLoaded,
            }
        }
        if let Some((check, _)) = refused {
            return Extension::Refused { check };
        }
        if let Some(check) = unavailable {
            return Extension::Unavailable { check };
        }
        if unleased {
            return Extension::NotLeased;
        }
        for (index, check) in terms.checks.iter().enumerate().take(taken.len()) {
            let Taken { place, generation, .. } = taken[index];
            // Two limits may count on one counter, from which it is taken once.
            let is_first = !taken[..index].iter().any(|earlier| earlier.place == place);
            if let Some(party) = parties[usize::from(place.in_org())].as_mut().filter(|_| is_first) {
                let need = terms.need(check);
                party.book.counters[place.position()].hold(generation, need);
                taken[index].amount = taken[index].amount.saturating_add(need);
            }
        }
        Extension::Held
    }

    /// Asks the store for what `terms` need in addition and the leases do not have. `asked` is what it was
    /// asked for this before, if it was: where nothing is left within a limit, its overdraw is asked for.
    /// Asking never waits.
    #[must_use]
    pub fn begin_ask(&self, terms: Terms<'_>, asked: Asked) -> Asked {
        let ask = |subject: &Arc<Subject>, in_org, asked| {
            let mut party = Party::new(subject, asked);
            let mut lacks = false;
            for (check, taken) in terms.checks.iter().zip(&self.taken) {
                if taken.place.in_org() == in_org {
                    lacks |= party.want(&terms, check, taken);
                }
            }
            let number = party.book.calls.begun + 1;
            if lacks {
                enqueue(subject, &mut party.book);
            }
            if lacks { number } else { 0 }
        };
        let user = ask(&self.user, false, asked.user);
        let org = self.org.as_ref().map_or(0, |org| ask(org, true, asked.org));
        Asked { user, org }
    }
}

/// The user or the organisation, locked.
struct Party<'a> {
    subject: &'a Subject,
    book: MutexGuard<'a, Book>,
    /// The call that was waited for, 0 for none.
    asked: u64,
}

impl<'a> Party<'a> {
    fn new(subject: &'a Subject, asked: u64) -> Self {
        Self { subject, book: subject.lock(), asked }
    }

    /// Whether there is room for what `terms` need for `check`; none when what is used is not known.
    fn room(&mut self, terms: &Terms<'_>, check: &Check, taken: &Taken) -> Option<Room> {
        let (subject, asked) = (self.subject, self.asked);
        let (failed, at) = (asked > 0 && self.book.calls.failed >= asked, self.book.horizon);
        let Some((counter, need, max)) = self.limiting(terms, check, taken) else { return Some(Room::Fits) };
        let max = check.max_running(max);
        let room = match &counter.state {
            State::Ready if counter.usage.fits(need, Max::AtMost(max)) => Room::Fits,
            State::Ready => Room::Full,
            State::Loading { .. } | State::Unknown => return None,
            State::Leased(_) => {
                let policy = check.on_store_failure;
                Wanted { need, max: Some(max), policy, asked, failed }.of(counter, subject)
            }
        };
        match room {
            Room::Full if counter.is_full(check, at) => Some(Room::Fits),
            room => Some(room),
        }
    }

    /// Has the next call ask for what `terms` need for `check`; whether that is anything.
    fn want(&mut self, terms: &Terms<'_>, check: &Check, taken: &Taken) -> bool {
        let asked = self.asked;
        let Some(member) = &self.subject.member else { return false };
        let Some((counter, need, max)) = self.limiting(terms, check, taken) else { return false };
        let held = counter.usage.held;
        let Some(lease) = counter.lease_mut() else { return false };
        let beyond = check.max_running(max);
        if lease.fits(member.generation(), need, beyond, held) {
            return false;
        }
        if beyond > max && lease.is_denied(asked, need, max) {
            lease.want(need, beyond, true);
        } else {
            lease.want(need, max, false);
        }
        true
    }

    /// The counter of `check`, what is needed of it, and how much of it may be used; none where nothing can
    /// refuse.
    fn limiting(
        &mut self,
        terms: &Terms<'_>,
        check: &Check,
        taken: &Taken,
    ) -> Option<(&mut Counter, i64, i64)> {
        let need = terms.need(check);
        let Book { calendar, counters, horizon, .. } = &mut *self.book;
        let counter = &mut counters[taken.place.position()];
        let max = counter.max_enforced(check, terms.mode, *horizon).filter(|_| need > 0)?;
        counter.settle_doubt(*horizon, calendar);
        // In a window that has turned, nobody can be admitted that this would leave too little for.
        counter.counts(taken.generation).then_some((counter, need, max))
    }
}
