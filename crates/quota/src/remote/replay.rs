//! What was settled before the process started, as far as its journal still has it.

use std::collections::HashMap;

use tollgate_core::{Scope, Span, UnixMillis};

use crate::Mark;

/// Settlements of earlier processes, by subject and meter.
#[derive(Debug, Default)]
pub struct Replay {
    spent: HashMap<(Scope, Box<str>, Box<str>), Vec<Spent>>,
    /// The journal has all settlements from here on,
    oldest: Mark,
    /// up to here.
    end: Mark,
}

#[derive(Debug)]
struct Spent {
    mark: Mark,
    at: UnixMillis,
    amount: i64,
}

impl Replay {
    /// Nothing yet, of a journal that goes from `oldest` to `end`.
    #[must_use]
    pub fn new(oldest: Mark, end: Mark) -> Self {
        Self { spent: HashMap::new(), oldest, end }
    }

    /// The journal turned out to begin at `oldest`.
    #[must_use]
    pub fn from(self, oldest: Mark) -> Self {
        Self { oldest, ..self }
    }

    /// Adds what a settlement charged.
    pub fn add(&mut self, (scope, id): (Scope, &str), meter: &str, at: UnixMillis, mark: Mark, amount: i64) {
        if amount != 0 {
            let spent = self.spent.entry((scope, id.into(), meter.into())).or_default();
            spent.push(Spent { mark, at, amount });
        }
    }

    /// What was charged in `span` from `from` on; none when the journal does not go back so far. Of what was
    /// admitted before the second of `known`, all before the first is in the sum that the counter began with.
    pub(crate) fn sum(
        &self,
        (scope, id): (Scope, &str),
        meter: &str,
        span: Span,
        from: Mark,
        known: Option<(Mark, UnixMillis)>,
    ) -> Option<i64> {
        if from >= self.end {
            return Some(0);
        }
        if from < self.oldest {
            return None;
        }
        let spent = self.spent.get(&(scope, id.into(), meter.into()));
        let is_known = |s: &&Spent| known.is_some_and(|(mark, since)| s.mark < mark && s.at < since);
        let spent = spent.into_iter().flatten().filter(|s| s.mark >= from && span.contains(s.at));
        let spent = spent.filter(|s| !is_known(s));
        Some(spent.fold(0, |sum, s| sum.saturating_add(s.amount)))
    }
}
