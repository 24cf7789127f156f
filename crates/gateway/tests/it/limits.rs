//! What happens beyond limits: grace, bursts, overage, queues, slowing down, and limits of a subject's own.

mod grace;
mod overage;
mod overrides;
mod queue;
mod shared;
mod throttle;

use tollgate_testkit::{Gate, Origin, OriginBuilder, Response, Wire};

use crate::scene::{Scene, head, tiers};

const TIERS: &str = r#"
default_tier = "free"
upgrade_url = "https://example.com/upgrade"
[meters]
calls = { unit = "calls" }
tokens = { unit = "tokens" }
storage = { unit = "bytes", kind = "level" }
jobs = { unit = "jobs", kind = "concurrent" }
[tiers.free]
other_meters = "unlimited"
[tiers.strict]
other_meters = "unlimited"
limits.calls = "4/lifetime"
[tiers.grace]
other_meters = "unlimited"
limits.calls = { limit = "4/lifetime", grace = "50%" }
[tiers.grace_time]
other_meters = "unlimited"
limits.calls = { limit = "4/lifetime", grace = "2s" }
[tiers.burst]
other_meters = "unlimited"
limits.calls = { limit = "2/hour", burst = 3 }
[tiers.overage]
other_meters = "unlimited"
limits.calls = { limit = "3/lifetime", over = "charge", price = "0.008 EUR per 10" }
limits.tokens = [{ limit = "10/lifetime", over = "charge", price = "0.50 EUR" }, { limit = "5/month", over = "charge" }]
limits.storage = { limit = "5GB", over = "charge", price = "2.00 EUR per GB" }
[tiers.queue]
other_meters = "unlimited"
limits.jobs = { limit = 1, queue = { length = 2, wait = "30s" } }
[tiers.short_queue]
other_meters = "unlimited"
limits.jobs = { limit = 1, queue = { length = 2, wait = "1s" } }
limits.calls = "3/lifetime"
[tiers.two_queues]
other_meters = "unlimited"
[tiers.two_queues.limits]
jobs = [
    { limit = 1, queue = { length = 2, wait = "30s" } },
    { limit = 1, scope = "org", queue = { length = 2, wait = "30s" } },
]
[tiers.queue_and_turns]
other_meters = "unlimited"
[tiers.queue_and_turns.limits]
jobs = { limit = 1, queue = { length = 2, wait = "30s" } }
calls = { limit = "1/lifetime", over = "throttle", rate = "100/second" }
[tiers.no_queue]
other_meters = "unlimited"
limits.jobs = 1
[tiers.throttle]
other_meters = "unlimited"
limits.calls = { limit = "2/lifetime", over = "throttle", rate = "4/second" }
[tiers.slow]
other_meters = "unlimited"
limits.calls = { limit = "2/lifetime", over = "throttle", rate = "1/hour" }
[tiers.two_rates]
other_meters = "unlimited"
limits.calls = [
    { limit = "2/lifetime", over = "throttle", rate = "100/second" },
    { limit = "2/day", over = "throttle", rate = "1/hour" },
]
[tiers.capped]
other_meters = "unlimited"
limits.calls = [{ limit = "2/lifetime", over = "throttle", rate = "100/second" }, "4/day"]
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
path = "/counted-job/"
upstream = "origin"
charge = [{ meter = "jobs" }, { meter = "calls" }]
[[routes]]
path = "/write/"
upstream = "origin"
charge = [{ meter = "storage", amount = "upstream", hold = 0 }]
"#;

fn scene() -> Scene {
    scene_with(Origin::builder())
}

fn scene_with(origin: OriginBuilder) -> Scene {
    Scene::start(origin, ROUTES, TIERS)
}

/// Puts other limits in force, or the same.
fn reload(scene: &Scene, part: &str, instead: &str) {
    assert!(TIERS.contains(part), "{part}");
    scene.gateway.write_tiers(&tiers(&TIERS.replace(part, instead)));
}

fn statuses(scene: &Scene, times: usize, user: &str, tier: &str) -> Vec<u16> {
    (0..times).map(|_| scene.get("/x/", user, tier).status).collect()
}

/// A job whose answer ends when its gate is opened.
fn gated(gate: &Gate) -> tollgate_testkit::Answer {
    tollgate_testkit::Answer::Sse {
        events: vec!["data: 1\n\n".to_owned(), "data: 2\n\n".to_owned()],
        gate: Some(gate.clone()),
    }
}

/// A request that was sent and is not waited for.
fn sent(scene: &Scene, target: &str, user: &str, tier: &str) -> Wire {
    let mut wire = Wire::connect(scene.gateway.address());
    assert!(wire.send(head("GET", target, &[("X-User-Id", user), ("X-User-Tier", tier)], None)));
    wire
}

/// The metadata of the one line of `meter` that a request has.
fn metadata(scene: &Scene, answer: &Response, meter: &str) -> serde_json::Value {
    let mut lines = scene.lines_of(answer);
    lines.retain(|line| line.meter == meter);
    assert_eq!(lines.len(), 1, "{answer:?}");
    let metadata = lines.remove(0).metadata;
    metadata.map_or(serde_json::Value::Null, |text| serde_json::from_str(&text).unwrap())
}
