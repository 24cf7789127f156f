//! What operators see: metrics, health, logs. Never who the users are in a label, never what they sent.

use std::collections::BTreeSet;

use serde_json::Value;
use tollgate_testkit::{Answer, BOUND, Origin, Reply, eventually};

use crate::scene::{Scene, config, tiers};

const TIERS: &str = r#"
default_tier = "free"
[meters]
calls = { unit = "calls" }
[tiers.free]
warn_at = [50, 80]
limits.calls = "10/lifetime"
"#;

const ROUTES: &str = r#"
[[routes]]
name = "calls"
path = "/x/"
upstream = "origin"
charge = [{ meter = "calls" }]
"#;

/// In everything that clients and services send here, and in nothing that operators see.
const CANARY: &str = "canary-7c1f";

/// A gateway that logs as much as it can.
fn talkative() -> Scene {
    let body = format!("{{\"secret\":\"{CANARY}\"}}");
    let good = Reply::json(200, body).header("X-Note", CANARY).header("Set-Cookie", CANARY);
    let origin = Origin::builder()
        .on("/x/ok", Answer::Reply(good))
        .on("/x/500", Answer::status(500))
        .on("/x/close", Answer::Close)
        .start();
    let config = format!(
        "{}[log]\nlevel = \"trace\"\nformat = \"json\"\nrequests = true\n",
        config(origin.address(), ROUTES)
    );
    let gateway = crate::support::gateway().config(config).tiers(tiers(TIERS)).start();
    Scene { gateway, origin }
}

fn send(scene: &Scene, user: &str, path: &str) -> u16 {
    let bearer = format!("Bearer {CANARY}");
    let headers = [("X-User-Id", user), ("Authorization", &bearer), ("Cookie", CANARY), ("X-Note", CANARY)];
    let headers = if user.is_empty() { &headers[1..] } else { &headers[..] };
    scene.send("POST", &format!("{path}?key={CANARY}"), headers, CANARY).status
}

/// The series of `/metrics`, as written there without their values.
fn series(text: &str) -> Vec<&str> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').unwrap().0).collect()
}

/// The names of a series's labels.
fn labels(series: &str) -> impl Iterator<Item = &str> {
    let (_, labels) = series.split_once('{').unwrap_or((series, "}"));
    let labels = labels.strip_suffix('}').unwrap().split(',').filter(|label| !label.is_empty());
    labels.map(|label| label.split_once('=').unwrap().0)
}

#[test]
fn metrics_tell_what_happened_and_name_no_user() {
    let scene = talkative();
    for number in 0..12 {
        let expected = if number < 10 { 200 } else { 429 };
        assert_eq!(send(&scene, "user-of-many", "/x/ok"), expected);
    }
    for user in ["user-a", "user-b", "user-c"] {
        let sent = ["/x/ok", "/x/500", "/x/close", "/nowhere"].map(|path| send(&scene, user, path));
        assert_eq!(sent, [200, 500, 502, 404]);
    }
    assert_eq!(send(&scene, "", "/x/ok"), 401);
    assert_eq!(send(&scene, "user a", "/x/ok"), 400);
    drop(scene.settled());

    for (series, expected) in [
        (r#"tollgate_requests_total{route="calls",status="2xx"}"#, 13.0),
        (r#"tollgate_requests_total{route="calls",status="4xx"}"#, 2.0),
        (r#"tollgate_requests_total{route="calls",status="5xx"}"#, 6.0),
        (r#"tollgate_request_duration_seconds_count{route="calls",status="2xx"}"#, 13.0),
        (r#"tollgate_refusals_total{code="quota_exceeded",tier="free"}"#, 2.0),
        (r#"tollgate_refusals_total{code="no_route",tier="none"}"#, 3.0),
        (r#"tollgate_refusals_total{code="upstream_unavailable",tier="free"}"#, 3.0),
        (r#"tollgate_refusals_total{code="identity_missing",tier="none"}"#, 1.0),
        (r#"tollgate_refusals_total{code="identity_invalid",tier="none"}"#, 1.0),
        (r#"tollgate_config_valid"#, 1.0),
        (r#"tollgate_journal_lag_seconds"#, 0.0),
        (r#"tollgate_ledger_failing"#, 0.0),
    ] {
        assert!(
            eventually(BOUND, || scene.gateway.metric(series) == Some(expected)),
            "{series}: {}",
            scene.gateway.metrics()
        );
    }
    let text = scene.gateway.metrics();
    assert!(!text.contains("user") && !text.contains(CANARY) && !text.contains("nowhere"), "{text}");
    let labels: BTreeSet<_> = series(&text).into_iter().flat_map(labels).collect();
    let known = ["code", "estimated", "le", "meter", "result", "route", "status", "tier", "upstream", "url"];
    assert!(labels.iter().all(|label| known.contains(label)), "{labels:?}");

    // More users are not more series.
    let before = series(&text).len();
    assert!((0..20).all(|user| send(&scene, &format!("user-{user}"), "/x/ok") == 200));
    assert_eq!(series(&scene.gateway.metrics()).len(), before);
}

#[test]
fn logs_are_lines_of_json_without_what_was_sent() {
    let scene = talkative();
    for path in ["/x/ok", "/x/500", "/x/close", "/nowhere", "/x/%2e%2e/y"] {
        let _ = send(&scene, "ann", path);
    }
    let _ = send(&scene, "", "/x/ok");
    let _ = scene.send("POST", "/x/ok", &[("X-User-Id", &format!("{CANARY} {CANARY}"))], CANARY);
    let _ = scene.send("POST", "/x/ok", &[("X-User-Id", "ann"), ("X-User-Tier", CANARY)], CANARY);
    drop(scene.settled());
    let logs = scene.gateway.logs();
    assert!(!logs.contains(CANARY), "{logs}");
    let lines: Vec<Value> =
        logs.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    let refusals = lines.iter().filter(|line| line["message"] == "request refused");
    let codes: BTreeSet<_> = refusals.map(|line| line["code"].as_str().unwrap()).collect();
    let refused = [
        "bad_request",
        "identity_invalid",
        "identity_missing",
        "no_route",
        "unknown_tier",
        "upstream_unavailable",
    ];
    assert_eq!(codes, refused.into());
}

#[test]
fn each_percentage_of_warn_at_is_told_once() {
    let scene = talkative();
    for _ in 0..12 {
        let _ = send(&scene, "ann", "/x/ok");
    }
    let warned = || {
        let logs = scene.gateway.logs();
        let lines = logs.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let warnings = lines.filter(|line| line["message"] == "quota warning");
        warnings
            .map(|line| (line["user"].clone(), line["limit"].clone(), line["percent"].clone()))
            .collect::<Vec<_>>()
    };
    let told = |percent: u8| ("ann".into(), "calls-lifetime".into(), percent.into());
    assert!(eventually(BOUND, || warned().len() == 2), "{:?}", warned());
    assert_eq!(warned(), [told(50), told(80)]);
    assert_eq!(scene.gateway.metric(r#"tollgate_quota_warnings_total{tier="free"}"#), Some(2.0));
}

#[test]
fn health_and_readiness_are_told_to_whoever_asks() {
    let scene = talkative();
    let health = scene.gateway.admin_get("/healthz");
    assert_eq!((health.status, &*health.text()), (200, "ok\n"));
    let ready = scene.gateway.admin_get("/readyz");
    assert_eq!(ready.status, 200);
    let json = ready.json();
    for part in ["serving", "journal", "journal_room", "ledger", "config"] {
        assert_eq!(json[part], "ok", "{part}: {json}");
    }
    let upstreams = json["upstreams"].as_array().unwrap();
    assert!(upstreams.iter().all(|upstream| upstream["available"] == upstream["urls"]), "{json}");
    assert_eq!(scene.gateway.admin_get("/nothing").status, 404);
    let metrics = scene.gateway.admin_get("/metrics");
    assert!(metrics.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"), "{metrics:?}");
}
