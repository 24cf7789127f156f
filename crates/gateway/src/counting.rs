//! Where quotas are counted: in the process, or in Redis with the journal and the ledger behind it.

use std::{env, sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow};
use tollgate_config::{CounterStore, Gateway, RedisKind, Secret};
use tollgate_core::{Scope, Span, UnixMillis};
use tollgate_ledger::{Journal, Ledger, LoadRequest, Position, Subject};
use tollgate_quota::{
    Counters, Kinds, LedgerSums, Mark, MeterId, RedisAddress, Remote, RemoteOptions, Replay, Reply, Source,
};

use crate::{meters::MeterIds, worker::wall_clock};

/// How long shipped settlements are kept in the journal: an instance that comes back finds there what it
/// spent since it last told Redis, which it does at least once a minute.
pub(crate) const KEEP_SHIPPED: Duration = Duration::from_secs(150);
/// A gateway that the ledger's database has not seen for so long has ended or is cut off from it.
const ALIVE_WITHIN: Duration = Duration::from_secs(5);

/// The counters, and the thread that shares them, if they are shared.
pub(crate) struct Counting {
    pub(crate) counters: Arc<Counters>,
    pub(crate) remote: Option<Remote>,
}

/// Starts to count where `gateway` says.
pub(crate) fn start(
    gateway: &Gateway,
    journal: &Arc<Journal>,
    ledger: &Arc<Ledger>,
    meters: &Arc<MeterIds>,
    kinds: Kinds,
) -> anyhow::Result<Counting> {
    let subjects_max = gateway.counters.subjects_max;
    let CounterStore::Redis(_) = &gateway.counters.store else {
        return Ok(Counting { counters: Arc::new(Counters::new(subjects_max)), remote: None });
    };
    let address = redis_address(gateway)?.ok_or_else(|| anyhow!("counters.store names no Redis"))?;
    let counters = Arc::new(Counters::leased(subjects_max, Remote::gate(&address)));
    let source =
        Books { journal: Arc::clone(journal), ledger: Arc::clone(ledger), meters: Arc::clone(meters) };
    let options =
        RemoteOptions { address, source: Arc::new(source), replay: replay(journal)?, kinds, exact: false };
    let remote = Remote::start(Arc::clone(&counters), options).context("cannot count in Redis")?;
    Ok(Counting { counters, remote: Some(remote) })
}

/// Where Redis is, if quotas are counted there.
pub(crate) fn redis_address(gateway: &Gateway) -> anyhow::Result<Option<RedisAddress>> {
    let CounterStore::Redis(store) = &gateway.counters.store else { return Ok(None) };
    let redis = store.resolve(|name| env::var(name).ok());
    let redis = redis.map_err(|message| anyhow!("counters.store: {message}"))?;
    let mut urls: Vec<String> = redis.urls.iter().map(|url| url.expose().to_owned()).collect();
    let address = match redis.kind {
        RedisKind::Single => RedisAddress::Single(urls.pop().unwrap_or_default()),
        RedisKind::Sentinel { master, tls } => {
            let password = redis.password.as_ref().map(Secret::expose).map(str::to_owned);
            RedisAddress::Sentinel { urls, master, password, tls }
        }
        RedisKind::Cluster => RedisAddress::Cluster(urls),
    };
    address.check().context("counters.store")?;
    Ok(Some(address))
}

/// What earlier processes settled, as far as the journal still has it.
fn replay(journal: &Journal) -> anyhow::Result<Replay> {
    let end = Mark(journal.tail().get());
    let mut replay = Replay::new(Mark(0), end);
    let oldest = journal.replay(Position::new(0), &mut |position, settlement| {
        let mark = Mark(position.get());
        for charge in &settlement.charges {
            replay.add((Scope::User, settlement.user_id), charge.meter, settlement.at, mark, charge.amount);
            if let Some(org) = settlement.org_id {
                replay.add((Scope::Org, org), charge.meter, settlement.at, mark, charge.amount);
            }
        }
    });
    let oldest = oldest.context("cannot read the journal back")?;
    Ok(replay.from(Mark(oldest.get())))
}

/// The process's journal and ledger, as the shared store's thread sees them.
struct Books {
    journal: Arc<Journal>,
    ledger: Arc<Ledger>,
    meters: Arc<MeterIds>,
}

impl Source for Books {
    fn instance(&self) -> String {
        self.journal.id().simple().to_string()
    }

    fn now(&self) -> UnixMillis {
        wall_clock()
    }

    fn tail(&self) -> Mark {
        Mark(self.journal.tail().get())
    }

    fn flush(&self, reply: Reply<()>) {
        self.ledger.flush(self.journal.tail(), Box::new(move |flushed| reply(flushed.ok())));
    }

    fn sums(&self, (scope, id): (Scope, &str), sums: Vec<(MeterId, Span)>, reply: Reply<LedgerSums>) {
        let subject = match scope {
            Scope::User => Subject::User(id.to_owned()),
            Scope::Org => Subject::Org(id.to_owned()),
        };
        let named = |(meter, span): (MeterId, Span)| {
            (self.meters.name(meter).map(String::from).unwrap_or_default(), span)
        };
        let sums = sums.into_iter().map(named).collect();
        let reply = Box::new(move |loaded: Result<tollgate_ledger::Loaded, _>| {
            reply(loaded.ok().map(|loaded| {
                LedgerSums {
                    sums: loaded.sums,
                    watermarks: loaded
                        .watermarks
                        .into_iter()
                        .map(|(journal, position)| (journal.simple().to_string(), Mark(position.get())))
                        .collect(),
                }
            }));
        });
        self.ledger.load(LoadRequest { subject, sums, reached: Position::new(0), reply });
    }

    fn instances(&self, reply: Reply<Vec<String>>) {
        let reply = Box::new(move |journals: Result<Vec<uuid::Uuid>, _>| {
            let names =
                |journals: Vec<uuid::Uuid>| journals.iter().map(|id| id.simple().to_string()).collect();
            reply(journals.ok().map(names));
        });
        self.ledger.instances(ALIVE_WITHIN, reply);
    }

    fn meter(&self, id: MeterId) -> Option<Box<str>> {
        self.meters.name(id)
    }
}
