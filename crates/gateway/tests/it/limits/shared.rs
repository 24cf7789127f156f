//! The same with two gateways that share their counters: what is exact with one is exact with several.

use std::{thread, time::Duration};

use tollgate_testkit::{Answer, BOUND, Gate, Gateway, Origin, Postgres, Redis, Response, Wire, eventually};

use super::gated;
use crate::{
    books::{self, tollgate},
    scene::{clear_of_window_edges, head},
    shared, support,
};

const TIERS: &str = r#"
default_tier = "grace"
[meters]
calls = { unit = "calls" }
jobs = { unit = "jobs", kind = "concurrent" }
[tiers.grace]
other_meters = "unlimited"
limits.calls = { limit = "40/lifetime", grace = "25%" }
[tiers.grace_time]
other_meters = "unlimited"
limits.calls = { limit = "10/lifetime", grace = "1h" }
[tiers.burst]
other_meters = "unlimited"
limits.calls = { limit = "10/hour", burst = 30 }
[tiers.queue]
other_meters = "unlimited"
limits.jobs = { limit = 1, queue = { length = 5, wait = "60s" } }
[tiers.throttle]
other_meters = "unlimited"
limits.calls = { limit = "10/lifetime", over = "throttle", rate = "20/second" }
[tiers.plain]
other_meters = "unlimited"
limits.calls = "5/lifetime"
"#;

struct Two {
    gateways: [Gateway; 2],
    origin: Origin,
    postgres: Postgres,
    _redis: Redis,
}

impl Two {
    fn start(origin: Origin) -> Self {
        let (redis, postgres) = (Redis::start(), Postgres::new());
        let config = shared::config(&origin, &redis, &postgres, r#"{ meter = "calls" }"#);
        let jobs = "[[routes]]\npath = \"/job/\"\nupstream = \"origin\"\ncharge = [{ meter = \"jobs\" }]\n";
        let gateways = [0, 1].map(|_| support::gateway().config(config.clone() + jobs).tiers(TIERS).start());
        Self { gateways, origin, postgres, _redis: redis }
    }

    fn echo() -> Self {
        Self::start(Origin::builder().otherwise(|_| Answer::json("{}")).start())
    }

    fn get(&self, gateway: usize, target: &str, user: &str, tier: &str) -> Response {
        let mut wire = Wire::connect(self.gateways[gateway % 2].address());
        let identity = [("X-User-Id", user), ("X-User-Tier", tier)];
        wire.send(head("GET", target, &identity, None));
        wire.response(false, 3 * BOUND).expect("an answer")
    }

    /// The answer when it can be told: Redis may be slow on a busy machine.
    fn told(&self, gateway: usize, user: &str, tier: &str) -> u16 {
        let mut status = 503;
        assert!(eventually(BOUND, || {
            status = self.get(gateway, "/", user, tier).status;
            status != 503
        }));
        status
    }

    /// How many of so many requests at once, spread over both gateways, were admitted.
    fn admitted(&self, user: &str, tier: &str, clients: usize, each: usize) -> usize {
        let statuses: Vec<u16> = thread::scope(|scope| {
            let client = |client: usize| {
                scope.spawn(move || (0..each).map(|_| self.told(client, user, tier)).collect::<Vec<_>>())
            };
            let clients: Vec<_> = (0..clients).map(client).collect();
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
        });
        assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
        statuses.iter().filter(|status| **status == 200).count()
    }

    /// What the ledger has of a user when all is there.
    fn charged(&self, user: &str) -> String {
        for gateway in &self.gateways {
            books::assert_clean(gateway);
        }
        let sql = format!("SELECT count(*) FROM usage_ledger WHERE user_id = '{user}'");
        self.postgres.sql("postgres", &sql)
    }
}

#[test]
fn grace_is_exact() {
    let two = Two::echo();
    assert_eq!(two.admitted("ann", "grace", 8, 10), 50);
    let marked = "SELECT count(*) FROM usage_ledger WHERE user_id = 'ann' AND metadata->>'grace' = 'true'";
    assert_eq!(two.charged("ann"), "50");
    // Where a gateway stands is what it knows: who is surely within the limit is not marked.
    let marked: i64 = two.postgres.sql("postgres", marked).parse().unwrap();
    assert!((10..=40).contains(&marked), "{marked}");
}

#[test]
fn a_time_of_grace_refuses_nobody_before_it_ends() {
    let two = Two::echo();
    assert_eq!(two.admitted("ann", "grace_time", 6, 5), 30);
}

#[test]
fn a_burst_is_exact() {
    clear_of_window_edges();
    let two = Two::echo();
    assert_eq!(two.admitted("ann", "burst", 6, 10), 40);
}

#[test]
fn slowing_down_refuses_nobody() {
    let two = Two::echo();
    assert_eq!(two.admitted("ann", "throttle", 6, 5), 30);
    assert_eq!(two.charged("ann"), "30");
}

#[test]
fn who_waits_at_one_gateway_gets_the_slot_that_another_frees() {
    let gate = Gate::new();
    let origin = Origin::builder().on("/job/long", gated(&gate)).otherwise(|_| Answer::json("{}")).start();
    let two = Two::start(origin);
    assert!(eventually(BOUND, || (0..2).all(|at| two.get(at, "/job/", "bob", "queue").status == 200)));
    let identity = [("X-User-Id", "ann"), ("X-User-Tier", "queue")];
    let mut long = Wire::connect(two.gateways[0].address());
    long.send(head("GET", "/job/long", &identity, None));
    assert!(long.read_until(BOUND, |read| read.ends_with(b"data: 1\n\n\r\n")));

    let waits = |target: &str| {
        let mut wire = Wire::connect(two.gateways[1].address());
        wire.send(head("GET", target, &identity, None));
        wire
    };
    // Redis may be slow on a busy machine: who is told nothing asks again.
    let joins = |target: &str, count: f64| {
        let mut wire = waits(target);
        let joined = eventually(BOUND, || {
            if let Some(answer) = wire.response(false, Duration::from_millis(1)) {
                assert_eq!(answer.status, 503, "{answer:?}");
                wire = waits(target);
            }
            two.gateways[1].metric("tollgate_requests_waiting") == Some(count)
        });
        assert!(joined, "{count}");
        wire
    };
    let mut first = joins("/job/first", 1.0);
    let mut second = joins("/job/second", 2.0);
    assert_eq!(two.origin.received().iter().filter(|seen| seen.target != "/job/").count(), 1);
    gate.open();
    assert_eq!(long.response(false, BOUND).unwrap().status, 200);
    for (wire, position) in [(&mut first, "1"), (&mut second, "2")] {
        let answer = wire.response(false, BOUND).unwrap();
        assert_eq!((answer.status, answer.header("X-Queue-Position")), (200, Some(position)), "{answer:?}");
    }
    let seen = two.origin.received();
    let targets: Vec<_> = seen.iter().map(|seen| &*seen.target).filter(|target| *target != "/job/").collect();
    assert_eq!(targets, ["/job/long", "/job/first", "/job/second"]);
}

#[test]
fn an_override_is_exact_at_all_gateways() {
    let two = Two::echo();
    assert_eq!(two.admitted("bob", "plain", 4, 3), 5);
    let set = |arguments: &[&str]| {
        let config = two.gateways[0].config_path();
        let config = ["--config", config.to_str().unwrap()];
        tollgate(["subject", "set"].into_iter().chain(arguments.iter().copied()).chain(config))
    };
    let said = set(&["user", "ann", "--override", "calls=23/lifetime"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    for gateway in 0..2 {
        let policy = || two.get(gateway, "/", "cyd", "plain").header("RateLimit-Policy").map(str::to_owned);
        assert!(eventually(BOUND, || policy().is_some()));
    }
    // Both have heard that there are rows when both have heard of one that is set later.
    let said = set(&["user", "mark", "--override", "calls=7/lifetime"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    for gateway in 0..2 {
        let limit = || two.get(gateway, "/", "mark", "plain").header("X-RateLimit-Limit").map(str::to_owned);
        assert!(eventually(BOUND, || limit().as_deref() == Some("7")));
    }
    assert_eq!(two.admitted("ann", "plain", 8, 5), 23);
    assert_eq!(two.charged("ann"), "23");
    // Lowered, it refuses at both at once; in a window that no tier counts, it is refused itself.
    let said = set(&["user", "ann", "--override", "calls=9/week"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.out.contains("no tier counts it per week"), "{said:?}");
    assert_eq!(set(&["user", "ann", "--override", "calls=30/lifetime"]).code, Some(0));
    for gateway in 0..2 {
        let limit = || two.get(gateway, "/", "ann", "plain").header("X-RateLimit-Limit").map(str::to_owned);
        assert!(eventually(BOUND, || limit().as_deref() == Some("30")));
    }
    two.admitted("ann", "plain", 8, 3);
    assert_eq!(two.charged("ann"), "30");
}
