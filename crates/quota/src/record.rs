//! Charges for what has happened already: no limit is asked.

use std::sync::Arc;

use arrayvec::ArrayVec;
use tollgate_core::{Scope, UnixMillis};

use crate::{Hold, Mark, MeterId, Parties, Tracked, ask::track};

impl Parties<'_> {
    /// Charges what was used at `at`, now or earlier, whether limits allow it or not: `charges`, which
    /// `journal` writes down and says where, as with [`Hold::settle`]. `tracked` are all counters of the
    /// charged meters; it matters for a shared store only.
    pub fn record(
        &self,
        (at, tracked): (UnixMillis, &[Tracked]),
        journal: impl FnOnce() -> Mark,
        charges: impl Iterator<Item = (MeterId, i64)> + Clone,
    ) {
        for (subject, scope) in [(Some(self.user), Scope::User), (self.org, Scope::Org)] {
            let Some(subject) = subject else { continue };
            let mut book = subject.lock();
            if subject.member.is_some() {
                track(&mut book, tracked, scope);
            }
            book.holds += 1;
            book.idle_sweeps = 0;
        }
        Hold::new(Arc::clone(self.user), self.org.cloned(), at, ArrayVec::new()).settle(journal, charges);
    }
}
