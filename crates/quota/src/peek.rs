//! Decisions that take nothing.

use std::sync::Arc;

use tollgate_core::UnixMillis;

use crate::{Admission, Asked, Parties, Refusal, Standings, Subject, Terms, admission::Take, ask::enqueue};

/// What would be decided on a request.
#[derive(Clone, Debug)]
#[must_use]
pub enum Peek {
    /// It would be admitted.
    Fits {
        /// Where its limits stand without it.
        standings: Standings,
        /// In [`Mode::Observe`](crate::Mode::Observe): what would refuse it.
        unenforced: Option<Refusal>,
    },
    /// It would be refused.
    Refused {
        /// Why.
        refusal: Refusal,
        /// Where all its limits stand.
        standings: Standings,
    },
    /// As [`Admission::NotLoaded`].
    NotLoaded,
    /// As [`Admission::NotLeased`].
    NotLeased,
    /// As [`Admission::Unavailable`].
    Unavailable {
        /// Position in [`Terms::checks`] of the limit.
        check: usize,
    },
}

impl Parties<'_> {
    /// Asks the store where the counters of `terms` stand, also where nothing is lacking: other instances may
    /// have used more since. Asking never waits; without a store there is nothing to ask.
    #[must_use]
    pub fn begin_look(&self, terms: Terms<'_>, now: UnixMillis) -> Asked {
        let lacks = self.begin_ask(terms, now);
        let look = |subject: &Arc<Subject>| {
            if subject.member.is_none() {
                return 0;
            }
            let mut book = subject.lock();
            book.calls.look = true;
            enqueue(subject, &mut book);
            book.calls.begun + 1
        };
        let user = look(self.user).max(lacks.user);
        let org = self.org.map_or(0, look).max(lacks.org);
        Asked { user, org }
    }

    /// Whether the store has answered what was `asked` and waited for ([`Parties::poll_asked`]).
    #[must_use]
    pub fn is_answered(&self, asked: Asked) -> bool {
        let parties = [(Some(self.user), asked.user), (self.org, asked.org)];
        parties.into_iter().all(|(subject, number)| {
            subject.is_none_or(|subject| number == 0 || subject.lock().calls.failed < number)
        })
    }

    /// As [`Parties::admit_asked`], for who only wants to know: nothing is held, and no warning is used up.
    pub fn peek(&self, terms: Terms<'_>, now: UnixMillis, asked: Asked) -> Peek {
        match self.decide(terms, now, asked, Take::Nothing) {
            Admission::Admitted { standings, unenforced, .. } => Peek::Fits { standings, unenforced },
            Admission::Refused { refusal, standings } => Peek::Refused { refusal, standings },
            Admission::NotLoaded => Peek::NotLoaded,
            Admission::NotLeased => Peek::NotLeased,
            Admission::Unavailable { check } => Peek::Unavailable { check },
        }
    }
}
