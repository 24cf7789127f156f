//! The rows in memory: how fresh they are, which are being read, which are forgotten.

use std::{
    hash::BuildHasher as _,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use tollgate_core::Scope;
use tollgate_quota::SubjectKey;

use super::{Ask, Profile, STALE_MAX};

/// Enough that threads rarely meet at one lock.
const SHARDS: usize = 64;
/// From a reading that failed to the next, so that a store that is away is not asked by every request.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Cache {
    hasher: RandomState,
    shards: Box<[Mutex<HashTable<Entry>>]>,
    shard_entries_max: usize,
    /// How often all rows were outdated.
    epoch: AtomicU64,
}

/// A row that is known, being read, or both.
struct Entry {
    scope: Scope,
    id: Box<str>,
    known: Option<Known>,
    ask: Option<Arc<Ask>>,
    /// Whether the row was changed since `ask` began.
    again: bool,
    /// Not to be read again before.
    pause: Option<Instant>,
    /// Whether it was asked for since entries were last forgotten.
    used: bool,
}

struct Known {
    profile: Arc<Profile>,
    /// It is not older than this.
    at: Instant,
    epoch: u64,
    outdated: bool,
}

/// What there is of a row. An [`Ask`] that is handed out here was made just now: the row is to be read.
pub(super) enum Found {
    Fresh(Arc<Profile>),
    /// Good enough, and to be read again if there is an ask.
    Stale(Arc<Profile>, Option<Arc<Ask>>),
    /// Somebody reads it.
    Asked(Arc<Ask>),
    Missing(Arc<Ask>),
    /// It cannot be read now, or there is no room.
    Unavailable,
}

impl Cache {
    pub(super) fn new(entries_max: usize) -> Self {
        Self {
            hasher: RandomState::default(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            shard_entries_max: (entries_max / SHARDS).max(1),
            epoch: AtomicU64::new(0),
        }
    }

    pub(super) fn get(&self, key: SubjectKey<'_>, fresh: Duration, now: Instant) -> Found {
        let hash = self.hasher.hash_one(key);
        let mut shard = self.shard(hash);
        let epoch = self.epoch.load(Ordering::Acquire);
        if let Some(entry) = shard.find_mut(hash, |entry| entry.is(key)) {
            return entry.look(fresh, now, epoch);
        }
        if shard.len() >= self.shard_entries_max {
            forget_some(&mut shard);
        }
        if shard.len() >= self.shard_entries_max {
            return Found::Unavailable;
        }
        let ask = Ask::new(now, epoch);
        let entry = Entry {
            scope: key.scope,
            id: key.id.into(),
            known: None,
            ask: Some(Arc::clone(&ask)),
            again: false,
            pause: None,
            used: true,
        };
        shard.insert_unique(hash, entry, |entry| self.hasher.hash_one(entry.key()));
        Found::Missing(ask)
    }

    /// Keeps what `ask` has brought; what is known now, and an ask if the row has changed meanwhile and is to be
    /// read again.
    pub(super) fn answered(
        &self,
        key: SubjectKey<'_>,
        ask: &Arc<Ask>,
        profile: Option<Arc<Profile>>,
        now: Instant,
    ) -> (Option<Arc<Profile>>, Option<Arc<Ask>>) {
        let hash = self.hasher.hash_one(key);
        let mut shard = self.shard(hash);
        let mine =
            |entry: &Entry| entry.is(key) && entry.ask.as_ref().is_some_and(|asked| Arc::ptr_eq(asked, ask));
        let Ok(mut found) = shard.find_entry(hash, mine) else { return (profile, None) };
        let entry = found.get_mut();
        entry.ask = None;
        match profile {
            Some(profile) => {
                let again = mem::take(&mut entry.again);
                let known = entry.keep(profile, ask, again);
                let ask = again.then(|| entry.ask_again(now, self.epoch.load(Ordering::Acquire)));
                (Some(known), ask)
            }
            None if entry.known.is_none() => {
                found.remove();
                (None, None)
            }
            None => {
                entry.pause = Some(now + RETRY_PAUSE);
                (entry.usable(now), None)
            }
        }
    }

    /// The row has changed; an ask if it is to be read.
    pub(super) fn changed(&self, key: SubjectKey<'_>, now: Instant) -> Option<Arc<Ask>> {
        let hash = self.hasher.hash_one(key);
        let mut shard = self.shard(hash);
        let epoch = self.epoch.load(Ordering::Acquire);
        let entry = shard.find_mut(hash, |entry| entry.is(key))?;
        if let Some(known) = &mut entry.known {
            known.outdated = true;
        }
        if entry.ask.is_some() {
            entry.again = true;
            return None;
        }
        Some(entry.ask_again(now, epoch))
    }

    /// Every row may have changed: each is read again when it is next asked for.
    pub(super) fn outdate_all(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Forgets everything: there are no rows.
    pub(super) fn clear(&self) {
        self.outdate_all();
        for shard in &self.shards {
            let mut shard = lock(shard);
            // Who waits is told; what they are told is not kept.
            shard.clear();
        }
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, HashTable<Entry>> {
        // The table uses the low bits and the top seven; these are in between.
        lock(&self.shards[usize::try_from((hash >> 40) % SHARDS as u64).unwrap_or(0)])
    }
}

impl Entry {
    fn key(&self) -> SubjectKey<'_> {
        SubjectKey { scope: self.scope, id: &self.id }
    }

    fn is(&self, key: SubjectKey<'_>) -> bool {
        self.scope == key.scope && *self.id == *key.id
    }

    fn look(&mut self, fresh: Duration, now: Instant, epoch: u64) -> Found {
        self.used = true;
        let Some(known) = &self.known else {
            // Without anything known, it is being read.
            return self.ask.clone().map_or(Found::Unavailable, Found::Asked);
        };
        let age = now.saturating_duration_since(known.at);
        if age < fresh && !known.outdated && known.epoch == epoch {
            return Found::Fresh(Arc::clone(&known.profile));
        }
        let usable = (age < STALE_MAX).then(|| Arc::clone(&known.profile));
        let may_ask = self.ask.is_none() && self.pause.is_none_or(|until| until <= now);
        let new = may_ask.then(|| self.ask_again(now, epoch));
        match (usable, new) {
            (Some(profile), new) => Found::Stale(profile, new),
            (None, Some(new)) => Found::Missing(new),
            (None, None) => self.ask.clone().map_or(Found::Unavailable, Found::Asked),
        }
    }

    fn usable(&self, now: Instant) -> Option<Arc<Profile>> {
        let known = self.known.as_ref()?;
        (now.saturating_duration_since(known.at) < STALE_MAX).then(|| Arc::clone(&known.profile))
    }

    fn ask_again(&mut self, now: Instant, epoch: u64) -> Arc<Ask> {
        let ask = Ask::new(now, epoch);
        self.ask = Some(Arc::clone(&ask));
        ask
    }

    /// Keeps what was read, in the older version where it says the same.
    fn keep(&mut self, profile: Arc<Profile>, ask: &Ask, outdated: bool) -> Arc<Profile> {
        let before = self.known.take().map(|known| known.profile);
        let profile = before.filter(|before| before.says_the_same(&profile)).unwrap_or(profile);
        let known = Arc::clone(&profile);
        self.known = Some(Known { profile, at: ask.at, epoch: ask.epoch, outdated });
        self.pause = None;
        known
    }
}

/// Makes room: forgets what was not asked for since this was last done, or every second entry if all were.
fn forget_some(shard: &mut HashTable<Entry>) {
    let before = shard.len();
    shard.retain(|entry| entry.ask.is_some() || mem::take(&mut entry.used));
    if shard.len() == before {
        let mut keep = false;
        shard.retain(|entry| {
            keep = !keep;
            entry.ask.is_some() || keep
        });
    }
}

fn lock(shard: &Mutex<HashTable<Entry>>) -> MutexGuard<'_, HashTable<Entry>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
