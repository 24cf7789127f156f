//! Bodies are read whatever way they come, and pass as they are.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use tollgate_testkit::{Answer, BOUND, Reply, Wire};

use super::{TIERS, amount, charged, origin, post, route, scene};
use crate::scene::{Scene, assert_refusal, head};

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn an_answer_is_read_in_any_coding_and_any_pieces() {
    let text = r#"{"items":[{"pages":2},{"pages":40}]}"#;
    let coded = Reply { body: gzip(text), ..Reply::json(200, "") }.header("Content-Encoding", "gzip");
    let pieces = |reply: &Reply| Answer::Pieces { reply: reply.clone(), sizes: vec![1; 30] };
    let plain = Reply::json(200, text);
    let origin = origin()
        .on("/x/plain", pieces(&plain))
        .on("/x/coded", Answer::Reply(coded.clone()))
        .on("/x/coded_pieces", pieces(&coded));
    let charge = r#"{ meter = "calls", amount = "response.json:/items/*/pages" }"#;
    let scene = Scene::start(origin, &route("x", charge), TIERS);
    for (target, body) in
        [("/x/plain", &plain.body), ("/x/coded", &coded.body), ("/x/coded_pieces", &coded.body)]
    {
        let answer = post(&scene, target, &[], "");
        assert_eq!(&answer.body, body, "{target}");
        assert_eq!(amount(&scene, &answer), (42, false), "{target}");
    }
}

#[test]
fn a_request_is_read_in_any_coding_and_any_pieces() {
    let scene = scene(&route("x", r#"{ meter = "calls", amount = "request.json:/n" }"#));
    let send = |coding: &str, body: &[u8], chunk_bytes: usize| {
        let headers = [("X-User-Id", "ann"), ("Transfer-Encoding", "chunked"), ("Content-Encoding", coding)];
        let mut wire = Wire::connect(scene.gateway.address());
        wire.send(head("POST", "/x/", &headers, None));
        for chunk in body.chunks(chunk_bytes) {
            wire.send([format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
        }
        wire.send("0\r\n\r\n");
        wire.response(false, BOUND).expect("an answer")
    };
    let text = r#"{"a":[1,2,3],"n":17}"#;
    for (coding, body) in [("identity", text.as_bytes().to_vec()), ("gzip", gzip(text))] {
        for chunk_bytes in [1, 7, 1000] {
            let answer = send(coding, &body, chunk_bytes);
            assert_eq!(scene.origin.received().last().unwrap().body, body, "it passes as it is");
            assert_eq!(amount(&scene, &answer), (17, false), "{coding} by {chunk_bytes}");
        }
    }
    assert_refusal(&send("gzip", text.as_bytes(), 1000), 400, "bad_request");
}

#[test]
fn a_long_body_is_read_up_to_a_bound() {
    let config = route("x", r#"{ meter = "calls", amount = "request.json:/n" }"#)
        + "[llm]\nlook_bytes_max = \"400kB\"\n";
    let scene = scene(&config);
    let body = |bytes: usize| format!(r#"{{"x":"{}","n":5}}"#, "x".repeat(bytes));
    let answer = post(&scene, "/x/", &[], &body(300_000));
    assert_eq!(amount(&scene, &answer), (5, false));
    let json = assert_refusal(&post(&scene, "/x/", &[], &body(400_000)), 400, "bad_request");
    assert!(json["message"].as_str().unwrap().contains("400kB"), "{json}");
}

/// A model's call and pointers of the route look at one body, and at one answer.
#[test]
fn a_call_to_a_model_can_be_charged_by_pointers_too() {
    let charges = r#"{ meter = "pages", amount = "llm.total_tokens", scale = "1/1000" },
        { meter = "calls", amount = "request.json:/rows" },
        { meter = "seconds", amount = "response.json:/took" }"#;
    let routes =
        format!("[[routes]]\nname = \"m\"\npath = \"/\"\nupstream = \"origin\"\ncharge = [{charges}]\n");
    let scene = scene(&routes);
    let answer = r#"{"object":"chat.completion","model":"m","took":4.2,"usage":{"prompt_tokens":1200,"completion_tokens":801,"total_tokens":2001}}"#;
    let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"rows":9,"max_tokens":900}"#;
    let answer = post(&scene, "/v1/chat/completions", &[("X-Answer", answer)], body);
    let expected = [("pages", 3), ("calls", 9), ("seconds", 5), ("credits", 6 + 1)];
    let expected = expected.map(|(meter, amount)| (meter.to_owned(), amount, false));
    assert_eq!(charged(&scene, &answer), expected);
}
