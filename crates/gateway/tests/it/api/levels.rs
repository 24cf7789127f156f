//! Resources of reported events, and meters that are made of others.

use serde_json::json;

use super::{Desk, limit, service};
use crate::{
    books::{self, Books},
    scene::{all_at_once, assert_refusal},
};

const ANN: (&str, &str) = ("X-User-Id", "ann");

#[test]
fn what_is_reported_of_a_resource_is_what_it_has() {
    let mut desk = Desk::open();
    let report = |desk: &Desk, resource: &str, amount: i64| {
        let event = json!({ "meter": "storage", "amount": amount, "resource": resource });
        let answer = desk.post("track", &[ANN], &event);
        assert_eq!(answer.status, 200, "{answer:?}");
        desk.used("ann", "storage", "lifetime")
    };
    assert_eq!(report(&desk, "a", 300), 300);
    assert_eq!(report(&desk, "a", 300), 300, "said again, it is the same");
    assert_eq!(report(&desk, "b", 50), 350);
    assert_eq!(report(&desk, "a", 100), 150);
    desk.gateway.restart();
    assert_eq!(report(&desk, "a", 0), 50);
    assert_eq!(report(&desk, "a", 0), 50, "what is gone is given back once");
    // The same one twice in one report: the last one counts.
    let many = json!({ "events": [
        { "meter": "storage", "amount": 10, "resource": "b" },
        { "meter": "storage", "amount": 5, "resource": "c" },
        { "meter": "storage", "amount": 70, "resource": "b" },
    ]});
    assert_eq!(desk.post("track", &[ANN], &many).status, 200);
    assert_eq!(desk.used("ann", "storage", "lifetime"), 75);
    books::assert_clean(&desk.gateway);
}

#[test]
fn many_who_set_the_same_thing_leave_what_one_of_them_said() {
    let desk = Desk::open();
    let statuses = all_at_once(16, 5, |client| {
        let first = json!({ "meter": "storage", "amount": client + 1, "resource": "x" });
        let second = json!({ "meter": "storage", "amount": client + 1, "resource": "y" });
        // Half of them name them the other way round: nobody waits for who waits for them.
        let events = if client % 2 == 0 { [first, second] } else { [second, first] };
        desk.post("track", &[ANN], &json!({ "events": events }))
    });
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    let used = desk.used("ann", "storage", "lifetime");
    assert!(used % 2 == 0 && (2..=32).contains(&used), "{used}");
    for resource in ["x", "y"] {
        let event = json!({ "meter": "storage", "amount": 0, "resource": resource });
        assert_eq!(desk.post("track", &[ANN], &event).status, 200);
    }
    assert_eq!(desk.used("ann", "storage", "lifetime"), 0);
    books::assert_clean(&desk.gateway);
}

#[test]
fn a_repeated_key_sets_nothing_again() {
    let desk = Desk::open();
    let set = |key: &str, amount: i64| {
        let event = json!({ "meter": "storage", "amount": amount, "resource": "a" });
        desk.post("track", &[ANN, ("Idempotency-Key", key)], &event).status
    };
    assert_eq!((set("one", 100), set("two", 40), set("one", 100)), (200, 200, 200));
    assert_eq!(desk.used("ann", "storage", "lifetime"), 40, "a late repeat does not undo what came after");
}

#[test]
fn in_an_organisation_two_users_are_not_reported_at_once_of_one_thing() {
    let desk = Desk::open();
    let event = |user: &str| json!({ "meter": "storage", "amount": 1, "resource": "a", "user_id": user, "org_id": "acme" });
    let both = json!({ "events": [event("ann"), event("bob")] });
    let json = assert_refusal(&desk.post("track", &[service()], &both), 400, "invalid_event");
    assert_eq!(json["pointer"], json!("/events/1/meter"));
    assert_eq!(
        desk.post("track", &[service()], &json!({ "events": [event("ann"), event("ann")] })).status,
        200
    );
}

#[test]
fn credits_are_charged_with_what_they_are_made_of() {
    let desk = Desk::open();
    let report = json!({ "events": [
        { "meter": "audio", "amount": 61 },
        { "meter": "pages", "amount": 2 },
        { "meter": "audio", "amount": 1 },
    ]});
    let answer = desk.post("track", &[ANN], &report);
    assert_eq!(answer.status, 200, "{answer:?}");
    // Each part is rounded up by itself: 2 + 4 + 1.
    assert_eq!(limit(&answer.json()["subjects"][0], "credits", "month")["used"], json!(7));
    let check =
        |amounts: serde_json::Value| desk.post("check", &[ANN], &json!({ "amounts": amounts })).json();
    assert_eq!(check(json!([{ "meter": "audio", "amount": 180 }]))["allowed"], json!(true));
    let refused = check(json!([{ "meter": "audio", "amount": 181 }]));
    assert_eq!((&refused["allowed"], &refused["refusal"]["meter"]), (&json!(false), &json!("credits")));
    // Together they need more than is left.
    let both = json!([{ "meter": "audio", "amount": 60 }, { "meter": "pages", "amount": 1 }]);
    assert_eq!(check(both)["allowed"], json!(true));
    let both = json!([{ "meter": "audio", "amount": 120 }, { "meter": "pages", "amount": 1 }]);
    assert_eq!(check(both)["allowed"], json!(false));
    let books = Books::settled(&desk.gateway);
    assert_eq!(
        (books.sum("ann", "audio"), books.sum("ann", "pages"), books.sum("ann", "credits")),
        (62, 2, 7)
    );
    books::assert_clean(&desk.gateway);
}
