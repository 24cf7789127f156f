//! Grace and bursts.

use serde_json::json;
use tollgate_testkit::{BOUND, eventually};

use super::{ROUTES, TIERS, metadata, reload, scene, statuses};
use crate::scene::{Scene, all_at_once, assert_refusal, clear_of_window_edges, number, tiers};

#[test]
fn an_amount_of_grace_is_admitted_marked_and_no_more() {
    let scene = scene();
    for left in [3, 2, 1, 0] {
        let answer = scene.get("/x/", "ann", "grace");
        assert_eq!((answer.status, number(&answer, "X-RateLimit-Remaining")), (200, left));
        assert_eq!(answer.header("X-RateLimit-Grace"), None);
        assert_eq!(metadata(&scene, &answer, "calls"), json!(null));
    }
    for left in [1, 0] {
        let answer = scene.get("/x/", "ann", "grace");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("X-RateLimit-Grace"), Some(&*format!("\"calls-lifetime\";r={left}")));
        assert_eq!(number(&answer, "X-RateLimit-Limit"), 4, "grace is no limit");
        assert_eq!(number(&answer, "X-RateLimit-Remaining"), 0);
        assert_eq!(answer.header("RateLimit-Policy"), Some("\"calls-lifetime\";q=4"));
        assert_eq!(metadata(&scene, &answer, "calls"), json!({ "grace": true }));
    }
    for _ in 0..3 {
        let json = assert_refusal(&scene.get("/x/", "ann", "grace"), 429, "quota_exceeded");
        assert_eq!((&json["used"], &json["limit"], &json["remaining"]), (&json!(6), &json!(4), &json!(0)));
    }
    assert_eq!(statuses(&scene, 5, "bob", "strict"), [200, 200, 200, 200, 429]);
}

#[test]
fn a_time_of_grace_ends() {
    let scene = scene();
    assert_eq!(statuses(&scene, 4, "ann", "grace_time"), [200; 4]);
    let mut graces = 0;
    let ends = eventually(BOUND, || {
        let answer = scene.get("/x/", "ann", "grace_time");
        if answer.status == 200 {
            graces += 1;
            assert_eq!(answer.header("X-RateLimit-Grace"), Some("\"calls-lifetime\""));
            assert_eq!(number(&answer, "X-RateLimit-Remaining"), 0);
        }
        answer.status == 429
    });
    assert!(ends && graces > 0, "{graces}");
    assert_eq!(statuses(&scene, 3, "ann", "grace_time"), [429; 3]);
    let lines = scene.settled();
    let marked = lines.iter().filter(|line| line.metadata.as_deref() == Some("{\"grace\":true}")).count();
    assert_eq!((marked, lines.len()), (graces, graces + 4));
}

#[test]
fn grace_comes_and_goes_with_a_reload() {
    let scene = scene();
    assert_eq!(statuses(&scene, 5, "ann", "strict"), [200, 200, 200, 200, 429]);
    let strict = "limits.calls = \"4/lifetime\"";
    reload(&scene, strict, "limits.calls = { limit = \"4/lifetime\", grace = 3 }");
    assert!(eventually(BOUND, || scene.get("/x/", "ann", "strict").status == 200), "what is used is kept");
    assert_eq!(statuses(&scene, 3, "ann", "strict"), [200, 200, 429]);
    scene.gateway.write_tiers(&tiers(TIERS));
    let used = || scene.get("/x/", "ann", "strict").header("X-RateLimit-Grace").map(str::to_owned);
    assert!(eventually(BOUND, || used().is_none()));
}

#[test]
fn grace_is_exact_when_many_ask_at_once() {
    let tiers = TIERS.replace("\"4/lifetime\", grace = \"50%\"", "\"40/lifetime\", grace = \"25%\"");
    let scene = Scene::start_with_two_workers(tollgate_testkit::Origin::builder(), ROUTES, &tiers);
    let statuses = all_at_once(16, 6, |_| scene.get("/x/", "ann", "grace"));
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 50);
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 46);
}

#[test]
fn a_burst_is_borrowed_from_the_larger_window() {
    clear_of_window_edges();
    let scene = scene();
    let answer = scene.get("/x/", "ann", "burst");
    assert_eq!(
        answer.header("RateLimit-Policy"),
        Some("\"calls-hour\";q=5;w=3600, \"calls-hour-sustained\";q=48;w=86400")
    );
    assert_eq!(number(&answer, "X-RateLimit-Limit"), 5);
    assert_eq!(statuses(&scene, 5, "ann", "burst"), [200, 200, 200, 200, 429]);
    let json = assert_refusal(&scene.get("/x/", "ann", "burst"), 429, "rate_limited");
    assert_eq!((&json["window"], &json["limit"]), (&json!("hour"), &json!(5)));
}

#[test]
fn a_burst_does_not_last() {
    clear_of_window_edges();
    // More than ten hours' worth within an hour: the day's part is reached first.
    let tiers = TIERS.replace("{ limit = \"2/hour\", burst = 3 }", "{ limit = \"1/hour\", burst = 90 }");
    let scene = Scene::start(tollgate_testkit::Origin::builder(), ROUTES, &tiers);
    assert_eq!(statuses(&scene, 24, "ann", "burst"), [200; 24]);
    let json = assert_refusal(&scene.get("/x/", "ann", "burst"), 429, "quota_exceeded");
    assert_eq!((&json["window"], &json["limit"], &json["used"]), (&json!("day"), &json!(24), &json!(24)));
}

#[test]
fn a_burst_comes_and_goes_with_a_reload() {
    clear_of_window_edges();
    let scene = scene();
    let policy = || scene.get("/x/", "ann", "burst").header("RateLimit-Policy").map(str::to_owned);
    assert!(policy().is_some_and(|policy| policy.contains("sustained")));
    reload(&scene, "{ limit = \"2/hour\", burst = 3 }", "\"2/hour\"");
    assert!(eventually(BOUND, || policy().as_deref() == Some("\"calls-hour\";q=2;w=3600")));
    assert_eq!(statuses(&scene, 2, "bob", "burst"), [200; 2]);
    assert_refusal(&scene.get("/x/", "bob", "burst"), 429, "rate_limited");
    scene.gateway.write_tiers(&tiers(TIERS));
    assert!(eventually(BOUND, || scene.get("/x/", "bob", "burst").status == 200));
}
