//! Questions that wait until the journal is shipped far enough.

use std::{
    mem,
    time::{Duration, Instant},
};

use super::load::{self, Ask};
use crate::Position;

/// Longest wait for a ledger that works but is far behind.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Each with the instant until when it may wait.
#[derive(Debug, Default)]
pub(super) struct Waiting(Vec<(Instant, Position, Ask)>);

impl Waiting {
    /// Takes questions in; `tail` is the journal's: what is behind it may never come.
    pub(super) fn take_in(&mut self, asks: Vec<Ask>, tail: Position) {
        let until = Instant::now() + WAIT_MAX;
        self.0.extend(asks.into_iter().map(|ask| (until, ask.reached().min(tail), ask)));
    }

    /// Takes out those that can be answered; refuses those that waited too long.
    pub(super) fn ready(&mut self, shipped: Position) -> Vec<Ask> {
        let now = Instant::now();
        let mut ready = Vec::new();
        for (until, reached, ask) in mem::take(&mut self.0) {
            if reached <= shipped {
                ready.push(ask);
            } else if until <= now {
                load::refuse([ask]);
            } else {
                self.0.push((until, reached, ask));
            }
        }
        ready
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn refuse_all(&mut self) {
        load::refuse(self.0.drain(..).map(|(_, _, ask)| ask));
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.refuse_all();
    }
}
