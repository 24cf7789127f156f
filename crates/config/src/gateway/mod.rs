//! `gateway.toml` as validated domain types, one file per table.

mod charge;
mod charge_on;
mod header;
mod host;
mod identity;
mod listen;
mod llm;
mod models;
mod path;
mod postgres;
mod process;
mod redis;
mod route;
mod stores;
mod subjects;
mod upstream;
mod url;
mod usage_pointers;

use std::{
    num::NonZeroUsize,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

pub(crate) use charge::read_ratio;
pub use charge::{
    Amount, Condition, Conditions, IdPlace, Job, LlmMeasure, Measure, Measured, MemorySize, Missing, Place,
    RouteCharge, charged_meters,
};
pub use charge_on::ChargeOn;
pub use identity::{Anonymous, Identity, Signature};
pub use listen::{Admin, Listen, TlsFiles};
pub use llm::{ClientGone, Llm, LlmOptions};
pub use models::ModelLimits;
pub use postgres::{Postgres, PostgresHost, PostgresStore, PostgresTls, PostgresUrl, Secret};
pub use process::{Log, LogFormat, LogLevel, Shutdown};
pub use redis::{Redis, RedisKind, RedisStore, RedisUrl};
pub use route::Route;
pub use stores::{CounterStore, Counters, JournalLimits, LedgerStore, Unanswered};
pub use subjects::Subjects;
use toml::{Spanned, de::DeTable};
pub use upstream::{Health, Protocol, Upstream, UpstreamIndex};
pub use url::Url;
pub use usage_pointers::UsagePointers;

use crate::{
    item::Item,
    names::Names,
    number::Unit,
    report::{Flaw, Report},
    section::Section,
};

/// The tiers file where `gateway.toml` names none.
pub(crate) const TIERS_DEFAULT: &str = "tier-limits.toml";
const DATA_DIR_DEFAULT: &str = "data";

/// More threads than the largest machines have cores only wait for each other.
const WORKERS_BOUNDS: RangeInclusive<usize> = 1..=1024;

/// All of `gateway.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// The tiers file. Like every path here, relative ones are already joined to the folder of
    /// `gateway.toml`.
    pub tiers_path: PathBuf,
    /// Where the journal and the embedded ledger live.
    pub data_dir: PathBuf,
    /// What an answered request survives.
    pub durability: Durability,
    /// Whether limits refuse.
    pub enforcement: Enforcement,
    /// Threads that serve requests; `None` for one per core.
    pub workers: Option<NonZeroUsize>,
    /// The metered side.
    pub listen: Listen,
    /// The operator's side.
    pub admin: Admin,
    /// Who is believed about who is calling.
    pub identity: Identity,
    /// Where quotas are counted.
    pub counters: Counters,
    /// Where events end up.
    pub ledger: LedgerStore,
    /// Bounds of the journal.
    pub journal: JournalLimits,
    /// How the table of subjects is looked up.
    pub subjects: Subjects,
    /// How the process ends.
    pub shutdown: Shutdown,
    /// What is logged, and how.
    pub log: Log,
    /// Bounds of what is done for requests to models.
    pub llm: Llm,
    /// What models can take and write at most, most specific pattern first.
    pub models: Vec<ModelLimits>,
    /// Every upstream, in the file's order; not empty.
    pub upstreams: Vec<Upstream>,
    /// Every route, in the file's order; not empty.
    pub routes: Vec<Route>,
}

/// What the events of an answered request survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process, `kill -9` included.
    Process,
    /// The loss of power: the journal is synced before the answer.
    Power,
}

/// Whether limits refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enforcement {
    /// Beyond a hard limit, requests are refused.
    Enforce,
    /// Everything is counted and warned about, nothing is refused for a quota.
    Observe,
}

/// What a reader of this file needs besides its table.
#[derive(Clone, Copy, Debug)]
struct Reader<'c> {
    /// The path of `gateway.toml`.
    file: &'c Path,
    names: Names<'c>,
}

impl Reader<'_> {
    /// The file that `item` names.
    fn file(self, item: &Item<'_>) -> Option<PathBuf> {
        let name = item.string("the path of a file")?;
        if name.is_empty() || name.contains('\0') {
            item.wrong(Flaw::new("this names no file", "write the path of a file"));
            return None;
        }
        Some(beside(self.file, name))
    }
}

/// `name`, relative to the folder of `file`.
pub(crate) fn beside(file: &Path, name: &str) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(name)
}

/// Reads all of `gateway.toml`. What had a mistake is left out or at its default in the result.
pub(crate) fn read<'a>(
    report: &'a Report<'a>,
    tree: &'a Spanned<DeTable<'a>>,
    file: &Path,
    plans: Option<&tollgate_core::Plans>,
) -> Gateway {
    let reader = Reader { file, names: Names(plans) };
    Section::read_all(report, (String::new(), 0..0), Some(tree.get_ref()), |root| Gateway::read(root, reader))
}

impl Gateway {
    fn read(root: &mut Section<'_>, reader: Reader<'_>) -> Self {
        let file = |root: &mut Section<'_>, key, default| {
            root.or(key, beside(reader.file, default), |item| reader.file(item))
        };
        let listen = root.table("listen", |section| Listen::read(section, reader));
        let admin = root.table("admin", |section| Admin::read(section, &listen));
        let ledger = root.table("ledger", |section| LedgerStore::read(section, reader));
        let upstreams = root.need("upstreams", "a table for each service, as in [upstreams.llm]");
        let upstreams = upstreams.map(|item| item.table_or_empty(|all| upstream::read_all(all, reader)));
        let upstreams = upstreams.unwrap_or_default();
        let routes = root.need("routes", "a table for each path that is served, as in [[routes]]");
        let routes = routes.map(|item| route::read_all(&item, &upstreams, reader)).unwrap_or_default();
        Self {
            tiers_path: file(root, "tiers", TIERS_DEFAULT),
            data_dir: file(root, "data_dir", DATA_DIR_DEFAULT),
            durability: root.or("durability", Durability::Process, |item| {
                item.one_of(&[("process", Durability::Process), ("power", Durability::Power)])
            }),
            enforcement: root.or("enforcement", Enforcement::Enforce, |item| {
                item.one_of(&[("enforce", Enforcement::Enforce), ("observe", Enforcement::Observe)])
            }),
            workers: root
                .maybe("workers", |item| NonZeroUsize::new(item.amount_in(Unit::Count, WORKERS_BOUNDS)?)),
            listen,
            admin,
            identity: root.table("identity", |section| Identity::read(section, reader)),
            counters: root.table("counters", |section| Counters::read(section, ledger.as_ref())),
            ledger: ledger.unwrap_or(LedgerStore::Sqlite),
            journal: root.table("journal", JournalLimits::read),
            subjects: root.table("subjects", Subjects::read),
            shutdown: root.table("shutdown", Shutdown::read),
            log: root.table("log", Log::read),
            llm: root.table("llm", Llm::read),
            models: root.table("models", models::read_all),
            upstreams,
            routes,
        }
    }
}

/// The name of an environment variable. A wrong one is never shown: it may be the secret itself.
fn environment_name(item: &Item<'_>) -> Option<Box<str>> {
    let name = item.string("the name of an environment variable")?;
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let starts = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if !starts || !name.bytes().all(legal) {
        let message = "this is not the name of an environment variable";
        item.wrong(Flaw::new(message, "write the variable's name, not its value: letters, digits and \"_\""));
        return None;
    }
    Some(name.into())
}
