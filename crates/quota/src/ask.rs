//! Asking the shared store for more, and waiting for what it says.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tollgate_core::{Scope, UnixMillis};

use crate::{CounterKey, MeterId, Parties, Subject, Terms, admission::settle_clock, subject::Book};

/// All counters that a meter has on some tier: whoever is charged is counted on each of them, whatever
/// the tier of the request, so that another tier finds what was used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// The meter.
    pub meter: MeterId,
    /// Tells one set of plans from another.
    pub plan: u32,
    /// Whether it counts what runs now.
    pub concurrent: bool,
    /// The counters of a user.
    pub user: Box<[CounterKey]>,
    /// The counters of an organisation.
    pub org: Box<[CounterKey]>,
}

/// Which calls to the store a request has waited for; none at first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub(crate) user: u64,
    pub(crate) org: u64,
}

impl Parties<'_> {
    /// Asks the store for what `terms` need and the leases do not have. Asking never waits, and asking
    /// for nothing costs nothing.
    #[must_use]
    pub fn begin_ask(&self, terms: Terms<'_>, now: UnixMillis) -> Asked {
        let mut asked = Asked::default();
        for (subject, scope) in [(Some(self.user), Scope::User), (self.org, Scope::Org)] {
            let Some(subject) = subject else { continue };
            let Some(member) = &subject.member else { continue };
            let mut book = subject.lock();
            track(&mut book, terms.tracked, scope);
            let at = settle_clock(now, book.horizon);
            let mut lacks = false;
            for check in terms.checks {
                let scope_here = if self.org.is_some() { check.scope } else { Scope::User };
                if scope_here != scope {
                    continue;
                }
                let position = book.position_or_new(check.counter, check.concurrent, true);
                let Book { calendar, counters, .. } = &mut *book;
                let counter = &mut counters[position];
                counter.turn_to(at, calendar);
                let held = counter.usage.held;
                let max = counter.max_enforced(check, terms.mode, at);
                let Some(lease) = counter.lease_mut() else { continue };
                let need = terms.need(check);
                match max {
                    Some(max) => {
                        if !lease.fits(member.generation(), need, max, held) {
                            lease.want(need, max, false);
                            lacks = true;
                        }
                    }
                    None => lacks |= !lease.is_valid(member.generation()),
                }
            }
            if lacks {
                let number = book.calls.begun + 1;
                match scope {
                    Scope::User => asked.user = number,
                    Scope::Org => asked.org = number,
                }
                enqueue(subject, &mut book);
            }
        }
        asked
    }

    /// Ready when the store has answered all that was asked, or has not in time. Cancel-safe.
    pub fn poll_asked(&self, asked: Asked, cx: &mut Context<'_>) -> Poll<()> {
        for (subject, number) in [(Some(self.user), asked.user), (self.org, asked.org)] {
            let Some(subject) = subject else { continue };
            let mut book = subject.lock();
            if book.calls.ended < number {
                book.waiters.push(cx.waker().clone());
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }
}

/// Gives the subject its turn to talk to the store.
pub(crate) fn enqueue(subject: &Arc<Subject>, book: &mut Book) {
    let Some(member) = &subject.member else { return };
    if !book.calls.queued {
        book.calls.queued = true;
        // After a call that is under way, its turn comes by itself.
        if !book.calls.talking {
            member.gate.ask(Arc::clone(subject));
        }
    }
}

/// Has all counters of the meters in `tracked`.
pub(crate) fn track(book: &mut Book, tracked: &[Tracked], scope: Scope) {
    for Tracked { meter, plan, concurrent, user, org } in tracked {
        if book.calls.tracked.contains(&(*meter, *plan)) {
            continue;
        }
        book.calls.tracked.retain(|(known, _)| known != meter);
        book.calls.tracked.push((*meter, *plan));
        let keys = match scope {
            Scope::User => user,
            Scope::Org => org,
        };
        for key in keys {
            book.position_or_new(*key, *concurrent, true);
        }
    }
}
