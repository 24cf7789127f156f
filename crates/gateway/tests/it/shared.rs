//! What clients and operators see of counters in Redis: policies, state, reloads, the table of subjects.

use serde_json::{Value, json};
use tollgate_testkit::{Answer, BOUND, Gateway, Origin, Postgres, Redis, Response, Wire, eventually};

use crate::{books, support};

struct Shared {
    gateway: Gateway,
    redis: Redis,
    postgres: Postgres,
    origin: Origin,
}

const TIERS: &str = r#"
default_tier = "lease"
[meters]
calls = { unit = "calls" }
[tiers.lease.limits]
calls = "1000/lifetime"
[tiers.deny.limits]
calls = { limit = "1000/lifetime", on_store_failure = "deny" }
[tiers.allow.limits]
calls = { limit = "1000/lifetime", on_store_failure = { allow = "60s" } }
[tiers.soft.limits]
calls = { limit = "3/lifetime", over = "charge" }
[tiers.small.limits]
calls = "4/lifetime"
"#;

/// The text of gateway.toml of a gateway that shares its counters and its ledger.
pub(crate) fn config(origin: &Origin, redis: &Redis, postgres: &Postgres, charge: &str) -> String {
    format!(
        r#"
data_dir = "@DATA@"
workers = 1
[listen]
address = "@LISTEN@"
[admin]
address = "@ADMIN@"
[counters]
store = "{}"
[ledger]
store = "{}"
[upstreams.origin]
urls = ["http://{}"]
[[routes]]
name = "x"
path = "/"
upstream = "origin"
charge = [{charge}]
"#,
        redis.url(),
        postgres.url(),
        origin.address()
    )
}

impl Shared {
    fn start() -> Self {
        let origin = Origin::builder().otherwise(|_| Answer::json("{}")).start();
        let (redis, postgres) = (Redis::start(), Postgres::new());
        let config = config(&origin, &redis, &postgres, r#"{ meter = "calls" }"#);
        let gateway = support::gateway().config(config).tiers(TIERS).start();
        Self { gateway, redis, postgres, origin }
    }

    fn get(&self, user: &str, tier: &str) -> Response {
        let mut wire = Wire::connect(self.gateway.address());
        wire.send(format!(
            "GET / HTTP/1.1\r\nHost: gateway\r\nX-User-Id: {user}\r\nX-User-Tier: {tier}\r\n\r\n"
        ));
        wire.response(false, BOUND).expect("an answer")
    }

    fn is_served(&self, user: &str, tier: &str) -> bool {
        eventually(BOUND, || self.get(user, tier).status == 200)
    }

    fn counters_state(&self) -> Value {
        self.gateway.admin_get("/readyz").json()["counters"].clone()
    }
}

#[test]
fn without_redis_each_limit_follows_its_policy() {
    let mut shared = Shared::start();
    for tier in ["lease", "deny", "allow", "soft"] {
        assert!(shared.is_served(tier, tier), "{tier}");
    }
    assert_eq!(shared.counters_state(), json!("ok"));
    shared.redis.kill();

    let mut served = 0;
    let away = eventually(BOUND, || {
        let answer = shared.get("lease", "lease");
        served += usize::from(answer.status == 200);
        assert!([200, 503].contains(&answer.status), "never blamed on the user: {answer:?}");
        answer.status == 503
    });
    assert!(away && served > 0, "what is held is spent, and no more: {served}");
    let refused = shared.get("lease", "lease");
    assert_eq!(refused.json()["error"], json!("store_unavailable"));
    assert!(refused.header("retry-after").is_some());
    assert!(eventually(BOUND, || shared.counters_state()["redis_away_seconds"].is_number()));
    assert_eq!(shared.gateway.admin_get("/readyz").status, 200, "others would be no better off");

    assert_eq!(shared.get("deny", "deny").status, 503, "although there is something left of a lease");
    for _ in 0..50 {
        assert_eq!(shared.get("allow", "allow").status, 200);
        assert_eq!(shared.get("soft", "soft").status, 200, "no hard limit is at stake");
    }
    assert_eq!(shared.get("stranger", "lease").status, 503, "what was used before is not known");
    assert_eq!(shared.get("stranger", "allow").status, 200);
    assert!(eventually(BOUND, || shared.gateway.metric("tollgate_counters_away") == Some(1.0)));

    let requests = shared.origin.requests();
    shared.redis.restart();
    for tier in ["lease", "deny", "allow", "soft"] {
        assert!(shared.is_served(tier, tier), "{tier}");
    }
    assert!(eventually(BOUND, || shared.counters_state() == json!("ok")));
    assert!(shared.origin.requests() >= requests + 4);
    books::assert_clean(&shared.gateway);
    let charged = || shared.postgres.sql("postgres", "SELECT sum(amount) FROM usage_ledger");
    let served = shared.origin.requests().to_string();
    assert!(eventually(BOUND, || charged() == served), "of {served} served, {} are charged", charged());
}

#[test]
fn a_limit_that_is_lowered_or_raised_holds_at_once() {
    let shared = Shared::start();
    for _ in 0..3 {
        assert!(shared.is_served("ann", "small"));
    }
    shared.gateway.write_tiers(&TIERS.replace("\"4/lifetime\"", "\"2/lifetime\""));
    // Until the edit is seen, one more is served, and the next refused by the limit as it was.
    let lowered = || {
        let answer = shared.get("ann", "small");
        answer.status == 429 && answer.json()["limit"] == json!(2)
    };
    assert!(eventually(BOUND, lowered));
    shared.gateway.write_tiers(&TIERS.replace("\"4/lifetime\"", "\"6/lifetime\""));
    assert!(shared.is_served("ann", "small"));
    assert!(eventually(BOUND, || shared.get("ann", "small").status == 429));
    assert_eq!(shared.get("ann", "small").json()["used"], json!(6), "not one more, not one less");
}

#[test]
fn what_was_used_on_one_tier_counts_on_another_and_in_a_new_window() {
    let shared = Shared::start();
    for _ in 0..3 {
        assert!(shared.is_served("ann", "soft"));
    }
    assert!(shared.is_served("ann", "small"), "three of four are used");
    assert_eq!(shared.get("ann", "small").status, 429);
    // A window that nothing was counted in until now begins with what the ledger has of it.
    shared.gateway.write_tiers(&TIERS.replace("\"4/lifetime\"", "\"5/400days\""));
    assert!(shared.is_served("ann", "small"));
    assert!(eventually(BOUND, || shared.get("ann", "small").status == 429));
    assert_eq!(shared.get("ann", "small").json()["used"], json!(5));
}

#[test]
fn a_redis_that_takes_no_writes_is_one_that_is_away() {
    let shared = Shared::start();
    assert!(shared.is_served("ann", "allow"));
    let _ = shared.redis.command(&["REPLICAOF", "127.0.0.1", "1"]);
    let _ = shared.redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let mut statuses = Vec::new();
    for number in 0..40 {
        statuses.push(shared.get(&format!("user-{number}"), "lease").status);
    }
    assert!(statuses.iter().all(|status| *status == 503), "neither 500 nor 429: {statuses:?}");
    let _ = shared.redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    let _ = shared.redis.command(&["REPLICAOF", "NO", "ONE"]);
    assert!(shared.is_served("ann", "lease"));
}

#[test]
fn a_gateway_that_ends_gives_back_what_it_had() {
    let mut shared = Shared::start();
    assert!(shared.is_served("ann", "lease"));
    shared.gateway.terminate();
    assert!(shared.gateway.wait_exit(BOUND * 2).is_some_and(|status| status.success()));
    let keys = shared.redis.command(&["KEYS", "tollgate:1:*:counter:*:ann"]);
    let key = keys.lines().find(|line| line.starts_with("tollgate")).expect("a counter").to_owned();
    let fields = shared.redis.command(&["HVALS", &key]);
    let lease = fields.lines().find(|line| line.split(' ').count() == 4).expect("a lease");
    assert!(lease.starts_with("0 "), "nothing is set aside for it: {lease}");
    assert_eq!(shared.redis.command(&["HLEN", "tollgate:1:instances"]).trim(), ":0");
}
