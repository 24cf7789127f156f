//! `tollgate serve`: everything that runs, from start to drained.

use std::{
    env, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::pin,
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, bail};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
    time,
};
use tollgate_config::{
    Config, CounterStore, Durability, Gateway, LedgerStore, Postgres, PostgresHost, PostgresTls, Sources,
    Unanswered,
};
use tollgate_ledger::{Directory, Journal, JournalOptions, Ledger, LedgerOptions, PostgresOptions};
use tollgate_quota::{Mark, Remote};

use crate::{
    admin::Admin,
    counting,
    listener::{ServerTls, listen, probe},
    live::Live,
    logging,
    meters::MeterIds,
    reload::{POLL, Reloader},
    resources,
    shared::{self, SettlementObserver, Shared},
    subjects::Subjects,
    telemetry,
    worker::{self, Phase},
};

/// How often gauges are brought up to date.
const SAMPLE: Duration = Duration::from_secs(1);
/// Subjects that nobody asked for between so many sweeps are forgotten; the ledger knows them.
const SUBJECT_IDLE_SWEEPS: u32 = 10;
const SWEEP_EVERY_SAMPLES: u32 = 30;
/// How long idle keep-alive connections are left open in a drain: a client that is about to use one
/// learns from its answer that the connection ends, instead of finding it closed.
const DRAIN_IDLE: Duration = Duration::from_millis(1500);
/// How long the ledger may take to receive what other gateways wait for; what is claimed after that is free when this
/// one starts again.
const RELEASE_MAX: Duration = Duration::from_secs(3);
/// How long the ledger may take to receive what is left; the rest stays in the journal for the next start.
const SHIP_MAX: Duration = Duration::from_secs(10);

/// What to serve, and who wants to know.
pub(crate) struct Options {
    /// `gateway.toml`.
    pub(crate) config: PathBuf,
    /// Told of every settlement.
    pub(crate) on_settled: Option<SettlementObserver>,
    /// Told where the gateway listens, once it does.
    pub(crate) on_ready: Box<dyn FnOnce(Addresses)>,
}

/// Where the gateway listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    pub(crate) listen: SocketAddr,
    pub(crate) admin: SocketAddr,
}

/// Serves until SIGTERM or SIGINT, then drains.
pub(crate) fn serve(options: Options) -> anyhow::Result<()> {
    let Options { config: path, on_settled, on_ready } = options;
    let sources = tollgate_config::read_sources(&path).map_err(|mistakes| anyhow!("{mistakes}"))?;
    let config = tollgate_config::parse(&sources).map_err(|mistakes| anyhow!("{mistakes}"))?;
    logging::start(&config.gateway.log);
    let prometheus = telemetry::install()?;
    let token = admin_token(&config.gateway)?;

    let meters = Arc::new(MeterIds::default());
    let gateway = config.gateway.clone();
    let live = Live::compile(config, None, &meters)?;
    let tls = gateway.listen.tls.as_ref().map(ServerTls::new).transpose()?;
    let in_use = |address: SocketAddr| format!("cannot listen on {address}");
    probe(gateway.listen.address).with_context(|| in_use(gateway.listen.address))?;
    let workers = gateway.workers.map_or_else(cores, std::num::NonZero::get);
    let listeners =
        listen(gateway.listen.address, workers).with_context(|| in_use(gateway.listen.address))?;
    let admin =
        std::net::TcpListener::bind(gateway.admin.address).with_context(|| in_use(gateway.admin.address))?;
    admin.set_nonblocking(true)?;
    let first = listeners.first().ok_or_else(|| anyhow!("no worker"))?;
    let addresses = Addresses { listen: first.local_addr()?, admin: admin.local_addr()? };

    let (journal, ledger) = open_stores(&gateway)?;
    let subjects = open_subjects(&gateway)?;
    let counting = counting::start(&gateway, &journal, &ledger, &meters, live.kinds(&meters))?;
    let shared = Shared::new(shared::Parts { live, meters, counting, journal, ledger, subjects, on_settled });
    let (phase, phases) = watch::channel(Phase::Serving);
    let (died, deaths) = mpsc::channel(workers);
    let threads = listeners
        .into_iter()
        .enumerate()
        .map(|(number, listener)| {
            let (shared, tls, phases, died) =
                (Arc::clone(&shared), tls.clone(), phases.clone(), died.clone());
            thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                let _ended = Ended(died);
                worker::run(shared, listener, tls, phases)
            })
        })
        .collect::<io::Result<Vec<_>>>()?;
    drop(died);

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let control = Control { shared: Arc::clone(&shared), gateway, prometheus, phase };
    let outcome = runtime.block_on(async {
        let admin_server = Admin::new(&shared, control.prometheus.clone(), token.as_deref());
        tokio::spawn(admin_server.serve(TcpListener::from_std(admin)?));
        control.run(Start { path, sources, tls, addresses, on_ready }, deaths).await
    });
    for thread in threads {
        match thread.join() {
            Ok(result) => result?,
            Err(_) => bail!("a worker panicked; see the log"),
        }
    }
    // From here on nothing can be admitted: what is in the journal is all there is.
    if let Some(remote) = &shared.remote {
        shared.resources.wait_idle(RELEASE_MAX);
        remote.stop();
    }
    if let Err(unshipped) = shared.ledger.shutdown(SHIP_MAX) {
        tracing::warn!(%unshipped, "the next start ships the rest");
    }
    shared.journal.shutdown();
    tracing::info!("stopped");
    outcome
}

/// Tells that a worker has ended, also by a panic.
struct Ended(mpsc::Sender<()>);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.try_send(());
    }
}

/// The thread that does everything but requests.
struct Control {
    shared: Arc<Shared>,
    gateway: Gateway,
    prometheus: PrometheusHandle,
    phase: watch::Sender<Phase>,
}

/// What the control thread begins with.
struct Start {
    path: PathBuf,
    sources: Sources,
    tls: Option<ServerTls>,
    addresses: Addresses,
    on_ready: Box<dyn FnOnce(Addresses)>,
}

impl Control {
    async fn run(&self, start: Start, mut deaths: mpsc::Receiver<()>) -> anyhow::Result<()> {
        let Start { path, sources, tls, addresses, on_ready } = start;
        let (mut signals, mut hang_up) = (Signals::new()?, signal(SignalKind::hangup())?);
        let mut reloader = Reloader::new(&self.shared, path, sources, tls);
        let mut poll = time::interval(POLL);
        let mut sample = time::interval(SAMPLE);
        let mut samples = 0u32;
        let mut sweeper = pin!(resources::sweep(Arc::clone(&self.shared)));
        self.shared.ready.store(true, Ordering::Release);
        tracing::info!(listen = %addresses.listen, admin = %addresses.admin, "serving");
        on_ready(addresses);
        loop {
            tokio::select! {
                _ = poll.tick() => reloader.look(false),
                _ = hang_up.recv() => reloader.look(true),
                _ = sample.tick() => {
                    samples = samples.wrapping_add(1);
                    self.sample(samples);
                    if self.shared.remote.as_ref().is_some_and(Remote::has_died) {
                        let _ = self.phase.send(Phase::Closing);
                        bail!("the thread that counts in Redis ended by itself; see the log");
                    }
                }
                () = &mut sweeper => {}
                () = signals.stop() => break,
                _ = deaths.recv() => {
                    let _ = self.phase.send(Phase::Closing);
                    bail!("a worker ended by itself; see the log");
                }
            }
        }
        self.drain(&mut signals).await;
        Ok(())
    }

    fn sample(&self, samples: u32) {
        let (shared, metrics) = (&self.shared, &self.shared.metrics);
        let gauge = |value: u64| value as f64;
        let flag = |value: bool| if value { 1.0 } else { 0.0 };
        if samples.is_multiple_of(SWEEP_EVERY_SAMPLES) {
            shared.counters.sweep(Mark(shared.ledger.shipped().get()), SUBJECT_IDLE_SWEEPS);
        }
        let (journal, ledger) = (shared.journal.status(), shared.ledger.status());
        metrics.connections.set(gauge(shared.connections.load(Ordering::Relaxed) as u64));
        metrics.subjects.set(gauge(shared.counters.len() as u64));
        metrics.journal_pending.set(gauge(ledger.pending_bytes));
        let oldest = ledger.oldest_unshipped.map_or(0, |at| worker::wall_clock().since(at));
        metrics.journal_lag.set(gauge(oldest.max(0).unsigned_abs() / 1000));
        metrics.journal_disk.set(gauge(journal.bytes_on_disk));
        metrics.journal_full.set(flag(journal.full));
        metrics.journal_failed.set(flag(journal.failed));
        metrics.in_flight.set(gauge(journal.in_flight.into()));
        metrics.llm_drains.set(gauge(shared.drains.load(Ordering::Relaxed) as u64));
        metrics.waiting.set(gauge(shared.lines.waiting() as u64));
        metrics.ledger_failing.set(flag(ledger.failing_since.is_some()));
        if let (Some(remote), Some(shown)) = (&shared.remote, &metrics.remote) {
            shown.show(&remote.status());
        }
        shared.subjects.expire();
        metrics.subjects_age.set(gauge(shared.subjects.age().as_secs()));
        for endpoint in shared.live().upstreams.iter().flat_map(|upstream| &upstream.endpoints) {
            endpoint.show();
        }
        self.prometheus.run_upkeep();
    }

    /// Readiness off, wait for load balancers to notice, let requests end, close.
    async fn drain(&self, signals: &mut Signals) {
        let shutdown = &self.gateway.shutdown;
        tracing::info!(delay = ?shutdown.delay, grace = ?shutdown.grace, "draining; a second signal stops at once");
        self.shared.ready.store(false, Ordering::Release);
        tokio::select! {
            () = time::sleep(shutdown.delay) => {}
            () = signals.stop() => {}
        }
        let end = Instant::now() + shutdown.grace;
        let _ = self.phase.send(Phase::Draining);
        tokio::select! {
            () = self.all_closed(end.min(Instant::now() + DRAIN_IDLE)) => {}
            () = signals.stop() => {}
        }
        let _ = self.phase.send(Phase::ClosingIdle);
        tokio::select! {
            () = self.all_closed(end) => {}
            () = signals.stop() => {}
        }
        let left = self.shared.connections.load(Ordering::Relaxed);
        if left > 0 {
            tracing::warn!(connections = left, "closing what did not end in time");
        }
        let _ = self.phase.send(Phase::Closing);
    }

    /// Ends when no client is connected, or at `end`.
    async fn all_closed(&self, end: Instant) {
        let mut look = time::interval(Duration::from_millis(20));
        while self.shared.connections.load(Ordering::Relaxed) > 0 && Instant::now() < end {
            look.tick().await;
        }
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn open_stores(gateway: &Gateway) -> anyhow::Result<(Arc<Journal>, Arc<Ledger>)> {
    let limits = &gateway.journal;
    let (journal, recovered) = Journal::open(JournalOptions {
        dir: gateway.data_dir.join("journal"),
        segment_bytes: limits.segment_bytes,
        bytes_max: limits.bytes_max,
        keep_shipped: match gateway.counters.store {
            CounterStore::Memory => Duration::ZERO,
            CounterStore::Redis(_) => counting::KEEP_SHIPPED,
        },
        requests_in_flight_max: u32::try_from(limits.requests_in_flight_max).unwrap_or(u32::MAX),
        durability: match gateway.durability {
            Durability::Process => tollgate_ledger::Durability::Process,
            Durability::Power => tollgate_ledger::Durability::Power,
        },
        unanswered: match limits.unanswered {
            Unanswered::Charge => tollgate_ledger::Unanswered::Charge,
            Unanswered::Release => tollgate_ledger::Unanswered::Release,
        },
    })?;
    if recovered.settlements_replayed > 0 || recovered.unanswered > 0 || recovered.corrupt > 0 {
        tracing::info!(?recovered, "journal recovered");
    }
    let ledger =
        Ledger::start(Arc::clone(&journal), ledger_options(gateway)?).context("cannot open the ledger")?;
    Ok((journal, Arc::new(ledger)))
}

/// The table of subjects, in the ledger's store.
fn open_subjects(gateway: &Gateway) -> anyhow::Result<Arc<Subjects>> {
    let subjects = Subjects::new(gateway.counters.subjects_max);
    let options = ledger_options(gateway)?;
    subjects
        .follow(|observer| Directory::start(&options, observer))
        .context("cannot read the table of subjects")?;
    Ok(subjects)
}

/// Where the ledger is.
pub(crate) fn ledger_options(gateway: &Gateway) -> anyhow::Result<LedgerOptions> {
    match &gateway.ledger {
        LedgerStore::Sqlite => Ok(LedgerOptions::Sqlite { path: ledger_path(&gateway.data_dir) }),
        LedgerStore::Postgres(store) => {
            let postgres = store.resolve(|name| env::var(name).ok());
            Ok(LedgerOptions::Postgres(postgres_options(postgres.map_err(|why| anyhow!("ledger: {why}"))?)))
        }
    }
}

fn postgres_options(postgres: Postgres) -> PostgresOptions {
    let Postgres { host, port, user, password, database, tls, ca } = postgres;
    PostgresOptions {
        host: match host {
            PostgresHost::Tcp(name) => tollgate_ledger::PostgresHost::Tcp(name),
            PostgresHost::Unix(dir) => tollgate_ledger::PostgresHost::Unix(dir),
        },
        port,
        user,
        password: password.map(|password| password.expose().to_owned()),
        database,
        tls: match tls {
            PostgresTls::Disable => tollgate_ledger::PostgresTls::Disable,
            PostgresTls::Prefer => tollgate_ledger::PostgresTls::Prefer,
            PostgresTls::Require => tollgate_ledger::PostgresTls::Require,
            PostgresTls::Verify => tollgate_ledger::PostgresTls::Verify { ca },
        },
    }
}

/// The embedded ledger.
pub(crate) fn ledger_path(data_dir: &Path) -> PathBuf {
    data_dir.join("ledger.sqlite3")
}

/// The administrator's token, if one is asked for.
pub(crate) fn admin_token(gateway: &Gateway) -> anyhow::Result<Option<String>> {
    let Some(name) = &gateway.admin.token_env else { return Ok(None) };
    match env::var(&**name) {
        Ok(token) if !token.is_empty() => Ok(Some(token)),
        // On loopback, without a token, only this machine can ask; elsewhere it must not be forgotten.
        _ if gateway.admin.address.ip().is_loopback() => Ok(None),
        _ => bail!(
            "admin.token_env: the environment variable {name} is not set, and admin.address is not loopback"
        ),
    }
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The configuration at `path`, or all of its mistakes.
pub(crate) fn load(path: &Path) -> anyhow::Result<Config> {
    tollgate_config::load(path).map_err(|mistakes| anyhow!("{mistakes}"))
}
