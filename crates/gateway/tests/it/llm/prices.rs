//! What calls to models cost: computed from prices, limited in money, charged to the billionth.

use serde_json::json;
use tollgate_testkit::{Answer, Origin, Response};

use super::{Charged, Sent};
use crate::scene::{Scene, assert_refusal};

const CHAT: &str = "/v1/chat/completions";
const NANOS: i64 = 1_000_000_000;

const ROUTE: &str = r#"
[[routes]]
path = "/"
upstream = "origin"
charge = [
    { meter = "calls" },
    { meter = "spend", amount = "llm.cost", hold = "0.05" },
]
"#;

const TIERS: &str = r#"
default_tier = "free"
[meters]
calls = { unit = "calls" }
spend = { unit = "USD" }
[tiers.free]
other_meters = "unlimited"
[tiers.poor]
other_meters = "unlimited"
limits.spend = "0.10/day"
[prices]
currency = "USD"
"gpt-4o*" = [
    { input = "5", output = "15" },
    { from = "2024-10-01", input = "2.50", output = "10", cached_read = "1.25" },
    { from = "2999-01-01", input = "9000", output = "9000" },
]
"gpt-4o-mini*" = { input = "0.15", output = "0.60" }
"claude-*" = { input = "3", output = "15", cached_read = "0.30", cache_write = "3.75" }
"odd" = { input = "0.000001", output = "0.000001" }
"#;

fn scene() -> Scene {
    Scene::start(Origin::builder(), ROUTE, TIERS)
}

fn answer(model: &str, input: i64, output: i64, cached: i64) -> Answer {
    let usage = json!({ "prompt_tokens": input, "completion_tokens": output,
        "prompt_tokens_details": { "cached_tokens": cached } });
    Answer::json(json!({ "model": model, "choices": [], "usage": usage }).to_string())
}

fn ask(scene: &Scene, tier: &str, model: &str) -> Response {
    let headers = &[("Content-Type", "application/json"), ("X-User-Tier", tier)];
    let body = format!(r#"{{"model":"{model}","max_tokens":1000}}"#);
    Sent { headers, ..Sent::json(CHAT, &body) }.to(scene)
}

#[test]
fn tokens_cost_what_their_model_costs_today() {
    let scene = scene();
    let cases = [
        // 2.50, 10 and 1.25 for a million tokens each.
        ("gpt-4o", (1_000_000, 100_000, 0), 3_500_000_000),
        ("gpt-4o-2024-11-20", (1_000_000, 0, 400_000), 2_000_000_000),
        ("gpt-4o", (1, 0, 0), 2_500),
        ("gpt-4o", (1, 1, 1), 11_250),
        // The most specific name, and no price of its own for what a cache had.
        ("gpt-4o-mini", (1000, 1000, 500), 750_000),
        ("GPT-4o-Mini-2024-07-18", (1000, 1000, 0), 750_000),
        // Once per request, up to the next billionth.
        ("odd", (1, 1, 0), 1),
        ("odd", (500, 501, 0), 2),
        ("odd", (0, 0, 0), 0),
    ];
    let sent = cases.map(|(model, (input, output, cached), cost)| {
        scene.origin.set(CHAT, answer(model, input, output, cached));
        (model, ask(&scene, "free", model), cost)
    });
    let lines = scene.settled();
    for (model, answer, cost) in &sent {
        let charged = Charged::of(&lines, answer);
        assert_eq!((charged.amount("spend"), charged.estimated), (*cost, false), "{model}: {charged:?}");
    }
}

/// Anthropic counts what caches had a part in beside the input.
#[test]
fn each_part_of_the_input_costs_its_own_price() {
    let scene = scene();
    let usage = json!({ "input_tokens": 21, "cache_creation_input_tokens": 1000,
        "cache_read_input_tokens": 2000, "output_tokens": 10 });
    let answer = json!({ "type": "message", "model": "claude-x", "content": [], "usage": usage });
    scene.origin.set("/v1/messages", Answer::json(answer.to_string()));
    let seen = Sent::json("/v1/messages", r#"{"model":"claude-x","max_tokens":1000}"#).to(&scene);
    let charged = Charged::of(&scene.settled(), &seen);
    let cost = 21 * 3000 + 1000 * 3750 + 2000 * 300 + 10 * 15_000;
    assert_eq!((charged.amount("spend"), charged.estimated), (cost, false), "{charged:?}");
    let parts = ["input", "cached_read", "cache_write", "output"].map(|part| charged.metadata[part].as_i64());
    assert_eq!(parts, [Some(3021), Some(2000), Some(1000), Some(10)]);
}

#[test]
fn the_model_that_answers_is_paid_for() {
    let scene = scene();
    scene.origin.set(CHAT, answer("gpt-4o-mini-2024-07-18", 1000, 1000, 0));
    let seen = ask(&scene, "free", "gpt-4o");
    let charged = Charged::of(&scene.settled(), &seen);
    assert_eq!(
        (charged.amount("spend"), charged.metadata["model"].as_str()),
        (750_000, Some("gpt-4o-mini-2024-07-18"))
    );
}

#[test]
fn a_limit_in_money_refuses_when_it_is_used_up() {
    let scene = scene();
    crate::scene::clear_of_window_edges();
    // 0.05 each: two fit into 0.10, as what is held for them is less.
    scene.origin.set(CHAT, answer("gpt-4o", 20_000, 0, 0));
    let first = ask(&scene, "poor", "gpt-4o");
    let second = ask(&scene, "poor", "gpt-4o");
    assert_eq!((first.status, second.status), (200, 200));
    let refused = ask(&scene, "poor", "gpt-4o");
    let json = assert_refusal(&refused, 429, "quota_exceeded");
    assert_eq!((json["meter"].as_str(), json["window"].as_str()), (Some("spend"), Some("day")));
    assert_eq!(scene.origin.requests(), 2);
    let lines = scene.settled();
    let spent: i64 = lines.iter().filter(|line| line.meter == "spend").map(|line| line.amount).sum();
    assert_eq!(spent, NANOS / 10);
    assert_eq!(lines.len(), 4);
    // Who has more on another tier goes on.
    assert_eq!(ask(&scene, "free", "gpt-4o").status, 200);
}

#[test]
fn a_model_without_a_price_is_charged_what_was_held_as_an_estimate() {
    let scene = scene();
    scene.origin.set(CHAT, answer("nobody-knows", 10, 10, 0));
    let unknown = ask(&scene, "free", "nobody-knows");
    scene.origin.set(CHAT, answer("gpt-4o", 1000, 0, 0));
    let known = ask(&scene, "free", "nobody-knows");
    let lines = scene.settled();
    let charged = Charged::of(&lines, &unknown);
    assert_eq!((charged.amount("spend"), charged.estimated), (NANOS / 20, true), "{charged:?}");
    assert_eq!(
        (charged.metadata["input"].as_i64(), charged.metadata["output"].as_i64()),
        (Some(10), Some(10))
    );
    let charged = Charged::of(&lines, &known);
    assert_eq!(
        (charged.amount("spend"), charged.estimated),
        (2_500_000, false),
        "the answer's model has a price"
    );
}

/// Money that is short of what such a request costs at most is not enough to begin it.
#[test]
fn what_a_call_may_cost_is_held_for_it() {
    let scene = scene();
    scene.origin.set(CHAT, answer("gpt-4o", 1, 1, 0));
    let headers = &[("Content-Type", "application/json"), ("X-User-Tier", "poor")];
    let ask = |tokens: u32| {
        let body = format!(r#"{{"model":"gpt-4o","max_tokens":{tokens}}}"#);
        Sent { headers, ..Sent::json(CHAT, &body) }.to(&scene)
    };
    // 10,000 tokens at 10 for a million are 0.10, and what is read comes on top.
    assert_refusal(&ask(10_000), 429, "quota_exceeded");
    assert_eq!(ask(9_000).status, 200);
}
