//! Decisions that take nothing.

use tollgate_core::UnixMillis;

use crate::{Admission, Asked, Parties, Refusal, Standings, Terms, admission::Take};

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
