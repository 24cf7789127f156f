//! Answers of 200 that say further on that the model failed: they are as an answer of 502.

use serde_json::json;
use tollgate_testkit::{Answer, Origin, Reply, Response};

use super::{Charged, Sent, scene};
use crate::scene::Scene;

const CHAT: &str = "/v1/chat/completions";
const STREAM: &str = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#;

const WORD: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"some words\"}}]}\n\n";
const FAULT: &str = "data: {\"error\":{\"message\":\"the model is gone\",\"code\":500}}\n\n";
const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":24,\"completion_tokens\":8}}\n\n";

fn sse(events: &[&str]) -> Answer {
    Answer::Reply(Reply::of("text/event-stream", events.concat()))
}

/// The path that is asked, what is asked, and an answer that fails.
fn failing() -> Vec<(&'static str, &'static str, Answer)> {
    let json = |error: serde_json::Value| Answer::json(error.to_string());
    let anthropic = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
    let responses = "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"status\":\"failed\",\
                     \"error\":{\"code\":\"server_error\",\"message\":\"no\"},\"usage\":null}}\n\n";
    vec![
        (CHAT, STREAM, sse(&[WORD, FAULT])),
        (CHAT, STREAM, sse(&[FAULT])),
        (CHAT, STREAM, Answer::Sse { events: vec![WORD.into(), FAULT.into()], gate: None }),
        (CHAT, "{}", json(json!({ "error": { "message": "out of memory", "code": 500 } }))),
        (CHAT, "{}", json(json!({ "error": "out of memory", "choices": [] }))),
        ("/v1/messages", r#"{"stream":true}"#, sse(&[anthropic])),
        ("/v1/responses", r#"{"stream":true}"#, sse(&[responses])),
        (
            "/api/chat",
            "{}",
            Answer::Reply(Reply::of("application/x-ndjson", "{\"error\":\"no such model\"}\n")),
        ),
        ("/v1beta/models/g:streamGenerateContent", "{}", json(json!([{ "error": { "code": 503 } }]))),
    ]
}

fn answers(scene: &Scene) -> Vec<(Answer, Response)> {
    let sent = failing().into_iter().map(|(path, body, answer)| {
        scene.origin.set(path, answer.clone());
        let seen = Sent::json(path, body).to(scene);
        assert_eq!(seen.status, 200, "{path}: {seen:?}");
        (answer, seen)
    });
    sent.collect()
}

#[test]
fn they_are_not_charged_and_their_events_say_why() {
    let scene = scene(Origin::builder(), "");
    let answers = answers(&scene);
    let lines = scene.settled();
    for (answer, seen) in &answers {
        let charged = Charged::of(&lines, seen);
        assert_eq!((charged.amount("calls"), charged.tokens()), (0, 0), "{answer:?}: {charged:?}");
        assert!(charged.metadata["error"] == true && !charged.estimated, "{answer:?}: {charged:?}");
    }
    assert!(lines.iter().all(|line| line.status == 200), "the client was answered so");
}

#[test]
fn a_route_that_charges_for_failures_charges_for_them() {
    let scene = scene(Origin::builder(), r#"charge_on = ["2xx", "5xx"]"#);
    let answers = answers(&scene);
    scene.origin.set(CHAT, sse(&[WORD, USAGE, FAULT]));
    let said = Sent::json(CHAT, STREAM).to(&scene);
    let lines = scene.settled();
    for (answer, seen) in &answers {
        let charged = Charged::of(&lines, seen);
        // Nobody said that a model used anything.
        assert_eq!((charged.amount("calls"), charged.tokens()), (1, 0), "{answer:?}: {charged:?}");
        assert_eq!(charged.metadata["error"], true, "{answer:?}: {charged:?}");
    }
    let charged = Charged::of(&lines, &said);
    assert_eq!((charged.amount("calls"), charged.said()), (1, (24, 8)));
}

#[test]
fn what_only_talks_about_errors_is_charged() {
    let scene = scene(Origin::builder(), "");
    let usage = json!({ "prompt_tokens": 24, "completion_tokens": 8 });
    let text = r#"{"error":{"message":"no"}} data: {"error":1}"#;
    let talk = json!({ "error": null, "choices": [{ "message": { "content": text, "error": "x" } }], "usage": usage });
    let delta = json!({ "choices": [{ "index": 0, "delta": { "content": text } }] });
    let event = format!("data: {delta}\n\n");
    let sent = [Answer::json(talk.to_string()), sse(&[&event, USAGE])].map(|answer| {
        scene.origin.set(CHAT, answer);
        Sent::json(CHAT, STREAM).to(&scene)
    });
    let lines = scene.settled();
    for answer in &sent {
        assert_eq!(Charged::of(&lines, answer).said(), (24, 8));
    }
}

/// What a failed answer held is free at once.
#[test]
fn what_was_held_is_given_back() {
    let tiers =
        super::TIERS.replace("[tiers.free]", "[tiers.free.limits]\ntotal = \"300/lifetime\"\n[tiers.free]");
    let scene = Scene::start(Origin::builder().on(CHAT, sse(&[WORD, FAULT])), &super::route(""), &tiers);
    for _ in 0..5 {
        assert_eq!(Sent::json(CHAT, "{}").to(&scene).status, 200);
    }
    scene.origin.set(CHAT, Answer::status(500));
    for _ in 0..5 {
        assert_eq!(Sent::json(CHAT, "{}").to(&scene).status, 500);
    }
    assert_eq!(crate::books::held(&scene.gateway), 0);
}
