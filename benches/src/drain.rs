//! How fast a journal that has piled up goes into the ledger: SQLite, and a private Postgres that syncs.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use tollgate_core::{Charge, RequestKey, SettledBy, Settlement, UnixMillis};
use tollgate_ledger::{
    Durability, Journal, JournalOptions, Ledger, LedgerOptions, OpenError, PostgresHost, PostgresOptions,
    PostgresTls, Unanswered,
};
use tollgate_testkit::Postgres;

/// When the first request was admitted: 2026-11-22T20:00:00Z.
const START_MILLIS: i64 = 1_795_377_600_000;
const METERS: [&str; 2] = ["api_calls", "llm_tokens"];
/// How long all of it may take: the machine is broken if it takes longer.
const DRAIN_MAX: Duration = Duration::from_secs(600);
/// As the gateway's own.
const SEGMENT_BYTES: u64 = 8 << 20;

/// What Postgres spends its time on: a name, and what its log says of the statements.
const STEPS: [(&str, &str); 7] = [
    ("COPY", "COPY usage_ledger"),
    ("COPY to staging", "COPY tollgate_staging"),
    ("insert", "INSERT INTO usage_ledger"),
    ("minutes", "INSERT INTO usage_minutely"),
    ("hours", "INSERT INTO usage_hourly"),
    ("days", "INSERT INTO usage_daily"),
    ("commit", "statement: COMMIT"),
];

/// What is drained.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only into this store.
    #[arg(long)]
    only: Option<Store>,
    /// Settlements in the journal, each of two events.
    #[arg(long, default_value_t = 200_000)]
    settlements: u32,
    /// Users that they are of.
    #[arg(long, default_value_t = 1000)]
    users: u32,
    /// Settlements that arrive in a second: decides how many sums there are.
    #[arg(long, default_value_t = 10_000)]
    arrival: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Store {
    Sqlite,
    Postgres,
}

/// Drains the same journal into each store and prints how fast that was.
///
/// # Errors
/// When a store fails.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    println!("| store | events | journal events/s | drain s | drain events/s |");
    println!("|---|---|---|---|---|");
    if options.only != Some(Store::Postgres) {
        let home = tempfile::tempdir()?;
        drain("sqlite", options, LedgerOptions::Sqlite { path: home.path().join("ledger.sqlite3") })?;
    }
    if options.only != Some(Store::Sqlite) {
        let settings = [
            "fsync=on",
            "full_page_writes=on",
            "shared_buffers=256MB",
            "max_wal_size=1GB",
            "log_min_duration_statement=0",
        ];
        let server = Postgres::with_settings(&settings);
        drain("postgres", options, LedgerOptions::Postgres(at(&server)))?;
        let (log, events) = (server.logs(), options.events());
        for (step, needle) in STEPS {
            let millis = spent(&log, needle);
            if millis > 0.0 {
                println!(
                    "{step}: {millis:.0} ms in the server, {:.0} events/s",
                    events as f64 * 1000.0 / millis
                );
            }
        }
    }
    Ok(())
}

impl Options {
    fn events(&self) -> u64 {
        u64::from(self.settlements) * METERS.len() as u64
    }
}

fn at(server: &Postgres) -> PostgresOptions {
    PostgresOptions {
        host: PostgresHost::Tcp("127.0.0.1".to_owned()),
        port: server.port(),
        user: server.user().to_owned(),
        password: Some(server.password().to_owned()),
        database: "postgres".to_owned(),
        tls: PostgresTls::Disable,
    }
}

fn drain(name: &str, options: &Options, store: LedgerOptions) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (journal, _) = Journal::open(JournalOptions {
        dir: dir.path().join("journal"),
        segment_bytes: SEGMENT_BYTES,
        bytes_max: 8 << 30,
        keep_shipped: Duration::ZERO,
        requests_in_flight_max: 1024,
        durability: Durability::Process,
        unanswered: Unanswered::Charge,
    })?;
    let started = Instant::now();
    for number in 0..options.settlements {
        settle(&journal, number, options)?;
    }
    let filled = started.elapsed();
    let started = Instant::now();
    let ledger = Ledger::start(Arc::clone(&journal), store)?;
    while ledger.shipped() < journal.tail() {
        ensure!(started.elapsed() < DRAIN_MAX, "not drained after {DRAIN_MAX:?}: {:?}", ledger.status());
        flush(&ledger, &journal)?;
    }
    let drained = started.elapsed();
    ledger.shutdown(DRAIN_MAX)?;
    let events = options.events();
    println!(
        "| {name} | {events} | {:.0} | {:.2} | {:.0} |",
        events as f64 / filled.as_secs_f64(),
        drained.as_secs_f64(),
        events as f64 / drained.as_secs_f64(),
    );
    Ok(())
}

/// Bits as random as those of the gateway's keys, so that ids of a millisecond are in no order; the same in each run.
fn scattered(number: u32) -> u128 {
    u128::from(number).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) >> 40
}

/// Waits for a while; that it takes longer is no error.
fn flush(ledger: &Ledger, journal: &Journal) -> anyhow::Result<()> {
    let (sender, receiver) = mpsc::channel();
    ledger.flush(
        journal.tail(),
        Box::new(move |flushed| {
            let _ = sender.send(flushed);
        }),
    );
    let _ = receiver.recv().context("the ledger's answer")?;
    Ok(())
}

fn settle(journal: &Arc<Journal>, number: u32, options: &Options) -> anyhow::Result<()> {
    let at = UnixMillis(START_MILLIS + i64::from(number) * 1000 / i64::from(options.arrival.max(1)));
    let user = format!("user-{}", number.wrapping_mul(2_654_435_761) % options.users.max(1));
    let request_id = format!("0199f5a6-1c6b-4d0e-8f63-{number:012}");
    let charge = |meter| Charge { meter, amount: 17, estimated: false };
    let settlement = Settlement {
        key: RequestKey::new(at, scattered(number)),
        at,
        user_id: &user,
        org_id: Some("analytical-engines"),
        tier: "professional",
        route: "/api/v1/llm/",
        method: "POST",
        status: 200,
        duration_ms: 12,
        request_id: &request_id,
        resource: None,
        metadata: None,
        settled_by: SettledBy::Exchange,
        charges: METERS.map(charge).into_iter().collect(),
    };
    loop {
        match journal.open_request(&settlement) {
            Ok(request) => {
                request.settle(&settlement);
                return Ok(());
            }
            // The keeper makes the next segment.
            Err(OpenError::Full) => thread::yield_now(),
            Err(error) => return Err(anyhow!(error)),
        }
    }
}

/// Milliseconds that the server logged for statements with `needle`.
fn spent(log: &str, needle: &str) -> f64 {
    let ended = |line: &&str| line.contains("duration: ") && line.contains(needle);
    // A statement is prepared, bound and executed: each has its line.
    let statements = log.lines().filter(ended);
    statements
        .filter_map(|line| line.split("duration: ").nth(1)?.split(' ').next()?.parse::<f64>().ok())
        .sum()
}
