//! The event that a stream has only because the gateway asked for it: taken out for clients who did not ask.

use serde_json::json;
use tollgate_testkit::{Answer, BOUND, Client, Gate, Origin, Reply, Response, Wire};

use super::{Charged, Sent, scene};
use crate::scene::{Scene, head};

const CHAT: &str = "/v1/chat/completions";
const UNASKED: &str = r#"{"model":"m","stream":true}"#;
const ASKED: &str = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#;

const WORD: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}],\"usage\":null}\n\n";
const USAGE: &str =
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":24,\"completion_tokens\":8,\"total_tokens\":32}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

/// A service that says what a stream used if it is asked to.
fn service(received: &tollgate_testkit::Received) -> Answer {
    let asked = String::from_utf8_lossy(&received.body).contains(r#""include_usage":true"#);
    let events: &[&str] = if asked { &[WORD, WORD, USAGE, DONE] } else { &[WORD, WORD, DONE] };
    Answer::Sse { events: events.iter().map(|event| (*event).to_owned()).collect(), gate: None }
}

fn served(more: &str) -> Scene {
    scene(Origin::builder().on("/mark", Answer::Echo).otherwise(service), more)
}

/// What a client who did not ask sees.
fn plain() -> String {
    [WORD, WORD, DONE].concat()
}

#[test]
fn it_is_for_clients_who_asked_and_charged_either_way() {
    let scene = served("");
    let answers = [UNASKED, ASKED].map(|body| Sent::json(CHAT, body).to(&scene));
    assert_eq!(answers[0].text(), plain());
    assert_eq!(answers[1].text(), [WORD, WORD, USAGE, DONE].concat());
    let lines = scene.settled();
    for answer in &answers {
        assert_eq!(Charged::of(&lines, answer).said(), (24, 8));
    }
}

#[test]
fn a_route_that_does_not_want_the_option_has_streams_as_they_are() {
    let scene = served("llm = { include_usage = false }");
    let plain_answer = Sent::json(CHAT, UNASKED).to(&scene);
    assert_eq!(plain_answer.text(), plain());
    let asked = Sent::json(CHAT, ASKED).to(&scene);
    assert_eq!(asked.text(), [WORD, WORD, USAGE, DONE].concat());
    let lines = scene.settled();
    let unsaid = Charged::of(&lines, &plain_answer);
    assert!(unsaid.estimated && unsaid.amount("output") > 0, "{unsaid:?}");
    assert_eq!(Charged::of(&lines, &asked).said(), (24, 8));
}

#[tokio::test]
async fn it_is_taken_out_over_http_2_as_well() {
    for (client_h2, upstream_h2) in [(true, false), (false, true), (true, true)] {
        let origin = Origin::builder().on("/mark", Answer::Echo).otherwise(service);
        let origin = if upstream_h2 { origin.http2() } else { origin };
        let protocol = if upstream_h2 { "protocol = \"http2\"\n" } else { "" };
        let config = format!("{protocol}{}", super::route(""));
        let config = config.replace("[[routes]]\nname", "[[routes]]\nmethods = [\"POST\"]\nname");
        let scene = Scene::start(origin, &config, super::TIERS);
        let address = scene.gateway.address();
        let client = if client_h2 { Client::http2(address).await } else { Client::http1(address).await };
        let identity = [("X-User-Id", "ann"), ("Content-Type", "application/json")];
        let answer = client.unwrap().post(CHAT, &identity, UNASKED).await.unwrap();
        assert_eq!(answer.text(), plain(), "h2 in: {client_h2}, h2 out: {upstream_h2}");
        let arrived = scene.origin.last();
        assert!(arrived.body.starts_with(br#"{"stream_options":{"include_usage":true},"#), "{arrived:?}");
        if let Some(length) = arrived.header("content-length") {
            assert_eq!(length, arrived.body_bytes.to_string());
        }
    }
}

#[test]
fn events_arrive_one_by_one_around_it() {
    let gate = Gate::new();
    let events = [WORD, WORD, USAGE, DONE].map(str::to_owned).into();
    let scene = scene(Origin::builder().on(CHAT, Answer::Sse { events, gate: Some(gate.clone()) }), "");
    let mut wire = Wire::connect(scene.gateway.address());
    wire.send(head("POST", CHAT, &[("X-User-Id", "ann")], Some(UNASKED.len())) + UNASKED);
    let words = |read: &[u8]| String::from_utf8_lossy(read).matches(r#""a""#).count();
    for seen in 1..=2 {
        assert!(wire.read_until(BOUND, |read| words(read) == seen), "{seen} words are seen at once");
        gate.pass(1);
    }
    gate.open();
    let answer = wire.response(false, BOUND).expect("an answer");
    assert_eq!(answer.text(), plain());
}

/// With a length, in one piece and in single bytes; lines that end in CR LF; comments; an answer without `[DONE]`.
#[test]
fn nothing_but_the_event_is_missing_however_the_stream_is_written() {
    let crlf = |text: &str| text.replace('\n', "\r\n");
    let comment = ": keep-alive\n\n";
    let streams = [
        ([WORD, USAGE, DONE].concat(), [WORD, DONE].concat()),
        (crlf(&[WORD, USAGE, DONE].concat()), crlf(&[WORD, DONE].concat())),
        (
            [comment, WORD, comment, USAGE, comment, DONE].concat(),
            [comment, WORD, comment, comment, DONE].concat(),
        ),
        ([WORD, USAGE].concat(), WORD.to_owned()),
        ([WORD, USAGE.trim_end()].concat(), WORD.to_owned()),
        (USAGE.to_owned(), String::new()),
    ];
    let scene = scene(Origin::builder(), "");
    let mut answers = Vec::new();
    for (stream, seen) in &streams {
        let reply = Reply::of("text/event-stream; charset=utf-8", stream.clone())
            .header("X-Own", "kept")
            .header("Repr-Digest", "sha-256=:AAAA:");
        let pieces = Answer::Pieces { sizes: vec![1; stream.len()], reply: reply.clone() };
        for answer in [Answer::Reply(reply), pieces] {
            scene.origin.set(CHAT, answer);
            let answer = Sent::json(CHAT, UNASKED).to(&scene);
            assert_eq!(answer.text(), *seen, "{stream:?}");
            assert_eq!(answer.header("content-length"), None, "the length is another: {stream:?}");
            assert_eq!((answer.header("x-own"), answer.header("repr-digest")), (Some("kept"), None));
            answers.push(answer);
        }
    }
    let lines = scene.settled();
    for answer in &answers {
        assert_eq!(Charged::of(&lines, answer).said(), (24, 8), "{answer:?}");
    }
}

/// Services that do not do as they are asked.
#[test]
fn answers_that_are_no_such_stream_pass_whole() {
    let usage = json!({ "prompt_tokens": 24, "completion_tokens": 8, "total_tokens": 32 });
    let with_choice = json!({ "choices": [{ "index": 0, "delta": {} }], "usage": usage });
    let answers = [
        Answer::json(json!({ "choices": [], "usage": usage }).to_string()),
        Answer::Sse { events: vec![format!("data: {with_choice}\n\n"), DONE.to_owned()], gate: None },
    ];
    let scene = scene(Origin::builder(), "");
    let sent = answers.map(|answer| {
        scene.origin.set(CHAT, answer.clone());
        let seen = Sent::json(CHAT, UNASKED).to(&scene);
        let wanted = match answer {
            Answer::Reply(reply) => reply.body,
            Answer::Sse { events, .. } => events.concat().into_bytes(),
            other => panic!("{other:?}"),
        };
        assert_eq!(seen.body, wanted);
        seen
    });
    let lines = scene.settled();
    assert!(sent.iter().all(|answer: &Response| Charged::of(&lines, answer).said() == (24, 8)));
    // A refusal of the service is the client's to read.
    let refusal = Reply::json(400, r#"{"error":{"message":"stream_options is not known"}}"#);
    scene.origin.set(CHAT, Answer::Reply(refusal.clone()));
    let seen = Sent::json(CHAT, UNASKED).to(&scene);
    assert_eq!((seen.status, seen.body), (400, refusal.body));
}

/// The beginning of an event that might be the one, when trailers end the stream.
#[test]
fn trailers_come_after_what_was_held_back() {
    let begun = "data: {\"choices\":[],\"id\":\"x\"";
    for (last, seen) in [(begun, begun), (USAGE.trim_end(), "")] {
        let body = [WORD, last].map(|piece| format!("{:x}\r\n{piece}\r\n", piece.len())).concat();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\
             Trailer: X-Checked\r\n\r\n{body}0\r\nX-Checked: yes\r\n\r\n"
        );
        let scene = scene(Origin::builder().on(CHAT, Answer::Raw(answer.into_bytes())), "");
        let headers = &[("TE", "trailers"), ("Connection", "TE")];
        let mut wire = Wire::connect(scene.gateway.address());
        let identity = [("X-User-Id", "ann"), headers[0], headers[1]];
        wire.send(head("POST", CHAT, &identity, Some(UNASKED.len())) + UNASKED);
        let answer = wire.response(false, BOUND).expect("an answer");
        assert_eq!(answer.text(), [WORD, seen].concat());
        assert_eq!(answer.trailers.len(), 1, "{answer:?}");
        let charged = Charged::of(&scene.settled(), &answer);
        assert_eq!(charged.estimated, last == begun, "{charged:?}");
    }
}

/// The last event waits for the disk, also where nothing is left of it.
#[test]
fn it_is_taken_out_of_streams_that_wait_for_the_disk() {
    let origin = Origin::builder().on("/mark", Answer::Echo).otherwise(service).start();
    let config = crate::scene::config(origin.address(), &super::route(""))
        .replace("workers = 1", "workers = 1\ndurability = \"power\"");
    let gateway = crate::support::gateway().config(config).tiers(crate::scene::tiers(super::TIERS)).start();
    let scene = Scene { gateway, origin };
    let answers = [UNASKED, ASKED].map(|body| Sent::json(CHAT, body).to(&scene));
    assert_eq!((answers[0].text(), answers[1].text()), (plain(), [WORD, WORD, USAGE, DONE].concat()));
    scene.origin.set(CHAT, Answer::Sse { events: vec![WORD.to_owned(), USAGE.to_owned()], gate: None });
    let without_end = Sent::json(CHAT, UNASKED).to(&scene);
    assert_eq!(without_end.text(), WORD);
    let lines = scene.settled();
    assert!(answers.iter().chain([&without_end]).all(|answer| Charged::of(&lines, answer).said() == (24, 8)));
}

/// Without chunks: the end of the connection is the end of the stream.
#[test]
fn it_is_taken_out_for_http_1_0_clients() {
    let scene = served("");
    let request = head("POST", CHAT, &[("X-User-Id", "ann")], Some(UNASKED.len())) + UNASKED;
    let mut wire = Wire::connect(scene.gateway.address());
    wire.send(request.replacen("HTTP/1.1", "HTTP/1.0", 1));
    assert!(wire.closes(BOUND));
    let (answer, _) = Response::parse(wire.unread(), false).expect("an answer");
    assert_eq!((answer.text(), answer.header("transfer-encoding")), (plain(), None));
}

/// A coding that is none, of the request or of the answer.
#[test]
fn identity_is_no_coding() {
    let reply =
        Reply::of("text/event-stream", [WORD, USAGE, DONE].concat()).header("Content-Encoding", "identity");
    let scene = scene(Origin::builder().on(CHAT, Answer::Reply(reply)), "");
    let headers = &[("Content-Encoding", "identity")];
    let answer = Sent { headers, ..Sent::json(CHAT, UNASKED) }.to(&scene);
    assert_eq!(answer.text(), [WORD, DONE].concat());
    assert_eq!(Charged::of(&scene.settled(), &answer).said(), (24, 8));
}

/// What was set aside ahead of a stream is given back: nobody says that it was used.
#[test]
fn a_stream_of_which_nothing_is_known_is_charged_its_hold_or_what_was_written() {
    let tiers =
        super::TIERS.replace("[tiers.free]", "[tiers.free.limits]\ntotal = \"100_000/day\"\n[tiers.free]");
    let scene = Scene::start(Origin::builder(), &super::route(""), &tiers);
    let word = WORD.replace("\"a\"", "\"word \"");
    let sent = [(10, (300, 200)), (1000, (1250, 1250))].map(|(words, expected)| {
        scene.origin.set(CHAT, Answer::Sse { events: vec![word.clone(); words], gate: None });
        (Sent::json(CHAT, "neither JSON nor a form").to(&scene), expected)
    });
    let lines = scene.settled();
    for (answer, expected) in &sent {
        let charged = Charged::of(&lines, answer);
        assert_eq!((charged.amount("total"), charged.amount("output")), *expected, "{charged:?}");
        assert!(charged.estimated);
    }
}
