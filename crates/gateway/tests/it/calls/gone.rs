//! Clients who leave in the middle of an answer: it is read to its end, or ended with them.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use tollgate_testkit::{Answer, BOUND, Client, Gate, Origin, eventually, eventually_async};

use super::{
    CHAT, Calls, MESSAGES, Setting, chat_stream, end, ends, events, gated, message_events, metadata,
};

/// What the model really used; its text alone would be estimated as less.
const INPUT: i64 = 5;
const OUTPUT: i64 = 40;
const WORDS: usize = 20;

fn before(gate: &Gate, http2: bool) -> tollgate_testkit::OriginBuilder {
    let builder = Origin::builder()
        .on(CHAT, gated(events(WORDS, INPUT, OUTPUT), gate))
        .on(MESSAGES, gated(message_events(WORDS, INPUT, OUTPUT), gate));
    if http2 { builder.http2() } else { builder }
}

/// Waits until so many answers are read for clients who left.
pub(super) fn assert_drains(calls: &Calls, drains: f64) {
    let reads = eventually(BOUND, || calls.gateway.metric("tollgate_llm_drains") == Some(drains));
    assert!(reads, "{:?} answers are read for nobody", calls.gateway.metric("tollgate_llm_drains"));
}

#[test]
fn what_a_client_leaves_is_read_to_its_end_and_charged_as_it_was() {
    let gate = Gate::new();
    let calls = Setting::new().start(before(&gate, false));
    for path in [CHAT, MESSAGES] {
        drop(calls.begun("ann", path, chat_stream(100)));
    }
    assert_drains(&calls, 2.0);
    assert_eq!(calls.held("output"), 200, "it is still running");
    gate.open();
    let lines = calls.lines("output");
    assert_eq!(ends(&lines), vec![(OUTPUT, false, end("client_gone_read_on")); 2]);
    assert_eq!(metadata(&lines[0])["input"], INPUT);
    assert_eq!(calls.lines("total").iter().map(|line| line.amount).sum::<i64>(), 2 * (INPUT + OUTPUT));
    assert_eq!((calls.origin.abandoned(), calls.held("output")), (0, 0));
    assert_drains(&calls, 0.0);
    // Its connection can be used again.
    let connections = calls.origin.connections();
    assert_eq!(calls.call("ann", CHAT, chat_stream(100)).status, 200);
    assert_eq!(calls.origin.connections(), connections);
}

#[test]
fn a_route_that_cancels_ends_the_model_at_once_and_charges_what_was_seen() {
    let gate = Gate::new();
    let calls = Setting::new().llm("client_gone = \"cancel\"").start(before(&gate, false));
    // Of a chat's beginning, nobody says how much was read.
    let chat = calls.begun("ann", CHAT, chat_stream(100));
    let held = calls.held("total") - 100;
    drop(chat);
    assert!(eventually(BOUND, || calls.origin.abandoned() == 1), "the model is told to stop");
    // Of a message's, it is said; and three words were written.
    let mut message = calls.begun("ann", MESSAGES, chat_stream(100));
    gate.pass(4);
    assert!(message.read_until(BOUND, |read| String::from_utf8_lossy(read).matches("\"word\"").count() == 3));
    drop(message);
    assert!(eventually(BOUND, || calls.origin.abandoned() == 2), "the model is told to stop");

    let expected = |amounts: [i64; 2]| amounts.map(|amount| (amount, true, end("client_gone")));
    assert_eq!(ends(&calls.lines("output")), expected([1, 3]));
    assert_eq!(ends(&calls.lines("total")), expected([held + 1, INPUT + 3]));
    assert_eq!(calls.held("total"), 0);
}

#[test]
fn without_a_place_the_model_is_told_to_stop() {
    let gate = Gate::new();
    let calls = Setting::new().tables("[llm]\ndrains_max = 1").start(before(&gate, false));
    drop(calls.begun("ann", CHAT, chat_stream(100)));
    assert_drains(&calls, 1.0);
    drop(calls.begun("bob", CHAT, chat_stream(100)));
    assert!(eventually(BOUND, || calls.origin.abandoned() == 1), "there is one place, and it is taken");
    gate.open();
    let lines = calls.lines("output");
    assert_eq!(ends(&lines), [(OUTPUT, false, end("client_gone_read_on")), (1, true, end("client_gone"))]);
}

#[test]
fn with_no_places_at_all_every_model_is_told_to_stop() {
    let calls = Setting::new().tables("[llm]\ndrains_max = 0").start(before(&Gate::new(), false));
    drop(calls.begun("ann", CHAT, chat_stream(100)));
    assert!(eventually(BOUND, || calls.origin.abandoned() == 1));
    assert_eq!(ends(&calls.lines("output")), [(1, true, end("client_gone"))]);
}

#[test]
fn what_takes_too_long_for_nobody_is_ended() {
    let gate = Gate::new();
    let calls = Setting::new().tables("[llm]\ndrain_timeout = \"1s\"").start(before(&gate, false));
    drop(calls.begun("ann", CHAT, chat_stream(100)));
    // A model that goes on and on gets no more time than one that does nothing.
    let mut passed = 0;
    let ended = eventually(BOUND, || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        if passed < WORDS {
            gate.pass(1);
            passed += 1;
        }
        calls.origin.abandoned() == 1
    });
    assert!(ended, "it is read without end");
    let lines = calls.lines("output");
    assert!(lines[0].amount < OUTPUT, "{lines:?}");
    assert_eq!((lines[0].estimated, metadata(&lines[0])["end"].as_str()), (true, Some("client_gone")));
}

#[test]
fn a_client_who_stops_reading_is_left_and_the_rest_is_read() {
    let long = events(60_000, INPUT, OUTPUT);
    let origin = Origin::builder().on(CHAT, Answer::Sse { events: long, gate: None }).start();
    let gateway = Setting::new().gateway(&origin, "workers = 1", "idle_timeout = \"1s\"");
    let calls = Calls { gateway, origin };
    // It has its answer's head, and never reads on.
    let mut wire = calls.sent("ann", CHAT, chat_stream(100_000));
    assert!(wire.read_until(BOUND, |read| !read.is_empty()));
    assert!(eventually(BOUND * 4, || calls.held("output") == 0), "it is read to its end");
    let lines = calls.lines("output");
    assert_eq!(ends(&lines), [(OUTPUT, false, end("client_gone_read_on"))]);
    drop(wire);
}

#[test]
fn a_model_that_is_cut_is_seen_as_cut_and_charged_what_was_seen() {
    let chunks = events(3, INPUT, OUTPUT)[..3].concat();
    let raw = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{chunks}\r\n",
        chunks.len()
    );
    let calls = Setting::new().start(Origin::builder().on(CHAT, Answer::Raw(raw.into_bytes())));
    let answer = calls.call("ann", CHAT, chat_stream(100));
    assert_eq!((answer.status, answer.ending), (200, tollgate_testkit::Ending::Cut));
    assert_eq!(answer.text(), chunks, "what came before the cut arrives");
    assert_eq!(ends(&calls.lines("output")), [(3, true, end("upstream_cut"))]);
    let total = calls.lines("total")[0].amount;
    assert!((4..=200).contains(&total), "{total}");
}

#[tokio::test]
async fn a_stream_that_is_reset_is_read_to_its_end() {
    for upstream_h2 in [false, true] {
        let gate = Gate::new();
        let origin = before(&gate, upstream_h2).start();
        let upstream = if upstream_h2 { "protocol = \"http2\"" } else { "" };
        let gateway = Setting::new().gateway(&origin, "workers = 1", upstream);
        let calls = Calls { gateway, origin };
        let mut client = Client::http2(calls.gateway.address()).await.unwrap();
        let body =
            Full::new(Bytes::from(chat_stream(100).to_string())).map_err(|never| match never {}).boxed();
        let request = http::Request::post(CHAT).header("X-User-Id", "ann").body(body).unwrap();
        let mut response = client.open(request).await.unwrap();
        assert!(response.frame().await.unwrap().is_ok());
        drop(response);
        let reads =
            eventually_async(BOUND, || calls.gateway.metric("tollgate_llm_drains") == Some(1.0)).await;
        assert!(reads, "h2 out: {upstream_h2}");
        // The connection goes on.
        gate.open();
        assert_eq!(client.post(CHAT, &[("X-User-Id", "ann")], "{}").await.unwrap().status, 200);
        let lines = calls.lines("output");
        assert_eq!(
            ends(&lines),
            [(OUTPUT, false, end("client_gone_read_on")), (OUTPUT, false, None)],
            "h2 out: {upstream_h2}"
        );
    }
}

#[tokio::test]
async fn a_stream_that_is_reset_ends_a_model_that_is_cancelled() {
    let calls = Setting::new().llm("client_gone = \"cancel\"").start(before(&Gate::new(), false));
    let mut client = Client::http2(calls.gateway.address()).await.unwrap();
    let body = Full::new(Bytes::from(chat_stream(100).to_string())).map_err(|never| match never {}).boxed();
    let request = http::Request::post(CHAT).header("X-User-Id", "ann").body(body).unwrap();
    let mut response = client.open(request).await.unwrap();
    assert!(response.frame().await.unwrap().is_ok());
    drop(response);
    assert!(eventually_async(BOUND, || calls.origin.abandoned() == 1).await);
    assert_eq!(ends(&calls.lines("output")), [(1, true, end("client_gone"))]);
}

#[test]
fn a_model_that_dies_is_seen_as_cut() {
    let mut calls = Setting::new().start(before(&Gate::new(), false));
    let mut wire = calls.begun("ann", CHAT, chat_stream(100));
    calls.origin.stop();
    let answer = wire.response(false, BOUND).unwrap();
    assert_eq!(answer.ending, tollgate_testkit::Ending::Cut);
    assert_eq!(ends(&calls.lines("output")), [(1, true, end("upstream_cut"))]);
}
