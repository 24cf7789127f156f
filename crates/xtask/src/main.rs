//! The project's chores: `cargo xtask test`, `ci`, `bench`, `dist`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "progress and summaries are this program's output"
)]

mod bench;
mod ci;
mod dist;
mod run;
mod test;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use run::Workspace;

/// The project's chores.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Install what the tests need, then run all tests.
    Test {
        /// Passed on to `cargo nextest run`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        nextest: Vec<String>,
    },
    /// Everything a change has to pass: fmt, clippy, docs, deny, test.
    Ci,
    /// Compare CPU, latency and instructions per request or chunk with a bare hyper proxy and nginx.
    Bench {
        /// Passed on to the bench; `--help` lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Build target/dist/tollgate with the profile of a bench run.
    Dist,
}

fn main() -> ExitCode {
    match do_chore(Cli::parse().chore) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn do_chore(chore: Chore) -> anyhow::Result<()> {
    let workspace = Workspace::find()?;
    match chore {
        Chore::Test { nextest } => test::run(&workspace, &nextest),
        Chore::Ci => ci::run(&workspace),
        Chore::Bench { args } => bench::run(&workspace, &args),
        Chore::Dist => dist::run(&workspace),
    }
}
