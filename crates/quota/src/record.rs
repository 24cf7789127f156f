//! Charges for what has happened already: no limit is asked.

use std::sync::Arc;

use smallvec::SmallVec;
use tollgate_core::{Scope, UnixMillis};

use crate::{
    Before, CHECKS_MAX, Check, Hold, Mark, MeterId, Parties, Tracked,
    admission::CHECKS_INLINE,
    ask::track,
    hold::{Place, Taken},
};

impl Parties<'_> {
    /// Charges what was used at `at`, now or earlier, whether limits allow it or not: `charges`, which
    /// `journal` writes down and says where, as with [`Hold::settle_after`]; it is told what was settled before of
    /// each limit of `checks`, at most [`CHECKS_MAX`]. `tracked` are all counters of the charged meters; it matters
    /// for a shared store only.
    pub fn record(
        &self,
        (at, checks, tracked): (UnixMillis, &[Check], &[Tracked]),
        journal: impl FnOnce(&Before<'_>) -> Mark,
        charges: impl Iterator<Item = (MeterId, i64)> + Clone,
    ) {
        let mut counted: SmallVec<[Taken; CHECKS_INLINE]> = checks
            .iter()
            .take(CHECKS_MAX)
            .map(|check| Taken {
                place: Place::new(check.scope == Scope::Org && self.org.is_some(), 0),
                generation: 0,
                amount: 0,
            })
            .collect();
        for (subject, scope) in [(Some(self.user), Scope::User), (self.org, Scope::Org)] {
            let Some(subject) = subject else { continue };
            let mut book = subject.lock();
            let leased = subject.member.is_some();
            if leased {
                track(&mut book, tracked, scope);
            }
            for (check, counted) in checks.iter().zip(&mut counted) {
                let in_org = counted.place.in_org();
                if in_org == (scope == Scope::Org) {
                    let position = book.position_or_new(check.counter, check.concurrent, leased);
                    counted.place = Place::new(in_org, position);
                    counted.generation = book.counters[position].generation;
                }
            }
            book.holds += 1;
            book.idle_sweeps = 0;
        }
        Hold::new(Arc::clone(self.user), self.org.cloned(), at, counted).settle_after(journal, charges);
    }
}
