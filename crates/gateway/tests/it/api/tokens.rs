//! Services: who has a token speaks for others.

use serde_json::json;

use super::{Desk, OTHER_TOKEN, TOKEN, limit, service};
use crate::{books::Books, scene::assert_refusal, support};

#[test]
fn a_service_names_whom_it_means() {
    let desk = Desk::open();
    let report = json!({ "events": [
        { "meter": "tokens", "amount": 5, "user_id": "ann" },
        { "meter": "tokens", "amount": 7, "user_id": "bob", "org_id": "acme", "tier": "pro" },
        { "meter": "tokens", "amount": 1, "user_id": "ann" },
    ]});
    let answer = desk.post("track", &[service()], &report);
    assert_eq!(answer.status, 200, "{answer:?}");
    let subjects = answer.json()["subjects"].as_array().unwrap().clone();
    assert_eq!((subjects.len(), &subjects[1]["tier"]), (2, &json!("pro")));
    let current = desk.get("current?user_id=bob&org_id=acme&tier=pro", &[service()]).json();
    assert_eq!(limit(&current, "tokens", "lifetime")["used"], json!(7));
    assert_eq!(current["org_id"], json!("acme"));
    let body = json!({ "meter": "tokens", "amount": 95, "user_id": "ann" });
    assert_eq!(desk.post("check", &[service()], &body).json()["allowed"], json!(false));
    let by_other = ("authorization", &*format!("bearer {OTHER_TOKEN}"));
    assert_eq!(desk.get("tier?user_id=ann", &[by_other]).status, 200);
    let books = Books::settled(&desk.gateway);
    assert_eq!((books.sum("ann", "tokens"), books.sum("bob", "tokens")), (6, 7));
}

#[test]
fn what_is_said_of_all_events_holds_for_those_that_say_nothing_else() {
    let desk = Desk::open();
    let report = json!({ "user_id": "ann", "org_id": "acme", "tier": "pro", "events": [
        { "meter": "tokens", "amount": 5 },
        { "meter": "tokens", "amount": 7, "user_id": "bob" },
    ]});
    let answer = desk.post("track", &[service()], &report).json();
    let who = |n: usize| (answer["subjects"][n]["user_id"].clone(), answer["subjects"][n]["org_id"].clone());
    assert_eq!(who(0), (json!("ann"), json!("acme")));
    assert_eq!(who(1), (json!("bob"), json!(null)), "another user is not in that organisation for that");
}

#[test]
fn headers_of_a_trusted_peer_say_whom_a_service_means_too() {
    let desk = Desk::open();
    let answer = desk.get("tier", &[service(), ("X-User-Id", "ann"), ("X-User-Tier", "pro")]);
    assert_eq!(answer.json()["tier"], json!("pro"));
    let answer = desk.get("tier?user_id=bob", &[service(), ("X-User-Id", "ann"), ("X-User-Tier", "pro")]);
    assert_eq!(answer.json()["tier"], json!("free"), "what is said of ann is not said of bob");
    assert_refusal(&desk.get("tier", &[service()]), 401, "identity_missing");
    assert_refusal(&desk.get("tier?user_id=ann&tier=nope", &[service()]), 403, "unknown_tier");
}

#[test]
fn wrong_tokens_open_nothing() {
    let desk = Desk::open();
    let prefix = format!("Bearer {}", &TOKEN[..TOKEN.len() - 1]);
    let both = format!("Bearer {TOKEN},{OTHER_TOKEN}");
    let longer = format!("Bearer {TOKEN}x");
    let basic = format!("Basic {TOKEN}");
    for wrong in
        ["Bearer ' OR '1'='1", "Bearer ", "Bearer", "bearer null", TOKEN, &prefix, &both, &longer, &basic]
    {
        let header = ("Authorization", wrong);
        assert_refusal(&desk.get("current?user_id=ann", &[header]), 401, "identity_missing");
        let event = json!({ "meter": "tokens", "amount": 1, "user_id": "ann" });
        assert_refusal(&desk.post("track", &[header], &event), 401, "identity_missing");
        // Beside an identity it is the user's own affair, and says nothing.
        assert_eq!(desk.get("tier", &[header, ("X-User-Id", "bob")]).status, 200);
        let answer = desk.post("track", &[header, ("X-User-Id", "bob")], &event);
        assert_refusal(&answer, 400, "identity_invalid");
    }
    let twice = [service(), ("Authorization", "Bearer x")];
    assert_refusal(&desk.get("current?user_id=ann", &twice), 401, "identity_missing");
    assert!(Books::settled(&desk.gateway).0.is_empty());
}

#[test]
fn a_wrong_token_is_nobody_also_where_anybody_is_served() {
    let desk = Desk::with("[identity]\nanonymous = \"free\"");
    assert_eq!(desk.get("tier", &[]).status, 200);
    assert_refusal(&desk.get("tier", &[("Authorization", "Bearer wrong")]), 401, "identity_missing");
    assert_eq!(desk.get("tier?user_id=ann", &[service()]).status, 200);
    assert_refusal(&desk.get("tier?user_id=ann", &[]), 400, "identity_invalid");
}

#[test]
fn who_does_not_say_who_they_are_charges_nobody() {
    let desk = Desk::with("[identity]\nanonymous = \"free\"");
    let event = json!({ "meter": "tokens", "amount": 1 });
    for (what, body) in [
        ("track", &event),
        ("holds", &event),
        ("holds/01a214c6-8f64-7ff3-83d5-3fe52dc8ff00/settle", &event),
        ("holds/01a214c6-8f64-7ff3-83d5-3fe52dc8ff00/release", &json!({})),
        ("jobs/a/end", &json!({})),
    ] {
        assert_refusal(&desk.post(what, &[], body), 401, "identity_missing");
    }
    assert_eq!(desk.post("check", &[], &event).status, 200);
    assert_eq!(desk.post("track", &[("X-User-Id", "ann")], &event).status, 200);
}

#[test]
fn tokens_are_in_no_log() {
    let desk = Desk::open();
    let event =
        json!({ "meter": "tokens", "amount": 1, "user_id": "ann", "metadata": { "body": "canary-5bd1" } });
    assert_eq!(desk.post("track", &[service()], &event).status, 200);
    let wrong = ("Authorization", "Bearer canary-wrong-token-11aa");
    assert_eq!(desk.get("tier?user_id=ann", &[wrong]).status, 401);
    assert_eq!(desk.post("track", &[service()], &json!({ "meter": "canary-meter" })).status, 400);
    let logs = desk.gateway.logs();
    assert!(logs.contains("usage recorded"), "{logs}");
    for secret in [TOKEN, OTHER_TOKEN, "canary"] {
        assert!(!logs.contains(secret), "{secret}: {logs}");
    }
}

#[test]
fn only_services_report_where_it_is_said_so() {
    let desk = Desk::with("[api]\nwriters = \"services\"");
    let ann = ("X-User-Id", "ann");
    let event = json!({ "meter": "tokens", "amount": 1 });
    assert_refusal(&desk.post("track", &[ann], &event), 401, "identity_missing");
    assert_eq!(desk.post("track", &[ann, service()], &event).status, 200);
    assert_eq!(desk.get("current", &[ann]).status, 200);
    assert_eq!(desk.post("check", &[ann], &event).status, 200);
}

#[test]
fn short_tokens_stop_the_start_and_are_not_shown() {
    let origin = tollgate_testkit::Origin::builder().start();
    let mut gateway = support::gateway()
        .config(super::config(&origin, "[api]\nservice_tokens_env = \"MY_TOKENS\""))
        .tiers(super::TIERS)
        .env("MY_TOKENS", "short-canary")
        .spawn();
    let status = gateway.wait_exit(tollgate_testkit::BOUND).expect("it does not start");
    assert!(!status.success());
    let logs = gateway.logs();
    assert!(
        logs.contains("MY_TOKENS") && logs.contains("openssl rand") && !logs.contains("short-canary"),
        "{logs}"
    );
}
