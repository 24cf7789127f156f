//! fernando: document processing with overage billing.

use std::{
    collections::HashSet,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tollgate_testkit::{Answer, Origin, Received, Reply, Response};

use super::{calls::Who, cells::Limit, preset::Preset};
use crate::scene::request_id;

const GB: i64 = 1_000_000_000;
/// What a document of these tests has, and so what it takes of the storage.
const DOCUMENT_BYTES: i64 = 1000;

/// What is included, and the price of what is beyond: how much of how many, as the plans state it.
struct Cell {
    tier: &'static str,
    meter: &'static str,
    included: i64,
    price: Option<(&'static str, i64)>,
}

const fn cell(
    tier: &'static str,
    meter: &'static str,
    included: i64,
    price: Option<(&'static str, i64)>,
) -> Cell {
    Cell { tier, meter, included, price }
}

const CELLS: [Cell; 12] = [
    cell("basic", "documents", 100, Some(("0.50", 1))),
    cell("professional", "documents", 500, Some(("0.40", 1))),
    cell("enterprise", "documents", 5000, Some(("0.30", 1))),
    cell("basic", "api_calls", 1000, Some(("0.01", 10))),
    cell("professional", "api_calls", 10_000, Some(("0.008", 10))),
    cell("enterprise", "api_calls", 100_000, Some(("0.005", 10))),
    cell("basic", "storage", 5 * GB, Some(("2.00", GB))),
    cell("professional", "storage", 50 * GB, Some(("1.50", GB))),
    cell("enterprise", "storage", 500 * GB, Some(("1.00", GB))),
    cell("basic", "users", 3, None),
    cell("professional", "users", 10, Some(("5", 1))),
    cell("enterprise", "users", 100, Some(("4", 1))),
];

/// The document service: takes documents and users, and forgets them when told.
fn documents() -> Origin {
    let (last, there) = (AtomicU64::new(0), Mutex::new(HashSet::<String>::new()));
    let answer = move |received: &Received| {
        let mut there = there.lock().unwrap();
        let reply = |status, body: &Value| Answer::Reply(Reply::json(status, body.to_string()));
        match (&*received.method, received.path()) {
            ("POST", "/api/v1/documents") if received.body.starts_with(b"broken") => reply(422, &json!({})),
            ("POST", "/api/v1/documents" | "/api/v1/users") => {
                let id = last.fetch_add(1, Ordering::SeqCst).to_string();
                there.insert(id.clone());
                reply(201, &json!({ "id": id }))
            }
            ("DELETE", path) => {
                let was_there = there.remove(path.rsplit('/').next().unwrap());
                Answer::status(if was_there { 204 } else { 404 })
            }
            (_, "/api/v1/fails") => Answer::status(500),
            _ => reply(200, &json!({ "ok": true })),
        }
    };
    Origin::builder().otherwise(answer).start()
}

/// A price or a cost in billionths.
fn nanos(text: &str) -> i64 {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let part: String = part.chars().chain("000000000".chars()).take(9).collect();
    whole.parse::<i64>().unwrap() * GB + part.parse::<i64>().unwrap()
}

struct World {
    preset: Preset,
    _origin: Origin,
}

impl World {
    fn start() -> Self {
        let origin = documents();
        Self { preset: Preset::start("fernando", &[("documents", &origin)]), _origin: origin }
    }

    /// A request that uses one unit of a meter, or a document's bytes of the storage.
    fn use_one(&self, who: Who<'_>, meter: &str) -> Response {
        match meter {
            "documents" | "storage" => {
                let document = "d".repeat(usize::try_from(DOCUMENT_BYTES).unwrap());
                self.preset.send(who, "POST /api/v1/documents", &[], &document)
            }
            "users" => self.preset.call(who, "POST /api/v1/users", &json!({ "name": "x" })),
            _ => self.preset.call(who, "GET /api/v1/search?q=x", &Value::Null),
        }
    }

    /// What the ledger has of a request and a meter: the amount and what it says of overage.
    fn line(&self, answer: &Response, meter: &str) -> (i64, Value) {
        let of =
            format!("FROM usage_ledger WHERE request_id = '{}' AND meter = '{meter}'", request_id(answer));
        self.preset.until(&format!("SELECT count(*) {of}"), "1");
        let amount = self.preset.sql(&format!("SELECT amount {of}")).parse().unwrap();
        let overage = self.preset.sql(&format!("SELECT metadata->'overage' {of}"));
        (amount, serde_json::from_str(&overage).unwrap_or(Value::Null))
    }
}

#[test]
fn f2_every_unit_beyond_what_is_included_has_its_exact_price() {
    let world = World::start();
    for Cell { tier, meter, included, price } in CELLS {
        let (user, org) = (format!("user-{tier}-{meter}"), format!("org-{tier}-{meter}"));
        let who = Who::of(&user, &org, tier);
        let unit = if meter == "storage" { DOCUMENT_BYTES } else { 1 };
        world.preset.report(who, meter, included - unit, None);

        let last = world.use_one(who, meter);
        assert!((200..300).contains(&last.status), "{tier} {meter}: {last:?}");
        assert_eq!(
            world.line(&last, meter),
            (unit, Value::Null),
            "{tier} {meter}: the last that is included"
        );

        let Some((price, per)) = price else {
            let level = Limit { meter, window: "lifetime", limit: included };
            world.preset.refused(who, level, world.use_one(who, meter));
            continue;
        };
        // Two lines one after the other: what they cost adds up to what both cost.
        for _ in 0..2 {
            let beyond = world.use_one(who, meter);
            assert!((200..300).contains(&beyond.status), "{tier} {meter}: {beyond:?}");
            let (amount, overage) = world.line(&beyond, meter);
            assert_eq!((amount, &overage["units"]), (unit, &json!(unit)), "{tier} {meter}: {overage}");
            assert_eq!(overage["currency"], json!("EUR"), "{tier} {meter}: {overage}");
            let cost = nanos(overage["cost"].as_str().unwrap());
            assert_eq!(
                i128::from(cost) * i128::from(per),
                i128::from(nanos(price)) * i128::from(unit),
                "{overage}"
            );
        }
    }
}

#[test]
fn f2_what_is_deleted_is_not_paid_for_any_more() {
    let world = World::start();
    let who = Who::of("ann", "acme", "professional");
    world.preset.report(who, "users", 10, None);
    let eleventh = world.use_one(who, "users");
    let path = format!("DELETE /api/v1/users/{}", eleventh.json()["id"].as_str().unwrap());
    let gone = world.preset.call(who, &path, &Value::Null);
    assert_eq!(gone.status, 204, "{gone:?}");
    let (amount, overage) = world.line(&gone, "users");
    assert_eq!(amount, -1);
    assert_eq!(
        overage["cost"].as_str().map(|cost| nanos(cost.trim_start_matches('-'))),
        Some(5 * GB),
        "{overage}"
    );
    assert!(overage["cost"].as_str().unwrap().starts_with('-'), "{overage}");
}

#[test]
fn f2_at_80_percent_a_warning_and_at_90_a_high_one() {
    let world = World::start();
    let who = Who::of("ann", "acme", "basic");
    let warnings =
        || world.preset.gateway.metric("tollgate_quota_warnings_total{tier=\"basic\"}").unwrap_or_default();
    let logged = |percent: u32| {
        let logs = world.preset.gateway.logs();
        let line =
            |line: &&str| line.contains("quota warning") && line.contains(&format!("\"percent\":{percent}"));
        logs.lines().filter(line).count()
    };
    let step = |meter: &str, percent: i64| {
        world.preset.report(who, meter, percent - 1, None);
        world.use_one(who, meter)
    };
    assert_eq!(step("documents", 79).status, 201);
    assert_eq!((warnings(), logged(80), logged(90)), (0.0, 0, 0));
    assert_eq!(world.use_one(who, "documents").status, 201);
    assert_eq!((logged(80), logged(90)), (1, 0), "80 of 100");
    assert_eq!(step("documents", 9).status, 201);
    assert_eq!((logged(80), logged(90)), (1, 0), "89 of 100");
    assert_eq!(world.use_one(who, "documents").status, 201);
    assert_eq!((logged(80), logged(90)), (1, 1), "90 of 100");
    assert!(warnings() >= 2.0);
}

#[test]
fn f2_without_overage_calls_are_throttled() {
    let world = World::start();
    let who = Who::of("ann", "acme", "basic_capped");
    world.preset.report(who, "api_calls", 999, None);
    assert_eq!(world.use_one(who, "api_calls").status, 200, "the last that is included");
    let started = Instant::now();
    for _ in 0..3 {
        let slowed = world.use_one(who, "api_calls");
        assert_eq!(slowed.status, 200, "{slowed:?}");
        assert_eq!(world.line(&slowed, "api_calls"), (1, Value::Null), "nothing to pay");
    }
    // 30 a minute are one in two seconds: between the first and the third are two pauses.
    assert!(started.elapsed() >= Duration::from_secs(4), "{:?}", started.elapsed());
}

#[test]
fn f1_every_call_is_recorded_with_subscription_status_and_time() {
    let world = World::start();
    let who = Who::of("ann", "acme", "professional");
    let broken = world.preset.send(who, "POST /api/v1/documents", &[], "broken");
    let failed = world.preset.call(who, "GET /api/v1/fails", &Value::Null);
    for (answer, lines) in [
        (&broken, "api_calls|1|422|ann|acme|t\ndocuments|0|422|ann|acme|t\nstorage|0|422|ann|acme|t"),
        (&failed, "api_calls|0|500|ann|acme|t"),
    ] {
        let sql = format!(
            "SELECT meter, amount, status, user_id, org_id, duration_ms >= 0 FROM usage_ledger \
             WHERE request_id = '{}' ORDER BY meter",
            request_id(answer)
        );
        world.preset.until(&sql, lines);
    }
}
