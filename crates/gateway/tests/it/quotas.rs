//! Limits as they are configured: windows, scopes, levels, jobs, and what happens beyond.

mod exact;
mod level;

use serde_json::json;
use tollgate_testkit::{Answer, BOUND, Gate, Origin, OriginBuilder, Response, Wire, eventually};

use crate::{
    books::held,
    scene::{Scene, assert_refusal, clear_of_window_edges, head, number, of, tiers},
};

const TIERS: &str = r#"
default_tier = "free"
[meters]
calls = { unit = "calls" }
tokens = { unit = "tokens" }
storage = { unit = "bytes", kind = "level" }
jobs = { unit = "jobs", kind = "concurrent" }
[tiers.free]
other_meters = "unlimited"
[tiers.windows]
other_meters = "unlimited"
limits.calls = ["3/hour", "5/day", "4/lifetime"]
[tiers.same]
other_meters = "unlimited"
limits.calls = ["2/hour", "2/day"]
[tiers.none]
other_meters = "unlimited"
limits.calls = 0
[tiers.three]
other_meters = "unlimited"
limits.calls = "3/lifetime"
[tiers.many]
other_meters = "unlimited"
limits.calls = "200/lifetime"
limits.tokens = "100000/lifetime"
[tiers.shared]
other_meters = "unlimited"
limits.calls = ["5/lifetime", { limit = "8/lifetime", scope = "org" }]
[tiers.overage]
other_meters = "unlimited"
limits.calls = { limit = "2/month", over = "charge", price = "0.008 EUR per 10" }
[tiers.capped_overage]
other_meters = "unlimited"
limits.calls = [{ limit = "2/month", over = "charge" }, "4/lifetime"]
[tiers.jobs]
other_meters = "unlimited"
limits.jobs = 2
[tiers.storage]
other_meters = "unlimited"
limits.storage = 100
"#;

const ROUTES: &str = r#"
[[routes]]
path = "/x/"
upstream = "origin"
charge = [{ meter = "calls" }]
[[routes]]
path = "/two/"
upstream = "origin"
charge = [{ meter = "calls" }, { meter = "tokens", amount = 7 }]
[[routes]]
path = "/job/"
upstream = "origin"
charge = [{ meter = "jobs" }]
[[routes]]
path = "/write/"
upstream = "origin"
charge = [{ meter = "storage", amount = "upstream", hold = 50 }]
[[routes]]
path = "/erase/"
upstream = "origin"
charge = [{ meter = "storage", amount = "upstream", hold = 0 }]
[[routes]]
path = "/objects/"
methods = ["POST"]
upstream = "origin"
charge = [{ meter = "storage", amount = 100 }]
[[routes]]
path = "/objects/"
methods = ["DELETE"]
upstream = "origin"
charge = [{ meter = "storage", amount = -100 }]
[[routes]]
path = "/only-good/"
upstream = "origin"
charge = [{ meter = "calls" }]
charge_on = ["2xx", 404]
[[routes]]
path = "/even-bad/"
upstream = "origin"
charge = [{ meter = "calls" }]
charge_on = ["2xx", "5xx", "no_answer"]
"#;

fn scene() -> Scene {
    scene_with(Origin::builder())
}

fn scene_with(origin: OriginBuilder) -> Scene {
    Scene::start(origin, ROUTES, TIERS)
}

fn statuses(scene: &Scene, times: usize, user: &str, tier: &str) -> Vec<u16> {
    (0..times).map(|_| scene.get("/x/", user, tier).status).collect()
}

fn of_org(scene: &Scene, user: &str, org: &str) -> Response {
    let identity = [("X-User-Id", user), ("X-Org-Id", org), ("X-User-Tier", "shared")];
    scene.send("GET", "/x/", &identity, "")
}

/// Fails unless each request was charged one line, of this amount and with the status that the client saw.
fn assert_charged(scene: &Scene, sent: &[(&str, Response, i64)]) {
    let lines = scene.settled();
    for (target, answer, amount) in sent {
        let charged: Vec<_> = of(&lines, answer).iter().map(|line| (line.amount, line.status)).collect();
        assert_eq!(charged, [(*amount, i64::from(answer.status))], "{target}");
    }
}

#[test]
fn of_several_windows_the_first_that_is_full_refuses_and_the_last_to_reset_is_named() {
    clear_of_window_edges();
    let scene = scene();
    assert_eq!(statuses(&scene, 3, "ann", "windows"), [200; 3]);
    let refused = scene.get("/x/", "ann", "windows");
    let json = assert_refusal(&refused, 429, "rate_limited");
    assert_eq!((&json["window"], &json["limit"]), (&json!("hour"), &json!(3)));
    let standing = refused.header("ratelimit").unwrap();
    for left in ["\"calls-hour\";r=0", "\"calls-day\";r=2", "\"calls-lifetime\";r=1"] {
        assert!(standing.contains(left), "{standing}");
    }

    assert_eq!(statuses(&scene, 2, "bob", "same"), [200; 2]);
    let json = assert_refusal(&scene.get("/x/", "bob", "same"), 429, "quota_exceeded");
    assert_eq!(json["window"], "day", "coming back in an hour would be in vain");
}

#[test]
fn a_limit_of_zero_forbids() {
    let scene = scene();
    let refused = scene.get("/x/", "ann", "none");
    let json = assert_refusal(&refused, 429, "quota_exceeded");
    assert_eq!((&json["used"], &json["limit"], &json["remaining"]), (&json!(0), &json!(0), &json!(0)));
    assert_eq!(scene.origin.requests(), 0);
}

#[test]
fn a_lifetime_outlives_the_process() {
    let mut scene = scene();
    assert_eq!(statuses(&scene, 2, "ann", "three"), [200; 2]);
    scene.gateway.restart();
    assert_eq!(statuses(&scene, 3, "ann", "three"), [200, 429, 429]);
    scene.gateway.restart();
    assert_eq!(statuses(&scene, 1, "ann", "three"), [429]);
}

#[test]
fn user_and_organisation_are_charged_both_or_neither() {
    let scene = scene();
    for _ in 0..5 {
        assert_eq!(of_org(&scene, "ann", "acme").status, 200);
    }
    for _ in 0..4 {
        let refused = of_org(&scene, "ann", "acme");
        let json = assert_refusal(&refused, 429, "quota_exceeded");
        assert_eq!(json["limit"], 5, "ann has used up her own");
    }
    for left in [2, 1, 0] {
        let answer = of_org(&scene, "bob", "acme");
        assert_eq!(
            (answer.status, number(&answer, "X-RateLimit-Remaining")),
            (200, left),
            "the refused took nothing"
        );
    }
    let refused = of_org(&scene, "bob", "acme");
    assert_eq!(assert_refusal(&refused, 429, "quota_exceeded")["limit"], 8, "acme has used up all");
    let own = "\"calls-lifetime\";r=2";
    let standing = refused.header("ratelimit").unwrap();
    assert!(standing.starts_with(own), "bob's own is not used by what acme refuses: {standing}");

    let elsewhere = of_org(&scene, "bob", "other");
    assert_eq!(
        (elsewhere.status, number(&elsewhere, "X-RateLimit-Remaining")),
        (200, 1),
        "bob's own goes with him"
    );
    assert_eq!(scene.settled().len(), 9);
}

#[test]
fn limits_of_user_and_organisation_have_names_of_their_own() {
    let scene = scene();
    let answer = of_org(&scene, "ann", "acme");
    for header in ["ratelimit-policy", "ratelimit"] {
        let mut names: Vec<_> =
            answer.header(header).unwrap().split(", ").map(|item| item.split(';').next().unwrap()).collect();
        names.dedup();
        assert_eq!(names.len(), 2, "a client tells policies apart by name: {answer:?}");
    }
}

#[test]
fn without_an_organisation_its_limit_is_the_users_own() {
    let scene = scene();
    assert_eq!(statuses(&scene, 6, "ann", "shared"), [200, 200, 200, 200, 200, 429]);
    assert_eq!(statuses(&scene, 5, "bob", "shared"), [200; 5], "nobody shares it");
}

#[test]
fn over_charge_admits_beyond_the_limit_and_charges_it() {
    clear_of_window_edges();
    let scene = scene();
    let answers: Vec<_> = (0..4).map(|_| scene.get("/x/", "ann", "overage")).collect();
    assert!(answers.iter().all(|answer| answer.status == 200));
    let left: Vec<_> = answers.iter().map(|answer| number(answer, "X-RateLimit-Remaining")).collect();
    assert_eq!(left, [1, 0, 0, 0]);
    assert!(scene.settled().iter().all(|line| line.amount == 1));
    assert_eq!(scene.settled().len(), 4);
    assert_eq!(
        statuses(&scene, 5, "bob", "capped_overage"),
        [200, 200, 200, 200, 429],
        "a hard limit stays hard"
    );
}

#[test]
fn observe_counts_and_never_refuses() {
    let scene = scene();
    assert_eq!(statuses(&scene, 4, "ann", "three"), [200, 200, 200, 429]);

    let origin = Origin::builder().start();
    let config = crate::scene::config(origin.address(), ROUTES)
        .replace("workers = 1", "workers = 1\nenforcement = \"observe\"");
    let gateway = crate::support::gateway().config(config).tiers(tiers(TIERS)).start();
    let observing = Scene { gateway, origin };
    let answers: Vec<_> = (0..5).map(|_| observing.get("/x/", "ann", "three")).collect();
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(number(&answers[4], "X-RateLimit-Remaining"), 0);
    assert_eq!(observing.settled().iter().map(|line| line.amount).sum::<i64>(), 5);
    let told = observing.gateway.metrics();
    let unenforced = told.lines().find(|line| line.contains("unenforced") && line.contains("three"));
    assert!(
        unenforced.is_some_and(|line| line.ends_with(" 2")),
        "what would have been refused is told: {told}"
    );
}

#[test]
fn what_failed_upstream_is_not_charged() {
    let origin = Origin::builder()
        .on("/x/500", Answer::status(500))
        .on("/x/503", Answer::status(503))
        .on("/x/404", Answer::status(404))
        .on("/x/301", Answer::status(301))
        .on("/x/close", Answer::Close);
    let scene = scene_with(origin);
    let mut sent = Vec::new();
    for (target, status, amount) in [
        ("/x/500", 500, 0),
        ("/x/503", 503, 0),
        ("/x/close", 502, 0),
        ("/x/404", 404, 1),
        ("/x/301", 301, 1),
        ("/x/", 200, 1),
    ] {
        let answer = scene.get(target, "ann", "three");
        assert_eq!(answer.status, status, "{target}");
        sent.push((target, answer, amount));
    }
    assert_charged(&scene, &sent);
    assert_eq!(statuses(&scene, 1, "ann", "three"), [429], "three were charged");
}

#[test]
fn charge_on_says_what_is_charged() {
    let origin = Origin::builder()
        .on("/only-good/404", Answer::status(404))
        .on("/only-good/400", Answer::status(400))
        .on("/even-bad/500", Answer::status(500))
        .on("/even-bad/404", Answer::status(404))
        .on("/even-bad/close", Answer::Close);
    let scene = scene_with(origin);
    let mut sent = Vec::new();
    for (target, amount) in [
        ("/only-good/", 1),
        ("/only-good/404", 1),
        ("/only-good/400", 0),
        ("/even-bad/", 1),
        ("/even-bad/500", 1),
        ("/even-bad/close", 1),
        ("/even-bad/404", 0),
    ] {
        sent.push((target, scene.get(target, "ann", "free"), amount));
    }
    assert_charged(&scene, &sent);
}

#[test]
fn meters_that_a_tier_leaves_unlimited_are_counted() {
    let scene = scene();
    let answer = scene.get("/two/", "ann", "three");
    assert_eq!(number(&answer, "X-RateLimit-Limit"), 3, "the limited meter is told");
    let lines = scene.lines_of(&answer);
    assert_eq!(
        lines.iter().map(|line| (&*line.meter, line.amount)).collect::<Vec<_>>(),
        [("calls", 1), ("tokens", 7)]
    );
}

#[test]
fn jobs_count_what_runs_now() {
    let gates = [Gate::new(), Gate::new()];
    let stream = |gate: &Gate| Answer::Sse {
        events: vec!["data: 1\n\n".to_owned(), "data: 2\n\n".to_owned()],
        gate: Some(gate.clone()),
    };
    let scene = scene_with(Origin::builder().on("/job/0", stream(&gates[0])).on("/job/1", stream(&gates[1])));
    let identity = [("X-User-Id", "ann"), ("X-User-Tier", "jobs")];
    let mut running: Vec<_> = (0..2)
        .map(|number| {
            let mut wire = Wire::connect(scene.gateway.address());
            wire.send(head("GET", &format!("/job/{number}"), &identity, None));
            assert!(wire.read_until(BOUND, |read| read.ends_with(b"data: 1\n\n\r\n")));
            wire
        })
        .collect();
    for _ in 0..3 {
        assert_refusal(&scene.get("/job/", "ann", "jobs"), 429, "too_many_jobs");
    }
    assert_eq!(scene.get("/job/", "bob", "jobs").status, 200, "others have jobs of their own");
    assert_eq!(held(&scene.gateway), 2);

    gates[0].open();
    assert_eq!(running[0].response(false, BOUND).unwrap().status, 200);
    for _ in 0..5 {
        assert_eq!(
            scene.get("/job/", "ann", "jobs").status,
            200,
            "one after the other, as often as one likes"
        );
    }
    // One that is cut off runs no more either.
    drop(running.pop());
    assert!(eventually(BOUND, || scene.origin.abandoned() == 1));
    assert!(eventually(BOUND, || held(&scene.gateway) == 0), "nothing is held by what has ended");
}

#[test]
fn a_reload_keeps_what_is_used() {
    let scene = scene();
    assert_eq!(statuses(&scene, 4, "ann", "three"), [200, 200, 200, 429]);
    scene.gateway.write_tiers(&tiers(&TIERS.replace("\"3/lifetime\"", "\"5/lifetime\"")));
    assert!(eventually(BOUND, || scene.get("/x/", "ann", "three").status == 200), "the new limit holds");
    assert_eq!(statuses(&scene, 2, "ann", "three"), [200, 429], "of five, three were used before");

    scene.gateway.write_tiers(&tiers(&TIERS.replace("\"3/lifetime\"", "\"2/lifetime\"")));
    let limit = || scene.get("/x/", "ann", "three").json()["limit"].as_i64();
    assert!(eventually(BOUND, || limit() == Some(2)));
    let json = assert_refusal(&scene.get("/x/", "ann", "three"), 429, "quota_exceeded");
    assert_eq!((&json["used"], &json["remaining"]), (&json!(5), &json!(0)), "less than is used already");
}

#[test]
fn a_limit_that_a_reload_adds_knows_what_was_used_before_it() {
    let scene = scene();
    for _ in 0..4 {
        assert_eq!(scene.get("/x/", "ann", "free").status, 200);
    }
    let free = "[tiers.free]\nother_meters = \"unlimited\"";
    scene
        .gateway
        .write_tiers(&tiers(&TIERS.replace(free, &format!("{free}\nlimits.calls = \"1000/lifetime\""))));
    let mut used = 4;
    let mut left = 0;
    let limited = eventually(BOUND, || {
        let answer = scene.get("/x/", "ann", "free");
        used += 1;
        left = answer.header("X-RateLimit-Remaining").and_then(|left| left.parse().ok()).unwrap_or(-1);
        left >= 0
    });
    assert!(limited, "the new limit holds");
    assert_eq!(left, 1000 - used, "it begins with what the ledger knows");
}
