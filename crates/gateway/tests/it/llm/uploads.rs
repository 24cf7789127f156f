//! Requests whose bodies are read before they are admitted: they arrive as they were sent, however they came.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use tollgate_testkit::{Answer, BOUND, Client, Origin, Received, Reuse, Wire, eventually, free_port};

use super::{Sent, TIERS, route, scene};
use crate::{
    scene::{Scene, assert_refusal, head},
    support::stage::Stage,
};

const CHAT: &str = "/v1/chat/completions";
const BODY: &str = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"hello"}]}"#;
const EDITED: &str = r#"{"stream_options":{"include_usage":true},"model":"m","stream":true,"messages":[{"role":"user","content":"hello"}]}"#;

/// A service that takes everything and says little, so that large bodies are not echoed.
fn quiet() -> Scene {
    scene(Origin::builder().on(CHAT, Answer::json("{}")), "")
}

fn last_chat(scene: &Scene) -> Received {
    scene.origin.received().into_iter().rfind(|request| request.path() == CHAT).expect("a request")
}

/// A JSON body of about so many bytes that are never the same for long.
fn large(bytes: usize, start: &str) -> String {
    let mut body = format!("{start}\"messages\":[\"");
    let mut state = 1_u32;
    while body.len() < bytes {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        body += &format!("{state:08x}");
    }
    body + "\"]}"
}

#[test]
fn large_bodies_arrive_byte_for_byte() {
    let body = large(5_000_000, r#"{"model":"m","#);
    let scene = quiet();
    assert_eq!(Sent::json(CHAT, &body).to(&scene).status, 200);
    let arrived = last_chat(&scene);
    assert!(arrived.body == body.as_bytes(), "{} bytes of {} are others", arrived.body_bytes, body.len());
    assert_eq!(arrived.header("content-length"), Some(&*body.len().to_string()));
    // Not looked at, so not asked for usage either.
    let stream = large(5_000_000, r#"{"stream":true,"#);
    assert_eq!(Sent::json(CHAT, &stream).to(&scene).status, 200);
    assert!(last_chat(&scene).body == stream.as_bytes());
}

#[test]
fn large_bodies_that_are_looked_at_are_edited_and_otherwise_arrive_byte_for_byte() {
    let look = route("") + "[llm]\nlook_bytes_max = \"8MiB\"\n";
    let scene = Scene::start(Origin::builder().on(CHAT, Answer::json("{}")), &look, TIERS);
    let stream = large(5_000_000, r#"{"stream":true,"#);
    assert_eq!(Sent::json(CHAT, &stream).to(&scene).status, 200);
    let arrived = last_chat(&scene);
    let wanted = stream.replacen('{', r#"{"stream_options":{"include_usage":true},"#, 1);
    assert!(arrived.body == wanted.as_bytes(), "{} bytes of {} are others", arrived.body_bytes, wanted.len());
    assert_eq!(arrived.header("content-length"), Some(&*wanted.len().to_string()));
}

#[tokio::test]
async fn large_http_2_bodies_arrive_byte_for_byte() {
    let look = route("") + "[llm]\nlook_bytes_max = \"3MiB\"\n";
    let scene = Scene::start(Origin::builder().on(CHAT, Answer::json("{}")), &look, TIERS);
    let mut client = Client::http2(scene.gateway.address()).await.unwrap();
    for bytes in [3_000_000, 5_000_000] {
        let plain = large(bytes, r#"{"model":"m","#);
        let answer = client.post(CHAT, &[("X-User-Id", "ann")], plain.clone()).await.unwrap();
        assert_eq!(answer.status, 200);
        assert!(last_chat(&scene).body == plain.as_bytes());
    }
}

/// What was read before it was sent can be sent again where nothing of it was.
#[test]
fn a_body_is_whole_when_another_connection_takes_it() {
    let nobody = free_port();
    let origin = Origin::builder().on(CHAT, Answer::json("{}")).reuse(Reuse::CloseIdle).start();
    let urls = vec![format!("http://127.0.0.1:{nobody}"), format!("http://{}", origin.address())];
    let tokens = r#"{ meter = "tokens", amount = "llm.total_tokens", hold = 50 }"#;
    let gateway = Stage::of_urls(urls).charge(tokens, "").start();
    let mut wire = Wire::connect(gateway.address());
    for sent in 1..=10 {
        wire.send(head("POST", CHAT, &[("X-User-Id", "ann")], Some(BODY.len())) + BODY);
        assert_eq!(wire.response(false, BOUND).expect("an answer").status, 200);
        assert_eq!(origin.requests(), sent, "each arrives once");
    }
    assert!(origin.received().iter().all(|request| request.body == EDITED.as_bytes()));
}

#[test]
fn a_refused_request_leaves_its_connection_for_the_next() {
    let tiers = TIERS.replace("[tiers.free]", "[tiers.free.limits]\ntotal = 0\n[tiers.free]");
    let scene = Scene::start(Origin::builder(), &route(""), &tiers);
    let mut wire = Wire::connect(scene.gateway.address());
    for _ in 0..3 {
        wire.send(head("POST", CHAT, &[("X-User-Id", "ann")], Some(BODY.len())) + BODY);
        assert_refusal(&wire.response(false, BOUND).expect("an answer"), 429, "quota_exceeded");
    }
    wire.send(head("GET", "/v1/models", &[("X-User-Id", "ann")], None));
    assert_eq!(wire.response(false, BOUND).expect("an answer").status, 200);
}

#[test]
fn chunks_and_trailers_arrive_as_they_were_sent_but_for_the_option() {
    let scene = quiet();
    for (body, wanted) in [(BODY, EDITED), (r#"{"model":"m"}"#, r#"{"model":"m"}"#)] {
        for trailers in ["", "X-Checked: yes\r\n"] {
            let declared = if trailers.is_empty() { "" } else { "Trailer: X-Checked\r\n" };
            let lines = [("X-User-Id", "ann"), ("Transfer-Encoding", "chunked")];
            let mut request = head("POST", CHAT, &lines, None);
            request.insert_str(request.len() - 2, declared);
            let mut wire = Wire::connect(scene.gateway.address());
            wire.send(request);
            for piece in body.as_bytes().chunks(5) {
                wire.send(format!("{:x}\r\n", piece.len()));
                wire.send(piece);
                wire.send("\r\n");
            }
            wire.send(format!("0\r\n{trailers}\r\n"));
            assert_eq!(wire.response(false, BOUND).expect("an answer").status, 200);
            let arrived = last_chat(&scene);
            assert_eq!(String::from_utf8_lossy(&arrived.body), wanted);
            let trailers_arrived: Vec<_> =
                arrived.trailers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            assert_eq!(trailers_arrived.concat().to_lowercase(), trailers.to_lowercase());
            // On the same connection, nothing is left over.
            wire.send(head("POST", CHAT, &[("X-User-Id", "ann")], Some(2)) + "{}");
            assert_eq!(wire.response(false, BOUND).expect("an answer").status, 200);
            assert_eq!(last_chat(&scene).body, b"{}");
        }
    }
}

#[test]
fn a_client_that_waits_to_be_asked_for_its_body_is_asked() {
    let scene = quiet();
    let lines = [("X-User-Id", "ann"), ("Expect", "100-continue")];
    let mut wire = Wire::connect(scene.gateway.address());
    wire.send(head("POST", CHAT, &lines, Some(BODY.len())));
    assert!(wire.read_until(BOUND, |read| read.starts_with(b"HTTP/1.1 100")), "it is asked");
    wire.send(BODY);
    assert_eq!(wire.response(false, BOUND).expect("an answer").status, 200);
    assert_eq!(last_chat(&scene).body, EDITED.as_bytes());
}

#[tokio::test]
async fn http_2_bodies_with_and_without_a_length_arrive() {
    let scene = quiet();
    let mut client = Client::http2(scene.gateway.address()).await.unwrap();
    for has_length in [true, false] {
        let mut request = http::Request::post(CHAT).header("X-User-Id", "ann");
        if has_length {
            request = request.header("Content-Length", BODY.len());
        }
        let body = Full::new(Bytes::from_static(BODY.as_bytes())).map_err(|never| match never {}).boxed();
        let answer = client.open(request.body(body).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200, "length: {has_length}");
        let arrived = last_chat(&scene);
        assert_eq!(String::from_utf8_lossy(&arrived.body), EDITED);
        if let Some(length) = arrived.header("content-length") {
            assert_eq!(length, EDITED.len().to_string());
        }
    }
}

/// What is not whole is not forwarded, and nothing is held or charged for it.
#[test]
fn bodies_that_end_before_their_end_never_reach_the_service() {
    let scene = quiet();
    let mut wire = Wire::connect(scene.gateway.address());
    wire.send(head("POST", CHAT, &[("X-User-Id", "ann")], Some(100)) + "{\"model\":");
    wire.finish();
    if let Some(answer) = wire.response(false, BOUND) {
        assert_refusal(&answer, 400, "bad_request");
    }
    let mut gone = Wire::connect(scene.gateway.address());
    gone.send(head("POST", CHAT, &[("X-User-Id", "ann")], Some(100)) + "{\"model\":");
    drop(gone);
    assert_eq!(scene.settled(), []);
    assert!(scene.origin.received().iter().all(|request| request.path() != CHAT));
}

/// Nothing is held while a client sends: others have the quota.
#[test]
fn a_slow_body_keeps_nothing_from_others() {
    let tiers = TIERS.replace("[tiers.free]", "[tiers.free.limits]\ntotal = \"300/lifetime\"\n[tiers.free]");
    let origin = Origin::builder().on(CHAT, Answer::json(r#"{"usage":{"total_tokens":300}}"#));
    let scene = Scene::start(origin, &route(""), &tiers);
    let mut slow = Wire::connect(scene.gateway.address());
    slow.send(head("POST", CHAT, &[("X-User-Id", "ann")], Some(2)) + "{");
    assert!(!slow.closes(Duration::from_millis(50)));
    assert_eq!(Sent::json(CHAT, "{}").to(&scene).status, 200);
    slow.send("}");
    assert_refusal(&slow.response(false, BOUND).expect("an answer"), 429, "quota_exceeded");
    assert!(eventually(BOUND, || scene.settled().len() == 6), "one request, six meters");
}

/// What no dialect has passes as it is, and takes no time to look at.
#[test]
fn bodies_that_cannot_be_read_pass_untouched() {
    let scene = quiet();
    let escapes = format!(r#"{{"stream":true,"x":"{}"#, "\\\\u0041".repeat(100_000));
    for body in [
        "[".repeat(900_000).into_bytes(),
        r#"{"a":"#.repeat(150_000).into_bytes(),
        format!("{{{}", r#""n":1,"#.repeat(100_000)).into_bytes(),
        escapes.into_bytes(),
        b"\xff{\"stream\":true}".to_vec(),
        b"{\"stream\":true,\"x\":\"\xc3\x28\"}".to_vec(),
        vec![0; 500_000],
    ] {
        assert_eq!(Sent { body: &body, ..Sent::json(CHAT, "") }.to(&scene).status, 200);
        assert!(last_chat(&scene).body == body, "{:?}", &body[..10]);
    }
}

#[test]
fn a_body_beyond_what_the_tier_allows_never_reaches_the_service() {
    let tiers = TIERS.replace("[tiers.free]", "[tiers.free]\nmax_body = \"10kB\"");
    let scene = Scene::start(Origin::builder(), &route(""), &tiers);
    let body = large(20_000, r#"{"stream":true,"#);
    assert_refusal(&Sent::json(CHAT, &body).to(&scene), 413, "body_too_large");
    let mut wire = Wire::connect(scene.gateway.address());
    wire.send(head("POST", CHAT, &[("X-User-Id", "ann"), ("Transfer-Encoding", "chunked")], None));
    wire.send(format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()));
    assert_refusal(&wire.response(false, BOUND).expect("an answer"), 413, "body_too_large");
    // As long as it may be, and longer only by what the gateway adds.
    let fits = format!(r#"{{"stream":true,"x":"{}"}}"#, "x".repeat(10_000 - 22));
    assert_eq!((fits.len(), Sent::json(CHAT, &fits).to(&scene).status), (10_000, 200));
    assert_eq!(scene.settled().len(), 6);
    assert_eq!(scene.origin.requests(), 2);
}
