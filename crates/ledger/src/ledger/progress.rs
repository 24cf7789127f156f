//! How shipping goes: what the ledger and its thread share, and the pause after a failure.

use std::{
    fmt::Display,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use tollgate_core::{Settlement, UnixMillis};

use super::queue::Queue;
use crate::{
    Journal, Position, codec,
    journal::{Item, lock},
};

/// First and longest pause after a failure.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What the ledger and its thread share.
pub(super) struct Shared {
    pub(super) journal: Arc<Journal>,
    pub(super) queue: Queue,
    pub(super) shipped: AtomicU64,
    pub(super) health: Mutex<Health>,
}

#[derive(Debug, Default)]
pub(super) struct Health {
    pub(super) oldest_unshipped: Option<UnixMillis>,
    pub(super) failing_since: Option<UnixMillis>,
    pub(super) last_error: Option<String>,
}

/// While shipping fails: when to try again, and how long the pause was.
#[derive(Debug, Default)]
pub(super) struct Pause(Option<(Instant, Duration)>);

impl Shared {
    pub(super) fn new(journal: Arc<Journal>, watermark: Position) -> Arc<Self> {
        Arc::new(Self {
            journal,
            queue: Queue::default(),
            shipped: AtomicU64::new(watermark.get()),
            health: Mutex::default(),
        })
    }

    /// All settlements before this position are in the ledger.
    pub(super) fn shipped(&self) -> Position {
        Position::new(self.shipped.load(Ordering::Acquire))
    }

    pub(super) fn is_behind(&self) -> bool {
        self.shipped() < self.journal.tail()
    }

    /// Says that the ledger has all before `reached`.
    pub(super) fn has_shipped(&self, reached: Position) {
        self.shipped.store(reached.get(), Ordering::Release);
        self.journal.shipped(reached);
    }

    /// When the first settlement that waits was admitted.
    fn oldest_unshipped(&self) -> Option<UnixMillis> {
        let stretch = self.journal.stretch(self.shipped())?;
        let mut reader = self.journal.read_stretch(stretch).ok()?;
        match reader.next().ok()?? {
            Item::Record { offset: _, payload } => {
                codec::decode(payload).ok().map(|Settlement { at, .. }| at)
            }
            Item::Damage { .. } => None,
        }
    }
}

impl Pause {
    /// Until when to wait; none while shipping works.
    pub(super) fn until(&self) -> Option<Instant> {
        self.0.map(|(until, _)| until)
    }

    pub(super) fn succeeded(&mut self, shared: &Shared) {
        if self.0.take().is_some() {
            *lock(&shared.health) = Health::default();
            tracing::info!("settlements are shipped to the ledger again");
        }
    }

    pub(super) fn failed(&mut self, shared: &Shared, error: &impl Display) {
        let pause = match self.0 {
            Some((_, pause)) => (pause * 2).min(PAUSE_MAX),
            None => {
                tracing::error!(%error, "settlements cannot be shipped: they stay in the journal");
                PAUSE_MIN
            }
        };
        self.0 = Some((Instant::now() + pause, pause));
        let oldest_unshipped = shared.oldest_unshipped();
        let mut health = lock(&shared.health);
        health.failing_since.get_or_insert_with(now);
        health.last_error = Some(error.to_string());
        health.oldest_unshipped = oldest_unshipped;
    }
}

fn now() -> UnixMillis {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixMillis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// Says that the thread has ended, however it did.
pub(super) struct Ending(pub(super) Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.queue.end();
    }
}
