//! Nobody learns of anybody else, or charges anybody else.

use serde_json::json;

use super::{Desk, limit, service};
use crate::{books::Books, scene::assert_refusal};

#[test]
fn one_user_never_sees_or_charges_another() {
    let desk = Desk::open();
    let (ann, bob) = (("X-User-Id", "ann"), ("X-User-Id", "bob"));
    assert_eq!(desk.post("track", &[ann], &json!({ "meter": "tokens", "amount": 42 })).status, 200);
    let current = desk.get("current", &[bob]).json();
    assert_eq!(limit(&current, "tokens", "lifetime")["used"], json!(0));
    for what in ["current", "limits", "tier"] {
        assert_eq!(desk.get(&format!("{what}?user_id=bob"), &[bob]).status, 200, "oneself may be named");
        for named in ["user_id=ann", "org_id=acme", "tier=pro", "user_id=bob&org_id=acme"] {
            let answer = desk.get(&format!("{what}?{named}"), &[bob]);
            assert_refusal(&answer, 400, "identity_invalid");
            assert!(!answer.text().contains("\"used\""), "{answer:?}");
        }
    }
    for event in [
        json!({ "meter": "tokens", "amount": 1, "user_id": "ann" }),
        json!({ "meter": "tokens", "amount": 1, "org_id": "acme" }),
        json!({ "meter": "tokens", "amount": 1, "tier": "pro" }),
    ] {
        assert_refusal(&desk.post("track", &[bob], &event), 400, "identity_invalid");
        assert_refusal(&desk.post("check", &[bob], &event), 400, "identity_invalid");
        let events = json!({ "events": [{ "meter": "tokens", "amount": 1 }, event] });
        assert_refusal(&desk.post("track", &[bob], &events), 400, "identity_invalid");
    }
    let books = Books::settled(&desk.gateway);
    assert_eq!((books.sum("ann", "tokens"), books.sum("bob", "tokens")), (42, 0));
}

#[test]
fn without_an_identity_there_is_nothing() {
    let desk = Desk::open();
    for what in ["current", "limits", "tier", "health"] {
        assert_refusal(&desk.get(what, &[]), 401, "identity_missing");
    }
    assert_refusal(&desk.get("current", &[("X_User_Id", "ann")]), 400, "identity_invalid");
    let twice = [("X-User-Id", "ann"), ("X-User-Id", "bob")];
    assert_refusal(&desk.get("current", &twice), 400, "identity_invalid");
    assert_refusal(
        &desk.get("current", &[("X-User-Id", "ann"), ("X-User-Tier", "nope")]),
        403,
        "unknown_tier",
    );
}

#[test]
fn an_organisation_is_what_all_its_users_used() {
    let desk = Desk::open();
    let user = |id, org| [("X-User-Id", id), ("X-Org-Id", org), ("X-User-Tier", "pro")];
    for (id, org, amount) in [("ann", "acme", 10), ("bob", "acme", 20), ("eve", "evil", 40)] {
        let answer = desk.post("track", &user(id, org), &json!({ "meter": "tokens", "amount": amount }));
        assert_eq!(answer.status, 200);
    }
    for (id, org, used) in [("ann", "acme", 30), ("bob", "acme", 30), ("eve", "evil", 40)] {
        let current = desk.get("current", &user(id, org)).json();
        let tokens = limit(&current, "tokens", "lifetime");
        assert_eq!((&tokens["used"], &tokens["scope"]), (&json!(used), &json!("org")));
    }
}

#[test]
fn keys_of_one_are_not_those_of_another() {
    let desk = Desk::open();
    let key = ("Idempotency-Key", "the-same");
    let event = json!({ "meter": "tokens", "amount": 3 });
    for user in ["ann", "bob"] {
        assert_eq!(desk.post("track", &[("X-User-Id", user), key], &event).status, 200);
    }
    let by_service = json!({ "meter": "tokens", "amount": 3, "user_id": "ann" });
    assert_eq!(desk.post("track", &[service(), key], &by_service).status, 200);
    let books = Books::settled(&desk.gateway);
    assert_eq!((books.sum("ann", "tokens"), books.sum("bob", "tokens")), (6, 3));
}
