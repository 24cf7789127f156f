//! Promises 1 to 3 across instances: several gateways, one Redis, one Postgres, and what may befall them.
//!
//! `TOLLGATE_FLEET=full` runs with the numbers of a small production: 3 gateways, 64 clients, 200 subjects.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tollgate_testkit::{Answer, BOUND, Gateway, Origin, Postgres, Redis, Wire, eventually};

use crate::{books, shared, support};

/// How large a run is.
#[derive(Clone, Copy, Debug)]
struct Scale {
    gateways: usize,
    clients: usize,
    subjects: u32,
    /// Units that each subject may use.
    limit: i64,
    /// How long Redis hangs.
    redis_away: Duration,
    /// How long Postgres is stopped.
    postgres_away: Duration,
}

/// What happens in the middle of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// An instance is killed and started again.
    Kill,
    RedisPaused,
    RedisFlushed,
    PostgresStopped,
}

/// The largest cost of one request.
const COST_MAX: u8 = 7;
/// A run that takes longer stands still.
const RUN_MAX: Duration = Duration::from_secs(240);
/// Before a client tries again what could not be decided.
const RETRY: Duration = Duration::from_millis(10);

struct Fleet {
    gateways: Vec<Mutex<Gateway>>,
    redis: Mutex<Redis>,
    postgres: Mutex<Postgres>,
    _origin: Origin,
}

/// What the clients saw.
#[derive(Debug, Default)]
struct Seen {
    /// Request id to user and cost, of each answered with 200.
    admitted: HashMap<String, (u32, i64)>,
    /// Users of whom a request for one unit was refused.
    exhausted: HashSet<u32>,
    refused: usize,
    /// Answers that decided nothing, by status; 0 for a connection that broke.
    undecided: HashMap<u16, usize>,
}

/// The figures of a run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Figures {
    over_admitted: i64,
    falsely_refused: i64,
    lost: usize,
    doubled: usize,
}

fn scale() -> Scale {
    if std::env::var("TOLLGATE_FLEET").is_ok_and(|size| size == "full") {
        let (redis_away, postgres_away) = (Duration::from_secs(5), Duration::from_secs(60));
        return Scale { gateways: 3, clients: 64, subjects: 200, limit: 100, redis_away, postgres_away };
    }
    let (redis_away, postgres_away) = (Duration::from_secs(1), Duration::from_secs(2));
    Scale { gateways: 3, clients: 12, subjects: 24, limit: 60, redis_away, postgres_away }
}

fn tiers(limit: i64) -> String {
    format!(
        "default_tier = \"small\"\n[meters]\ncalls = {{ unit = \"calls\" }}\nunits = {{ unit = \"bytes\" }}\n\
         [tiers.small.limits]\ncalls = \"1_000_000/month\"\nunits = \"{limit}/lifetime\"\n"
    )
}

impl Fleet {
    fn start(scale: Scale) -> Self {
        let origin = Origin::builder().otherwise(|_| Answer::json("{}")).start();
        let (redis, postgres) = (Redis::start(), Postgres::new());
        let charge = r#"{ meter = "calls" }, { meter = "units", amount = "request.bytes" }"#;
        let config = shared::config(&origin, &redis, &postgres, charge);
        let gateway = |_| support::gateway().config(&*config).tiers(tiers(scale.limit)).spawn();
        let mut gateways: Vec<_> = (0..scale.gateways).map(gateway).collect();
        gateways.iter_mut().for_each(Gateway::wait_ready);
        Self {
            gateways: gateways.into_iter().map(Mutex::new).collect(),
            redis: Mutex::new(redis),
            postgres: Mutex::new(postgres),
            _origin: origin,
        }
    }

    fn strike(&self, fault: Fault, scale: Scale) {
        match fault {
            Fault::None => {}
            Fault::Kill => self.gateways[0].lock().unwrap().restart(),
            Fault::RedisPaused => {
                let redis = self.redis.lock().unwrap();
                redis.pause();
                // The fault itself: it lasts so long, and nothing is waited for.
                thread::sleep(scale.redis_away);
                redis.resume();
            }
            Fault::RedisFlushed => {
                let _ = self.redis.lock().unwrap().command(&["FLUSHALL"]);
            }
            Fault::PostgresStopped => {
                let mut postgres = self.postgres.lock().unwrap();
                postgres.stop();
                thread::sleep(scale.postgres_away);
                postgres.start();
            }
        }
    }

    /// All lines of the ledger, when everything that was settled is there: request, user, meter, amount.
    fn lines(&self) -> Vec<(String, u32, String, i64)> {
        let rest = "which 0 are not shipped yet, 0 requests in flight";
        for gateway in &self.gateways {
            let gateway = gateway.lock().unwrap();
            let shipped = eventually(BOUND * 3, || books::audit(&gateway).out.contains(rest));
            assert!(shipped, "not shipped: {:?}", books::audit(&gateway));
        }
        let sql = "SELECT request_id, substr(user_id, 6), meter, amount FROM usage_ledger";
        let text = self.postgres.lock().unwrap().sql("postgres", sql);
        let line = |line: &str| {
            let mut parts = line.split('|');
            let mut next = || parts.next().unwrap().to_owned();
            (next(), next().parse().unwrap(), next(), next().parse().unwrap())
        };
        text.lines().map(line).collect()
    }
}

/// Runs clients until nobody can get anything more; `fault` strikes when two fifths are used.
fn run(scale: Scale, fault: Fault) -> (Figures, Seen) {
    let fleet = Fleet::start(scale);
    let addresses: Vec<_> = fleet.gateways.iter().map(|g| g.lock().unwrap().address()).collect();
    let (seen, used, done) = (Mutex::new(Seen::default()), AtomicI64::new(0), AtomicBool::new(false));
    let numbers = AtomicUsize::new(0);
    let total = scale.limit * i64::from(scale.subjects);
    let every = usize::try_from(scale.subjects).unwrap();
    let began = Instant::now();
    thread::scope(|scope| {
        for client in 0..scale.clients {
            let (seen, used, done, numbers, addresses) = (&seen, &used, &done, &numbers, &addresses);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(client as u64);
                let mut wires: Vec<Option<Wire>> = addresses.iter().map(|_| None).collect();
                while !done.load(Ordering::SeqCst) && began.elapsed() < RUN_MAX {
                    let user = random.u32(..scale.subjects);
                    if seen.lock().unwrap().exhausted.contains(&user) {
                        let exhausted = seen.lock().unwrap().exhausted.len();
                        done.fetch_or(exhausted == every, Ordering::SeqCst);
                        continue;
                    }
                    let cost = random.u8(1..=COST_MAX);
                    let at = random.usize(..addresses.len());
                    let id = format!("{}", numbers.fetch_add(1, Ordering::SeqCst));
                    let wire = wires[at].take().or_else(|| Wire::try_connect(addresses[at]).ok());
                    let status = wire.map_or(0, |mut wire| {
                        let status = send(&mut wire, &id, user, cost);
                        wires[at] = (status != 0).then_some(wire);
                        status
                    });
                    let mut seen = seen.lock().unwrap();
                    match status {
                        200 => {
                            let cost = i64::from(cost);
                            seen.admitted.insert(id, (user, cost));
                            used.fetch_add(cost, Ordering::SeqCst);
                        }
                        429 => {
                            seen.refused += 1;
                            if cost == 1 {
                                seen.exhausted.insert(user);
                            }
                        }
                        status => {
                            *seen.undecided.entry(status).or_default() += 1;
                            drop(seen);
                            thread::sleep(RETRY);
                        }
                    }
                }
            });
        }
        let due = || used.load(Ordering::SeqCst) * 5 >= total * 2;
        assert!(eventually(RUN_MAX, due), "the clients stand still: {:?}", seen.lock().unwrap().undecided);
        fleet.strike(fault, scale);
    });
    let seen = seen.into_inner().unwrap();
    assert_eq!(seen.exhausted.len(), every, "not done in time: {:?}", seen.undecided);
    let figures = figures(&fleet, scale, &seen);
    for gateway in &fleet.gateways {
        books::assert_clean(&gateway.lock().unwrap());
    }
    (figures, seen)
}

fn send(wire: &mut Wire, id: &str, user: u32, cost: u8) -> u16 {
    let body = "x".repeat(cost.into());
    wire.send(format!(
        "POST / HTTP/1.1\r\nHost: gateway\r\nX-User-Id: user-{user}\r\nX-Request-Id: {id}\r\n\
         Content-Length: {cost}\r\n\r\n{body}"
    ));
    wire.response(false, BOUND).map_or(0, |answer| answer.status)
}

fn figures(fleet: &Fleet, scale: Scale, seen: &Seen) -> Figures {
    let lines = fleet.lines();
    let units = || lines.iter().filter(|(_, _, meter, _)| meter == "units");
    let mut used: HashMap<u32, i64> = (0..scale.subjects).map(|user| (user, 0)).collect();
    let mut times: HashMap<&str, usize> = HashMap::new();
    for (id, user, _, amount) in units() {
        *used.entry(*user).or_default() += amount;
        *times.entry(id).or_default() += 1;
    }
    Figures {
        over_admitted: used.values().map(|used| (used - scale.limit).max(0)).sum(),
        falsely_refused: used.values().map(|used| (scale.limit - used).max(0)).sum(),
        lost: seen.admitted.keys().filter(|id| !times.contains_key(&***id)).count(),
        doubled: times.values().filter(|times| **times > 1).count(),
    }
}

#[expect(clippy::print_stdout, reason = "the figures of a run")]
fn exact_with(fault: Fault) {
    let scale = scale();
    let began = Instant::now();
    let (figures, seen) = run(scale, fault);
    println!(
        "{fault:?}: {figures:?}; {} admitted, {} refused, undecided {:?}, {:?}",
        seen.admitted.len(),
        seen.refused,
        seen.undecided,
        began.elapsed()
    );
    assert_eq!(figures, Figures::default(), "{fault:?}, {:?}", seen.undecided);
    assert!(!seen.undecided.contains_key(&500), "{:?}", seen.undecided);
}

#[test]
fn several_gateways_have_one_exact_quota() {
    exact_with(Fault::None);
}

#[test]
fn a_killed_gateway_changes_nothing_about_the_quota() {
    exact_with(Fault::Kill);
}

#[test]
fn a_redis_that_hangs_changes_nothing_about_the_quota() {
    exact_with(Fault::RedisPaused);
}

#[test]
fn a_redis_that_is_flushed_changes_nothing_about_the_quota() {
    exact_with(Fault::RedisFlushed);
}

#[test]
fn a_postgres_that_is_away_changes_nothing_about_the_quota() {
    exact_with(Fault::PostgresStopped);
}
