//! Counters in Redis, shared by any number of instances.
//!
//! Contract
//! - Redis holds, for each counter, what is settled and what is set aside for each instance (the *lease*).
//!   An instance admits from its lease without asking. It asks, one call at a time for each subject, when
//!   the lease does not have what a request needs; each call is one atomic step about all counters of the
//!   subject ([`lua/exchange_v2.lua`]): it takes for all limits or for none. User and organisation are
//!   asked separately; that a request takes from both or from none is decided under their locks here.
//! - settled + set aside ≤ limit holds in Redis after every step, so no instance can admit beyond it
//!   (promise 1). What one request uses beyond its hold is settled all the same.
//! - Where more is settled and set aside than a limit allows, as that was lowered or is overdrawn by requests
//!   that run, an instance that hears of it in an answer admits nothing by that limit without asking again.
//! - A request is refused when Redis says that less is left than it needs, and that no other live
//!   instance has anything it does not hold for a request in flight (promise 2). Otherwise the counter is
//!   recalled: the others, told by a message, give back, and the asker tries again for [`RECALL_MAX`].
//!   If one that is alive stays silent, the answer is "unavailable", not "refused". What an instance had
//!   that is dead counts as used until its window ends or it comes back.
//! - A call names the call that it comes after and has an id. It is applied once, however often and late
//!   it arrives; what became of a call without an answer shows in the next answer.
//! - Of what runs now, what an instance had that is dead is free again: it was for requests in flight. Jobs that
//!   outlive their requests are settled, told at once, and stay until they end, wherever that is told.
//! - An instance that comes back after a crash finds what it had in Redis, takes from its journal what of
//!   it was spent since its last call, and returns the rest.
//! - Redis's clock decides in which window a call is. Its offset to this machine's is kept up to date.
//! - Redis forgets: it is restarted, fails over, is flushed, or evicts. Then the *epoch* is gone, or is of
//!   another server process, and nothing is granted until all live instances have joined a new one. Joining is:
//!   void all leases, have the ledger take all that is journalled, and bring along what requests in flight
//!   hold. Counters are then loaded from the ledger, up to the instant that the epoch began; what is
//!   admitted later is counted in Redis again. Nothing is added twice: what is settled by a request from
//!   before is told apart by its place in the journal and the ledger's watermark.
//! - A server that was replaced and does not know it (it hung while a replica took over) grants nothing to an
//!   instance that has joined its successor's epoch. Its successor grants nothing until the last instance has
//!   left it: with Sentinels at the next sign of life. Who is silent in Redis and alive in the ledger is alive.
//! - In a Cluster each bucket has an epoch of its own: what a node loses is rebuilt, the rest goes on. The
//!   nodes' clocks should agree as well as those of instances. While a node is away and the others answer,
//!   the state that is shown may change back and forth, until the Cluster itself says that it is down.
//! - An answer to a recall says that nothing is left that is not held. It names the recall: what is free
//!   by the time that a later one arrives is not answered for.
//! - Who lives is told by Redis's clock and by time that only goes forward, not by clocks that are set.
//! - An instance whose plans begin to count something begins a new epoch as well. A subject whose calendar changes has its
//!   windows loaded from the ledger; what other instances have journalled and not shipped at that moment
//!   is not in them.
//! - No call waits longer than [`CALL_MAX`]; after [`FAILURES_MAX`] failures in a row none is made until a
//!   look at the epoch, every [`PROBE_PERIOD`], has been answered.
//!
//! One thread does all this with one connection to Redis and one to listen. Sums are exact up to 2^53.

mod broker;
mod call;
mod claims;
mod epochs;
mod keys;
mod replay;
mod signs;
mod source;
mod store;
mod survey;
mod talk;

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::sync::Notify;

use self::claims::Claims;
pub use self::{
    claims::{ClaimName, ClaimReply, Claimed},
    keys::{Kind, Kinds},
    replay::Replay,
    source::{LedgerSums, Reply, Source},
    store::{RedisAddress, RedisError},
    survey::{SurveyedCounter, survey},
};
use crate::{Counters, Gate};

/// Longest time that one call may take.
const CALL_MAX: Duration = Duration::from_millis(25);
/// Longest time that a request waits for others to give back what they do not need.
const RECALL_MAX: Duration = Duration::from_millis(50);
/// So many failures in a row are not chance.
const FAILURES_MAX: u32 = 3;
/// How often Redis is tried again while it does not answer.
const PROBE_PERIOD: Duration = Duration::from_millis(200);
/// How often the epoch is looked at and the instance says that it lives.
const HEARTBEAT_PERIOD: Duration = Duration::from_secs(1);
/// An instance that has not said so for this long is dead; what ran in it has ended. The scripts know it, too.
const DEAD_AFTER: Duration = Duration::from_secs(5);

/// How a shared store is used.
pub struct RemoteOptions {
    /// Where Redis is.
    pub address: RedisAddress,
    /// What the process's journal and ledger know.
    pub source: Arc<dyn Source>,
    /// What was settled before the process started, as far as the journal still has it.
    pub replay: Replay,
    /// What is counted.
    pub kinds: Kinds,
    /// Ahead of need nothing is asked for: every request asks. For comparison and tests.
    pub exact: bool,
}

/// How the shared store is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteStatus {
    /// Since how many seconds it does not answer; none while it does.
    pub down_seconds: Option<u64>,
    /// Why the last call failed, while the store does not answer.
    pub last_error: Option<String>,
    /// Whether counters are being rebuilt, and nothing is granted.
    pub rebuilding: bool,
    /// Calls made since the start.
    pub calls: u64,
    /// Calls that failed.
    pub failures: u64,
    /// Counters that others asked to be given back.
    pub recalls: u64,
    /// Epochs that this instance has joined.
    pub epochs: u64,
}

/// The thread that talks to Redis, for the subjects of one [`Counters`].
pub struct Remote {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the thread shares with its handle.
struct Shared {
    gate: Arc<Gate>,
    kinds: Mutex<Kinds>,
    status: Mutex<RemoteStatus>,
    claims: Claims,
    stop: AtomicBool,
    abandoned: AtomicBool,
    stopped: Notify,
}

impl Remote {
    /// The place where requests meet the thread; [`Counters::leased`] needs it, and it has to be that of
    /// the counters that [`Remote::start`] is given.
    #[must_use]
    pub fn gate(address: &RedisAddress) -> Arc<Gate> {
        Arc::new(Gate::new(address.buckets()))
    }

    /// Starts the thread. Redis need not be there yet.
    ///
    /// # Errors
    ///
    /// When the system gives no thread, or the counters are not those of a shared store.
    pub fn start(counters: Arc<Counters>, options: RemoteOptions) -> io::Result<Self> {
        let Some(gate) = counters.gate().cloned() else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "these counters are not shared"));
        };
        let shared = Arc::new(Shared {
            gate,
            kinds: Mutex::new(options.kinds.clone()),
            status: Mutex::default(),
            claims: Claims::default(),
            stop: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            stopped: Notify::new(),
        });
        let (for_thread, counters) = (Arc::clone(&shared), counters);
        let thread = thread::Builder::new()
            .name("counters-redis".to_owned())
            .spawn(move || broker::run(for_thread, counters, options))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Says what is counted from now on. Where that is more than before, nothing is granted until all
    /// instances have agreed on a new epoch.
    pub fn set_kinds(&self, kinds: Kinds) {
        let mut present = lock(&self.shared.kinds);
        if !present.contains_all(&kinds) {
            *present = present.union(&kinds);
            for bucket in 0..self.shared.gate.buckets() {
                self.shared.gate.freeze(bucket);
            }
            self.shared.gate.queued.notify_one();
        }
    }

    /// How the store is doing.
    #[must_use]
    pub fn status(&self) -> RemoteStatus {
        let down = self.shared.gate.is_down().then(|| self.shared.gate.down_seconds());
        let status = lock(&self.shared.status).clone();
        let last_error = status.last_error.filter(|_| down.is_some());
        RemoteStatus { down_seconds: down, last_error, ..status }
    }

    /// Whether the thread has ended by itself: nothing more can be granted.
    #[must_use]
    pub fn has_died(&self) -> bool {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        thread.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Ends the thread as the death of the process would: nothing is given back. For tests.
    pub fn abandon(&self) {
        self.shared.abandoned.store(true, Ordering::Release);
        self.stop();
    }

    /// Gives everything back that is not held, within a few seconds, and ends the thread.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.stopped.notify_one();
        self.shared.gate.queued.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A thread that panicked has said so.
        let _ = thread.map(JoinHandle::join);
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("status", &self.status()).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
