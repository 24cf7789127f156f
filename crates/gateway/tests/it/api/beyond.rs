//! What lies beyond limits, and limits of a subject's own.

use serde_json::{Value, json};
use tollgate_testkit::{BOUND, eventually};

use super::{Desk, limit};
use crate::{
    books::{self, Books, tollgate},
    scene::{assert_refusal, clear_of_window_edges},
};

const ANN: (&str, &str) = ("X-User-Id", "ann");
const PRO: (&str, &str) = ("X-User-Tier", "pro");

/// The overage that lines say, units and billionths of a Euro.
fn overage(books: &Books) -> (i64, i64) {
    let lines = books.0.iter().filter_map(|line| line.metadata.as_deref());
    let told = lines.filter_map(|text| serde_json::from_str::<Value>(text).ok()?.get("overage").cloned());
    told.fold((0, 0), |(units, cost), overage| {
        assert_eq!(overage["limit"], json!("10/month"), "{overage}");
        let text = overage["cost"].as_str().unwrap();
        let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let nanos = format!("{whole}{fraction:0<9}").parse::<i64>().unwrap();
        (units + overage["units"].as_i64().unwrap(), cost + sign * nanos)
    })
}

#[test]
fn reports_beyond_what_is_included_say_what_they_cost() {
    clear_of_window_edges();
    let desk = Desk::open();
    let report = |amount: i64| {
        let answer = desk.post("track", &[ANN, PRO], &json!({ "meter": "calls", "amount": amount }));
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    report(7);
    report(8);
    report(1);
    // 6 beyond 10, at 0.008 EUR per 10.
    assert_eq!(overage(&Books::settled(&desk.gateway)), (6, 4_800_000));
    books::assert_clean(&desk.gateway);
}

#[test]
fn holds_beyond_what_is_included_cost_what_was_used_in_the_end() {
    clear_of_window_edges();
    let desk = Desk::open();
    let hold = desk.post("holds", &[ANN, PRO], &json!({ "meter": "calls", "amount": 30 }));
    assert_eq!(hold.status, 200, "{hold:?}");
    assert_eq!(overage(&Books::settled(&desk.gateway)), (20, 16_000_000));
    let id = hold.json()["id"].as_str().unwrap().to_owned();
    let used = json!({ "meter": "calls", "amount": 15 });
    assert_eq!(desk.post(&format!("holds/{id}/settle"), &[ANN, PRO], &used).status, 200);
    assert_eq!(overage(&Books::settled(&desk.gateway)), (5, 4_000_000));
    books::assert_clean(&desk.gateway);
}

#[test]
fn limits_of_a_subjects_own_hold_here_too() {
    let desk = Desk::open();
    let config = desk.gateway.config_path().display().to_string();
    let set = ["subject", "set", "user", "ann", "--override", "tokens=5/lifetime", "--config", &config];
    let said = tollgate(set);
    assert_eq!(said.code, Some(0), "{said:?}");
    let check = |amount: i64| {
        desk.post("check", &[ANN], &json!({ "meter": "tokens", "amount": amount })).json()["allowed"].clone()
    };
    assert!(eventually(BOUND, || check(6) == json!(false)), "a change is heard of");
    assert_eq!(check(5), json!(true));
    let current = desk.get("current", &[ANN]);
    assert_eq!(limit(&current.json(), "tokens", "lifetime")["limit"], json!(5));
    let limits = desk.get("limits", &[ANN]).json();
    let tokens = &limits["meters"][1];
    assert_eq!((&tokens["overridden"], &tokens["limits"][0]["limit"]), (&json!(true), &json!(5)));
    assert_eq!(limits["meters"][0]["overridden"], json!(false), "other meters have the tier's");
    let hold = desk.post("holds", &[ANN], &json!({ "meter": "tokens", "amount": 6 }));
    let refusal = assert_refusal(&hold, 429, "quota_exceeded");
    assert_eq!(refusal["limit"], json!(5));
    let hold = desk.post("holds", &[ANN], &json!({ "meter": "tokens", "amount": 5 }));
    assert_eq!((hold.status, hold.header("x-ratelimit-limit")), (200, Some("5")));
    let bob = desk.post("check", &[("X-User-Id", "bob")], &json!({ "meter": "tokens", "amount": 6 }));
    assert_eq!(bob.json()["allowed"], json!(true));
}
