//! What all threads share.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use arc_swap::ArcSwap;
use tollgate_config::Durability;
use tollgate_core::Settlement;
use tollgate_ledger::{Journal, Ledger};
use tollgate_quota::{Counters, Remote};

use crate::{
    counting::Counting, live::Live, llm::Learned, meters::MeterIds, resources::Resources, subjects::Subjects,
    telemetry::ProcessMetrics, waiting::Lines,
};

/// The process-wide state.
pub(crate) struct Shared {
    live: ArcSwap<Live>,
    live_version: AtomicU64,
    pub(crate) meters: Arc<MeterIds>,
    pub(crate) counters: Arc<Counters>,
    /// The thread that shares the counters with other gateways, if they are shared.
    pub(crate) remote: Option<Remote>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) subjects: Arc<Subjects>,
    pub(crate) resources: Resources,
    pub(crate) metrics: ProcessMetrics,
    /// Client connections open, all workers together.
    pub(crate) connections: AtomicUsize,
    /// Bytes of requests' bodies that are kept to be looked at.
    pub(crate) looked_bytes: AtomicU64,
    /// How much models usually write.
    pub(crate) learned: Learned,
    /// Streams that are read to their end for clients who left.
    pub(crate) drains: AtomicUsize,
    /// Requests that wait to be admitted.
    pub(crate) lines: Arc<Lines>,
    /// Whether new work should be sent here.
    pub(crate) ready: AtomicBool,
    /// Why the files on disk are not what is in force.
    pub(crate) reload_error: ArcSwap<Option<String>>,
    /// Whether an answer's last byte waits for the disk; decided at start, like the journal's own.
    pub(crate) sync_before_answer: bool,
    /// Told of every settlement, on the thread that settles; must not block.
    pub(crate) on_settled: Option<SettlementObserver>,
}

/// Is told of settlements.
pub(crate) type SettlementObserver = Box<dyn Fn(&Settlement<'_>) + Send + Sync>;

/// What [`Shared`] is made of.
pub(crate) struct Parts {
    pub(crate) live: Live,
    pub(crate) meters: Arc<MeterIds>,
    pub(crate) counting: Counting,
    pub(crate) journal: Arc<Journal>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) subjects: Arc<Subjects>,
    pub(crate) on_settled: Option<SettlementObserver>,
}

impl Shared {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let Parts {
            live,
            meters,
            counting: Counting { counters, remote },
            journal,
            ledger,
            subjects,
            on_settled,
        } = parts;
        let metrics = ProcessMetrics::new(remote.is_some());
        metrics.config_valid.set(1.0);
        let sync_before_answer = live.gateway().durability == Durability::Power;
        Arc::new(Self {
            live: ArcSwap::from_pointee(live),
            live_version: AtomicU64::new(0),
            meters,
            counters,
            remote,
            journal,
            ledger,
            subjects,
            resources: Resources::new(),
            metrics,
            connections: AtomicUsize::new(0),
            looked_bytes: AtomicU64::new(0),
            learned: Learned::default(),
            drains: AtomicUsize::new(0),
            lines: Arc::default(),
            ready: AtomicBool::new(false),
            reload_error: ArcSwap::from_pointee(None),
            sync_before_answer,
            on_settled,
        })
    }

    /// The configuration in force.
    pub(crate) fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// Milliseconds that the clock of the shared counters is ahead of this machine's, where there are such.
    pub(crate) fn clock_ahead(&self) -> i64 {
        self.counters.gate().map_or(0, |gate| gate.clock_offset())
    }

    /// Changes whenever [`Shared::live`] does.
    pub(crate) fn live_version(&self) -> u64 {
        self.live_version.load(Ordering::Acquire)
    }

    /// Puts a configuration in force: requests that begin from now on see all of it.
    pub(crate) fn set_live(&self, live: Live) {
        if let Some(remote) = &self.remote {
            // First, so that nothing is granted by the old agreement for what only the new plans count.
            remote.set_kinds(live.kinds(&self.meters));
        }
        self.live.store(Arc::new(live));
        self.live_version.fetch_add(1, Ordering::Release);
    }
}
