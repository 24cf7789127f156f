//! The thread's two halves, and what they tell each other.

use std::{cell::Cell, sync::Arc, time::Instant};

use futures_util::future::join;
use tokio::{
    sync::{Notify, watch},
    time::sleep_until,
};

use super::{PostgresOptions, answer, connection::Connection, ship, ship::Session};
use crate::ledger::progress::{Pause, Shared};

/// What shipping and answering share. All on one thread.
pub(super) struct Context {
    pub(super) shared: Arc<Shared>,
    pub(super) options: PostgresOptions,
    /// Somebody waits for what is not shipped yet.
    pub(super) wanted: Notify,
    /// Shipping did something.
    pub(super) progressed: Notify,
    /// Told to stop: until when.
    pub(super) stop: watch::Sender<Option<Instant>>,
    /// Whether the last batch failed.
    pub(super) is_failing: Cell<bool>,
    /// When a question last got no answer; none once one did.
    pub(super) unanswered_at: Cell<Option<Instant>>,
    /// Whether shipping has ended.
    pub(super) has_ended: Cell<bool>,
}

impl Context {
    pub(super) fn new(shared: Arc<Shared>, options: PostgresOptions) -> Self {
        Self {
            shared,
            options,
            wanted: Notify::new(),
            progressed: Notify::new(),
            stop: watch::Sender::new(None),
            is_failing: Cell::new(false),
            unanswered_at: Cell::new(None),
            has_ended: Cell::new(false),
        }
    }

    /// Ships and answers until told to stop; at the deadline whatever is under way is dropped.
    pub(super) async fn run(&self, shipping: (Option<Session>, Pause), link: Option<Connection>) {
        let halves = join(ship::run(self, shipping), answer::run(self, link));
        tokio::select! {
            _ = halves => {}
            () = self.deadline() => {}
        }
    }

    /// Whether it was told to stop.
    pub(super) fn is_stopping(&self) -> bool {
        self.stop.borrow().is_some()
    }

    /// Ends when it is told to stop.
    pub(super) async fn stopping(&self) {
        // The sender is here: there is always one.
        let _ = self.stop.subscribe().wait_for(Option::is_some).await;
    }

    async fn deadline(&self) {
        self.stopping().await;
        let until = *self.stop.borrow();
        if let Some(until) = until {
            sleep_until(until.into()).await;
        }
    }
}
