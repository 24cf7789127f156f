//! Amounts that others report: taken as they are, or refused as estimates; never wrapped, never silently zero.

use tollgate_testkit::{Answer, Origin, Reply, Response};

use crate::{
    books::assert_clean,
    scene::{Scene, assert_refusal, number, of},
};

/// What is held for a request of unknown size, and charged where its size stays unknown.
const HOLD: i64 = 50;

const TIERS: &str = r#"
default_tier = "free"
[meters]
calls = { unit = "calls" }
tokens = { unit = "tokens" }
storage = { unit = "bytes", kind = "level" }
[tiers.free]
other_meters = "unlimited"
[tiers.huge]
other_meters = "unlimited"
limits.tokens = "9223372036854775807/lifetime"
[tiers.thousand]
other_meters = "unlimited"
limits.tokens = "1000/lifetime"
"#;

const ROUTES: &str = r#"
[[routes]]
path = "/llm/"
upstream = "origin"
charge = [{ meter = "tokens", amount = "llm.total_tokens", hold = 50 }]
[[routes]]
path = "/up/"
upstream = "origin"
charge = [{ meter = "tokens", amount = "upstream", hold = 50 }, { meter = "storage", amount = "upstream", hold = 50 }]
"#;

fn scene(answers: &[(&str, Answer)]) -> Scene {
    let origin =
        answers.iter().fold(Origin::builder(), |origin, (path, answer)| origin.on(path, answer.clone()));
    Scene::start(origin, ROUTES, TIERS)
}

fn post(scene: &Scene, target: &str, tier: &str) -> Response {
    scene.send("POST", target, &[("X-User-Id", "ann"), ("X-User-Tier", tier)], "{}")
}

type Headers = &'static [(&'static str, &'static str)];

/// What was sent, its answer, and the amount to be charged of a meter, with whether it is an estimate.
type Sent = (String, Response, &'static str, (i64, bool));

/// Fails unless each was charged once, and so.
fn assert_charged(scene: &Scene, sent: &[Sent]) {
    assert!(!sent.is_empty());
    let lines = scene.settled();
    for (what, answer, meter, expected) in sent {
        let of_meter = of(&lines, answer).into_iter().filter(|line| line.meter == *meter);
        let charged: Vec<_> = of_meter.map(|line| (line.amount, line.estimated)).collect();
        assert_eq!(charged, [*expected], "{what}: {meter}");
    }
}

fn usage(total: &str) -> String {
    format!(r#"{{"object":"chat.completion","usage":{{"total_tokens":{total}}}}}"#)
}

#[test]
fn tokens_that_are_a_number_are_charged_as_they_are() {
    let scene = scene(&[]);
    let mut sent = Vec::new();
    for (body, tokens) in [
        (usage("32"), 32),
        (usage("12.0"), 12),
        (usage("9223372036854775806"), i64::MAX - 1),
        (r#"{"usage":{"prompt_tokens":24,"completion_tokens":8}}"#.to_owned(), 32),
        (r#"{"usage":{"prompt_tokens":24,"completion_tokens":8,"total_tokens":32}}"#.to_owned(), 32),
    ] {
        scene.origin.set("/llm/x", Answer::json(body.clone()));
        let answer = post(&scene, "/llm/x", "free");
        assert_eq!(answer.text(), body, "the body passes untouched");
        sent.push((body, answer, "tokens", (tokens, false)));
    }
    assert_charged(&scene, &sent);
}

#[test]
fn tokens_that_are_no_number_are_charged_as_an_estimate() {
    let scene = scene(&[]);
    let mut sent = Vec::new();
    for body in [
        usage("-5"),
        usage("NaN"),
        usage("1e309"),
        usage("9223372036854775808"),
        usage("18446744073709551616"),
        usage("1.5"),
        usage("\"12\""),
        usage("null"),
        usage("true"),
        usage("[12]"),
        usage("1, \"total_tokens\": 2"),
        r#"{"usage":{"total_tokens":1},"usage":{"total_tokens":2}}"#.to_owned(),
        r#"{"usage":{"prompt_tokens":9223372036854775807,"completion_tokens":1}}"#.to_owned(),
        r#"{"usage":{}}"#.to_owned(),
        "{}".to_owned(),
        "[]".to_owned(),
        "nothing".to_owned(),
        r#"{"usage":{"total_tokens":1"#.to_owned(),
        String::new(),
    ] {
        scene.origin.set("/llm/x", Answer::json(body.clone()));
        let answer = post(&scene, "/llm/x", "free");
        assert_eq!((answer.status, answer.text()), (200, body.clone()), "the body passes untouched");
        sent.push((body, answer, "tokens", (HOLD, true)));
    }
    assert_charged(&scene, &sent);
}

#[test]
fn a_body_that_cannot_be_read_passes_untouched_and_is_charged_as_an_estimate() {
    let json = usage("7").into_bytes();
    let gzip = [&b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\x01\x40\x00\xbf\xff"[..], &[b'a'; 64]].concat();
    let cases: [(&str, Headers, &[u8]); 6] = [
        (
            "invalid UTF-8",
            &[("Content-Type", "application/json")],
            b"{\"a\":\"\xff\xfe\",\xff\"usage\":{\"total_tokens\":7}}",
        ),
        (
            "truncated gzip",
            &[("Content-Type", "application/json"), ("Content-Encoding", "gzip")],
            &gzip[..20],
        ),
        (
            "plain text labelled gzip",
            &[("Content-Type", "application/json"), ("Content-Encoding", "gzip")],
            &json,
        ),
        ("gzip that is not labelled", &[("Content-Type", "application/json")], &gzip),
        (
            "a coding nobody knows",
            &[("Content-Type", "application/json"), ("Content-Encoding", "x-own")],
            &json,
        ),
        ("another media type", &[("Content-Type", "application/octet-stream")], &json),
    ];
    let scene = scene(&[]);
    let mut sent = Vec::new();
    for (what, headers, body) in cases {
        let headers = headers.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        scene.origin.set("/llm/x", Answer::Reply(Reply { status: 200, headers, body: body.to_vec() }));
        let answer = post(&scene, "/llm/x", "free");
        assert_eq!((answer.status, &*answer.body), (200, body), "{what}");
        sent.push((what.to_owned(), answer, "tokens", (HOLD, true)));
    }
    assert_charged(&scene, &sent);
}

#[test]
fn invalid_utf_8_beside_the_usage_does_not_hide_it() {
    let body = b"{\"text\":\"\xff\xfe\",\"usage\":{\"total_tokens\":7}}".to_vec();
    let reply = Reply { body, ..Reply::json(200, "") };
    let scene = scene(&[("/llm/x", Answer::Reply(reply.clone()))]);
    let answer = post(&scene, "/llm/x", "free");
    assert_eq!(answer.body, reply.body);
    assert_charged(&scene, &[("beside".to_owned(), answer, "tokens", (7, false))]);
}

#[test]
fn usage_in_a_stream_is_found_however_it_is_cut_and_the_last_one_counts() {
    let scene = scene(&[]);
    let mut sent = Vec::new();
    let whole = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":24,\"completion_tokens\":8,\"total_tokens\":32}}\n\n";
    let one_by_one: Vec<&str> = whole.split_inclusive(|_| true).collect();
    let cases: [(&str, Vec<&str>, (i64, bool)); 7] = [
        ("in one chunk", vec!["data: {}\n\n", whole, "data: [DONE]\n\n"], (32, false)),
        ("cut in the name", vec![&whole[..43], &whole[43..], "data: [DONE]\n\n"], (32, false)),
        ("cut in the number", vec![&whole[..whole.len() - 5], &whole[whole.len() - 5..]], (32, false)),
        ("byte by byte", one_by_one, (32, false)),
        ("absent", vec!["data: {\"choices\":[]}\n\n", "data: [DONE]\n\n"], (HOLD, true)),
        (
            "twice, growing",
            vec!["data: {\"usage\":{\"total_tokens\":9}}\n\n", whole, "data: [DONE]\n\n"],
            (32, false),
        ),
        ("without an end", vec!["data: {\"usage\":{\"total_tokens\":9"], (HOLD, true)),
    ];
    for (what, pieces, expected) in cases {
        let events: Vec<String> = pieces.iter().map(|piece| (*piece).to_owned()).collect();
        scene.origin.set("/llm/x", Answer::Sse { events, gate: None });
        let answer = post(&scene, "/llm/x", "free");
        assert_eq!(answer.text(), pieces.concat(), "{what}: the stream passes untouched");
        sent.push((what.to_owned(), answer, "tokens", expected));
    }
    assert_charged(&scene, &sent);
}

#[test]
fn a_report_that_is_no_number_is_charged_as_an_estimate() {
    let scene = scene(&[]);
    let mut sent = Vec::new();
    for report in [
        "-5",
        "NaN",
        "1e309",
        "9223372036854775808",
        "18446744073709551616",
        "1.5",
        "\"12\"",
        "0x10",
        "1,2",
        "",
    ] {
        let reply = Reply::json(200, "{}").header("X-Usage-tokens", report);
        scene.origin.set("/up/x", Answer::Reply(reply));
        let answer = post(&scene, "/up/x", "free");
        assert_eq!(answer.header("x-usage-tokens"), None, "{report}");
        sent.push((report.to_owned(), answer, "tokens", (HOLD, true)));
    }
    let twice = Reply::json(200, "{}").header("X-Usage-tokens", "3").header("X-Usage-tokens", "4");
    scene.origin.set("/up/x", Answer::Reply(twice));
    let answer = post(&scene, "/up/x", "free");
    sent.push(("said twice".to_owned(), answer, "tokens", (HOLD, true)));
    assert_charged(&scene, &sent);
}

#[test]
fn only_a_level_can_be_given_back() {
    let reply = Reply::json(200, "{}").header("X-Usage-tokens", "-5").header("X-Usage-storage", "-5");
    let scene = scene(&[("/up/x", Answer::Reply(reply))]);
    let answer = post(&scene, "/up/x", "free");
    let what = "a negative report".to_owned();
    let sent =
        [(what.clone(), answer.clone(), "tokens", (HOLD, true)), (what, answer, "storage", (-5, false))];
    assert_charged(&scene, &sent);
}

#[test]
fn a_sum_beyond_64_bits_stays_at_its_bound_and_is_still_the_same_after_a_crash() {
    let most = Reply::json(200, "{}").header("X-Usage-tokens", "9223372036854775807");
    let mut scene = scene(&[("/up/x", Answer::Reply(most))]);
    // Not limited, so not refused: the sum passes 64 bits.
    let sent: Vec<Sent> = (0..2)
        .map(|_| ("the most".to_owned(), post(&scene, "/up/x", "free"), "tokens", (i64::MAX, false)))
        .collect();
    assert_charged(&scene, &sent);
    for _ in 0..2 {
        let refused = post(&scene, "/up/x", "huge");
        let json = assert_refusal(&refused, 429, "quota_exceeded");
        assert_eq!((json["used"].as_i64(), json["limit"].as_i64()), (Some(i64::MAX), Some(i64::MAX)));
        assert_eq!(number(&refused, "X-RateLimit-Remaining"), 0);
        assert_clean(&scene.gateway);
        scene.gateway.restart();
    }
}

#[test]
fn an_answer_larger_than_its_limit_is_charged_in_full_and_the_next_is_refused() {
    let scene = scene(&[("/llm/x", Answer::json(usage("5000")))]);
    let answer = post(&scene, "/llm/x", "thousand");
    assert_eq!(answer.status, 200, "what it would cost could not be known");
    assert_charged(&scene, &[("all of it".to_owned(), answer, "tokens", (5000, false))]);
    let refused = post(&scene, "/llm/x", "thousand");
    let json = assert_refusal(&refused, 429, "quota_exceeded");
    assert_eq!((json["used"].as_i64(), json["remaining"].as_i64()), (Some(5000), Some(0)));
}

/// Lists, polls and deletes have no model work; an answer that is fetched again was paid for when it was made.
#[test]
fn tokens_are_held_and_charged_for_post_only() {
    let scene = scene(&[("/llm/x", Answer::json(usage("900")))]);
    let mut sent = Vec::new();
    assert_eq!(post(&scene, "/llm/x", "thousand").status, 200);
    // 100 are left: a POST would use them up.
    for method in ["GET", "DELETE", "GET"] {
        let identity = [("X-User-Id", "ann"), ("X-User-Tier", "thousand")];
        let answer = scene.send(method, "/llm/x", &identity, "");
        assert_eq!((answer.status, number(&answer, "X-RateLimit-Remaining")), (200, 100), "{method}");
        sent.push((method.to_owned(), answer, "tokens", (0, false)));
    }
    assert_charged(&scene, &sent);
}
