//! Requests that no model works for: they hold nothing, and are charged nothing, whatever their answers say.

use tollgate_testkit::{Answer, Origin};

use super::{Charged, Sent, TIERS, route};
use crate::scene::{Scene, assert_refusal};

const SAYS: &str = r#"{"id":"x","usage":{"prompt_tokens":24,"completion_tokens":8,"total_tokens":32,"input_tokens":24,
    "output_tokens":8},"totalTokens":32,"input_tokens":24}"#;

const FREE: [(&str, &str); 16] = [
    ("GET", "/v1/responses/resp_1"),
    ("GET", "/v1/chat/completions/chatcmpl_1"),
    ("GET", "/v1/threads/t/runs/r"),
    ("GET", "/v1/models"),
    ("GET", "/v1/batches/b"),
    ("HEAD", "/v1/chat/completions"),
    ("DELETE", "/v1/responses/resp_1"),
    ("POST", "/v1/messages/count_tokens"),
    ("POST", "/v1/responses/input_tokens"),
    ("POST", "/v1beta/models/gemini:countTokens"),
    ("POST", "/model/anthropic.claude/count-tokens"),
    ("POST", "/v1/moderations"),
    ("POST", "/v1/responses/resp_1/cancel"),
    ("POST", "/v1/messages/batches/b/cancel"),
    ("POST", "/v1/messages/batches"),
    ("POST", "/tokenize"),
];

fn limited(limits: &str) -> Scene {
    let tiers = TIERS.replace("[tiers.free]", &format!("[tiers.free.limits]\n{limits}\n[tiers.free]"));
    Scene::start(
        Origin::builder().on("/mark", Answer::Echo).otherwise(|_| Answer::json(SAYS)),
        &route(""),
        &tiers,
    )
}

#[test]
fn they_work_when_no_token_is_left_and_are_calls_like_any_other() {
    let scene = limited("total = 0\ninput = 0\noutput = 0");
    let body = r#"{"model":"gpt-4o","input":"words that a model would read"}"#;
    let sent = FREE.map(|(method, target)| {
        let request = Sent {
            method,
            body: if method == "POST" { body.as_bytes() } else { b"" },
            ..Sent::json(target, "")
        };
        let answer = request.to(&scene);
        assert_eq!(answer.status, 200, "{method} {target}: {answer:?}");
        (target, answer)
    });
    let refused = Sent::json("/v1/responses", body).to(&scene);
    assert_refusal(&refused, 429, "quota_exceeded");
    let lines = scene.settled();
    for (target, answer) in &sent {
        let charged = Charged::of(&lines, answer);
        assert_eq!((charged.amount("calls"), charged.tokens()), (1, 0), "{target}: {charged:?}");
        assert!(!charged.estimated, "{target}: {charged:?}");
    }
    assert_eq!(lines.len(), 6 * FREE.len());
}

/// The same paths with POST are what is paid for.
#[test]
fn what_a_model_works_for_is_charged_once_however_often_it_is_read_again() {
    let scene = limited("total = \"1000/lifetime\"");
    let made = Sent::json("/v1/responses", r#"{"model":"gpt-4o","max_output_tokens":100}"#).to(&scene);
    for _ in 0..5 {
        let read = Sent { method: "GET", ..Sent::json("/v1/responses/resp_1", "") }.to(&scene);
        assert_eq!(read.status, 200);
    }
    let lines = scene.settled();
    assert_eq!(Charged::of(&lines, &made).said(), (24, 8));
    let total: i64 = lines.iter().filter(|line| line.meter == "total").map(|line| line.amount).sum();
    assert_eq!(total, 32);
}
