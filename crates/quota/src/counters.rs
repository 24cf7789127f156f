//! All subjects of this process.

use std::{
    hash::BuildHasher as _,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use tollgate_core::{Calendar, Scope, Span, Usage};

use crate::{
    CounterKey, Gate, Mark, Member, Subject,
    counter::{Counter, State},
};

/// Enough that threads rarely meet at one lock.
const SHARDS: usize = 64;

/// Names a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubjectKey<'a> {
    /// A user or an organisation.
    pub scope: Scope,
    /// Its id.
    pub id: &'a str,
}

/// As many subjects are in use at once as `counters.subjects_max` allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{subjects_max} subjects are in use; raise counters.subjects_max")]
pub struct TooManySubjects {
    /// The bound.
    pub subjects_max: usize,
}

/// What a counter says, for the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterReading {
    /// User or organisation.
    pub scope: Scope,
    /// Its id.
    pub subject: Box<str>,
    /// Which counter.
    pub key: CounterKey,
    /// Over which span.
    pub span: Span,
    /// What is used.
    pub usage: Usage,
    /// The newest settlement of the subject that is in `usage`.
    pub last_mark: Mark,
}

/// The subjects that were seen lately, each with its counters.
#[derive(Debug)]
pub struct Counters {
    hasher: RandomState,
    shards: Box<[Mutex<HashTable<Entry>>]>,
    subjects: AtomicUsize,
    subjects_max: usize,
    /// Where they are counted, if that is a store shared with other instances.
    gate: Option<Arc<Gate>>,
}

#[derive(Debug)]
struct Entry {
    scope: Scope,
    subject: Arc<Subject>,
}

impl Counters {
    /// Empty, for at most `subjects_max` subjects at a time.
    #[must_use]
    pub fn new(subjects_max: usize) -> Self {
        Self::with(subjects_max, None)
    }

    /// Empty, and counted in the shared store that `gate` leads to.
    #[must_use]
    pub fn leased(subjects_max: usize, gate: Arc<Gate>) -> Self {
        Self::with(subjects_max, Some(gate))
    }

    fn with(subjects_max: usize, gate: Option<Arc<Gate>>) -> Self {
        Self {
            hasher: RandomState::default(),
            shards: (0..SHARDS).map(|_| Mutex::new(HashTable::new())).collect(),
            subjects: AtomicUsize::new(0),
            subjects_max,
            gate,
        }
    }

    /// Where they are counted, if that is a store shared with other instances.
    #[must_use]
    pub fn gate(&self) -> Option<&Arc<Gate>> {
        self.gate.as_ref()
    }

    /// The subject called `key`, if it was seen lately.
    #[must_use]
    pub fn find(&self, key: SubjectKey<'_>) -> Option<Arc<Subject>> {
        let hash = self.hasher.hash_one(key);
        let shard = lock(&self.shards[shard_of(hash)]);
        let same = |entry: &Entry| entry.scope == key.scope && *entry.subject.id() == *key.id;
        shard.find(hash, same).map(|entry| Arc::clone(&entry.subject))
    }

    /// Calls `f` with each subject, one part of them locked at a time.
    pub(crate) fn for_each(&self, mut f: impl FnMut(&Arc<Subject>)) {
        for shard in &self.shards {
            let subjects: Vec<_> = lock(shard).iter().map(|entry| Arc::clone(&entry.subject)).collect();
            subjects.iter().for_each(&mut f);
        }
    }

    /// Where in a shared store the subject with this id is counted.
    pub(crate) fn bucket(&self, id: &str) -> usize {
        bucket_of(id, self.gate.as_ref().map_or(1, |gate| gate.buckets()))
    }

    /// The subject called `key`, new if it was not seen lately.
    ///
    /// # Errors
    /// When it is new and there is no room; [`Counters::sweep`] makes room.
    pub fn subject(&self, key: SubjectKey<'_>) -> Result<Arc<Subject>, TooManySubjects> {
        let hash = self.hasher.hash_one(key);
        let mut shard = lock(&self.shards[shard_of(hash)]);
        let same = |entry: &Entry| entry.scope == key.scope && *entry.subject.id() == *key.id;
        if let Some(entry) = shard.find(hash, same) {
            return Ok(Arc::clone(&entry.subject));
        }
        if self.subjects.fetch_add(1, Ordering::Relaxed) >= self.subjects_max {
            self.subjects.fetch_sub(1, Ordering::Relaxed);
            return Err(TooManySubjects { subjects_max: self.subjects_max });
        }
        let member = self.gate.as_ref().map(|gate| Member {
            gate: Arc::clone(gate),
            bucket: bucket_of(key.id, gate.buckets()),
            scope: key.scope,
            id: key.id.into(),
        });
        let subject = Arc::new(Subject::new(key.id.into(), Calendar::default(), member));
        let entry = Entry { scope: key.scope, subject: Arc::clone(&subject) };
        shard.insert_unique(hash, entry, |entry| self.hash(entry));
        Ok(subject)
    }

    /// How many subjects are in memory.
    #[must_use]
    pub fn len(&self) -> usize {
        self.subjects.load(Ordering::Relaxed)
    }

    /// Whether no subject is in memory.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets subjects that nobody asked for during the last `idle_sweeps` sweeps, that hold nothing,
    /// and whose settlements the ledger has (all before `shipped`); returns how many.
    pub fn sweep(&self, shipped: Mark, idle_sweeps: u32) -> usize {
        let mut forgotten = 0;
        for shard in &self.shards {
            let mut shard = lock(shard);
            let before = shard.len();
            shard.retain(|entry| !may_forget(entry, shipped, idle_sweeps));
            forgotten += before - shard.len();
        }
        self.subjects.fetch_sub(forgotten, Ordering::Relaxed);
        forgotten
    }

    /// Reads every counter whose usage is known. Each subject is read at one instant, different
    /// subjects at different ones.
    #[must_use]
    pub fn readings(&self) -> Vec<CounterReading> {
        let mut readings = Vec::new();
        for shard in &self.shards {
            let subjects: Vec<_> =
                lock(shard).iter().map(|entry| (entry.scope, Arc::clone(&entry.subject))).collect();
            for (scope, subject) in subjects {
                let book = subject.lock();
                let known = |counter: &&Counter| matches!(counter.state, State::Ready | State::Leased(_));
                let known = book.counters.iter().filter(known);
                readings.extend(known.map(|counter| CounterReading {
                    scope,
                    subject: subject.id().into(),
                    key: counter.key,
                    span: counter.span,
                    usage: counter.usage,
                    last_mark: book.last_mark,
                }));
            }
        }
        readings
    }

    fn hash(&self, entry: &Entry) -> u64 {
        self.hasher.hash_one(SubjectKey { scope: entry.scope, id: entry.subject.id() })
    }
}

fn may_forget(entry: &Entry, shipped: Mark, idle_sweeps: u32) -> bool {
    // With the shard locked and no other reference, nobody can begin to use the subject.
    if Arc::strong_count(&entry.subject) > 1 {
        return false;
    }
    let mut book = entry.subject.lock();
    book.idle_sweeps = book.idle_sweeps.saturating_add(1);
    book.idle_sweeps > idle_sweeps
        && book.holds == 0
        && book.last_mark <= shipped
        && !book.is_loading()
        && !book.calls.active
        && !book.calls.queued
}

/// The same in every instance: FNV-1a, 32 bits (RFC 9923).
fn bucket_of(id: &str, buckets: usize) -> usize {
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    usize::try_from(id.bytes().fold(0x811c_9dc5, step)).unwrap_or(0) % buckets.max(1)
}

fn shard_of(hash: u64) -> usize {
    // The table uses the low bits and the top seven; these are in between.
    usize::try_from((hash >> 40) % SHARDS as u64).unwrap_or(0)
}

fn lock(shard: &Mutex<HashTable<Entry>>) -> MutexGuard<'_, HashTable<Entry>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
