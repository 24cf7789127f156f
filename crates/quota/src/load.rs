//! Loading: how a counter learns from the ledger what was used before it existed.
//!
//! While a load runs, settlements go on. Each carries its place in the journal, and the ledger's answer
//! says up to which place it is complete; so every settlement is counted exactly once, whether the
//! answer has it already or not:
//!
//! 1. `begin_load` marks the counters as loading; from here on they remember what is settled, and where.
//! 2. The caller reads the journal's tail *after* that, and asks the ledger for sums that include
//!    everything before the tail. A settlement that was applied before step 1 is older than the tail.
//! 3. `complete` takes the sums and adds what was remembered from the answer's watermark on.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tollgate_core::{Scope, Span, UnixMillis};

use crate::{
    CounterKey, Mark, Parties, Subject, Terms, admission::settle_clock, counter::Readiness, subject::Book,
};

/// What to ask the ledger for: all that the subject was charged of one meter in one span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadSpan {
    /// Which counter wants it.
    pub key: CounterKey,
    /// The span.
    pub span: Span,
    /// Which of the counter's loads this is.
    load: u32,
}

/// A load in progress. Dropping it fails the load, and those who wait for it learn so.
#[derive(Debug)]
#[must_use]
pub struct LoadTicket {
    subject: Arc<Subject>,
    /// Whose counters: the organisation's, or the user's.
    pub scope: Scope,
    /// The sums asked for.
    pub spans: Vec<LoadSpan>,
    done: bool,
}

/// The ledger gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ledger did not say what was used before")]
pub struct LoadFailed;

impl Parties<'_> {
    /// Marks every counter of `terms` that is not known as loading and says what to ask the ledger
    /// for: one ticket per subject, none where others have asked already.
    pub fn begin_load(&self, terms: Terms<'_>, now: UnixMillis) -> Vec<LoadTicket> {
        let subjects = [(Some(self.user), Scope::User), (self.org, Scope::Org)];
        let horizons = subjects.iter().filter_map(|(subject, _)| Some(subject.as_ref()?.lock().horizon));
        let at = settle_clock(now, horizons.max().unwrap_or(now));
        let tickets = subjects.into_iter().filter_map(|(subject, scope)| {
            let subject = subject?;
            let mut book = subject.lock();
            let mut spans = Vec::new();
            for check in terms.checks {
                let scope_here = if self.org.is_some() { check.scope } else { Scope::User };
                if scope_here != scope {
                    continue;
                }
                let position = book.position_or_new(check.counter, check.concurrent, false);
                let Book { calendar, counters, .. } = &mut *book;
                let counter = &mut counters[position];
                if counter.turn_to(at, calendar) == Readiness::Unknown {
                    let (load, span) = counter.begin_load();
                    spans.push(LoadSpan { key: check.counter, span, load });
                }
            }
            (!spans.is_empty()).then(|| LoadTicket {
                subject: Arc::clone(subject),
                scope,
                spans,
                done: false,
            })
        });
        tickets.collect()
    }

    /// Ready when no counter of the subjects is loading any more, whether it succeeded or failed.
    /// Cancel-safe.
    pub fn poll_loaded(&self, cx: &mut Context<'_>) -> Poll<()> {
        for subject in [Some(self.user), self.org].into_iter().flatten() {
            let mut book = subject.lock();
            if book.is_loading() {
                book.waiters.push(cx.waker().clone());
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }
}

impl LoadTicket {
    /// Ends the load: `sums`, in the order of [`LoadTicket::spans`], are all that was journalled before
    /// `watermark` and nothing beyond.
    pub fn complete(mut self, sums: &[i64], watermark: Mark) {
        self.done = true;
        let mut book = self.subject.lock();
        for (asked, sum) in self.spans.iter().zip(sums) {
            if let Some(position) = book.position(asked.key) {
                book.counters[position].complete(asked.load, *sum, watermark);
            }
        }
        book.last_mark = book.last_mark.max(watermark);
        book.wake_waiters();
    }
}

impl Drop for LoadTicket {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut book = self.subject.lock();
        for asked in &self.spans {
            if let Some(position) = book.position(asked.key) {
                book.counters[position].fail(asked.load);
            }
        }
        book.wake_waiters();
    }
}
