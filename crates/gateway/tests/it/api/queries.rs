//! What is asked: tier, limits, current, health, check.

use serde_json::json;

use super::{Desk, assert_fits, limit, misfits, send};
use crate::{
    books,
    scene::{assert_refusal, clear_of_window_edges},
};

const ANN: (&str, &str) = ("X-User-Id", "ann");

#[test]
fn who_is_on_which_tier() {
    let desk = Desk::open();
    let answer = desk.get("tier", &[ANN]);
    assert_eq!(answer.status, 200);
    let wanted = json!({
        "user_id": "ann", "org_id": null, "tier": "free", "warn_at": [50, 80],
        "max_body_bytes": 1_000_000, "upgrade_url": "https://example.com/upgrade",
    });
    assert_eq!(answer.json(), wanted);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let answer = desk.get("tier", &[ANN, ("X-User-Tier", "pro"), ("X-Org-Id", "acme")]);
    assert_eq!(
        (answer.json()["tier"].as_str(), answer.json()["org_id"].as_str()),
        (Some("pro"), Some("acme"))
    );
    let head = send(&desk.gateway, "HEAD", "tier", &[ANN], "");
    assert_eq!((head.status, &*head.body), (200, &b""[..]));
}

#[test]
fn what_a_tier_allows() {
    let desk = Desk::open();
    let answer = desk.get("limits", &[ANN]).json();
    let meters = answer["meters"].as_array().unwrap();
    let of = |name: &str| meters.iter().find(|meter| meter["meter"] == *name).unwrap();
    assert_eq!(meters.len(), 9);
    let windows: Vec<_> =
        of("calls")["limits"].as_array().unwrap().iter().map(|l| l["window"].clone()).collect();
    assert_eq!(windows, ["hour", "month"]);
    assert_eq!(of("spend")["limits"][0]["limit"], json!("5"), "money is text");
    assert_eq!(of("storage")["kind"], json!("level"));
    assert_eq!((&of("secret")["available"], &of("secret")["unlimited"]), (&json!(false), &json!(false)));
    let answer = desk.get("limits", &[ANN, ("X-User-Tier", "pro")]).json();
    let calls = &answer["meters"][0]["limits"][0];
    assert_eq!((&calls["over"], &calls["price"]), (&json!("charge"), &json!("0.008 EUR per 10")));
    assert_eq!(answer["meters"][1]["limits"][0]["scope"], json!("org"));
    assert_eq!(answer["meters"][5]["unlimited"], json!(true));
}

#[test]
fn what_is_used_with_its_state() {
    clear_of_window_edges();
    let desk = Desk::open();
    let current = |tier: &str| desk.get("current", &[ANN, ("X-User-Tier", tier)]);
    let fresh = current("free");
    assert_eq!(limit(&fresh.json(), "tokens", "lifetime")["used"], json!(0));
    assert_eq!(fresh.json()["status"], json!("ok"));
    for (tokens, state) in [(79, "ok"), (1, "ok"), (19, "ok"), (1, "over_limit")] {
        let answer = desk.post("track", &[ANN], &json!({ "meter": "tokens", "amount": tokens }));
        assert_eq!(answer.status, 200, "{answer:?}");
        let _ = state;
    }
    let answer = current("free");
    let tokens = limit(&answer.json(), "tokens", "lifetime").clone();
    assert_eq!(
        (&tokens["used"], &tokens["remaining"], &tokens["percent"]),
        (&json!(100), &json!(0), &json!(100))
    );
    assert_eq!((&tokens["status"], &tokens["reset_at"]), (&json!("over_limit"), &json!(null)));
    assert_eq!(answer.json()["status"], json!("over_limit"));
    // The limit that is nearest to its end is in the headers.
    assert_eq!(answer.header("x-ratelimit-limit"), Some("100"));
    assert_eq!(answer.header("x-ratelimit-remaining"), Some("0"));
    let calls = limit(&answer.json(), "calls", "hour").clone();
    assert_eq!((&calls["limit"], &calls["scope"]), (&json!(1000), &json!("user")));
    assert!(calls["reset_at"].as_str().is_some_and(|at| at.ends_with(":00:00Z")), "{calls}");
    // Without an organisation, its limit is the user's own.
    assert_eq!(limit(&current("pro").json(), "tokens", "lifetime")["used"], json!(100));
}

#[test]
fn a_limit_is_approached_from_the_first_warning_on() {
    let desk = Desk::open();
    for (tokens, percent, status) in
        [(49, 49, "ok"), (1, 50, "approaching_limit"), (49, 99, "approaching_limit"), (1, 100, "over_limit")]
    {
        let answer = desk.post("track", &[ANN], &json!({ "meter": "tokens", "amount": tokens })).json();
        let limit = limit(&answer["subjects"][0], "tokens", "lifetime");
        assert_eq!((&limit["percent"], &limit["status"]), (&json!(percent), &json!(status)));
        assert_eq!(answer["status"], json!(status));
    }
}

#[test]
fn health_names_each_component() {
    let desk = Desk::open();
    let answer = desk.get("health", &[ANN]).json();
    let wanted = json!({ "status": "ok", "components": {
        "gateway": "ok", "journal": "ok", "ledger": "ok", "counters": "ok", "upstreams": { "origin": "ok" },
    }});
    assert_eq!(answer, wanted);
}

#[test]
fn a_check_decides_as_a_request_and_takes_nothing() {
    let desk = Desk::open();
    let check = |amounts: serde_json::Value| {
        let body = json!({ "amounts": amounts });
        assert_fits("check_request", &body);
        desk.post("check", &[ANN], &body)
    };
    let tokens = |amount: i64| json!([{ "meter": "tokens", "amount": amount }]);
    for _ in 0..20 {
        assert_eq!(check(tokens(100)).json()["allowed"], json!(true));
    }
    let answer = check(tokens(101)).json();
    assert_eq!(answer["allowed"], json!(false));
    let refusal = &answer["refusal"];
    assert_eq!((&refusal["error"], &refusal["meter"]), (&json!("quota_exceeded"), &json!("tokens")));
    assert_eq!(
        (&refusal["used"], &refusal["limit"], &refusal["remaining"]),
        (&json!(0), &json!(100), &json!(100))
    );
    // Several at once; the same meter twice counts together.
    let answer = check(json!([
        { "meter": "tokens", "amount": 60 }, { "meter": "spend", "amount": "5.00" }, { "meter": "tokens", "amount": 41 },
    ]));
    let json = answer.json();
    assert_eq!(json["allowed"], json!(false));
    let allowed: Vec<_> =
        json["meters"].as_array().unwrap().iter().map(|meter| meter["allowed"].clone()).collect();
    assert_eq!(allowed, [json!(false), json!(true)]);
    assert_eq!(answer.header("x-ratelimit-limit"), Some("100"), "the headers are about what refuses");
    // A slot of what runs now, one too many, and what is no limit of anything.
    assert_eq!(check(json!([{ "meter": "jobs", "amount": 2 }])).json()["allowed"], json!(true));
    assert_eq!(
        check(json!([{ "meter": "jobs", "amount": 3 }])).json()["refusal"]["error"],
        json!("too_many_jobs")
    );
    let pro = desk.post("check", &[ANN, ("X-User-Tier", "pro")], &json!({ "meter": "calls", "amount": 99 }));
    assert_eq!(pro.json()["allowed"], json!(true), "use beyond it is charged");
    assert_eq!(desk.used("ann", "tokens", "lifetime"), 0);
    assert_eq!(books::held(&desk.gateway), 0);
    books::assert_clean(&desk.gateway);
    assert!(books::Books::read(&desk.gateway.data_dir()).0.is_empty(), "the API is free");
}

#[test]
fn enforcement_of_observe_refuses_nothing_here_either() {
    let desk = Desk::open();
    let config = std::fs::read_to_string(desk.gateway.config_path()).unwrap();
    desk.gateway.write_config(&format!("enforcement = \"observe\"\n{config}"));
    let allowed = || {
        desk.post("check", &[ANN], &json!({ "meter": "tokens", "amount": 101 })).json()["allowed"]
            == json!(true)
    };
    assert!(tollgate_testkit::eventually(tollgate_testkit::BOUND, allowed));
}

#[test]
fn there_is_nothing_else() {
    let desk = Desk::open();
    for (method, what) in
        [("GET", "track"), ("POST", "tier"), ("GET", ""), ("GET", "tier/x"), ("DELETE", "current")]
    {
        let mut wire = tollgate_testkit::Wire::connect(desk.gateway.address());
        wire.send(crate::scene::head(method, &format!("/api/v1/usage/{what}"), &[ANN], None));
        let answer = wire.response(false, tollgate_testkit::BOUND).unwrap();
        assert_refusal(&answer, 404, "not_found");
    }
}

#[test]
fn the_api_can_be_elsewhere_or_nowhere() {
    let desk = Desk::with("[api]\npath = \"/meter/\"");
    let status = |path: &str| {
        let mut wire = tollgate_testkit::Wire::connect(desk.gateway.address());
        wire.send(crate::scene::head("GET", path, &[ANN], None));
        wire.response(false, tollgate_testkit::BOUND).unwrap().json()["tier"].clone()
    };
    assert_eq!(status("/meter/tier"), json!("free"));
    assert_eq!(status("/api/v1/usage/tier"), json!(null), "the route serves it");
    let desk = Desk::with("[api]\nenabled = false");
    let mut wire = tollgate_testkit::Wire::connect(desk.gateway.address());
    wire.send(crate::scene::head("GET", "/api/v1/usage/tier", &[ANN], None));
    assert_eq!(wire.response(false, tollgate_testkit::BOUND).unwrap().json(), json!({}));
}

#[test]
fn the_schema_takes_no_floats() {
    assert!(!misfits("track_request", &json!({ "meter": "tokens", "amount": 1.5 })).is_empty());
    assert!(!misfits("track_request", &json!({ "meter": "spend", "amount": "1e3" })).is_empty());
    assert!(misfits("track_request", &json!({ "meter": "spend", "amount": "0.000000001" })).is_empty());
}
