//! `only_if` and `unless`: for which requests a charge is.

use super::{Case, amount, assert_amounts, charged, route, scene};
use crate::scene::assert_refusal;

#[test]
fn a_charge_is_for_the_requests_that_it_says() {
    let routes = [
        ("method", r#"{ meter = "calls", only_if = { method = ["POST", "PUT"] } }"#),
        ("status", r#"{ meter = "calls", only_if = { status = ["2xx", 409] } }"#),
        ("header", r#"{ meter = "calls", only_if = { "request.header:X-Kind" = ["a", 3] } }"#),
        ("there", r#"{ meter = "calls", unless = { "request.header:X-Kind" = "*" } }"#),
        ("stm", r#"{ meter = "calls", amount = 5, unless = { "request.json:/tier" = "stm" } }"#),
        ("done", r#"{ meter = "calls", only_if = { "response.json:/status" = ["done", true] } }"#),
        ("each", r#"{ meter = "calls", only_if = { "response.json:/items/*/paid" = true } }"#),
        ("both", r#"{ meter = "calls", unless = { method = "POST", "response.header:X-Pages" = 0 } }"#),
    ];
    let scene = scene(&routes.map(|(name, charge)| route(name, charge)).concat());
    let cases: &[Case<'_>] = &[
        ("/method/", &[], "", 1),
        ("/status/", &[("X-Status", "201")], "", 1),
        ("/status/", &[("X-Status", "409")], "", 1),
        ("/status/", &[("X-Status", "404")], "", 0),
        ("/header/", &[("X-Kind", "a")], "", 1),
        ("/header/", &[("X-Kind", "3.0")], "", 1),
        ("/header/", &[("X-Kind", "b")], "", 0),
        ("/header/", &[], "", 0),
        ("/there/", &[("X-Kind", "b")], "", 0),
        ("/there/", &[], "", 1),
        ("/stm/", &[], r#"{"tier":"stm"}"#, 0),
        ("/stm/", &[], r#"{"tier":"ltm"}"#, 5),
        ("/stm/", &[], "", 5),
        ("/done/", &[("X-Answer", r#"{"status":"done"}"#)], "", 1),
        ("/done/", &[("X-Answer", r#"{"status":true}"#)], "", 1),
        ("/done/", &[("X-Answer", r#"{"status":"running"}"#)], "", 0),
        ("/done/", &[("X-Answer", r#"{}"#)], "", 0),
        ("/each/", &[("X-Answer", r#"{"items":[{"paid":false},{"paid":true}]}"#)], "", 1),
        ("/each/", &[("X-Answer", r#"{"items":[{"paid":false}]}"#)], "", 0),
        ("/both/", &[("X-Pages", "0")], "", 0),
        ("/both/", &[("X-Pages", "1")], "", 1),
    ];
    assert_amounts(&scene, cases);
    let answer = scene.get("/method/", "ann", "free");
    assert_eq!(amount(&scene, &answer), (0, false));
}

/// What cannot be told frees nobody.
#[test]
fn a_body_that_says_two_things_or_cannot_be_read_is_charged() {
    let routes = [
        route("stm", r#"{ meter = "calls", unless = { "request.json:/tier" = "stm" } }"#),
        route("paid", r#"{ meter = "calls", only_if = { "request.json:/tier" = "paid" } }"#),
        route("done", r#"{ meter = "calls", only_if = { "response.json:/status" = "done" } }"#),
    ];
    let scene = scene(&routes.concat());
    let long = format!(r#"{{"tier":"stm","x":"{}"}}"#, "x".repeat(2 << 20));
    let twice = r#"{"tier":"stm","tier":"ltm"}"#;
    let coded = [("Content-Encoding", "compress")];
    let cases: &[Case<'_>] = &[
        ("/stm/", &[], twice, 1),
        ("/stm/", &[], r#"{"tier":"stm""#, 1),
        ("/stm/", &coded, r#"{"tier":"stm"}"#, 1),
        ("/stm/", &[], &long, 1),
        ("/paid/", &[], r#"{"tier":"free","tier":"paid"}"#, 1),
        ("/paid/", &coded, r#"{"tier":"free"}"#, 1),
        ("/done/", &[("X-Answer", "not json")], "", 1),
    ];
    assert_amounts(&scene, cases);
}

#[test]
fn what_a_request_is_not_charged_is_not_held_and_not_asked_of_it() {
    let charge = r#"{ meter = "pages", amount = "request.json:/n", only_if = { method = "PUT" } }"#;
    let scene = scene(&route("x", charge));
    let few = [("X-User-Id", "ann"), ("X-User-Tier", "few")];
    assert_eq!(scene.send("PUT", "/x/", &few, r#"{"n":4}"#).status, 200);
    let refused = scene.send("PUT", "/x/", &few, r#"{"n":7}"#);
    let json = assert_refusal(&refused, 429, "quota_exceeded");
    assert_eq!((&json["meter"], &json["used"]), (&"pages".into(), &4.into()));
    assert_refusal(&scene.send("PUT", "/x/", &few, "{}"), 400, "bad_request");
    // Whatever a POST says, it needs nothing.
    let answer = scene.send("POST", "/x/", &few, r#"{"n":700}"#);
    assert_eq!(answer.status, 200);
    assert!(charged(&scene, &answer).iter().all(|(_, amount, _)| *amount == 0));
}
