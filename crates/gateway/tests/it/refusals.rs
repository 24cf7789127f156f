//! Every refusal: its status, its words, and that it costs nothing.

use jiff::Timestamp;
use rusqlite::Connection;
use serde_json::{Value, json};
use tollgate_testkit::{Answer, BOUND, Gate, Origin, Reply, Response, Wire, eventually};

use crate::scene::{Scene, assert_refusal, clear_of_window_edges, head, number, request_id};

const TIERS: &str = r#"
default_tier = "free"
upgrade_url = "https://example.com/upgrade"
[meters]
calls = { unit = "calls" }
jobs = { unit = "jobs", kind = "concurrent" }
[tiers.free]
max_body = 1000
other_meters = "unlimited"
[tiers.hourly]
other_meters = "unlimited"
limits.calls = "2/hour"
[tiers.monthly]
other_meters = "unlimited"
limits.calls = "2/month"
[tiers.lifetime]
other_meters = "unlimited"
limits.calls = "1/lifetime"
[tiers.one_job]
other_meters = "unlimited"
limits.jobs = 1
"#;

const ROUTES: &str = r#"
[[routes]]
path = "/x/"
upstream = "origin"
charge = [{ meter = "calls" }, { meter = "jobs" }]
"#;

fn scene() -> Scene {
    scene_with(Origin::builder(), "")
}

fn scene_with(origin: tollgate_testkit::OriginBuilder, upstream: &str) -> Scene {
    Scene::start(origin, &format!("{upstream}{ROUTES}"), TIERS)
}

/// Fails unless the origin has seen `requests` requests and the ledger knows nothing of `refused`.
fn assert_cost_nothing(scene: &Scene, refused: &Response, requests: usize) {
    assert_eq!(scene.origin.requests(), requests, "a refused request must not reach the origin");
    assert_eq!(scene.lines_of(refused), [], "a refused request must not be charged");
}

/// Fails unless the request was settled once, with nothing charged.
fn assert_settled_at_nothing(scene: &Scene, answer: &Response, status: i64) {
    let lines = scene.lines_of(answer);
    let amounts: Vec<_> = lines.iter().map(|line| (&*line.meter, line.amount, line.status)).collect();
    assert_eq!(amounts, [("calls", 0, status), ("jobs", 0, status)]);
}

fn keys(json: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn a_quota_that_is_used_up_is_429_quota_exceeded_with_all_that_a_client_needs() {
    clear_of_window_edges();
    let scene = scene();
    for _ in 0..2 {
        assert_eq!(scene.get("/x/", "ann", "monthly").status, 200);
    }
    let before = Timestamp::now();
    let refused = scene.get("/x/", "ann", "monthly");
    let after = Timestamp::now();

    let json = assert_refusal(&refused, 429, "quota_exceeded");
    let names = [
        "error",
        "limit",
        "message",
        "meter",
        "remaining",
        "request_id",
        "reset_at",
        "retry_after",
        "tier",
        "upgrade_url",
        "used",
        "window",
    ];
    assert_eq!(keys(&json), names);
    let same = json!({
        "tier": "monthly", "meter": "calls", "window": "month", "used": 2, "limit": 2, "remaining": 0,
        "upgrade_url": "https://example.com/upgrade",
    });
    for (name, value) in same.as_object().unwrap() {
        assert_eq!(json[name], *value, "{name}");
    }
    let reset_at: Timestamp = json["reset_at"].as_str().unwrap().parse().unwrap();
    assert_eq!(reset_at.as_second(), number(&refused, "x-ratelimit-reset"));
    let left = |now: Timestamp| reset_at.as_second() - now.as_second();
    let retry_after = json["retry_after"].as_i64().unwrap();
    assert!((left(after)..=left(before)).contains(&retry_after), "{retry_after} {before} {after} {reset_at}");
    assert_cost_nothing(&scene, &refused, 2);
}

#[test]
fn a_rate_that_is_used_up_is_429_rate_limited() {
    clear_of_window_edges();
    let scene = scene();
    for _ in 0..2 {
        assert_eq!(scene.get("/x/", "ann", "hourly").status, 200);
    }
    let refused = scene.get("/x/", "ann", "hourly");
    let json = assert_refusal(&refused, 429, "rate_limited");
    assert_eq!((&json["window"], &json["used"], &json["limit"]), (&json!("hour"), &json!(2), &json!(2)));
    assert!((1..=3600).contains(&number(&refused, "retry-after")));
    assert_cost_nothing(&scene, &refused, 2);
    assert_eq!(scene.get("/x/", "bob", "hourly").status, 200, "another user has a rate of their own");
}

#[test]
fn a_limit_for_life_is_quota_exceeded_without_a_time_to_come_back() {
    let scene = scene();
    assert_eq!(scene.get("/x/", "ann", "lifetime").status, 200);
    let refused = scene.get("/x/", "ann", "lifetime");
    let json = assert_refusal(&refused, 429, "quota_exceeded");
    assert_eq!((&json["window"], &json["reset_at"]), (&json!("lifetime"), &Value::Null));
    assert_eq!(json["retry_after"], Value::Null);
    assert_cost_nothing(&scene, &refused, 1);
}

#[test]
fn too_many_jobs_is_429_until_one_has_ended() {
    let gate = Gate::new();
    let events = vec!["data: 1\n\n".to_owned(), "data: 2\n\n".to_owned()];
    let stream = Answer::Sse { events, gate: Some(gate.clone()) };
    let scene = scene_with(Origin::builder().on("/x/slow", stream), "");
    let mut running = Wire::connect(scene.gateway.address());
    let identity = [("X-User-Id", "ann"), ("X-User-Tier", "one_job")];
    running.send(head("GET", "/x/slow", &identity, None));
    assert!(running.read_until(BOUND, |read| read.ends_with(b"data: 1\n\n\r\n")));

    let refused = scene.get("/x/", "ann", "one_job");
    let json = assert_refusal(&refused, 429, "too_many_jobs");
    assert_eq!((&json["meter"], &json["used"], &json["limit"]), (&json!("jobs"), &json!(1), &json!(1)));
    assert_eq!((&json["remaining"], &json["reset_at"]), (&json!(0), &Value::Null));
    assert!(number(&refused, "retry-after") >= 1);
    assert_cost_nothing(&scene, &refused, 1);

    gate.open();
    assert_eq!(running.response(false, BOUND).unwrap().status, 200);
    assert_eq!(scene.get("/x/", "ann", "one_job").status, 200);
}

#[test]
fn a_body_that_says_it_is_too_large_is_413_before_the_upstream_is_called() {
    let scene = scene();
    let identity = [("X-User-Id", "ann")];
    assert_eq!(scene.send("POST", "/x/", &identity, &"a".repeat(1000)).status, 200, "as much as is allowed");
    let refused = scene.send("POST", "/x/", &identity, &"a".repeat(1001));
    let json = assert_refusal(&refused, 413, "body_too_large");
    assert_eq!(keys(&json), ["error", "message", "request_id"]);
    let message = json["message"].as_str().unwrap();
    assert!(message.contains("larger than the 1kB that tier free allows"), "{json}");
    assert!(message.contains("hourly any size, monthly any size"), "who allows more is named: {json}");
    assert_cost_nothing(&scene, &refused, 1);
}

#[test]
fn a_chunked_body_is_413_when_it_passes_the_bound_and_the_upstream_gets_no_whole_request() {
    let scene = scene();
    let chunked = [("X-User-Id", "ann"), ("Transfer-Encoding", "chunked")];
    let chunk = format!("1f4\r\n{}\r\n", "a".repeat(500));
    let start = head("POST", "/x/", &chunked, None);
    let mut wire = Wire::connect(scene.gateway.address());
    wire.send(format!("{start}{chunk}{chunk}0\r\n\r\n"));
    assert_eq!(wire.response(false, BOUND).unwrap().status, 200, "as much as is allowed");

    let mut wire = Wire::connect(scene.gateway.address());
    wire.send(format!("{start}{chunk}{chunk}1\r\na\r\n0\r\n\r\n"));
    let refused = wire.response(false, BOUND).unwrap();
    assert_refusal(&refused, 413, "body_too_large");
    assert!(wire.closes(BOUND), "what is left of the body cannot be told from a request");
    assert_eq!(scene.origin.received().len(), 1, "a body that was cut is no request");
    assert_settled_at_nothing(&scene, &refused, 413);
}

#[test]
fn who_does_not_say_who_they_are_is_401_identity_missing() {
    let scene = scene();
    let refused = scene.send("GET", "/x/", &[], "");
    let json = assert_refusal(&refused, 401, "identity_missing");
    assert!(json["message"].as_str().unwrap().contains("x-user-id"), "{json}");
    assert_cost_nothing(&scene, &refused, 0);
}

#[test]
fn an_identity_that_is_none_is_400_identity_invalid() {
    let scene = scene();
    let refused = scene.send("GET", "/x/", &[("X-User-Id", "ann"), ("X-User-Id", "bob")], "");
    assert_refusal(&refused, 400, "identity_invalid");
    assert_cost_nothing(&scene, &refused, 0);
}

#[test]
fn a_tier_that_does_not_exist_is_403_unknown_tier() {
    let scene = scene();
    let refused = scene.get("/x/", "ann", "platinum");
    assert_refusal(&refused, 403, "unknown_tier");
    assert_cost_nothing(&scene, &refused, 0);
}

#[test]
fn what_no_route_serves_is_404_no_route() {
    let scene = scene();
    let refused = ["/", "/y", "/x", "/mark2"].map(|target| scene.get(target, "ann", "free"));
    for refused in &refused {
        let json = assert_refusal(refused, 404, "no_route");
        assert_eq!(keys(&json), ["error", "message", "request_id"]);
    }
    assert_cost_nothing(&scene, &refused[0], 0);
    assert_eq!(scene.settled(), []);
}

#[test]
fn what_was_used_before_cannot_be_read_is_503_store_unavailable_and_nobodys_fault() {
    let scene = scene();
    assert_eq!(scene.get("/x/", "ann", "lifetime").status, 200);
    assert_eq!(scene.settled().len(), 2);
    let ledger = Connection::open(scene.gateway.data_dir().join("ledger.sqlite3")).unwrap();
    ledger.busy_timeout(BOUND).unwrap();
    ledger.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(scene.get("/x/", "ann", "free").status, 200, "what is known is not asked for");
    let requests = scene.origin.requests();

    // What ann used just now cannot be shipped, so nobody can be told that bob used nothing.
    let refused = scene.get("/x/", "bob", "lifetime");
    let json = assert_refusal(&refused, 503, "store_unavailable");
    assert_eq!(keys(&json), ["error", "message", "request_id", "retry_after"]);
    assert_eq!(scene.origin.requests(), requests, "nothing unmetered reaches the origin");

    ledger.execute_batch("ROLLBACK").unwrap();
    drop(ledger);
    assert!(eventually(BOUND, || scene.get("/x/", "bob", "lifetime").status == 200));
    assert_eq!(scene.lines_of(&refused), []);
}

#[test]
fn more_requests_in_flight_than_there_is_room_for_are_503_overloaded() {
    let gate = Gate::new();
    let events = vec!["data: 1\n\n".to_owned(), "data: 2\n\n".to_owned()];
    let stream = Answer::Sse { events, gate: Some(gate.clone()) };
    let origin = Origin::builder().on("/x/slow", stream);
    let scene = Scene::start(origin, &format!("[journal]\nrequests_in_flight_max = 1\n{ROUTES}"), TIERS);
    let mut running = Wire::connect(scene.gateway.address());
    running.send(head("GET", "/x/slow", &[("X-User-Id", "ann")], None));
    assert!(running.read_until(BOUND, |read| read.ends_with(b"data: 1\n\n\r\n")));

    let refused = scene.get("/x/", "bob", "lifetime");
    let json = assert_refusal(&refused, 503, "overloaded");
    assert_eq!(keys(&json), ["error", "message", "request_id", "retry_after"]);
    assert_eq!(scene.origin.requests(), 1);

    gate.open();
    assert_eq!(running.response(false, BOUND).unwrap().status, 200);
    assert_eq!(scene.get("/x/", "bob", "lifetime").status, 200, "the refused request used nothing");
    assert_eq!(scene.lines_of(&refused), []);
}

#[test]
fn an_upstream_that_is_away_is_503_and_one_that_does_not_answer_502() {
    // Bound, so that nobody else gets it, and not listening.
    let taken = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    taken.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    let dead = taken.local_addr().unwrap().as_socket().unwrap();
    let routes = format!(
        "{ROUTES}[upstreams.dead]\nurls = [\"http://{dead}\"]\neject_after = 1000\n\
         [[routes]]\npath = \"/dead/\"\nupstream = \"dead\"\ncharge = [{{ meter = \"calls\" }}, {{ meter = \"jobs\" }}]\n"
    );
    let scene = Scene::start(Origin::builder().on("/x/close", Answer::Close), &routes, TIERS);
    for (target, status) in [("/dead/", 503), ("/x/close", 502)] {
        let failed = scene.send("POST", target, &[("X-User-Id", "ann"), ("X-User-Tier", "lifetime")], "{}");
        let json = assert_refusal(&failed, status, "upstream_unavailable");
        let again: &[&str] = if status == 503 { &["retry_after"] } else { &[] };
        assert_eq!(keys(&json), [&["error", "message", "request_id"], again].concat());
        assert_settled_at_nothing(&scene, &failed, status.into());
    }
    assert_eq!(scene.get("/x/", "ann", "lifetime").status, 200, "failures used nothing");
}

#[test]
fn an_upstream_that_is_left_out_is_503_upstream_unavailable() {
    let mut scene = scene_with(Origin::builder(), "eject_after = 1\neject_for = \"60s\"\n");
    scene.origin.stop();
    let first = scene.get("/x/", "ann", "lifetime");
    assert_refusal(&first, 503, "upstream_unavailable");
    let second = scene.get("/x/", "ann", "lifetime");
    let json = assert_refusal(&second, 503, "upstream_unavailable");
    assert_eq!(keys(&json), ["error", "message", "request_id", "retry_after"]);
    assert!((1..=60).contains(&number(&second, "retry-after")));
    // The origin's place is taken again, for the mark.
    let origin = Origin::builder().at(scene.origin.address()).start();
    scene.origin = origin;
    assert_settled_at_nothing(&scene, &second, 503);
}

#[test]
fn an_upstream_that_takes_too_long_is_504_upstream_timeout() {
    let scene = scene_with(Origin::builder().on("/x/hang", Answer::Hang), "response_timeout = \"200ms\"\n");
    let failed = scene.get("/x/hang", "ann", "lifetime");
    assert_refusal(&failed, 504, "upstream_timeout");
    assert!(eventually(BOUND, || scene.origin.abandoned() == 1), "the upstream is told to stop");
    assert_settled_at_nothing(&scene, &failed, 504);
    assert_eq!(scene.get("/x/", "ann", "lifetime").status, 200, "the failure used nothing");
}

#[test]
fn an_upstreams_own_refusal_is_passed_on_as_it_is() {
    let own = Reply::json(429, r#"{"error":"slow down"}"#).header("Retry-After", "7");
    let scene = scene_with(Origin::builder().on("/x/", Answer::Reply(own)), "");
    let answer = scene.get("/x/", "ann", "monthly");
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("7")));
    assert_eq!(answer.text(), r#"{"error":"slow down"}"#);
}

#[test]
fn a_refusal_of_head_has_no_body_and_its_connection_goes_on() {
    let scene = scene();
    let mut wire = Wire::connect(scene.gateway.address());
    wire.send(head("HEAD", "/nowhere", &[("X-User-Id", "ann")], None));
    let refused = wire.response(true, BOUND).unwrap();
    assert_eq!((refused.status, refused.header("content-type")), (404, Some("application/json")));
    wire.send(head("GET", "/x/", &[("X-User-Id", "ann")], None));
    assert_eq!(wire.response(false, BOUND).unwrap().status, 200);
}

#[test]
fn every_refusal_has_an_id_of_its_own() {
    let scene = scene();
    let first = scene.get("/nowhere", "ann", "free");
    let second = scene.get("/nowhere", "ann", "free");
    assert_ne!(request_id(&first), request_id(&second));
}

/// A scene in which ann has used up what her tier allows.
fn used_up() -> Scene {
    let scene = scene();
    assert_eq!(scene.get("/x/", "ann", "lifetime").status, 200);
    scene
}

/// The head of a POST of ann that is refused, with `header` and a body of so many bytes.
fn refused_post(header: (&str, &str), body_bytes: usize) -> String {
    let headers = [("X-User-Id", "ann"), ("X-User-Tier", "lifetime"), header];
    head("POST", "/x/", &headers, Some(body_bytes))
}

#[test]
fn a_refused_request_whose_body_comes_later_leaves_its_connection_usable() {
    let scene = used_up();
    let mut wire = Wire::connect(scene.gateway.address());
    wire.send(refused_post(("X-Custom", "a"), 4));
    // Once another connection of the same worker is served, the head was seen without its body.
    assert_eq!(scene.get("/x/", "bob", "free").status, 200);
    wire.send("body");
    let refused = wire.response(false, BOUND).expect("a refusal");
    assert_refusal(&refused, 429, "quota_exceeded");
    assert_eq!(refused.header("connection"), None, "{refused:?}");
    wire.send(head("GET", "/x/", &[("X-User-Id", "bob")], None));
    assert_eq!(wire.response(false, BOUND).expect("an answer on the same connection").status, 200);
    assert_cost_nothing(&scene, &refused, 3);
}

#[test]
fn who_asks_before_sending_a_body_that_is_refused_is_not_asked_for_it() {
    let scene = used_up();
    let mut wire = Wire::connect(scene.gateway.address());
    wire.send(refused_post(("Expect", "100-continue"), 4));
    assert!(wire.closes(BOUND), "whether the body still comes cannot be known");
    let told = String::from_utf8_lossy(wire.unread()).into_owned();
    assert!(told.starts_with("HTTP/1.1 429 "), "no 100 before it: {told}");
    let refused = wire.response(false, BOUND).expect("a refusal");
    assert_refusal(&refused, 429, "quota_exceeded");
    assert_eq!(refused.header("connection"), Some("close"));
    assert_cost_nothing(&scene, &refused, 1);
}

#[test]
fn a_refused_request_with_a_large_body_is_told_that_its_connection_ends() {
    let scene = used_up();
    let mut wire = Wire::connect(scene.gateway.address());
    wire.send(refused_post(("X-Custom", "a"), 64 * 1024 + 1));
    let refused = wire.response(false, BOUND).expect("a refusal");
    assert_refusal(&refused, 429, "quota_exceeded");
    assert_eq!(refused.header("connection"), Some("close"));
    assert!(wire.closes(BOUND), "what is left of the body cannot be told from a request");
    assert_cost_nothing(&scene, &refused, 1);
}
