//! What is held before the answer is there: the most that the request says it can use.

use serde_json::{Value, json};
use tollgate_testkit::{Answer, Gate, Origin, Wire};

use super::{CHAT, Calls, Setting, answer, chat, chat_stream, events, gated};
use crate::scene::{assert_refusal, head, number};

const MODELS: &str = "[llm]\nlook_bytes_max = \"4KiB\"\n[models]\n\"short-*\" = { max_output = 20 }\n\
    \"narrow-*\" = { context = 50 }\n\"narrow-long\" = { context = 500, max_output = 300 }";

/// A gateway before a model that never answers.
fn silent() -> Calls {
    let setting = Setting::new().llm("max_output_tokens = 77, client_gone = \"cancel\"").tables(MODELS);
    setting.start(Origin::builder().otherwise(|_| Answer::Hang))
}

/// What one call holds of `output` and `total` while it waits for its answer.
fn held_for(calls: &Calls, request: impl FnOnce(&Calls) -> Wire) -> (i64, i64) {
    let before = calls.origin.requests();
    let wire = request(calls);
    assert!(calls.origin.wait_requests(before + 1, tollgate_testkit::BOUND), "{:?}", super::text(&wire));
    let held = (calls.held("output"), calls.held("total"));
    drop(wire);
    calls.assert_held("output", 0);
    calls.assert_held("total", 0);
    held
}

#[test]
fn the_maximum_is_held_in_every_dialects_spelling_for_all_choices() {
    let calls = silent();
    let content = json!([{ "role": "user", "content": "Write." }]);
    let parts = json!([{ "role": "user", "parts": [{ "text": "Write." }] }]);
    let cases: [(&str, Value, i64); 18] = [
        (CHAT, json!({ "model": "m", "messages": content, "max_tokens": 100, "n": 3 }), 300),
        (CHAT, json!({ "model": "m", "messages": content, "max_completion_tokens": 50 }), 50),
        (CHAT, json!({ "model": "m", "messages": content }), 77),
        (CHAT, json!({ "model": "m", "messages": content, "n": 2 }), 154),
        (CHAT, json!({ "model": "short-1", "messages": content, "max_tokens": 1000, "n": 2 }), 40),
        (CHAT, json!({ "model": "short-1", "messages": content }), 20),
        (CHAT, json!({ "model": "short-1", "messages": content, "max_tokens": 5 }), 5),
        (CHAT, json!({ "model": "narrow-1", "messages": content, "max_tokens": 1000 }), 50),
        (CHAT, json!({ "model": "narrow-long", "messages": content, "max_tokens": 1000 }), 300),
        ("/v1/completions", json!({ "model": "m", "prompt": "Write.", "max_tokens": 9, "best_of": 4 }), 36),
        (
            "/v1/completions",
            json!({ "model": "m", "prompt": ["One.", "Two.", "Three."], "max_tokens": 9 }),
            27,
        ),
        ("/v1/responses", json!({ "model": "m", "input": "Write.", "max_output_tokens": 60 }), 60),
        (super::MESSAGES, json!({ "model": "m", "messages": content, "max_tokens": 70 }), 70),
        (
            "/v1beta/models/gemini:generateContent",
            json!({ "contents": parts, "generationConfig": { "maxOutputTokens": 80, "candidateCount": 2 } }),
            160,
        ),
        (
            "/model/nova/converse",
            json!({ "messages": [{ "role": "user", "content": [{ "text": "Write." }] }], "inferenceConfig": { "maxTokens": 90 } }),
            90,
        ),
        ("/model/llama/invoke", json!({ "prompt": "Write.", "max_gen_len": 33 }), 33),
        ("/api/chat", json!({ "model": "m", "messages": content, "options": { "num_predict": 44 } }), 44),
        // It writes nothing; one is held of what any call could need.
        ("/v1/embeddings", json!({ "model": "m", "input": "Read." }), 1),
    ];
    for (path, body, output) in cases {
        let held = held_for(&calls, |calls| calls.sent("ann", path, &body));
        assert_eq!(held.0, output, "{path} {body}");
        // An estimate that is hardly ever too small, and not absurd for a word.
        let input = held.1 - if path.ends_with("embeddings") { 0 } else { output };
        assert!((3..=200).contains(&input), "{path} {body}: {input} tokens of input");
    }
}

#[test]
fn what_is_read_is_held_by_its_length() {
    let calls = silent();
    let input = |words: usize| {
        let body = json!({ "model": "m", "max_tokens": 1, "messages": [{ "role": "user", "content": "word ".repeat(words) }] });
        held_for(&calls, |calls| calls.sent("ann", CHAT, &body)).1 - 1
    };
    let (few, many) = (input(10), input(500));
    assert!(many - few >= 490 && many - few <= 4 * 490, "{few} for 10 words, {many} for 500");
}

#[test]
fn bodies_that_cannot_be_read_hold_what_the_route_says() {
    let calls = silent();
    let long = json!({ "model": "m", "max_tokens": 9, "messages": [{ "role": "user", "content": "x".repeat(5000) }] });
    let readable = chat(9).to_string();
    let with = |header: (&str, &str), body: &str| {
        let headers = [("X-User-Id", "ann"), ("Content-Type", "application/json"), header];
        let request = head("POST", CHAT, &headers, Some(body.len())) + body;
        move |calls: &Calls| {
            let mut wire = Wire::connect(calls.gateway.address());
            assert!(wire.send(request));
            wire
        }
    };
    assert_eq!(held_for(&calls, |calls| calls.sent("ann", CHAT, "{\"model\":")), (30, 40));
    assert_eq!(held_for(&calls, |calls| calls.sent("ann", CHAT, "[1]")), (30, 40));
    assert_eq!(
        held_for(&calls, |calls| calls.sent("ann", CHAT, &long)),
        (30, 40),
        "too long to be looked at"
    );
    assert_eq!(held_for(&calls, with(("Content-Encoding", "gzip"), &readable)), (30, 40));
    // It says neither which model nor how much: it may have any shape.
    assert_eq!(held_for(&calls, |calls| calls.sent("ann", "/any", "{}")), (30, 40));
    // What a model reads elsewhere has no bound but its context, where that is known.
    let earlier = |model: &str| json!({ "model": model, "input": "x", "previous_response_id": "r1", "max_output_tokens": 5 });
    assert_eq!(held_for(&calls, |calls| calls.sent("ann", "/v1/responses", earlier("narrow-1"))), (5, 55));
    let unknown = held_for(&calls, |calls| calls.sent("ann", "/v1/responses", earlier("m")));
    assert!(unknown.0 == 5 && unknown.1 >= 45, "{unknown:?}");
}

#[test]
fn what_was_held_and_not_used_can_be_used_again() {
    let gate = Gate::new();
    let origin = Origin::builder()
        .otherwise(|_| answer(5, 40))
        .on("/slow/chat/completions", gated(events(9, 5, 10), &gate));
    let calls = Setting::new().limits("output = \"100/lifetime\"").start(origin);

    let mut stream = calls.begun("ann", "/slow/chat/completions", chat_stream(60));
    assert!(
        super::text(&stream).to_ascii_lowercase().contains("x-ratelimit-remaining: 40\r\n"),
        "{}",
        super::text(&stream)
    );
    calls.assert_held("output", 60);
    let refused = calls.call("ann", CHAT, chat(41));
    let json = assert_refusal(&refused, 429, "quota_exceeded");
    assert_eq!((json["used"].as_i64(), json["remaining"].as_i64()), (Some(60), Some(40)), "{json}");
    let fits = calls.call("ann", CHAT, chat(40));
    assert_eq!((fits.status, number(&fits, "X-RateLimit-Remaining")), (200, 0));

    // Ten of the sixty were used.
    gate.open();
    assert_eq!(stream.response(false, tollgate_testkit::BOUND).unwrap().status, 200);
    calls.assert_held("output", 0);
    assert_eq!(calls.call("ann", CHAT, chat(51)).status, 429);
    let last = calls.call("ann", CHAT, chat(50));
    assert_eq!((last.status, number(&last, "X-RateLimit-Remaining")), (200, 0));
    let amounts: Vec<_> = calls.lines("output").iter().map(|line| line.amount).collect();
    assert_eq!(amounts, [10, 40, 40], "refused calls are nowhere");
}

#[test]
fn what_no_model_works_for_holds_nothing() {
    let calls = silent();
    let counted = held_for(&calls, |calls| calls.sent("ann", "/v1/messages/count_tokens", chat(100)));
    assert_eq!(counted, (0, 0));
    let polled = held_for(&calls, |calls| {
        let mut wire = Wire::connect(calls.gateway.address());
        assert!(wire.send(head("GET", "/v1/responses/r1", &[("X-User-Id", "ann")], None)));
        wire
    });
    assert_eq!(polled, (0, 0));
}
