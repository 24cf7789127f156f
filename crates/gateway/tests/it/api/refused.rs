//! What is refused, with nothing charged.

use serde_json::{Value, json};
use tollgate_testkit::{BOUND, Response, Wire};

use super::{Desk, reports::ago, send};
use crate::{
    books::Books,
    scene::{assert_refusal, head},
};

const ANN: (&str, &str) = ("X-User-Id", "ann");
const JSON: (&str, &str) = ("Content-Type", "application/json");

/// Fails unless `answer` names this place.
fn assert_at(answer: &Response, code: &str, pointer: &str) {
    let json = assert_refusal(answer, 400, code);
    assert_eq!(json["pointer"], json!(pointer), "{json}");
    assert!(json["message"].as_str().unwrap().contains(pointer), "{json}");
}

#[test]
fn events_that_make_no_sense_are_pointed_at_and_nothing_is_charged() {
    let desk = Desk::open();
    let good = json!({ "meter": "tokens", "amount": 1 });
    let long = "x".repeat(1100);
    for (event, pointer) in [
        (json!({ "meter": "nope", "amount": 1 }), "meter"),
        (json!({ "meter": "secret", "amount": 1 }), "meter"),
        (json!({ "meter": 5, "amount": 1 }), "meter"),
        (json!({ "amount": 1 }), "meter"),
        (json!({ "meter": "tokens" }), "amount"),
        (json!({ "meter": "tokens", "amount": 0 }), "amount"),
        (json!({ "meter": "tokens", "amount": -1 }), "amount"),
        (json!({ "meter": "tokens", "amount": 1.0 }), "amount"),
        (json!({ "meter": "tokens", "amount": "1" }), "amount"),
        (json!({ "meter": "tokens", "amount": u64::MAX }), "amount"),
        (json!({ "meter": "storage", "amount": 0 }), "amount"),
        (json!({ "meter": "spend", "amount": 1 }), "amount"),
        (json!({ "meter": "spend", "amount": "-1" }), "amount"),
        (json!({ "meter": "spend", "amount": "1.0000000001" }), "amount"),
        (json!({ "meter": "jobs", "amount": 1 }), "amount"),
        (json!({ "meter": "tokens", "amount": 1, "at": "2999-01-01T00:00:00Z" }), "at"),
        (json!({ "meter": "tokens", "amount": 1, "at": ago(7 * 86_400 + 60) }), "at"),
        (json!({ "meter": "tokens", "amount": 1, "at": "2026-01-31" }), "at"),
        (json!({ "meter": "tokens", "amount": 1, "at": 1_795_000_000 }), "at"),
        (json!({ "meter": "tokens", "amount": 1, "metadata": "x" }), "metadata"),
        (json!({ "meter": "tokens", "amount": 1, "metadata": { "a": long } }), "metadata"),
        (json!({ "meter": "tokens", "amount": 1, "metadata": { "a": "\u{0}" } }), "metadata"),
        (json!({ "meter": "storage", "amount": 1, "resource": "" }), "resource"),
        (json!({ "meter": "storage", "amount": 1, "resource": "a\nb" }), "resource"),
        (json!({ "meter": "storage", "amount": -1, "resource": "a" }), "amount"),
        (json!({ "meter": "storage", "amount": 1, "resource": "hold:a" }), "resource"),
        (json!({ "meter": "tokens", "amount": 1, "resource": "a" }), "amount"),
        (json!({ "meter": "tokens", "amount": 1, "user_id": "a b" }), "user_id"),
        (json!({ "meter": "tokens", "amount": 1, "amuont": 1 }), "amuont"),
    ] {
        let answer = desk.post("track", &[ANN], &event);
        assert_at(&answer, "invalid_event", &format!("/{pointer}"));
        let answer = desk.post("track", &[ANN], &json!({ "events": [good, event, good] }));
        assert_at(&answer, "invalid_event", &format!("/events/1/{pointer}"));
    }
    for (body, pointer) in [
        (json!({ "events": [] }), "/events"),
        (json!({ "events": {} }), "/events"),
        (json!({ "events": [5] }), "/events/0"),
        (json!({ "events": [good], "meter": "tokens" }), "/meter"),
        (json!({ "events": vec![good.clone(); 1001] }), "/events"),
    ] {
        assert_at(&desk.post("track", &[ANN], &body), "invalid_event", pointer);
    }
    assert!(Books::settled(&desk.gateway).0.is_empty());
    assert_eq!(desk.used("ann", "tokens", "lifetime"), 0);
}

#[test]
fn a_clock_that_is_a_little_ahead_is_no_mistake() {
    let desk = Desk::open();
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(30);
    let event = json!({ "meter": "tokens", "amount": 1, "at": soon.to_string() });
    assert_eq!(desk.post("track", &[ANN], &event).status, 200);
}

#[test]
fn checks_that_make_no_sense_are_pointed_at() {
    let desk = Desk::open();
    for (body, pointer) in [
        (json!({ "meter": "nope", "amount": 1 }), "/meter"),
        (json!({ "meter": "tokens", "amount": -1 }), "/amount"),
        (
            json!({ "amounts": [{ "meter": "tokens", "amount": 1 }, { "meter": "secret", "amount": 1 }] }),
            "/amounts/1/meter",
        ),
        (json!({ "amounts": [{ "meter": "tokens", "amount": 1, "x": 1 }] }), "/amounts/0/x"),
        (json!({ "amounts": [] }), "/amounts"),
        (
            json!({ "amounts": [{ "meter": "tokens", "amount": i64::MAX }, { "meter": "tokens", "amount": 1 }] }),
            "/amounts/1/meter",
        ),
        (json!({}), "/meter"),
        (json!({ "meter": "tokens", "amount": 1, "extra": 1 }), "/extra"),
    ] {
        assert_at(&desk.post("check", &[ANN], &body), "bad_request", pointer);
    }
}

#[test]
fn bodies_that_are_no_json_are_refused() {
    let desk = Desk::open();
    let send = |headers: &[(&str, &str)], body: &str| send(&desk.gateway, "POST", "track", headers, body);
    let deep = "[".repeat(100_000);
    for body in
        ["", "{", "[]", "5", "nul", "{\"meter\":\"tokens\",\"amount\":1}x", "{\"meter\":1e999}", &deep]
    {
        assert_refusal(&send(&[ANN, JSON], body), 400, "bad_request");
    }
    let good = r#"{"meter":"tokens","amount":1}"#;
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
        assert_refusal(&send(&[ANN, ("Content-Type", kind)], good), 400, "bad_request");
    }
    assert_refusal(&send(&[ANN], good), 400, "bad_request");
    assert_eq!(send(&[ANN, ("Content-Type", "application/json; charset=utf-8")], good).status, 200);
}

#[test]
fn bodies_are_bounded() {
    let desk = Desk::open();
    let answer = send(&desk.gateway, "POST", "track", &[ANN, JSON], &" ".repeat((1 << 20) + 1));
    assert_refusal(&answer, 413, "body_too_large");
    // As it passes, where no length is said.
    let mut wire = Wire::connect(desk.gateway.address());
    wire.send(head("POST", "/api/v1/usage/track", &[ANN, JSON, ("Transfer-Encoding", "chunked")], None));
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    for _ in 0..18 {
        if !wire.send(&chunk) {
            break;
        }
    }
    assert_refusal(&wire.response(false, BOUND).unwrap(), 413, "body_too_large");
    // A body that is as large as may be.
    let event = r#"{"meter":"tokens","amount":1}"#;
    let body = format!("{event}{}", " ".repeat((1 << 20) - event.len()));
    assert_eq!(send(&desk.gateway, "POST", "track", &[ANN, JSON], &body).status, 200);
}

#[test]
fn queries_are_checked() {
    let desk = Desk::open();
    for query in ["user_id=", "user_id=a%0ab", "x=1", "user_id=ann&user_id=ann"] {
        assert_refusal(&desk.get(&format!("current?{query}"), &[ANN]), 400, "bad_request");
    }
}

#[test]
fn keys_are_checked() {
    let desk = Desk::open();
    let event: Value = json!({ "meter": "tokens", "amount": 1 });
    let long = "k".repeat(256);
    for key in ["", "a b", &long] {
        let answer = desk.post("track", &[ANN, ("Idempotency-Key", key)], &event);
        assert_refusal(&answer, 400, "bad_request");
    }
    let answer = desk.post("track", &[ANN, ("Idempotency-Key", "a"), ("Idempotency-Key", "b")], &event);
    assert_refusal(&answer, 400, "bad_request");
    assert!(Books::settled(&desk.gateway).0.is_empty());
}
