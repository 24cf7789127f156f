//! What the table of subjects says about who is calling: tier, organisation, time zone, billing anchor.
//!
//! Contract
//! - A request never waits for a row that is cached. A row is read again in the background once it is older
//!   than `subjects.cache`, and at once when it is changed; the old one answers meanwhile, for at most
//!   [`STALE_MAX`] while the store is away.
//! - A row that is not cached is read once, however many requests ask for it; they wait for it, for at most
//!   [`resolve::WAIT_MAX`]. What cannot be read is the gateway's trouble: 503, never the default tier.
//! - That there is no row is cached like a row, and that there is no row at all is one flag: without use of
//!   the table a request pays for looking at it.
//! - Everything known has a version, newer knowledge a higher one, so that windows never go back to a
//!   calendar that a slow request still knows.

mod ask;
mod cache;
pub(crate) mod own;
mod profile;
mod resolve;

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tollgate_core::Scope;
use tollgate_ledger::{Directory, LedgerError, LoadError, Lookup, Subject, SubjectChange, SubjectRow};
use tollgate_quota::SubjectKey;

use self::{
    ask::Ask,
    cache::{Cache, Found},
};
pub(crate) use self::{
    profile::{Calendars, Profile},
    resolve::caller,
};
use crate::telemetry::SubjectMetrics;

/// How old what is known may be while the store is away: as with the ledger, requests go on for hours.
pub(crate) const STALE_MAX: Duration = Duration::from_secs(24 * 3600);

/// The rows that were asked for lately, of this process.
pub(crate) struct Subjects {
    cache: Cache,
    directory: OnceLock<Directory>,
    /// One more than the version in which the table was found empty; 0 while it is not known to be.
    empty: AtomicU64,
    versions: AtomicU64,
    /// When the table was last looked at with success.
    seen: Mutex<Instant>,
    metrics: SubjectMetrics,
}

/// How a row is had.
pub(crate) enum Answer {
    /// It is cached.
    Known(Arc<Profile>),
    /// It is being read.
    Asked(Arc<Ask>),
    /// It is neither.
    Unavailable,
}

impl Subjects {
    /// Knows nothing yet, and keeps at most `entries_max` rows.
    pub(crate) fn new(entries_max: usize) -> Arc<Self> {
        Arc::new(Self {
            cache: Cache::new(entries_max),
            directory: OnceLock::new(),
            empty: AtomicU64::new(0),
            versions: AtomicU64::new(0),
            seen: Mutex::new(Instant::now()),
            metrics: SubjectMetrics::new(),
        })
    }

    /// Reads from what `start` opens, which tells of changes through the function it is given.
    pub(crate) fn follow(
        self: &Arc<Self>,
        start: impl FnOnce(tollgate_ledger::SubjectObserver) -> Result<Directory, LedgerError>,
    ) -> Result<(), LedgerError> {
        let subjects = Arc::downgrade(self);
        let observer = Box::new(move |change| {
            if let Some(subjects) = subjects.upgrade() {
                subjects.changed(change);
            }
        });
        let _ = self.directory.set(start(observer)?);
        Ok(())
    }

    /// The version in which the table has no row at all; none while it has some, or is not known.
    pub(crate) fn empty(&self) -> Option<u64> {
        self.empty.load(Ordering::Acquire).checked_sub(1)
    }

    /// What the row of `key` says; it is read again when it is older than `fresh`.
    pub(crate) fn get(self: &Arc<Self>, key: SubjectKey<'_>, fresh: Duration) -> Answer {
        let now = Instant::now();
        match self.cache.get(key, fresh, now) {
            Found::Fresh(profile) => Answer::Known(profile),
            Found::Stale(profile, ask) => {
                if let Some(ask) = ask {
                    self.look_up(owned(key), ask);
                }
                Answer::Known(profile)
            }
            Found::Asked(ask) => Answer::Asked(ask),
            Found::Missing(ask) => {
                self.look_up(owned(key), Arc::clone(&ask));
                Answer::Asked(ask)
            }
            Found::Unavailable => Answer::Unavailable,
        }
    }

    /// Since when nothing is known of what changes.
    pub(crate) fn age(&self) -> Duration {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Forgets that the table is empty when that was too long ago.
    pub(crate) fn expire(&self) {
        if self.age() > STALE_MAX {
            self.empty.store(0, Ordering::Release);
        }
    }

    fn look_up(self: &Arc<Self>, subject: Subject, ask: Arc<Ask>) {
        let Some(directory) = self.directory.get() else {
            return self.answered(subject, &ask, Err(LoadError::Unavailable));
        };
        let (subjects, asked): (Weak<Self>, _) = (Arc::downgrade(self), subject.clone());
        let reply = Box::new(move |row| match subjects.upgrade() {
            Some(subjects) => subjects.answered(asked, &ask, row),
            None => ask.end(None),
        });
        directory.look_up(Lookup { subject, reply });
    }

    fn answered(
        self: &Arc<Self>,
        subject: Subject,
        ask: &Arc<Ask>,
        row: Result<Option<SubjectRow>, LoadError>,
    ) {
        self.metrics.read(row.is_ok());
        let profile = row
            .inspect_err(|error| tracing::debug!(%error, "a subject was not read"))
            .map(|row| Arc::new(Profile::new(&subject, row, self.next_version())));
        let (known, again) = self.cache.answered(key(&subject), ask, profile.ok(), Instant::now());
        ask.end(known);
        if let Some(again) = again {
            self.look_up(subject, again);
        }
    }

    fn changed(self: &Arc<Self>, change: SubjectChange) {
        match change {
            SubjectChange::Row(subject) => {
                if let Some(ask) = self.cache.changed(key(&subject), Instant::now()) {
                    self.look_up(subject, ask);
                }
            }
            SubjectChange::Any => self.cache.outdate_all(),
            SubjectChange::Seen { empty } => {
                *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                match (empty, self.empty().is_some()) {
                    (true, false) => {
                        self.cache.clear();
                        self.empty.store(self.next_version(), Ordering::Release);
                    }
                    (false, true) => self.empty.store(0, Ordering::Release),
                    (true, true) | (false, false) => {}
                }
            }
        }
    }

    /// Tells that an override makes no sense: it changes nothing.
    fn tell_wrong(&self, subject: &Subject, mistake: &str) {
        self.metrics.wrong();
        tracing::error!(
            ?subject,
            mistake,
            "an override in the table of subjects makes no sense: the tier's limits hold"
        );
    }

    fn next_version(&self) -> u64 {
        self.versions.fetch_add(1, Ordering::Relaxed) + 1
    }
}

fn owned(key: SubjectKey<'_>) -> Subject {
    match key.scope {
        Scope::User => Subject::User(key.id.to_owned()),
        Scope::Org => Subject::Org(key.id.to_owned()),
    }
}

fn key(subject: &Subject) -> SubjectKey<'_> {
    match subject {
        Subject::User(id) => SubjectKey { scope: Scope::User, id },
        Subject::Org(id) => SubjectKey { scope: Scope::Org, id },
    }
}
