//! The bench: what one metered request costs, next to a bare hyper proxy and to nginx.
//!
//! One program, several parts: the driver (no subcommand) starts the others as processes of their own, so that each
//! can be pinned to a core and its CPU time read from `/proc`. `README.md` beside this crate says how to read the
//! tables.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the tables are this program's output")]
#![allow(clippy::float_arithmetic, reason = "medians and ratios of measured times")]

mod drain;
mod driver;
mod http1;
mod load;
mod origin;
mod ready;
mod streams;
mod yardstick;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// CPU, latency and instructions per request, or per chunk of a stream: Tollgate, a bare hyper proxy, nginx.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    options: driver::Options,
}

#[derive(Subcommand)]
enum Part {
    /// Drive one proxy with the bench load so that an instrumented build writes its profile.
    Train(driver::TrainOptions),
    /// The bare hyper proxy that the gateway is compared with.
    Yardstick(yardstick::Options),
    /// A cheap upstream which gives every request the same small answer.
    Origin(origin::Options),
    /// How fast a journal drains into SQLite and into a private Postgres.
    Drain(drain::Options),
    /// A cheap closed-loop client; prints its report as JSON.
    Load(load::Options),
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    match &cli.part {
        None => driver::run(&cli.options),
        Some(Part::Train(options)) => driver::train(options),
        Some(Part::Yardstick(options)) => yardstick::run(options),
        Some(Part::Origin(options)) => origin::run(options),
        Some(Part::Drain(options)) => drain::run(options),
        Some(Part::Load(options)) => load::run(options),
    }
}
