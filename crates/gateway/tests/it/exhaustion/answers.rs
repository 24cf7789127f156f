//! Answers that are made to be expensive to measure.

use std::{
    fmt::Write as _,
    io::{Read as _, Write as _},
    net::TcpStream,
};

use tollgate_testkit::{Answer, BOUND, Origin, Reply, Response};

use super::Watch;
use crate::support::stage::{Event, Stage, final_events, request, sent};

const MIB: usize = 1 << 20;
const TOKENS: &str = r#"{ meter = "tokens", amount = "llm.total_tokens", hold = 50 }"#;

/// Lets `body` pass a route that is measured in tokens; what was charged.
fn measure(body: Vec<u8>, headers: &[(&str, &str)]) -> Event {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let whole = Reply { status: 200, headers, body: body.clone() };
    let origin = Origin::builder().on("/chat", Answer::Reply(whole)).start();
    let mut gateway = Stage::before(&origin).charge(TOKENS, r#"tokens = "1_000_000/day""#).start();
    let watch = Watch::over(&gateway);
    let mut stream = TcpStream::connect(gateway.address()).unwrap();
    stream.set_read_timeout(Some(BOUND)).unwrap();
    let lines = "Content-Length: 2\r\nConnection: close\r\n";
    stream.write_all(request("POST", "/chat", lines, "{}").as_bytes()).unwrap();
    let mut read = Vec::new();
    stream.read_to_end(&mut read).unwrap();
    let (answer, _) = Response::parse(&read, false).expect("an answer");
    assert!(answer.body == body, "the bytes pass untouched");
    watch.assert_unharmed();
    let events = final_events(&mut gateway);
    events.into_iter().nth(1).expect("the event")
}

const JSON: (&str, &str) = ("Content-Type", "application/json");

#[test]
fn a_json_answer_of_any_size_is_measured_in_little_memory() {
    let mut body = String::from(r#"{"object":"chat.completion","choices":[{"message":{"content":""#);
    body.push_str(&"long ".repeat(32 * MIB / 5));
    body.push_str(r#""}}],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}"#);
    let event = measure(body.into_bytes(), &[JSON]);
    assert_eq!((event.amount, event.estimated), (7, false));
}

#[test]
fn deep_nesting_is_measured_in_little_memory() {
    let mut body = String::from(r#"{"object":"chat.completion","deep":"#);
    body.push_str(&"[".repeat(16 * MIB));
    body.push_str(&"]".repeat(16 * MIB));
    body.push_str(r#","usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}"#);
    let event = measure(body.into_bytes(), &[JSON]);
    assert_eq!((event.amount, event.estimated), (7, false));
}

/// Nesting on the very way to the field, and keys without end.
#[test]
fn nesting_and_keys_that_lead_nowhere_cost_nothing() {
    let nested = r#"{"usage":"#.repeat(3 * MIB);
    let event = measure(nested.into_bytes(), &[JSON]);
    assert_eq!((event.amount, event.estimated), (50, true), "what was set aside");

    let mut keys = String::from("{");
    for n in 0..MIB / 4 {
        write!(keys, "\"key {n}\":{n},").unwrap();
    }
    let long = "k".repeat(24 * MIB);
    write!(keys, "\"{long}\":1,\"usage\":{{\"total_tokens\":7}}}}").unwrap();
    let event = measure(keys.into_bytes(), &[JSON]);
    assert_eq!((event.amount, event.estimated), (7, false));
}

#[test]
fn an_event_without_end_is_measured_in_little_memory() {
    let mut body = String::from("data: {\"choices\":[],\"pad\":\"");
    body.push_str(&"x".repeat(32 * MIB));
    body.push_str("\",\"usage\":{\"total_tokens\":9}}\n\n");
    let event = measure(body.into_bytes(), &[("Content-Type", "text/event-stream")]);
    assert_eq!((event.amount, event.estimated), (9, false));
}

/// One gzip member of `zeros` zeros: a literal, then copies of 258 bytes from one byte before, in fixed Huffman
/// codes (RFC 1951, section 3.2.6). Its checksum is wrong, which nobody gets to see who does not open all of it.
fn bomb(zeros: usize) -> Vec<u8> {
    let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut bits: Vec<bool> = vec![true, true, false];
    let mut code = |code: u16, length: u32| bits.extend((0..length).rev().map(|bit| code >> bit & 1 == 1));
    code(0b0011_0000, 8);
    for _ in 0..zeros / 258 {
        code(0b1100_0101, 8);
        code(0, 5);
    }
    code(0, 7);
    let byte = |bits: &[bool]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
    bytes.extend(bits.chunks(8).map(byte));
    bytes.extend([0; 8]);
    bytes
}

#[test]
fn a_gzip_bomb_is_not_opened() {
    let body = bomb(256 * MIB);
    assert!(body.len() < 4 * MIB);
    let event = measure(body, &[JSON, ("Content-Encoding", "gzip")]);
    assert_eq!((event.amount, event.estimated), (50, true), "what was set aside");
}

#[test]
fn a_gzip_bomb_in_a_request_is_not_opened() {
    let origin = Origin::echo();
    let gateway = Stage::before(&origin).charge(TOKENS, r#"tokens = "1_000_000/day""#).start();
    let watch = Watch::over(&gateway);
    let body = bomb(32 * MIB);
    let mut wire = sent(
        &gateway,
        request(
            "POST",
            "/chat",
            &format!("Content-Encoding: gzip\r\nContent-Length: {}\r\n", body.len()),
            "",
        ),
    );
    assert!(wire.send(&body));
    assert_eq!(wire.response(false, BOUND).expect("an answer").status, 200);
    assert!(origin.last().path() == "/chat" && origin.last().body == body, "the bytes pass untouched");
    watch.assert_unharmed();
}
