//! Queues for slots of what runs at once.

use serde_json::json;
use tollgate_testkit::{Answer, BOUND, Gate, Origin, Wire, eventually};

use super::{ROUTES, TIERS, gated, reload, scene_with, sent};
use crate::{
    books::held,
    scene::{Scene, assert_refusal, head, tiers},
    support::stage::resident_bytes,
};

/// A scene with one job of `ann` that runs until the gate is opened.
fn running(tier: &str) -> (Scene, Gate, Wire) {
    let gate = Gate::new();
    let scene = scene_with(Origin::builder().on("/job/long", gated(&gate)));
    let mut wire = sent(&scene, "/job/long", "ann", tier);
    assert!(wire.read_until(BOUND, |read| read.ends_with(b"data: 1\n\n\r\n")));
    (scene, gate, wire)
}

/// Fails unless so many requests wait in a moment.
fn assert_waiting(scene: &Scene, count: f64) {
    let waiting = || scene.gateway.metric("tollgate_requests_waiting");
    assert!(eventually(BOUND, || waiting() == Some(count)), "{:?} instead of {count}", waiting());
}

#[test]
fn who_waits_is_served_in_order_when_a_slot_is_free() {
    let (scene, gate, mut long) = running("queue");
    let mut first = sent(&scene, "/job/first", "ann", "queue");
    assert_waiting(&scene, 1.0);
    let mut second = sent(&scene, "/job/second", "ann", "queue");
    assert_waiting(&scene, 2.0);
    assert_eq!(held(&scene.gateway), 1, "who waits holds nothing");

    let json = assert_refusal(&scene.get("/job/third", "ann", "queue"), 429, "too_many_jobs");
    assert_eq!((&json["limit"], &json["used"], &json["meter"]), (&json!(1), &json!(1), &json!("jobs")));
    assert_eq!(scene.get("/job/other", "bob", "queue").status, 200, "others have lines of their own");
    assert_eq!(scene.get("/x/", "ann", "queue").status, 200, "and so has what is no job");

    gate.open();
    assert_eq!(long.response(false, BOUND).unwrap().status, 200);
    let first = first.response(false, BOUND).unwrap();
    assert_eq!((first.status, first.header("X-Queue-Position")), (200, Some("1")));
    let second = second.response(false, BOUND).unwrap();
    assert_eq!((second.status, second.header("X-Queue-Position")), (200, Some("2")));
    let targets: Vec<_> = scene.origin.received().iter().map(|request| request.target.clone()).collect();
    let jobs: Vec<_> =
        targets.iter().filter(|target| target.starts_with("/job/") && *target != "/job/other").collect();
    assert_eq!(jobs, ["/job/long", "/job/first", "/job/second"]);
    let direct = scene.get("/job/", "ann", "queue");
    assert_eq!((direct.status, direct.header("X-Queue-Position")), (200, None), "nobody waits any more");
    assert_waiting(&scene, 0.0);
    assert!(eventually(BOUND, || held(&scene.gateway) == 0));
}

#[test]
fn who_waits_too_long_is_refused() {
    let (scene, gate, mut long) = running("short_queue");
    let mut waits = sent(&scene, "/job/first", "ann", "short_queue");
    let refused = waits.response(false, BOUND).unwrap();
    let json = assert_refusal(&refused, 429, "too_many_jobs");
    assert_eq!(json["retry_after"], json!(1));
    assert_eq!(refused.header("X-Queue-Position"), Some("1"));
    assert_waiting(&scene, 0.0);
    gate.open();
    assert_eq!(long.response(false, BOUND).unwrap().status, 200);
    assert!(eventually(BOUND, || scene.get("/job/", "ann", "short_queue").status == 200));
}

#[test]
fn a_client_who_hangs_up_leaves_the_queue() {
    let (scene, gate, mut long) = running("queue");
    let first = sent(&scene, "/job/first", "ann", "queue");
    assert_waiting(&scene, 1.0);
    // With a body, too.
    let mut second = Wire::connect(scene.gateway.address());
    let identity = [("X-User-Id", "ann"), ("X-User-Tier", "queue")];
    assert!(second.send(head("POST", "/job/second", &identity, Some(5)) + "hello"));
    assert_waiting(&scene, 2.0);
    drop(second);
    assert_waiting(&scene, 1.0);
    let mut third = sent(&scene, "/job/third", "ann", "queue");
    assert_waiting(&scene, 2.0);
    drop(first);
    assert_waiting(&scene, 1.0);
    gate.open();
    assert_eq!(long.response(false, BOUND).unwrap().status, 200);
    assert_eq!(third.response(false, BOUND).unwrap().status, 200);
    let seen = scene.origin.received();
    assert_eq!(seen.iter().filter(|request| request.target == "/job/first").count(), 0);
    assert_eq!(seen.iter().filter(|request| request.target == "/job/second").count(), 0);
    assert!(eventually(BOUND, || held(&scene.gateway) == 0));
}

#[test]
fn bodies_arrive_whole_after_a_wait() {
    let (scene, gate, mut long) = running("queue");
    let body = "x".repeat(300_000);
    let mut waits = Wire::connect(scene.gateway.address());
    let identity = [("X-User-Id", "ann"), ("X-User-Tier", "queue")];
    assert!(waits.send(head("POST", "/job/upload", &identity, Some(body.len())) + &body));
    assert_waiting(&scene, 1.0);
    gate.open();
    assert_eq!(long.response(false, BOUND).unwrap().status, 200);
    assert_eq!(waits.response(false, BOUND).unwrap().status, 200);
    let seen = scene.origin.received();
    let upload = seen.iter().find(|request| request.target == "/job/upload").unwrap();
    assert_eq!(upload.body.len(), body.len());
}

/// A body that says nothing is read only to notice who hangs up: a long one stays with its client meanwhile.
#[test]
fn those_who_wait_with_long_bodies_take_little_memory() {
    const WAITING: usize = 32;
    const BODY_BYTES: usize = 1 << 20;
    let gate = Gate::new();
    let origin = Origin::builder().on("/job/long", gated(&gate));
    let scene = Scene::start(origin, ROUTES, &TIERS.replace("length = 2,", "length = 64,"));
    let mut long = sent(&scene, "/job/long", "ann", "queue");
    assert!(long.read_until(BOUND, |read| read.ends_with(b"data: 1\n\n\r\n")));
    let before = resident_bytes(&scene.gateway).0;
    std::thread::scope(|scope| {
        let upload = || {
            let mut wire = Wire::connect(scene.gateway.address());
            let identity = [("X-User-Id", "ann"), ("X-User-Tier", "queue")];
            let body = "x".repeat(BODY_BYTES);
            assert!(wire.send(head("POST", "/job/", &identity, Some(body.len())) + &body));
            wire.response(false, BOUND).unwrap().status
        };
        let uploads: Vec<_> = (0..WAITING).map(|_| scope.spawn(upload)).collect();
        assert_waiting(&scene, 32.0);
        let taken = resident_bytes(&scene.gateway).0.saturating_sub(before);
        gate.open();
        assert_eq!(long.response(false, BOUND).unwrap().status, 200);
        assert!(uploads.into_iter().all(|upload| upload.join().unwrap() == 200));
        assert!(taken < (WAITING * BODY_BYTES / 2) as u64, "{taken} bytes");
    });
}

#[test]
fn who_is_refused_by_another_limit_does_not_wait() {
    let gate = Gate::new();
    let scene = scene_with(Origin::builder().on("/counted-job/long", gated(&gate)));
    for _ in 0..2 {
        assert_eq!(scene.get("/counted-job/", "ann", "short_queue").status, 200);
    }
    let mut long = sent(&scene, "/counted-job/long", "ann", "short_queue");
    assert!(long.read_until(BOUND, |read| read.ends_with(b"data: 1\n\n\r\n")));
    assert_eq!(scene.get("/counted-job/", "ann", "short_queue").status, 429);
    assert_eq!(scene.get("/counted-job/", "ann", "short_queue").header("X-Queue-Position"), None);
    gate.open();
    assert_eq!(long.response(false, BOUND).unwrap().status, 200);
    assert_refusal(&scene.get("/counted-job/", "ann", "short_queue"), 429, "quota_exceeded");
}

#[test]
fn who_is_refused_by_two_limits_that_have_queues_waits() {
    let gate = Gate::new();
    let scene = scene_with(Origin::builder().on("/job/long", gated(&gate)));
    let send = |target: &str| {
        let mut wire = Wire::connect(scene.gateway.address());
        let identity = [("X-User-Id", "ann"), ("X-Org-Id", "acme"), ("X-User-Tier", "two_queues")];
        assert!(wire.send(head("GET", target, &identity, None)));
        wire
    };
    let mut long = send("/job/long");
    assert!(long.read_until(BOUND, |read| read.ends_with(b"data: 1\n\n\r\n")));
    let (mut first, mut second) = (send("/job/first"), send("/job/second"));
    assert_waiting(&scene, 2.0);
    assert_refusal(&send("/job/third").response(false, BOUND).unwrap(), 429, "too_many_jobs");
    gate.open();
    assert_eq!(long.response(false, BOUND).unwrap().status, 200);
    assert_eq!(first.response(false, BOUND).unwrap().status, 200);
    assert_eq!(second.response(false, BOUND).unwrap().status, 200);
    assert!(eventually(BOUND, || held(&scene.gateway) == 0));
}

#[test]
fn who_waits_for_a_turn_and_a_slot_waits_for_both() {
    let gate = Gate::new();
    let scene = scene_with(Origin::builder().on("/counted-job/long", gated(&gate)));
    let mut long = sent(&scene, "/counted-job/long", "ann", "queue_and_turns");
    assert!(long.read_until(BOUND, |read| read.ends_with(b"data: 1\n\n\r\n")));
    let mut waits = sent(&scene, "/counted-job/", "ann", "queue_and_turns");
    assert_waiting(&scene, 1.0);
    gate.open();
    assert_eq!(long.response(false, BOUND).unwrap().status, 200);
    assert_eq!(waits.response(false, BOUND).unwrap().status, 200);
    assert!(eventually(BOUND, || held(&scene.gateway) == 0));
}

#[test]
fn a_queue_comes_and_goes_with_a_reload() {
    let (scene, gate, mut long) = running("no_queue");
    assert_refusal(&scene.get("/job/", "ann", "no_queue"), 429, "too_many_jobs");
    let without = "limits.jobs = 1\n";
    reload(&scene, without, "limits.jobs = { limit = 1, queue = { length = 3, wait = \"1s\" } }\n");
    let position = || scene.get("/job/", "ann", "no_queue").header("X-Queue-Position").map(str::to_owned);
    assert!(eventually(BOUND, || position().is_some()));
    scene.gateway.write_tiers(&tiers(TIERS));
    assert!(eventually(BOUND, || position().is_none()));
    gate.open();
    assert_eq!(long.response(false, BOUND).unwrap().status, 200);
}

#[test]
fn nobody_stands_behind_those_who_wait_for_a_limit_that_was() {
    let (scene, gate, mut long) = running("queue");
    let mut waits = [sent(&scene, "/job/", "ann", "queue"), sent(&scene, "/job/", "ann", "queue")];
    assert_waiting(&scene, 2.0);
    reload(
        &scene,
        "limit = 1, queue = { length = 2, wait = \"30s\"",
        "limit = 2, queue = { length = 2, wait = \"30s\"",
    );
    assert!(eventually(BOUND, || {
        let answer = scene.get("/job/", "ann", "queue");
        assert_eq!(answer.header("X-Queue-Position"), None);
        answer.status == 200
    }));
    gate.open();
    assert_eq!(long.response(false, BOUND).unwrap().status, 200);
    assert_eq!(waits.each_mut().map(|wire| wire.response(false, BOUND).unwrap().status), [200; 2]);
}

#[test]
fn nobody_stands_behind_others_where_nothing_is_refused() {
    let (scene, gate, mut long) = running("queue");
    let mut waits = [sent(&scene, "/job/", "ann", "queue"), sent(&scene, "/job/", "ann", "queue")];
    assert_waiting(&scene, 2.0);
    let config = crate::scene::config(scene.origin.address(), ROUTES);
    scene.gateway.write_config(&format!("enforcement = \"observe\"\n{config}"));
    assert!(eventually(BOUND, || scene.get("/job/", "ann", "queue").status == 200));
    gate.open();
    assert_eq!(long.response(false, BOUND).unwrap().status, 200);
    assert_eq!(waits.each_mut().map(|wire| wire.response(false, BOUND).unwrap().status), [200; 2]);
}

#[test]
fn many_who_wait_are_all_served_and_never_more_at_once_than_there_are_slots() {
    const SLOTS: usize = 3;
    let tiers = TIERS.replace("{ limit = 1, queue = { length = 2,", "{ limit = 3, queue = { length = 64,");
    let origin = Origin::builder().otherwise(|_| Answer::Echo);
    let scene = Scene::start_with_two_workers(origin, ROUTES, &tiers);
    let most = std::sync::atomic::AtomicUsize::new(0);
    let statuses = crate::scene::all_at_once(32, 4, |_| {
        let now = usize::try_from(held(&scene.gateway)).unwrap_or(0);
        most.fetch_max(now, std::sync::atomic::Ordering::Relaxed);
        scene.get("/job/", "ann", "queue")
    });
    assert_eq!(statuses, vec![200; 128]);
    assert!(most.into_inner() <= SLOTS);
    assert!(eventually(BOUND, || held(&scene.gateway) == 0));
}
