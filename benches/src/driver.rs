//! The driver: starts upstream, proxies and load as processes, each pinned to its core, and compares what they cost.

mod compare;
mod configuration;
mod contestant;
mod instructions;
pub(crate) mod proc;
mod servers;
mod stage;
mod streams;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;

use contestant::{Contestant, Kind};
use instructions::Task;
use stage::{Running, Stage};
use streams::StreamOptions;

/// A drain, a flush and a profile written at exit take less.
const STOP_MAX: Duration = Duration::from_secs(60);
/// Requests that are run under callgrind.
const REQUESTS_FEW: u64 = 2_000;
const REQUESTS_MANY: u64 = 12_000;

/// What to compare, and how.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Rounds; each drives every contestant once.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Seconds measured per contestant and round.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Seconds of load before each measurement.
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// Compare what several gateways need: counters in Redis, the ledger in Postgres, and nginx that counts in Redis.
    #[arg(long)]
    shared: bool,
    /// Keep load and upstream awake: then no proxy pays for waking them, which a slow one has to do more often.
    #[arg(long, conflicts_with_all = ["shared", "instructions"])]
    awake: bool,
    /// Compare these only.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Kind>,
    /// The gateway's binary; by default `tollgate` beside this program.
    #[arg(long)]
    tollgate: Option<PathBuf>,
    /// A profile-guided build of the gateway, as `cargo xtask dist` makes it.
    #[arg(long)]
    pgo: Option<PathBuf>,
    /// Count user-space instructions per request or chunk under callgrind instead of measuring time.
    #[arg(long)]
    instructions: bool,
    /// Keep callgrind's files in this directory, for `callgrind_annotate`.
    #[arg(long, requires = "instructions")]
    callgrind_out: Option<PathBuf>,
    #[command(flatten)]
    streams: StreamOptions,
    #[command(flatten)]
    cores: Cores,
}

/// Which core runs what.
#[derive(clap::Args, Clone, Copy)]
pub(crate) struct Cores {
    /// Core of the proxy under test.
    #[arg(long, default_value_t = 0)]
    proxy_core: u16,
    /// Core of load and upstream.
    #[arg(long, default_value_t = 1)]
    load_core: u16,
}

/// How to train an instrumented build.
#[derive(clap::Args)]
pub(crate) struct TrainOptions {
    /// The instrumented binary.
    #[arg(long)]
    binary: PathBuf,
    /// What kind of proxy the binary is.
    #[arg(long, value_enum, default_value = "tollgate")]
    kind: Kind,
    /// File that the profile is written to; `%p` and `%m` as in `LLVM_PROFILE_FILE`.
    #[arg(long)]
    profile: PathBuf,
    /// Requests to send.
    #[arg(long, default_value_t = 200_000)]
    requests: u64,
    #[command(flatten)]
    cores: Cores,
}

/// Compares all contestants and prints a table.
///
/// # Errors
/// When a contestant does not start, fails, or answers anything but 200.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let contestants = contestant::present(options)?;
    if options.streams.streams {
        return streams::run(options, &contestants);
    }
    let shared = contestants.iter().any(|contestant| contestant.kind.is_shared());
    let stage = Stage::set(options.cores, shared, options.awake)?;
    if options.instructions {
        let drive = |_: &Contestant, running: &Running, requests: u64| -> anyhow::Result<u64> {
            Ok(stage.load(running, &["--requests", &requests.to_string()])?.requests)
        };
        let (few, many) = (REQUESTS_FEW, REQUESTS_MANY);
        let task = Task { label: "", unit: "request", few, many, drive: &drive };
        instructions::run(&stage, &contestants, &task, options.callgrind_out.as_deref())
    } else {
        compare::run(&stage, &contestants, options)
    }
}

/// Drives one instrumented binary and ends it gently, so that it writes its profile.
///
/// # Errors
/// When the binary does not start, answers anything but 200, or does not end by itself.
pub(crate) fn train(options: &TrainOptions) -> anyhow::Result<()> {
    let stage = Stage::set(options.cores, options.kind.is_shared(), false)?;
    let contestant = Contestant::new(options.kind, "training", options.binary.clone());
    let profile = options.profile.to_str().context("the profile's path is not UTF-8")?;
    let running = stage.start(&contestant, &[], &[("LLVM_PROFILE_FILE", profile)])?;
    let report = stage.load(&running, &["--requests", &options.requests.to_string()])?;
    running.process.stop(STOP_MAX)?;
    println!("trained with {} requests", report.requests);
    Ok(())
}
