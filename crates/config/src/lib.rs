//! `gateway.toml` and `tier-limits.toml`: read, checked, explained, compared.
//!
//! Texts become validated domain types or a list of all their mistakes, each with file, line, column,
//! key and a suggestion. The raw form (a spanned TOML tree, walked by `Section` and `Item`) never
//! leaves this crate. Reading keeps two rules: a reader that returns `None` has recorded a mistake, and
//! a configuration is handed out only if nothing was recorded, so stand-in values never escape.

mod coverage;
mod diff;
mod duration;
mod gateway;
mod item;
mod mistake;
mod models;
mod money;
mod names;
mod nearest;
mod number;
mod plans;
mod report;
mod section;
mod sources;
mod text;

use std::path::Path;

pub use coverage::REQUEST_LIMITS_MAX;
pub use diff::{Change, Effect, diff};
pub use gateway::{
    Admin, Amount, Anonymous, ChargeOn, ClientGone, Condition, Conditions, CounterStore, Counters,
    Durability, Enforcement, Gateway, Health, IdPlace, Identity, Job, JournalLimits, LedgerStore, Listen,
    Llm, LlmMeasure, LlmOptions, Log, LogFormat, LogLevel, Measure, Measured, MemorySize, Missing,
    ModelLimits, Place, Postgres, PostgresHost, PostgresStore, PostgresTls, PostgresUrl, Protocol, Redis,
    RedisKind, RedisStore, RedisUrl, Route, RouteCharge, Secret, Shutdown, Signature, Subjects, TlsFiles,
    Unanswered, Upstream, UpstreamIndex, Url, UsagePointers, charged_meters,
};
pub use mistake::{Mistake, Mistakes, Position};
pub use nearest::{nearest, suggest};
pub use number::show_bytes;
pub use sources::{Source, Sources, read_sources};
use tollgate_core::Plans;

use crate::report::Report;

/// Both files, checked against each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// All of `gateway.toml`. Its tier, meter and upstream indices are positions in this very value: they
    /// mean nothing together with the plans of another `Config`.
    pub gateway: Gateway,
    /// All of `tier-limits.toml`.
    pub plans: Plans,
}

/// Reads and checks `gateway.toml` and the tiers file that it names. Relative paths in it are relative to
/// its own folder.
///
/// # Errors
/// All mistakes of both files.
pub fn load(gateway_toml: &Path) -> Result<Config, Mistakes> {
    parse(&read_sources(gateway_toml)?)
}

/// Checks a tiers file by itself, whatever routes charge.
///
/// # Errors
/// All mistakes of the file.
pub fn parse_plans(tiers: &Source) -> Result<Plans, Mistakes> {
    let report = Report::new(&tiers.path, &tiers.text);
    let plans = report.tree().map(|tree| plans::read(&report, &tree).plans);
    let mistakes = report.into_mistakes();
    plans.filter(|_| mistakes.is_empty()).ok_or_else(|| Mistakes::of(mistakes))
}

/// Checks both files from their texts. Reads no file: whether certificates exist is not looked at.
///
/// # Errors
/// All mistakes of both files.
pub fn parse(sources: &Sources) -> Result<Config, Mistakes> {
    let Sources { gateway, tiers } = sources;
    let tiers_report = Report::new(&tiers.path, &tiers.text);
    let gateway_report = Report::new(&gateway.path, &gateway.text);
    let (tiers_tree, gateway_tree) = (tiers_report.tree(), gateway_report.tree());
    let draft = tiers_tree.as_ref().map(|tree| plans::read(&tiers_report, tree));
    let names = draft.as_ref().map(|draft| &draft.plans);
    let read = gateway_tree.as_ref().map(|tree| gateway::read(&gateway_report, tree, &gateway.path, names));
    if let (Some(draft), Some(gateway)) = (&draft, &read) {
        coverage::check(&tiers_report, draft, &gateway.routes);
        if let CounterStore::Redis(_) = gateway.counters.store {
            coverage::check_size(&tiers_report, draft);
        }
    }
    let mut mistakes = gateway_report.into_mistakes();
    mistakes.extend(tiers_report.into_mistakes());
    match (read, draft) {
        (Some(gateway), Some(draft)) if mistakes.is_empty() => Ok(Config { gateway, plans: draft.plans }),
        _ => Err(Mistakes::of(mistakes)),
    }
}
