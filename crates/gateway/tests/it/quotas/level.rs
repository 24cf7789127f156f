//! Levels: what exists now.

use serde_json::json;
use tollgate_testkit::{Answer, Origin, Reply};

use super::{assert_charged, scene_with};
use crate::scene::{assert_refusal, number};

#[test]
fn a_level_is_what_exists_and_can_be_given_back() {
    let reported = |amount: &str| Answer::Reply(Reply::json(200, "{}").header("X-Usage-storage", amount));
    let scene = scene_with(Origin::builder().on("/write/", reported("40")).on("/erase/", reported("-30")));
    let send = |target: &str| scene.get(target, "ann", "storage");

    assert_eq!(send("/write/").status, 200);
    let second = send("/write/");
    assert_eq!((second.status, number(&second, "X-RateLimit-Remaining")), (200, 10), "40 used, 50 held");
    let refused = send("/write/");
    let json = assert_refusal(&refused, 429, "quota_exceeded");
    assert_eq!((&json["used"], &json["limit"], &json["remaining"]), (&json!(80), &json!(100), &json!(20)));
    assert_eq!(
        (&json["reset_at"], refused.header("retry-after")),
        (&json!(null), None),
        "waiting does not help"
    );

    assert_eq!(send("/erase/").status, 200, "giving back needs no room");
    assert_eq!(send("/write/").status, 200, "50 used, 50 held");
    let mut amounts: Vec<_> = scene.settled().iter().map(|line| line.amount).collect();
    amounts.sort_unstable();
    assert_eq!(amounts, [-30, 40, 40, 40]);
}

#[test]
fn a_level_that_is_given_back_is_there_again_after_a_crash() {
    let reported = |amount: &str| Answer::Reply(Reply::json(200, "{}").header("X-Usage-storage", amount));
    let mut scene =
        scene_with(Origin::builder().on("/write/", reported("40")).on("/erase/", reported("-30")));
    for target in ["/write/", "/write/", "/erase/"] {
        assert_eq!(scene.get(target, "ann", "storage").status, 200);
    }
    scene.gateway.restart();
    let answer = scene.get("/erase/", "ann", "storage");
    assert_eq!(number(&answer, "X-RateLimit-Remaining"), 50, "40 + 40 - 30 used");
}

#[test]
fn a_constant_moves_a_level_only_when_the_service_did_what_was_asked() {
    let origin =
        Origin::builder().on("/objects/none", Answer::status(404)).on("/objects/taken", Answer::status(409));
    let scene = scene_with(origin);
    let identity = [("X-User-Id", "ann"), ("X-User-Tier", "storage")];
    let mut sent = Vec::new();
    for (method, target, status, amount) in [
        ("POST", "/objects/taken", 409, Some(0)),
        ("POST", "/objects/a", 200, Some(100)),
        ("POST", "/objects/b", 429, None),
        ("DELETE", "/objects/none", 404, Some(0)),
        ("POST", "/objects/b", 429, None),
        ("DELETE", "/objects/a", 200, Some(-100)),
        ("POST", "/objects/taken", 409, Some(0)),
        ("POST", "/objects/b", 200, Some(100)),
    ] {
        let answer = scene.send(method, target, &identity, "");
        assert_eq!(answer.status, status, "{method} {target}: {answer:?}");
        sent.extend(amount.map(|amount| (target, answer, amount)));
    }
    assert_charged(&scene, &sent);
    assert_eq!(scene.settled().len(), sent.len(), "what was refused has no line");
}
