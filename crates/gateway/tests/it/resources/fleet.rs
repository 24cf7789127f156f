//! Levels and jobs of several gateways that share Redis and Postgres, and what may befall them.

use std::{
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use tollgate_testkit::{BOUND, Gateway, Postgres, Redis, eventually};

use super::store::{HOLD, JOBS_MAX, Op, STORAGE_MAX, Store, TIERS, TOP, routes};
use crate::{books, support};

/// What happens in the middle of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    RedisFlushed,
    Kill,
}

struct Fleet {
    gateways: Vec<Mutex<Gateway>>,
    redis: Redis,
    postgres: Postgres,
}

impl Fleet {
    fn start(store: &Store, time_limit: &str) -> Self {
        let (redis, postgres) = (Redis::start(), Postgres::new());
        let config = format!(
            "{TOP}[counters]\nstore = \"{}\"\n[ledger]\nstore = \"{}\"\n{}",
            redis.url(),
            postgres.url(),
            routes(store, "storage", time_limit)
        );
        let mut gateways: Vec<_> =
            (0..2).map(|_| support::gateway().config(&*config).tiers(TIERS).spawn()).collect();
        gateways.iter_mut().for_each(Gateway::wait_ready);
        Self { gateways: gateways.into_iter().map(Mutex::new).collect(), redis, postgres }
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.gateways.iter().map(|gateway| gateway.lock().unwrap().address()).collect()
    }

    fn strike(&self, fault: Fault) {
        match fault {
            Fault::None => {}
            Fault::RedisFlushed => {
                let _ = self.redis.command(&["FLUSHALL"]);
            }
            Fault::Kill => self.gateways[0].lock().unwrap().restart(),
        }
    }

    /// What the ledger has of a user, when all that was settled is there.
    fn sum(&self, user: &str, meter: &str) -> i64 {
        let rest = "which 0 are not shipped yet, 0 requests in flight";
        for gateway in &self.gateways {
            let gateway = gateway.lock().unwrap();
            assert!(eventually(BOUND * 3, || books::audit(&gateway).out.contains(rest)), "not shipped");
        }
        let sql = format!(
            "SELECT coalesce(sum(amount), 0) FROM usage_ledger WHERE user_id = '{user}' AND meter = '{meter}'"
        );
        self.postgres.sql("postgres", &sql).trim().parse().unwrap()
    }

    /// The lines of a meter, for whoever reads what went wrong.
    fn lines(&self, meter: &str) -> String {
        let columns = "request_id, resource, amount, estimated, status, at, metadata";
        let sql = format!("SELECT {columns} FROM usage_ledger WHERE meter = '{meter}' ORDER BY resource, at");
        self.postgres.sql("postgres", &sql)
    }

    fn assert_clean(&self) {
        for gateway in &self.gateways {
            books::assert_clean(&gateway.lock().unwrap());
        }
    }
}

fn levels(fault: Fault) {
    let store = Store::start();
    let fleet = Fleet::start(&store, "1h");
    let (addresses, stop, answered) = (fleet.addresses(), AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for client in 0..6u64 {
            let (addresses, stop, answered) = (&addresses, &stop, &answered);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(client);
                while !stop.load(Ordering::SeqCst) {
                    let (id, bytes) = (format!("doc-{}", random.u8(..3)), random.i64(0..60_000));
                    let op = match random.u8(..4) {
                        0 => Op::post("ann", &id, bytes),
                        1 | 2 => Op::put("ann", &id, bytes),
                        _ => Op::delete("ann", &id),
                    };
                    op.insist(addresses[random.usize(..addresses.len())]);
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for round in 0..3 {
            let moment = answered.load(Ordering::SeqCst) + 40;
            let due = || answered.load(Ordering::SeqCst) >= moment;
            assert!(eventually(BOUND * 3, due), "round {round} stands still");
            fleet.strike(fault);
        }
        stop.store(true, Ordering::SeqCst);
    });
    let bytes = store.bytes_of("ann");
    let agreed = eventually(BOUND, || fleet.sum("ann", "storage") == bytes);
    assert!(agreed, "{fault:?}: ledger {}, store {bytes}", fleet.sum("ann", "storage"));
    fleet.assert_clean();
    // What an answer tells may be what the gateway heard last: what it admits is what is left, to the byte.
    for address in addresses {
        let post = |id: &str, bytes: i64| Op::post("ann", id, bytes).insist(address).status;
        let most = (post("most", STORAGE_MAX - bytes - HOLD), post("rest", HOLD), post("more", 1));
        assert_eq!(most, (201, 201, 429), "{fault:?}: {bytes} is there");
        for id in ["most", "rest"] {
            assert_eq!(Op::delete("ann", id).insist(address).status, 204);
        }
    }
}

#[test]
fn several_gateways_have_one_level() {
    levels(Fault::None);
}

#[test]
fn a_redis_that_is_flushed_changes_no_level() {
    levels(Fault::RedisFlushed);
}

#[test]
fn a_gateway_that_is_killed_changes_no_level() {
    levels(Fault::Kill);
}

fn jobs(fault: Fault) {
    let store = Store::start();
    let fleet = Fleet::start(&store, "1h");
    let (addresses, stop, answered) = (fleet.addresses(), AtomicBool::new(false), AtomicUsize::new(0));
    // A start that a kill interrupted runs and is in no ledger, until its client asks again.
    let over = if fault == Fault::Kill { 3 } else { 0 };
    thread::scope(|scope| {
        for client in 0..6u64 {
            let (addresses, stop, answered, store) = (&addresses, &stop, &answered, &store);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(client);
                for number in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let id = format!("job-{client}-{number}");
                    let started = Op::start("ann", &id).insist(addresses[random.usize(..addresses.len())]);
                    assert!([202, 429].contains(&started.status), "{started:?}");
                    assert!(
                        store.running("ann") <= JOBS_MAX + over,
                        "{fault:?}: more jobs than there may be"
                    );
                    if store.things().jobs.contains_key(&("ann".to_owned(), id.clone())) {
                        store.finish("ann", &id);
                    }
                    let told = Op::state("ann", &id).insist(addresses[random.usize(..addresses.len())]);
                    assert!([200, 404].contains(&told.status), "{told:?}");
                    answered.fetch_add(1, Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(random.u64(..3)));
                }
            });
        }
        for round in 0..3 {
            let moment = answered.load(Ordering::SeqCst) + 30;
            let due = || answered.load(Ordering::SeqCst) >= moment;
            assert!(eventually(BOUND * 3, due), "round {round} stands still");
            fleet.strike(fault);
        }
        stop.store(true, Ordering::SeqCst);
    });
    let over = eventually(BOUND, || fleet.sum("ann", "jobs") == 0);
    assert!(over, "{fault:?}: {}", fleet.lines("jobs"));
    for (number, address) in addresses.iter().cycle().take(3).enumerate() {
        let id = format!("last-{number}");
        let started = eventually(BOUND, || Op::start("ann", &id).insist(*address).status == 202);
        assert!(started, "{fault:?}: a slot has leaked");
    }
    for address in addresses {
        assert_eq!(Op::start("ann", "over").insist(address).status, 429);
    }
    fleet.assert_clean();
}

#[test]
fn several_gateways_have_one_number_of_slots() {
    jobs(Fault::None);
}

#[test]
fn a_redis_that_is_flushed_frees_no_slot_and_keeps_none() {
    jobs(Fault::RedisFlushed);
}

#[test]
fn a_gateway_that_is_killed_keeps_no_slot() {
    jobs(Fault::Kill);
}

#[test]
fn a_stuck_job_of_a_gateway_that_never_comes_back_is_freed() {
    let store = Store::start();
    let fleet = Fleet::start(&store, "3s");
    let addresses = fleet.addresses();
    for number in 0..3 {
        assert_eq!(Op::start("ann", &format!("job-{number}")).insist(addresses[1]).status, 202);
    }
    assert_eq!(fleet.sum("ann", "jobs"), 3);
    fleet.gateways[1].lock().unwrap().kill_9();
    // The other one looks through the ledger when it starts, and then once a minute.
    fleet.gateways[0].lock().unwrap().restart();
    let freed = || Op::start("ann", "next").insist(addresses[0]).status == 202;
    assert!(eventually(BOUND * 2, freed));
}
