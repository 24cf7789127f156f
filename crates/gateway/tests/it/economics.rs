//! Who pays for what: once, and not for nothing.

use std::time::Duration;

use jiff::{Timestamp, ToSpan as _, Unit, Zoned, civil::Weekday, tz::TimeZone};
use rusqlite::{Connection, params};
use tollgate_testkit::{Answer, BOUND, Gate, Origin, OriginBuilder, Reply, Wire, eventually};

use crate::scene::{Scene, all_at_once, assert_refusal, clear_of_window_edges, head, number, of};

const TIERS: &str = r#"
default_tier = "free"
[meters]
calls = { unit = "calls" }
tokens = { unit = "tokens" }
jobs = { unit = "jobs", kind = "concurrent" }
[tiers.free]
other_meters = "unlimited"
[tiers.five]
other_meters = "unlimited"
limits.calls = "5/lifetime"
[tiers.one_job]
other_meters = "unlimited"
limits.jobs = 1
[tiers.no_tokens]
other_meters = "unlimited"
limits.calls = "5/minute"
limits.tokens = 0
[tiers.hour]
other_meters = "unlimited"
limits.calls = "100/hour"
[tiers.day]
other_meters = "unlimited"
limits.calls = "100/day"
[tiers.week]
other_meters = "unlimited"
limits.calls = "100/week"
[tiers.month]
other_meters = "unlimited"
limits.calls = "100/month"
"#;

const ROUTES: &str = r#"
[[routes]]
path = "/calls/"
upstream = "origin"
charge = [{ meter = "calls" }]
[[routes]]
path = "/llm/"
upstream = "origin"
charge = [{ meter = "calls" }, { meter = "tokens", amount = "llm.total_tokens", hold = 50 }, { meter = "jobs" }]
llm = { client_gone = "cancel" }
[[routes]]
path = "/up/"
upstream = "origin"
charge = [{ meter = "tokens", amount = "upstream", hold = 50 }]
"#;

fn scene(origin: OriginBuilder) -> Scene {
    Scene::start(origin, ROUTES, TIERS)
}

#[test]
fn a_client_that_leaves_in_the_middle_of_a_stream_is_charged_once_and_holds_nothing() {
    let gate = Gate::new();
    let usage = "data: {\"usage\":{\"total_tokens\":32}}\n\n".to_owned();
    let events = vec!["data: 1\n\n".to_owned(), usage, "data: [DONE]\n\n".to_owned()];
    let scene = scene(Origin::builder().on("/llm/x", Answer::Sse { events, gate: Some(gate.clone()) }));
    let identity = [("X-User-Id", "ann"), ("X-User-Tier", "one_job")];

    for (passed, tokens) in [(0, 50), (1, 32)] {
        let seen = if passed == 0 { "data: 1\n\n" } else { "32}}\n\n" };
        gate.pass(passed);
        let mut wire = Wire::connect(scene.gateway.address());
        wire.send(head("POST", "/llm/x", &identity, Some(2)) + "{}");
        let read = wire.read_until(BOUND, |read| String::from_utf8_lossy(read).contains(seen));
        assert!(read, "the stream begins");
        let before = scene.origin.abandoned();
        drop(wire);
        assert!(eventually(BOUND, || scene.origin.abandoned() == before + 1), "the upstream is told to stop");

        // What was seen is charged as an estimate: more may have been used.
        let expected = [("calls", 1), ("tokens", tokens), ("jobs", 0)];
        let mut lines = Vec::new();
        let settled = eventually(BOUND, || {
            lines = scene.settled();
            lines.len() == 3 * (passed + 1)
        });
        assert!(settled, "{lines:?}");
        let last = &lines[3 * passed..];
        assert_eq!(last.iter().map(|line| (&*line.meter, line.amount)).collect::<Vec<_>>(), expected);
        assert!(last[1].estimated && last.iter().all(|line| line.request_id == last[0].request_id));
        assert!(last[0].metadata.as_deref().unwrap().contains("client_gone"), "{last:?}");
    }
    gate.open();
    let answer = scene.send("POST", "/llm/x", &identity, "{}");
    assert_eq!(answer.status, 200, "the only job is free again");
    assert_eq!(scene.settled().len(), 9, "three requests, three meters, each once");
}

#[test]
fn of_100_at_once_with_one_left_one_is_admitted() {
    let scene = Scene::start_with_two_workers(Origin::builder(), ROUTES, TIERS);
    for _ in 0..4 {
        assert_eq!(scene.get("/calls/", "ann", "five").status, 200);
    }
    let mut statuses = all_at_once(100, 1, |_| scene.get("/calls/", "ann", "five"));
    statuses.sort_unstable();
    assert_eq!((statuses[0], &statuses[1..]), (200, &[429; 99][..]));
    assert_eq!(scene.settled().len(), 5);
    assert_eq!(scene.origin.received().iter().filter(|request| request.target == "/calls/").count(), 5);
}

#[test]
fn of_100_at_once_for_a_subject_nobody_knows_yet_as_many_as_fit_are_admitted() {
    let scene = Scene::start_with_two_workers(Origin::builder(), ROUTES, TIERS);
    let statuses = all_at_once(100, 1, |_| scene.get("/calls/", "new", "five"));
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 5, "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
}

/// Writes an event of `amount` calls of `user`, with its rollups, into the ledger of a stopped gateway.
fn write_event(ledger: &Connection, user: &str, at: Timestamp, amount: i64) {
    let ms = at.as_millisecond();
    let id = format!("{user}-{ms}-{amount}");
    ledger
        .execute(
            "INSERT INTO usage_ledger (id, at, user_id, tier, meter, amount, estimated, route, method, status, \
             duration_ms, request_id) VALUES (?1, ?2, ?3, 'free', 'calls', ?4, 0, 'r', 'GET', 200, 1, ?1)",
            params![id, ms, user, amount],
        )
        .unwrap();
    for (table, length) in [("usage_hourly", 3_600_000), ("usage_daily", 86_400_000)] {
        let sql = format!(
            "INSERT INTO {table} (user_id, meter, start, org_id, route, amount, events) \
             VALUES (?1, 'calls', ?2, '', 'r', ?3, 1) ON CONFLICT DO UPDATE SET \
             amount = amount + excluded.amount, events = events + 1"
        );
        ledger.execute(&sql, params![user, ms - ms.rem_euclid(length), amount]).unwrap();
    }
}

/// First instant of the window that `now` lies in, and of the next one.
fn window(name: &str, now: &Zoned) -> (Timestamp, Timestamp) {
    let midnight = now.start_of_day().unwrap();
    let (start, next) = match name {
        "hour" => {
            let hour =
                now.round(jiff::ZonedRound::new().smallest(Unit::Hour).mode(jiff::RoundMode::Trunc)).unwrap();
            (hour.clone(), hour + 1.hour())
        }
        "day" => (midnight.clone(), midnight + 1.day()),
        "week" => {
            let since = i64::from(now.weekday().since(Weekday::Monday));
            let monday = midnight - since.days();
            (monday.clone(), monday + 7.days())
        }
        _ => {
            let first = midnight.first_of_month().unwrap();
            (first.clone(), first + 1.month())
        }
    };
    (start.timestamp(), next.timestamp())
}

#[test]
fn the_edge_of_a_window_belongs_to_one_window_only() {
    clear_of_window_edges();
    let mut scene = scene(Origin::builder());
    let windows = ["hour", "day", "week", "month"];
    scene.gateway.terminate();
    assert!(scene.gateway.wait_exit(BOUND).is_some_and(|exit| exit.success()));
    let ledger = Connection::open(scene.gateway.data_dir().join("ledger.sqlite3")).unwrap();
    let now = Timestamp::now().to_zoned(TimeZone::UTC);
    for name in windows {
        let (start, next) = window(name, &now);
        let ms = 1.millisecond();
        for (at, amount) in [(start - ms, 40), (start, 3), (next - ms, 2), (next, 50)] {
            write_event(&ledger, name, at, amount);
        }
    }
    drop(ledger);
    scene.gateway.restart();
    for name in windows {
        let answer = scene.get("/calls/", name, name);
        assert_eq!(number(&answer, "X-RateLimit-Remaining"), 100 - 3 - 2 - 1, "{name}");
        let (_, next) = window(name, &now);
        assert_eq!(number(&answer, "X-RateLimit-Reset"), next.as_second(), "{name}");
    }
}

#[test]
fn in_no_minute_are_more_admitted_than_its_limit_and_a_new_one_begins_with_all_of_it() {
    let scene = scene(Origin::builder());
    // Whatever minute each request falls in: the ledger says when it was admitted.
    for _ in 0..12 {
        let _ = scene.get("/calls/", "ann", "no_tokens");
    }
    let path = scene.gateway.data_dir().join("ledger.sqlite3");
    assert!(!scene.settled().is_empty());
    let ledger = Connection::open(path).unwrap();
    let sql = "SELECT max(used) FROM (SELECT sum(amount) AS used FROM usage_ledger \
               WHERE user_id = 'ann' GROUP BY at / 60000)";
    let most: i64 = ledger.query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(most, 5, "twelve requests in at most two minutes fill one of them, and no more");
}

#[test]
fn a_refused_request_burns_nothing_of_the_limits_that_would_have_allowed_it() {
    let scene = scene(Origin::builder());
    for _ in 0..20 {
        let refused =
            scene.send("POST", "/llm/x", &[("X-User-Id", "ann"), ("X-User-Tier", "no_tokens")], "{}");
        let json = assert_refusal(&refused, 429, "quota_exceeded");
        assert_eq!(json["meter"], "tokens");
    }
    // A minute may end in between, which leaves even more.
    let answer = scene.get("/calls/", "ann", "no_tokens");
    assert_eq!((answer.status, number(&answer, "X-RateLimit-Remaining")), (200, 4));
    assert_eq!(scene.origin.received().iter().filter(|request| request.target == "/llm/x").count(), 0);
    assert_eq!(scene.settled().len(), 1);
}

#[test]
fn an_explicit_zero_is_not_absent() {
    let scene = scene(Origin::builder());
    let cases = [
        ("/llm/x", Answer::json(r#"{"usage":{"total_tokens":0}}"#), (0, false)),
        ("/llm/x", Answer::json(r#"{"usage":{"prompt_tokens":0,"completion_tokens":0}}"#), (0, false)),
        ("/llm/x", Answer::json(r#"{"usage":{}}"#), (50, true)),
        ("/llm/x", Answer::json(r#"{"usage":{"total_tokens":null}}"#), (50, true)),
        ("/up/x", Answer::Reply(Reply::json(200, "{}").header("X-Usage-tokens", "0")), (0, false)),
        ("/up/x", Answer::Reply(Reply::json(200, "{}")), (50, true)),
        ("/up/x", Answer::Reply(Reply::json(200, "{}").header("X-Usage-tokens", "")), (50, true)),
    ];
    let sent = cases.map(|(path, answer, expected)| {
        scene.origin.set(path, answer.clone());
        let sent = scene.send("POST", path, &[("X-User-Id", "ann")], "{}");
        (answer, sent, expected)
    });
    let lines = scene.settled();
    for (answer, sent, expected) in sent {
        let lines = of(&lines, &sent);
        let tokens = lines.iter().find(|line| line.meter == "tokens").unwrap();
        assert_eq!((tokens.amount, tokens.estimated), expected, "{answer:?}");
    }
}

#[test]
fn a_retry_after_a_refusal_is_a_request_like_any_other() {
    let scene = scene(Origin::builder());
    for _ in 0..5 {
        assert_eq!(scene.get("/calls/", "ann", "five").status, 200);
    }
    let storm = all_at_once(8, 25, |_| scene.get("/calls/", "ann", "five"));
    assert_eq!(storm, [429; 200], "a storm of retries stays refused");
    assert_eq!(scene.settled().len(), 5, "and is not charged");
    let answered = eventually(Duration::from_secs(5), || scene.get("/calls/", "bob", "five").status == 200);
    assert!(answered, "others are served meanwhile");
}
