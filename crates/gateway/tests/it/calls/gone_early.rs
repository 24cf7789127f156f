//! Clients who leave before the answer has begun, and gateways that are told to end meanwhile.

use tollgate_testkit::{
    Answer, BOUND, Client, Ending, Gate, Origin, OriginBuilder, Wire, eventually, eventually_async,
};

use super::{
    CHAT, Calls, Setting, answer, chat, chat_stream, end, ends, events, gated, gone::assert_drains, post,
};
use crate::books::{self, Books};

const OUTPUT: i64 = 40;

/// A model that thinks until `gate` lets it speak.
fn thinking(gate: &Gate, answer: Answer) -> OriginBuilder {
    Origin::builder().on(CHAT, answer.after(gate))
}

/// A client who leaves when the model has its call and has not answered.
fn leave_early(calls: &Calls, user: &str, body: impl ToString) {
    let before = calls.origin.received().len();
    let wire = calls.sent(user, CHAT, body);
    assert!(eventually(BOUND, || calls.origin.received().len() > before), "the model has all of the call");
    drop(wire);
}

#[test]
fn a_model_that_was_asked_is_waited_for_and_charged_as_it_was() {
    let gate = Gate::new();
    let calls = Setting::new().start(thinking(&gate, gated(events(20, 5, OUTPUT), &gate)));
    leave_early(&calls, "ann", chat_stream(100));
    assert_drains(&calls, 1.0);
    gate.open();
    assert_eq!(ends(&calls.lines("output")), [(OUTPUT, false, end("client_gone_read_on"))]);

    let again = Gate::new();
    calls.origin.set(CHAT, answer(5, 7).after(&again));
    leave_early(&calls, "ann", chat(100));
    assert_drains(&calls, 1.0);
    again.open();
    assert_eq!(ends(&calls.lines("output"))[1], (7, false, end("client_gone_read_on")), "in one piece");
    assert_eq!((calls.origin.abandoned(), calls.held("output")), (0, 0));
}

#[test]
fn a_refusal_of_the_model_costs_a_client_who_left_nothing() {
    for (refusal, status) in [(Answer::status(429), 429), (Answer::status(500), 500), (Answer::Close, 502)] {
        let gate = Gate::new();
        let calls = Setting::new().start(thinking(&gate, refusal));
        leave_early(&calls, "ann", chat(100));
        assert_drains(&calls, 1.0);
        gate.open();
        let lines = calls.lines("output");
        assert_eq!((lines[0].amount, lines[0].estimated, lines[0].status), (0, false, status), "{lines:?}");
    }
}

#[test]
fn a_route_that_cancels_ends_a_model_that_has_not_begun() {
    let calls =
        Setting::new().llm("client_gone = \"cancel\"").start(Origin::builder().on(CHAT, Answer::Hang));
    leave_early(&calls, "ann", chat(100));
    assert!(eventually(BOUND, || calls.origin.abandoned() == 1), "the model is told to stop");
    // Whatever it did, nobody will know.
    assert_eq!(ends(&calls.lines("output")), [(100, true, end("client_gone"))]);
}

#[test]
fn a_model_that_never_begins_is_not_waited_for_without_end() {
    for llm in ["drain_timeout = \"1s\"", "drains_max = 0"] {
        let tables = format!("[llm]\n{llm}");
        let calls = Setting::new().tables(&tables).start(Origin::builder().on(CHAT, Answer::Hang));
        leave_early(&calls, "ann", chat(100));
        assert!(eventually(BOUND, || calls.origin.abandoned() == 1), "{llm}");
        assert_eq!(ends(&calls.lines("output")), [(100, true, end("client_gone"))], "{llm}");
    }
}

#[test]
fn a_client_who_left_before_all_was_sent_pays_nothing() {
    let calls = Setting::new().tables("[llm]\nlook_bytes_max = \"1KiB\"").start(Origin::builder());
    let body = chat(100).to_string() + &" ".repeat(5000);
    let request = post("ann", CHAT, &body);
    let mut wire = Wire::connect(calls.gateway.address());
    assert!(wire.send(&request[..request.len() - 1000]));
    assert!(calls.origin.wait_requests(1, BOUND), "the rest is awaited");
    drop(wire);
    assert!(eventually(BOUND, || calls.origin.abandoned() == 1));
    assert_eq!(ends(&calls.lines("output")), [(0, false, end("client_gone"))]);
}

#[tokio::test]
async fn a_stream_that_is_reset_before_the_answer_is_waited_for() {
    for upstream_h2 in [false, true] {
        let gate = Gate::new();
        let model = thinking(&gate, answer(5, OUTPUT));
        let origin = if upstream_h2 { model.http2().start() } else { model.start() };
        let upstream = if upstream_h2 { "protocol = \"http2\"" } else { "" };
        let gateway = Setting::new().gateway(&origin, "workers = 1", upstream);
        let calls = Calls { gateway, origin };
        let mut client = Client::http2(calls.gateway.address()).await.unwrap();
        tokio::select! {
            answer = client.post(CHAT, &[("X-User-Id", "ann")], chat(100).to_string()) => panic!("{answer:?}"),
            arrived = eventually_async(BOUND, || calls.origin.received().len() == 1) => assert!(arrived),
        }
        let waits = || calls.gateway.metric("tollgate_llm_drains") == Some(1.0);
        assert!(eventually_async(BOUND, waits).await, "h2 out: {upstream_h2}");
        gate.open();
        let lines = calls.lines("output");
        assert_eq!(ends(&lines), [(OUTPUT, false, end("client_gone_read_on"))], "h2 out: {upstream_h2}");
    }
}

#[test]
fn a_gateway_that_ends_reads_what_is_left_to_read_first() {
    let gate = Gate::new();
    let model =
        thinking(&gate, answer(5, 7)).on("/v1/messages", gated(super::message_events(20, 5, OUTPUT), &gate));
    let mut calls = Setting::new().tables("[shutdown]\ngrace = \"30s\"").start(model);
    drop(calls.begun("ann", super::MESSAGES, chat_stream(100)));
    leave_early(&calls, "ann", chat(100));
    assert_drains(&calls, 2.0);
    calls.gateway.terminate();
    assert!(eventually(BOUND, || Wire::try_connect(calls.gateway.address()).is_err()), "it still listens");
    assert!(calls.gateway.wait_exit(std::time::Duration::ZERO).is_none(), "two answers are still to be read");
    gate.open();
    assert_eq!(
        calls.gateway.wait_exit(BOUND).and_then(|exit| exit.code()),
        Some(0),
        "{}",
        calls.gateway.logs()
    );
    let mut books = Books::read(&calls.gateway.data_dir());
    books.0.retain(|line| line.meter == "output");
    let read_on = |amount| (amount, false, end("client_gone_read_on"));
    assert_eq!(ends(&books.0), [read_on(OUTPUT), read_on(7)]);
    books::assert_clean(&calls.gateway);
}

#[test]
fn what_is_not_read_by_the_end_of_the_grace_time_is_estimated() {
    let gate = Gate::new();
    let mut calls = Setting::new()
        .tables("[shutdown]\ngrace = \"500ms\"")
        .start(Origin::builder().on(CHAT, gated(events(20, 5, OUTPUT), &gate)));
    drop(calls.begun("ann", CHAT, chat_stream(100)));
    assert_drains(&calls, 1.0);
    // And one whose client is still there when everything is closed.
    let mut waits = calls.begun("ann", CHAT, chat_stream(100));
    calls.gateway.terminate();
    assert_eq!(
        calls.gateway.wait_exit(BOUND).and_then(|exit| exit.code()),
        Some(0),
        "{}",
        calls.gateway.logs()
    );
    assert_eq!(waits.response(false, BOUND).unwrap().ending, Ending::Cut);
    let mut books = Books::read(&calls.gateway.data_dir());
    books.0.retain(|line| line.meter == "output");
    assert_eq!(ends(&books.0), vec![(1, true, end("client_gone")); 2]);
    books::assert_clean(&calls.gateway);
}
