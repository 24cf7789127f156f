//! Limits that slow down instead of refusing.

use std::time::{Duration, Instant};

use serde_json::json;
use tollgate_testkit::{BOUND, Origin, eventually};

use super::{ROUTES, TIERS, reload, scene, sent, statuses};
use crate::scene::{Scene, all_at_once, assert_refusal, clear_of_window_edges, number, tiers};

#[test]
fn beyond_the_limit_requests_come_no_faster_than_the_rate() {
    let scene = Scene::start_with_two_workers(Origin::builder(), ROUTES, TIERS);
    let answer = scene.get("/x/", "ann", "throttle");
    assert_eq!((number(&answer, "X-RateLimit-Limit"), number(&answer, "X-RateLimit-Remaining")), (2, 1));
    assert_eq!(scene.get("/x/", "ann", "throttle").status, 200);
    let started = Instant::now();
    let statuses = all_at_once(9, 1, |_| scene.get("/x/", "ann", "throttle"));
    assert_eq!(statuses, [200; 9]);
    // The first at once, then four a second.
    assert!(started.elapsed() >= Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(scene.settled().len(), 11, "all of it is charged");
    assert_eq!(super::statuses(&scene, 2, "bob", "throttle"), [200; 2], "others are not slowed down");
}

#[test]
fn who_would_wait_too_long_is_refused() {
    let scene = scene();
    assert_eq!(statuses(&scene, 3, "ann", "slow"), [200; 3], "two are included, one goes at once");
    let refused = scene.get("/x/", "ann", "slow");
    let json = assert_refusal(&refused, 429, "rate_limited");
    assert_eq!((&json["limit"], &json["used"], &json["remaining"]), (&json!(2), &json!(3), &json!(0)));
    let retry_after = json["retry_after"].as_u64().unwrap();
    assert!((3500..=3601).contains(&retry_after), "{json}");
}

#[test]
fn a_line_has_a_bound_and_is_left_by_who_hangs_up() {
    let tiers = TIERS.replace("rate = \"1/hour\"", "rate = \"2/minute\"");
    let scene = Scene::start(Origin::builder(), ROUTES, &tiers);
    assert_eq!(statuses(&scene, 3, "ann", "slow"), [200; 3]);
    let waiting = |count: f64| {
        let reached = || scene.gateway.metric("tollgate_requests_waiting") == Some(count);
        assert!(eventually(BOUND, reached));
    };
    let first = sent(&scene, "/x/", "ann", "slow");
    waiting(1.0);
    let second = sent(&scene, "/x/", "ann", "slow");
    waiting(2.0);
    let json = assert_refusal(&scene.get("/x/", "ann", "slow"), 429, "rate_limited");
    assert!(json["retry_after"].as_u64().unwrap() > 60, "{json}");
    drop((first, second));
    waiting(0.0);
    assert_eq!(scene.settled().len(), 3, "who waited in vain is not charged");
}

#[test]
fn throttling_comes_and_goes_with_a_reload() {
    let scene = scene();
    assert_eq!(statuses(&scene, 5, "ann", "strict"), [200, 200, 200, 200, 429]);
    reload(
        &scene,
        "limits.calls = \"4/lifetime\"",
        "limits.calls = { limit = \"4/lifetime\", over = \"throttle\", rate = \"10/second\" }",
    );
    assert!(eventually(BOUND, || scene.get("/x/", "ann", "strict").status == 200));
    assert_eq!(statuses(&scene, 4, "ann", "strict"), [200; 4]);
    scene.gateway.write_tiers(&tiers(TIERS));
    assert!(eventually(BOUND, || scene.get("/x/", "ann", "strict").status == 429));
}

#[test]
fn a_limit_that_refuses_does_so_behind_one_that_slows_down() {
    clear_of_window_edges();
    let scene = scene();
    assert_eq!(statuses(&scene, 4, "ann", "capped"), [200; 4]);
    for _ in 0..3 {
        let json = assert_refusal(&scene.get("/x/", "ann", "capped"), 429, "quota_exceeded");
        assert_eq!((&json["window"], &json["limit"], &json["used"]), (&json!("day"), &json!(4), &json!(4)));
    }
    assert_eq!(scene.settled().len(), 4);
}

#[test]
fn of_two_rates_both_are_kept() {
    clear_of_window_edges();
    let scene = scene();
    assert_eq!(statuses(&scene, 3, "ann", "two_rates"), [200; 3], "two are included, one goes at once");
    for _ in 0..3 {
        let json = assert_refusal(&scene.get("/x/", "ann", "two_rates"), 429, "rate_limited");
        assert!(json["retry_after"].as_u64().unwrap() > 3000, "{json}");
    }
    assert_eq!(scene.settled().len(), 3);
}

#[test]
fn observing_slows_nobody_down_and_lets_nobody_wait() {
    let origin = Origin::builder().start();
    let config = crate::scene::config(origin.address(), ROUTES);
    let config = format!("enforcement = \"observe\"\n{config}");
    let gateway = crate::support::gateway().config(config).tiers(tiers(TIERS)).start();
    let scene = Scene { gateway, origin };
    assert_eq!(statuses(&scene, 20, "ann", "slow"), [200; 20]);
    assert_eq!(scene.gateway.metric("tollgate_requests_waiting").unwrap_or(0.0).to_string(), "0");
    assert_eq!(scene.settled().len(), 20);
}
