//! Holds: quota for work that a service does itself.

use serde_json::{Value, json};
use tollgate_testkit::{BOUND, eventually};

use super::{Desk, assert_fits, service};
use crate::{
    books::{self, Books},
    scene::{all_at_once, assert_refusal},
};

const ANN: (&str, &str) = ("X-User-Id", "ann");

/// Takes a hold of `tokens`; its id.
fn take(desk: &Desk, tokens: i64) -> String {
    let body = json!({ "meter": "tokens", "amount": tokens });
    assert_fits("holds_request", &body);
    let answer = desk.post("holds", &[ANN], &body);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["id"].as_str().unwrap().to_owned()
}

fn tokens(desk: &Desk) -> i64 {
    desk.used("ann", "tokens", "lifetime")
}

#[test]
fn a_hold_is_charged_at_once_and_settled_by_what_was_used() {
    let desk = Desk::open();
    let id = take(&desk, 60);
    assert_eq!(tokens(&desk), 60);
    let more = desk.post("holds", &[ANN], &json!({ "meter": "tokens", "amount": 41 }));
    let refusal = assert_refusal(&more, 429, "quota_exceeded");
    assert_eq!((&refusal["used"], &refusal["remaining"]), (&json!(60), &json!(40)));
    assert_eq!(more.header("x-ratelimit-remaining"), Some("40"));
    let body = json!({ "meter": "tokens", "amount": 25 });
    assert_fits("settle_request", &body);
    let settled = desk.post(&format!("holds/{id}/settle"), &[ANN], &body);
    assert_eq!(settled.status, 200, "{settled:?}");
    assert_eq!(settled.json()["held"], json!([{ "meter": "tokens", "amount": 60 }]));
    assert_eq!(settled.json()["used"], json!([{ "meter": "tokens", "amount": 25 }]));
    assert_eq!(tokens(&desk), 25);
    // Twice is once.
    let again = desk.post(&format!("holds/{id}/settle"), &[ANN], &body);
    assert_refusal(&again, 404, "not_found");
    let late = desk.post(&format!("holds/{id}/release"), &[ANN], &json!({}));
    assert_refusal(&late, 404, "not_found");
    assert_eq!(tokens(&desk), 25);
    let books = Books::settled(&desk.gateway);
    let lines: Vec<_> = books.0.iter().map(|line| (line.amount, line.estimated)).collect();
    assert!(
        lines.contains(&(60, true)) && lines.contains(&(25, false)) && lines.contains(&(-60, true)),
        "{lines:?}"
    );
    books::assert_clean(&desk.gateway);
}

#[test]
fn more_than_was_held_is_charged_too() {
    let desk = Desk::open();
    let id = take(&desk, 10);
    let settled =
        desk.post(&format!("holds/{id}/settle"), &[ANN], &json!({ "meter": "tokens", "amount": 130 }));
    assert_eq!((settled.status, settled.header("x-ratelimit-remaining")), (200, Some("0")));
    assert_eq!(tokens(&desk), 130);
}

#[test]
fn what_is_released_was_not_used() {
    let desk = Desk::open();
    let id = take(&desk, 100);
    let released = desk.gateway.address();
    let mut wire = tollgate_testkit::Wire::connect(released);
    wire.send(crate::scene::head(
        "POST",
        &format!("/api/v1/usage/holds/{id}/release"),
        &[ANN, ("Content-Length", "0")],
        None,
    ));
    assert_eq!(wire.response(false, BOUND).unwrap().status, 200, "no body is needed");
    assert_eq!(tokens(&desk), 0);
    let again = desk.post(&format!("holds/{id}/release"), &[ANN], &json!({}));
    assert_refusal(&again, 404, "not_found");
    books::assert_clean(&desk.gateway);
}

#[test]
fn several_meters_are_held_together_or_not_at_all() {
    let desk = Desk::open();
    let hold = |amounts: Value| desk.post("holds", &[ANN], &json!({ "amounts": amounts }));
    let amounts = json!([
        { "meter": "tokens", "amount": 50 }, { "meter": "spend", "amount": "1.50" }, { "meter": "jobs", "amount": 1 },
        { "meter": "audio", "amount": 61 },
    ]);
    let first = hold(amounts.clone());
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(first.json()["amounts"][4], json!({ "meter": "credits", "amount": 2 }));
    let too_many = json!([{ "meter": "tokens", "amount": 10 }, { "meter": "jobs", "amount": 2 }]);
    assert_refusal(&hold(too_many), 429, "too_many_jobs");
    assert_eq!(tokens(&desk), 50, "nothing of it is held");
    assert_eq!(hold(json!([{ "meter": "jobs", "amount": 1 }])).status, 200);
    assert_refusal(&hold(json!([{ "meter": "jobs", "amount": 1 }])), 429, "too_many_jobs");
    let id = first.json()["id"].as_str().unwrap().to_owned();
    let settle = |body: Value| desk.post(&format!("holds/{id}/settle"), &[ANN], &body);
    let wrong = assert_refusal(&settle(json!({ "meter": "jobs", "amount": 1 })), 400, "bad_request");
    assert_eq!(wrong["pointer"], json!("/meter"));
    let wrong = assert_refusal(&settle(json!({ "meter": "pages", "amount": 1 })), 400, "bad_request");
    assert_eq!(wrong["pointer"], json!("/meter"));
    let used =
        json!({ "amounts": [{ "meter": "tokens", "amount": 5 }, { "meter": "audio", "amount": 121 }] });
    assert_eq!(settle(used).status, 200);
    let current = desk.get("current", &[ANN]).json();
    let used = |meter: &str, window: &str| super::limit(&current, meter, window)["used"].clone();
    assert_eq!((used("tokens", "lifetime"), used("spend", "month")), (json!(5), json!("0")));
    assert_eq!(used("credits", "month"), json!(3));
    assert_eq!(hold(json!([{ "meter": "jobs", "amount": 1 }])).status, 200, "its slot is free");
    books::assert_clean(&desk.gateway);
}

#[test]
fn holds_that_nobody_ends_expire() {
    let mut desk = Desk::open();
    let body = json!({ "meter": "tokens", "amount": 70, "expires_in": 1, "metadata": { "for": "ocr" } });
    let answer = desk.post("holds", &[ANN], &body);
    assert_eq!(answer.status, 200, "{answer:?}");
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    assert!(eventually(BOUND, || tokens(&desk) == 0));
    let late = desk.post(&format!("holds/{id}/settle"), &[ANN], &json!({ "meter": "tokens", "amount": 1 }));
    assert_refusal(&late, 404, "not_found");
    // Also one whose gateway was killed.
    let body = json!({ "meter": "tokens", "amount": 80, "expires_in": 2 });
    assert_eq!(desk.post("holds", &[ANN], &body).status, 200);
    desk.gateway.kill_9();
    desk.gateway.restart();
    assert!(eventually(BOUND, || tokens(&desk) == 0));
    let books = Books::settled(&desk.gateway);
    let expired =
        books.0.iter().filter(|line| line.metadata.as_deref().is_some_and(|m| m.contains("expired")));
    assert_eq!(expired.count(), 2);
    books::assert_clean(&desk.gateway);
}

#[test]
fn holds_never_pass_a_limit() {
    let desk = Desk::open();
    let statuses =
        all_at_once(16, 5, |_| desk.post("holds", &[ANN], &json!({ "meter": "tokens", "amount": 7 })));
    let taken = statuses.iter().filter(|status| **status == 200).count();
    assert_eq!((taken, tokens(&desk)), (14, 98), "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 200 | 429)));
    books::assert_clean(&desk.gateway);
}

#[test]
fn of_many_who_end_a_hold_one_does() {
    let desk = Desk::open();
    let id = take(&desk, 50);
    let statuses = all_at_once(12, 1, |client| match client % 2 {
        0 => desk.post(&format!("holds/{id}/settle"), &[ANN], &json!({ "meter": "tokens", "amount": 20 })),
        _ => desk.post(&format!("holds/{id}/release"), &[ANN], &json!({})),
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert!(matches!(tokens(&desk), 0 | 20));
    books::assert_clean(&desk.gateway);
}

#[test]
fn a_key_makes_each_step_repeatable() {
    let mut desk = Desk::open();
    let body = json!({ "meter": "tokens", "amount": 30 });
    let take = |desk: &Desk| desk.post("holds", &[ANN, ("Idempotency-Key", "take")], &body);
    let first = take(&desk);
    let statuses = all_at_once(8, 2, |_| take(&desk));
    assert!(statuses.iter().all(|status| *status == 200));
    desk.gateway.restart();
    assert_eq!(take(&desk).body, first.body);
    assert_eq!(tokens(&desk), 30);
    let id = first.json()["id"].as_str().unwrap().to_owned();
    let used = json!({ "meter": "tokens", "amount": 4 });
    let settle =
        |desk: &Desk| desk.post(&format!("holds/{id}/settle"), &[ANN, ("Idempotency-Key", "settle")], &used);
    let first = settle(&desk);
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(settle(&desk).body, first.body);
    assert_eq!(tokens(&desk), 4);
    books::assert_clean(&desk.gateway);
}

/// Changes what the ledger knows of keys.
fn change_keys(desk: &Desk, change: &str) {
    let ledger = rusqlite::Connection::open(desk.gateway.data_dir().join("ledger.sqlite3")).unwrap();
    ledger.busy_timeout(BOUND).unwrap();
    ledger.execute(&format!("UPDATE idempotency_keys SET {change}"), []).unwrap();
}

/// Forgets what was answered to requests with a key, as if the gateway had died before it was kept.
fn unanswer(desk: &Desk) {
    change_keys(desk, "status = NULL, answer = NULL");
}

#[test]
fn each_step_whose_answer_was_lost_is_done_once() {
    let desk = Desk::open();
    let keyed = |what: &str, key: &str, body: &Value| desk.post(what, &[ANN, ("Idempotency-Key", key)], body);
    let amounts =
        json!({ "amounts": [{ "meter": "tokens", "amount": 30 }, { "meter": "jobs", "amount": 1 }] });
    let first = keyed("holds", "take", &amounts);
    unanswer(&desk);
    let again = keyed("holds", "take", &amounts);
    assert_eq!((again.status, &again.body), (200, &first.body), "{again:?}");
    assert_eq!(tokens(&desk), 30);
    let id = first.json()["id"].as_str().unwrap().to_owned();
    let settle =
        || keyed(&format!("holds/{id}/settle"), "settle", &json!({ "meter": "tokens", "amount": 4 }));
    assert_eq!(settle().status, 200);
    unanswer(&desk);
    let again = settle();
    assert!(matches!(again.status, 200 | 404), "{again:?}");
    assert_eq!((tokens(&desk), desk.used("ann", "jobs", "lifetime")), (4, 0));
    books::assert_clean(&desk.gateway);
}

#[test]
fn a_hold_that_has_expired_is_not_taken_again() {
    let desk = Desk::open();
    let body = json!({ "meter": "tokens", "amount": 70, "expires_in": 1 });
    let take = || desk.post("holds", &[ANN, ("Idempotency-Key", "k")], &body);
    assert_eq!(take().status, 200);
    assert!(eventually(BOUND, || tokens(&desk) == 0));
    unanswer(&desk);
    for _ in 0..2 {
        assert_refusal(&take(), 404, "not_found");
        assert_eq!(tokens(&desk), 0);
    }
    books::assert_clean(&desk.gateway);
}

#[test]
fn a_key_whose_attempts_did_nothing_is_forgotten() {
    let desk = Desk::open();
    let id = take(&desk, 5);
    let headers = [ANN, ("Idempotency-Key", "k")];
    let release = || desk.post(&format!("holds/{id}/release"), &headers, &json!({}));
    assert_eq!(release().status, 200);
    // As one that was begun and not done.
    change_keys(&desk, "status = NULL, answer = NULL, request_key = '01a214c6-8f64-7ff3-83d5-3fe52dc8ff00'");
    assert_refusal(&release(), 404, "not_found");
    let ledger = rusqlite::Connection::open(desk.gateway.data_dir().join("ledger.sqlite3")).unwrap();
    ledger.busy_timeout(BOUND).unwrap();
    let count = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
    assert_eq!(ledger.query_row("SELECT count(*) FROM idempotency_keys", [], count).unwrap(), 0);
}

#[test]
fn a_hold_is_its_owners() {
    let desk = Desk::open();
    let id = take(&desk, 50);
    let bob = ("X-User-Id", "bob");
    let used = json!({ "meter": "tokens", "amount": 1 });
    assert_refusal(&desk.post(&format!("holds/{id}/settle"), &[bob], &used), 404, "not_found");
    assert_refusal(&desk.post(&format!("holds/{id}/release"), &[bob], &json!({})), 404, "not_found");
    assert_eq!(tokens(&desk), 50);
    let named = json!({ "meter": "tokens", "amount": 1, "user_id": "ann" });
    assert_eq!(desk.post(&format!("holds/{id}/settle"), &[service()], &named).status, 200);
    assert_eq!(tokens(&desk), 1);
}

#[test]
fn holds_that_make_no_sense_are_pointed_at() {
    let desk = Desk::open();
    for (body, pointer) in [
        (json!({ "meter": "tokens", "amount": 0 }), "/meter"),
        (json!({ "meter": "tokens", "amount": -1 }), "/amount"),
        (json!({ "meter": "nope", "amount": 1 }), "/meter"),
        (json!({ "meter": "tokens", "amount": 1, "expires_in": 0 }), "/expires_in"),
        (json!({ "meter": "tokens", "amount": 1, "expires_in": "10m" }), "/expires_in"),
        (json!({ "meter": "tokens", "amount": 1, "expires_in": 86_401 }), "/expires_in"),
        (json!({ "meter": "tokens", "amount": 1, "metadata": [] }), "/metadata"),
        (json!({ "meter": "tokens", "amount": 1, "at": "2026-01-01T00:00:00Z" }), "/at"),
    ] {
        let json = assert_refusal(&desk.post("holds", &[ANN], &body), 400, "bad_request");
        assert_eq!(json["pointer"], json!(pointer), "{json}");
    }
    for id in ["x", "01a214c6-8f64-7ff3-83d5-3fe52dc8ff00", "%2e"] {
        let answer = desk.post(&format!("holds/{id}/release"), &[ANN], &json!({}));
        assert!(matches!(answer.status, 404 | 400), "{answer:?}");
    }
    assert!(Books::settled(&desk.gateway).0.is_empty());
}
