//! `Idempotency-Key`: repeated is done once.

use std::collections::HashSet;

use serde_json::{Value, json};
use tollgate_testkit::{BOUND, Wire, eventually};

use super::{Desk, send};
use crate::{
    books::{self, Books},
    scene::{all_at_once, assert_refusal, head},
};

const ANN: (&str, &str) = ("X-User-Id", "ann");
const JSON: (&str, &str) = ("Content-Type", "application/json");

const fn key(key: &str) -> (&str, &str) {
    ("Idempotency-Key", key)
}

#[test]
fn the_same_key_has_the_same_answer() {
    let mut desk = Desk::open();
    let event =
        json!({ "events": [{ "meter": "tokens", "amount": 3 }, { "meter": "storage", "amount": 9 }] });
    let first = desk.post("track", &[ANN, key("a")], &event);
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(desk.post("track", &[ANN, key("b")], &event).status, 200);
    for _ in 0..3 {
        let again = desk.post("track", &[ANN, key("a")], &event);
        assert_eq!((again.status, &again.body), (200, &first.body));
    }
    desk.gateway.restart();
    let again = desk.post("track", &[ANN, key("a")], &event);
    assert_eq!((again.status, &again.body), (200, &first.body), "also after a restart");
    assert_eq!(Books::settled(&desk.gateway).sum("ann", "tokens"), 6);
    assert_eq!(desk.used("ann", "tokens", "lifetime"), 6);
    books::assert_clean(&desk.gateway);
}

#[test]
fn another_body_is_a_conflict() {
    let desk = Desk::open();
    assert_eq!(desk.post("track", &[ANN, key("a")], &json!({ "meter": "tokens", "amount": 3 })).status, 200);
    let other = desk.post("track", &[ANN, key("a")], &json!({ "meter": "tokens", "amount": 4 }));
    assert_refusal(&other, 409, "idempotency_conflict");
    let spaced =
        send(&desk.gateway, "POST", "track", &[ANN, JSON, key("a")], r#"{"meter":"tokens", "amount":3}"#);
    assert_refusal(&spaced, 409, "idempotency_conflict");
    let in_org =
        desk.post("track", &[ANN, ("X-Org-Id", "o"), key("a")], &json!({ "meter": "tokens", "amount": 3 }));
    assert_refusal(&in_org, 409, "idempotency_conflict");
    assert_eq!(Books::settled(&desk.gateway).sum("ann", "tokens"), 3);
}

#[test]
fn a_refusal_uses_no_key_up() {
    let desk = Desk::open();
    let wrong = desk.post("track", &[ANN, key("a")], &json!({ "meter": "tokens", "amount": -3 }));
    assert_refusal(&wrong, 400, "invalid_event");
    let right = desk.post("track", &[ANN, key("a")], &json!({ "meter": "tokens", "amount": 3 }));
    assert_eq!(right.status, 200, "{right:?}");
}

#[test]
fn fifty_at_once_charge_once() {
    let desk = Desk::open();
    let event = json!({ "events": vec![json!({ "meter": "tokens", "amount": 1 }); 20] });
    let answers = std::sync::Mutex::new(HashSet::new());
    let statuses = all_at_once(50, 2, |_| {
        let answer = desk.post("track", &[ANN, key("one")], &event);
        answers.lock().unwrap().insert(answer.body.clone());
        answer
    });
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    assert_eq!(answers.lock().unwrap().len(), 1, "all have the same bytes");
    assert_eq!(Books::settled(&desk.gateway).sum("ann", "tokens"), 20);
    assert_eq!(desk.used("ann", "tokens", "lifetime"), 20);
    books::assert_clean(&desk.gateway);
}

#[test]
fn a_repeat_after_a_kill_charges_once() {
    let mut desk = Desk::open();
    let mut charged = 0;
    for round in 0..6 {
        let name = format!("round-{round}");
        let events = vec![json!({ "meter": "calls", "amount": 1 }); 200];
        let body = json!({ "events": events }).to_string();
        let mut wire = Wire::connect(desk.gateway.address());
        wire.send(head("POST", "/api/v1/usage/track", &[ANN, JSON, key(&name)], Some(body.len())) + &body);
        // Somewhere on its way: nobody says where.
        std::thread::sleep(std::time::Duration::from_millis(2 * round));
        desk.gateway.kill_9();
        desk.gateway.restart();
        let again = send(&desk.gateway, "POST", "track", &[ANN, JSON, key(&name)], &body);
        assert_eq!(again.status, 200, "{again:?}");
        charged += 200;
        assert_eq!(desk.used("ann", "calls", "month"), charged, "round {round}");
        assert_eq!(Books::settled(&desk.gateway).sum("ann", "calls"), charged, "round {round}");
        books::assert_clean(&desk.gateway);
    }
}

#[test]
fn a_client_who_hangs_up_and_repeats_charges_once() {
    let desk = Desk::open();
    let body = json!({ "events": vec![json!({ "meter": "calls", "amount": 1 }); 50] }).to_string();
    for round in 0..10 {
        let name = format!("gone-{round}");
        let mut wire = Wire::connect(desk.gateway.address());
        wire.send(head("POST", "/api/v1/usage/track", &[ANN, JSON, key(&name)], Some(body.len())) + &body);
        drop(wire);
        let again = send(&desk.gateway, "POST", "track", &[ANN, JSON, key(&name)], &body);
        assert_eq!(again.status, 200, "{again:?}");
    }
    let used = || desk.used("ann", "calls", "month");
    assert!(eventually(BOUND, || used() == 500), "{}", used());
    assert_eq!(Books::settled(&desk.gateway).sum("ann", "calls"), 500);
    books::assert_clean(&desk.gateway);
}

#[test]
fn a_ledger_that_is_away_records_without_keys_only() {
    let desk = Desk::open();
    let event: Value = json!({ "meter": "tokens", "amount": 1 });
    assert_eq!(desk.post("track", &[ANN], &event).status, 200);
    assert_eq!(desk.post("track", &[ANN, key("k")], &event).status, 200);
}
