//! The command line.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line speaks")]

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use tollgate_ledger::Migrated;

use crate::{audit, check, demo, serve, subject};

/// Exit code for input that is wrong: configuration mistakes, or differences that the audit found.
const EXIT_WRONG: u8 = 2;

#[derive(Parser)]
#[command(name = "tollgate", version, about, long_about = LONG_ABOUT, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const LONG_ABOUT: &str = "\
A reverse proxy that meters. It stands in front of LLM, memory and document services, learns from
forwarded identity headers who is calling and on which tier, admits or refuses before the work is
done, measures what was really used, and writes every charge to a ledger exactly once.

Begin with `tollgate demo`.";

#[derive(Subcommand)]
enum Command {
    /// Serve: proxy, meter and enforce as gateway.toml says
    ///
    /// SIGTERM drains and ends with exit code 0; SIGHUP reloads at once. Files that change are reloaded
    /// within a second anyway.
    Serve {
        /// gateway.toml
        #[arg(default_value = "gateway.toml")]
        config: PathBuf,
    },
    /// Check gateway.toml and the tiers file that it names; print every mistake at once
    ///
    /// Ends with exit code 2 if there is a mistake.
    Check {
        /// gateway.toml
        #[arg(default_value = "gateway.toml")]
        config: PathBuf,
        /// Also show what changed since this older tier-limits.toml: who gains, who loses
        #[arg(long, value_name = "OLD")]
        diff: Option<PathBuf>,
    },
    /// Prove that journal, ledger, rollups and counters agree; print every difference
    ///
    /// Works on the data of a gateway that runs as well as of one that is stopped. Ends with exit code 2
    /// if there is a difference.
    Audit {
        /// gateway.toml; names the data directory, and the running gateway's admin address
        #[arg(default_value = "gateway.toml")]
        config: PathBuf,
        /// Audit this data directory instead, without asking a running gateway for its counters
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
    /// Make the ledger's tables, or bring them up to date; `serve` does so, too
    ///
    /// Several may do so at once. A schema that is newer than this program is left alone, with an error.
    Migrate {
        /// gateway.toml; names the ledger
        #[arg(default_value = "gateway.toml")]
        config: PathBuf,
    },
    /// Set, show or remove what is known of a user or an organisation: tier, time zone, billing anchor
    ///
    /// What is set here holds for requests that do not say it in their headers. Edits the table of subjects
    /// in the ledger that gateway.toml names; a gateway that runs takes them up within a second. Ends with
    /// exit code 2, and changes nothing, if there is a mistake.
    #[command(subcommand)]
    Subject(subject::Command),
    /// Run the gateway in front of three sample services, all on this machine
    ///
    /// Uses the example gateway.toml and tier-limits.toml, copied to a directory that it names, and
    /// prints what to try.
    Demo {
        /// Where configuration copies, journal and ledger go; a new temporary directory if not given
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve { config } => {
            serve::serve(serve::Options { config, on_settled: None, on_ready: Box::new(|_| {}) })
                .map(|()| ExitCode::SUCCESS)
        }
        Command::Check { config, diff } => check::check(&config, diff.as_deref()).map(code),
        Command::Audit { config, data_dir } => audit::audit(&config, data_dir.as_deref()).map(code),
        Command::Migrate { config } => migrate(&config).map(|()| ExitCode::SUCCESS),
        Command::Subject(command) => subject::run(command).map(code),
        Command::Demo { dir } => demo::demo(dir).map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("tollgate: {}", told(&error));
        ExitCode::from(EXIT_WRONG)
    })
}

fn migrate(config: &Path) -> anyhow::Result<()> {
    let Migrated { from, to } =
        tollgate_ledger::migrate(&serve::ledger_options(&serve::load(config)?.gateway)?)?;
    if from == to {
        println!("the ledger's schema is version {to} already");
    } else {
        println!("the ledger's schema is version {to} now; it was {from}");
    }
    Ok(())
}

/// An error and its causes, those left out that an earlier one has told already.
fn told(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !told.contains(&cause) {
            let colon = if told.is_empty() { "" } else { ": " };
            told = format!("{told}{colon}{cause}");
        }
    }
    told
}

fn code(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::from(EXIT_WRONG) }
}
