//! What is reported.

use serde_json::{Value, json};

use super::{Desk, assert_fits, limit};
use crate::{
    books::{self, Books},
    scene::{clear_of_window_edges, now_seconds},
};

const ANN: (&str, &str) = ("X-User-Id", "ann");

/// An instant so many seconds ago, as JSON has it.
pub(super) fn ago(seconds: u64) -> String {
    let at = i64::try_from(now_seconds() - seconds).unwrap();
    jiff::Timestamp::from_second(at).unwrap().to_string()
}

#[test]
fn one_event_and_many() {
    let desk = Desk::open();
    let one = json!({ "meter": "tokens", "amount": 7, "metadata": { "job": "a/b", "n": [1, null] } });
    assert_fits("track_request", &one);
    let answer = desk.post("track", &[ANN], &one);
    assert_eq!((answer.status, answer.json()["recorded"].clone()), (200, json!(1)), "{answer:?}");
    assert_eq!(answer.header("x-ratelimit-remaining"), Some("93"));
    let many = json!({ "events": [
        { "meter": "tokens", "amount": 3 },
        { "meter": "spend", "amount": "0.000000001" },
        { "meter": "storage", "amount": 600 },
        { "meter": "storage", "amount": -100 },
    ]});
    assert_fits("track_request", &many);
    let answer = desk.post("track", &[ANN], &many);
    assert_eq!((answer.status, answer.json()["recorded"].clone()), (200, json!(4)), "{answer:?}");
    let subject = &answer.json()["subjects"][0];
    assert_eq!(limit(subject, "spend", "month")["used"], json!("0.000000001"));
    assert_eq!(limit(subject, "storage", "lifetime")["used"], json!(500));
    let books = Books::settled(&desk.gateway);
    assert_eq!(books.sum("ann", "tokens"), 10);
    assert_eq!(books.sum("ann", "spend"), 1);
    assert_eq!(books.sum("ann", "storage"), 500);
    let first = books.0.iter().find(|line| line.amount == 7).unwrap();
    let metadata: Value = serde_json::from_str(first.metadata.as_deref().unwrap()).unwrap();
    assert_eq!(metadata, one["metadata"]);
    assert!(!first.estimated && first.status == 200);
    let request_id = answer.json()["request_id"].as_str().unwrap().to_owned();
    assert_eq!(books.of(&request_id).len(), 4, "the lines name the report");
    books::assert_clean(&desk.gateway);
}

#[test]
fn a_thousand_events_at_once() {
    let desk = Desk::open();
    let events: Vec<_> = (0..1000).map(|n| json!({ "meter": "calls", "amount": n % 3 + 1 })).collect();
    let answer = desk.post("track", &[ANN], &json!({ "events": events }));
    assert_eq!((answer.status, answer.json()["recorded"].clone()), (200, json!(1000)), "{answer:?}");
    assert_eq!(Books::settled(&desk.gateway).sum("ann", "calls"), 1999);
    assert_eq!(desk.used("ann", "calls", "month"), 1999);
    books::assert_clean(&desk.gateway);
}

#[test]
fn what_has_happened_is_charged_beyond_limits_and_said_so() {
    let desk = Desk::open();
    let answer = desk.post("track", &[ANN], &json!({ "meter": "tokens", "amount": 250 }));
    let json = answer.json();
    let tokens = limit(&json["subjects"][0], "tokens", "lifetime");
    assert_eq!(
        (&tokens["used"], &tokens["percent"], &tokens["remaining"]),
        (&json!(250), &json!(250), &json!(0))
    );
    assert_eq!((&tokens["status"], &json["status"]), (&json!("over_limit"), &json!("over_limit")));
    let check = desk.post("check", &[ANN], &json!({ "meter": "tokens", "amount": 1 }));
    assert_eq!(check.json()["allowed"], json!(false));
    let huge = json!({ "meter": "tokens", "amount": i64::MAX });
    assert_eq!(desk.post("track", &[ANN], &huge).status, 200);
    assert_eq!(desk.post("track", &[ANN], &huge).status, 200);
    assert_eq!(desk.used("ann", "tokens", "lifetime"), i64::MAX, "counters stay at the bound");
}

#[test]
fn late_events_count_when_they_happened() {
    clear_of_window_edges();
    let desk = Desk::open();
    let report =
        |seconds| desk.post("track", &[ANN], &json!({ "meter": "calls", "amount": 5, "at": ago(seconds) }));
    assert_eq!(report(0).status, 200);
    assert_eq!(report(3600).status, 200);
    let two_hours: u64 = 7200;
    assert_eq!(report(two_hours).status, 200);
    assert_eq!(desk.used("ann", "calls", "hour"), 5, "the hour before is over");
    let books = Books::settled(&desk.gateway);
    assert_eq!(books.sum("ann", "calls"), 15);
    // Its id is of its time: so is the partition that it lies in.
    let millis = |id: &str| u64::from_str_radix(&id.replace('-', "")[..12], 16).unwrap() / 1000;
    let mut ages: Vec<_> = books.0.iter().map(|line| now_seconds() - millis(&line.id)).collect();
    ages.sort_unstable();
    assert!(ages[0] < 60 && (3600..3700).contains(&ages[1]) && (7200..7300).contains(&ages[2]), "{ages:?}");
    books::assert_clean(&desk.gateway);
}

#[test]
fn counters_that_nobody_asked_for_learn_of_reports() {
    let mut desk = Desk::open();
    assert_eq!(desk.post("track", &[ANN], &json!({ "meter": "storage", "amount": 900 })).status, 200);
    desk.gateway.restart();
    assert_eq!(desk.post("track", &[ANN], &json!({ "meter": "storage", "amount": 50 })).status, 200);
    assert_eq!(desk.used("ann", "storage", "lifetime"), 950);
    assert_eq!(desk.post("track", &[ANN], &json!({ "meter": "storage", "amount": -950 })).status, 200);
    assert_eq!(desk.used("ann", "storage", "lifetime"), 0);
    books::assert_clean(&desk.gateway);
}

#[test]
fn requests_and_reports_share_a_budget() {
    let desk = Desk::open();
    let mut wire = tollgate_testkit::Wire::connect(desk.gateway.address());
    let pro: [(&str, &str); 2] = [ANN, ("X-User-Tier", "free")];
    wire.send(crate::scene::head("GET", "/x", &pro, None));
    assert_eq!(wire.response(false, tollgate_testkit::BOUND).unwrap().status, 200);
    assert_eq!(desk.post("track", &[ANN], &json!({ "meter": "calls", "amount": 998 })).status, 200);
    wire.send(crate::scene::head("GET", "/x", &pro, None));
    assert_eq!(wire.response(false, tollgate_testkit::BOUND).unwrap().status, 200);
    wire.send(crate::scene::head("GET", "/x", &pro, None));
    let refused = wire.response(false, tollgate_testkit::BOUND).unwrap();
    crate::scene::assert_refusal(&refused, 429, "rate_limited");
}
