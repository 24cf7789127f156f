//! What several gateways would share: a private Redis for each contestant that has one, and one Postgres.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use tollgate_testkit::{Postgres, Redis};

use super::configuration::Stores;

/// As a ledger that may not lose anything is run.
const POSTGRES_SETTINGS: [&str; 4] =
    ["fsync=on", "full_page_writes=on", "shared_buffers=256MB", "max_wal_size=1GB"];
/// Of the contestants with a ledger in Postgres.
const POSTGRES: &str = "bench_postgres";
const LEASES: &str = "bench_leases";

/// The servers; end when dropped.
pub(super) struct Servers {
    leases: Redis,
    lua: Redis,
    postgres: Postgres,
}

impl Servers {
    /// Starts them on the cores that this thread may use.
    pub(super) fn start() -> Self {
        let postgres = Postgres::with_settings(&POSTGRES_SETTINGS);
        for database in [POSTGRES, LEASES] {
            postgres.create_database(database);
        }
        let (leases, lua) = (Redis::start(), Redis::start());
        prefer(&leases);
        prefer(&lua);
        Self { leases, lua, postgres }
    }

    /// Counters in memory, the ledger in Postgres.
    pub(super) fn postgres(&self) -> Stores {
        Stores { ledger: self.postgres.url_of(POSTGRES), ..Stores::of_its_own() }
    }

    /// Counters in Redis, the ledger in Postgres.
    pub(super) fn redis_and_postgres(&self) -> Stores {
        Stores { counters: self.leases.url(), ledger: self.postgres.url_of(LEASES) }
    }

    /// The Redis that the gateway shares its counters through.
    pub(super) fn leases(&self) -> SocketAddr {
        self.leases.address()
    }

    /// The Redis that nginx counts in.
    pub(super) fn lua(&self) -> SocketAddr {
        self.lua.address()
    }
}

/// Lets a Redis have its turn before the load, which is always busy on the same core: as on a core of its own. Only
/// root may; otherwise it waits.
fn prefer(redis: &Redis) {
    let info = redis.command(&["INFO", "server"]);
    if let Some(pid) = info.lines().find_map(|line| line.strip_prefix("process_id:")) {
        let mut renice = Command::new("renice");
        renice.args(["-n", "-10", "-p", pid.trim()]).stdout(Stdio::null()).stderr(Stdio::null());
        let _ = renice.status();
    }
}
