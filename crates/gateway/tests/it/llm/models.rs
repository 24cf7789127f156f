//! Meters that count some models only.

use serde_json::json;
use tollgate_testkit::{Answer, Origin, Received};

use super::{Charged, Sent};
use crate::scene::{Scene, assert_refusal};

const CHAT: &str = "/v1/chat/completions";

const ROUTE: &str = r#"
[[routes]]
path = "/"
upstream = "origin"
charge = [
    { meter = "calls" },
    { meter = "gpt4_calls" },
    { meter = "gpt4", amount = "llm.total_tokens", hold = 1000 },
    { meter = "all", amount = "llm.total_tokens", hold = 1000 },
]
"#;

const TIERS: &str = r#"
default_tier = "free"
[meters]
calls = { unit = "calls" }
gpt4_calls = { unit = "calls", models = ["gpt-4*"] }
gpt4 = { unit = "tokens", models = ["gpt-4*"] }
all = { unit = "tokens" }
[tiers.free]
other_meters = "unlimited"
[tiers.free.limits]
gpt4 = "500/lifetime"
"#;

/// Names the model as a service does: with the date of its version.
fn service(received: &Received) -> Answer {
    let request: serde_json::Value = serde_json::from_slice(&received.body).unwrap_or_default();
    let model = request["model"].as_str().map(|model| format!("{model}-2026-01-01"));
    let usage = json!({ "prompt_tokens": 300, "completion_tokens": 100, "total_tokens": 400 });
    Answer::json(json!({ "model": model, "choices": [], "usage": usage }).to_string())
}

fn scene() -> Scene {
    Scene::start(Origin::builder().on("/mark", Answer::Echo).otherwise(service), ROUTE, TIERS)
}

fn ask(scene: &Scene, model: &str) -> tollgate_testkit::Response {
    Sent::json(CHAT, &format!(r#"{{"model":"{model}","max_tokens":100}}"#)).to(scene)
}

#[test]
fn others_are_not_counted_and_pass_when_it_is_used_up() {
    let scene = scene();
    let other = ask(&scene, "claude-x");
    let counted = ask(&scene, "GPT-4o-mini");
    // 100 are left, and what this asks for does not fit.
    let refused = ask(&scene, "gpt-4");
    assert_eq!(assert_refusal(&refused, 429, "quota_exceeded")["meter"], "gpt4");
    let still = ask(&scene, "gpt-3.5-turbo");
    let lines = scene.settled();
    for (answer, amounts) in
        [(&other, [1, 0, 0, 400]), (&counted, [1, 1, 400, 400]), (&still, [1, 0, 0, 400])]
    {
        assert_eq!(answer.status, 200, "{answer:?}");
        let charged = Charged::of(&lines, answer);
        let seen = ["calls", "gpt4_calls", "gpt4", "all"].map(|meter| charged.amount(meter));
        assert_eq!((seen, charged.estimated), (amounts, false), "{charged:?}");
    }
    assert_eq!(lines.len(), 3 * 4, "the refused one is charged nothing");
}

#[test]
fn a_model_in_the_path_counts_as_one_in_the_body() {
    let scene = scene();
    let azure = |model: &str| format!("/openai/deployments/{model}/chat/completions");
    let other = Sent::json(&azure("llama"), r#"{"max_tokens":100}"#).to(&scene);
    let counted = Sent::json(&azure("gpt-4o"), r#"{"max_tokens":100}"#).to(&scene);
    let lines = scene.settled();
    assert_eq!(Charged::of(&lines, &other).amount("gpt4"), 0);
    assert_eq!(Charged::of(&lines, &counted).amount("gpt4"), 400);
    // What the body says then is nothing to the service, and so to the limit.
    let disguised = Sent::json(&azure("gpt-4o"), r#"{"model":"llama","max_tokens":100}"#).to(&scene);
    assert_eq!(assert_refusal(&disguised, 429, "quota_exceeded")["meter"], "gpt4");
}

/// So that nobody is served for nothing by not saying which model is meant.
#[test]
fn a_request_that_names_no_model_is_held_as_one_of_them_and_counted_as_what_answers() {
    let scene = scene();
    let unsaid = Sent::json(CHAT, r#"{"max_tokens":100}"#).to(&scene);
    assert_eq!(unsaid.status, 200, "{unsaid:?}");
    scene.origin.set(CHAT, Answer::json(r#"{"model":"claude-x","usage":{"total_tokens":7}}"#));
    let refused = Sent::json(CHAT, r#"{"max_tokens":100}"#).to(&scene);
    assert_eq!(assert_refusal(&refused, 429, "quota_exceeded")["meter"], "gpt4");
    let lines = scene.settled();
    assert_eq!(Charged::of(&lines, &unsaid).amount("gpt4"), 400);
}

/// Whatever it is called: what is written of it is JSON.
#[test]
fn events_name_the_model_and_the_provider() {
    let config = format!("provider = \"acme\"\n{ROUTE}");
    let scene = Scene::start(Origin::builder().on("/mark", Answer::Echo), &config, TIERS);
    let names = ["claude-x", r#"a "quoted" \ name"#, "модель/猫", "{\"model\":1}", "m\u{2028}"];
    let sent = names.map(|name| {
        let answer = json!({ "model": name, "usage": { "prompt_tokens": 1, "completion_tokens": 2 } });
        scene.origin.set(CHAT, Answer::json(answer.to_string()));
        (name, Sent::json(CHAT, &json!({ "model": name }).to_string()).to(&scene))
    });
    // No name of a model, and so none at all.
    scene.origin.set(CHAT, Answer::json(json!({ "model": "m".repeat(100_000) }).to_string()));
    let long = Sent::json(CHAT, &json!({ "model": "m".repeat(100_000) }).to_string()).to(&scene);
    let lines = scene.settled();
    for (name, answer) in &sent {
        let metadata = Charged::of(&lines, answer).metadata;
        assert_eq!((metadata["model"].as_str(), &metadata["provider"]), (Some(*name), &json!("acme")));
    }
    assert_eq!(Charged::of(&lines, &long).metadata["model"], json!(null));
}
