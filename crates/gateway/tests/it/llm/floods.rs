//! Bodies that are looked at before they are admitted, sent by those who want to use the gateway up.

use tollgate_testkit::{Answer, BOUND, Gateway, Origin, eventually};

use crate::{
    exhaustion::{
        Watch,
        frames::{DATA, END_HEADERS, HEADERS, Http2, frame, request_fields},
    },
    support::stage::{Stage, final_events, in_flight, request, resident_bytes, sent},
};

const CHAT: &str = "/v1/chat/completions";
const TOKENS: &str = r#"{ meter = "tokens", amount = "llm.total_tokens", hold = 50 }"#;

fn gateway(origin: &Origin) -> Gateway {
    let stage = Stage::before(origin).upstream(r#"idle_timeout = "400ms""#);
    stage.charge(TOKENS, r#"tokens = "1_000_000/day""#).start()
}

#[test]
fn a_body_that_stops_coming_is_408_and_costs_nothing() {
    let origin = Origin::echo();
    let mut gateway = gateway(&origin);
    let watch = Watch::over(&gateway);
    let mut wire = sent(&gateway, request("POST", CHAT, "Content-Length: 1000\r\n", "begun"));
    let answer = wire.response(false, BOUND).expect("an answer");
    assert_eq!((answer.status, answer.json()["error"].as_str()), (408, Some("request_timeout")));
    assert!(wire.closes(BOUND));
    assert_eq!(in_flight(&gateway), 0);
    watch.assert_unharmed();
    drop(wire);
    let events = final_events(&mut gateway);
    assert!(events.iter().all(|event| (event.status, event.amount) == (200, 0)), "{events:?}");
}

#[test]
fn an_empty_data_flood_keeps_nothing_alive() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    let watch = Watch::over(&gateway);
    let mut attacker = Http2::connect(gateway.address(), &[]);
    assert!(attacker.send(frame(HEADERS, END_HEADERS, 1, &request_fields("POST", CHAT))));
    let nothing = frame(DATA, 0, 1, &[]).repeat(100);
    let over = eventually(BOUND, || {
        let taken = attacker.send(&nothing);
        let _ = attacker.wire.read_until(std::time::Duration::ZERO, |_| true);
        // 408, a reset of the stream, or the end of the connection.
        !taken || attacker.arrived().iter().any(|(_, stream)| *stream == 1)
    });
    assert!(over, "the request goes on for ever");
    watch.assert_unharmed();
    assert!(origin.received().iter().all(|received| received.path() != CHAT));
}

/// What is kept of a body is about as large as the body, however it is cut.
#[test]
fn a_body_in_single_bytes_takes_as_much_memory_as_others() {
    const BYTES: usize = 300_000;
    let origin = Origin::builder().on(CHAT, Answer::json("{}")).start();
    let gateway = Stage::before(&origin).charge(TOKENS, r#"tokens = "1_000_000/day""#).start();
    let watch = Watch::over(&gateway);
    let post = |chunks: String| {
        let mut wire = sent(&gateway, request("POST", CHAT, "Transfer-Encoding: chunked\r\n", ""));
        assert!(wire.send(chunks + "2\r\n{}\r\n0\r\n\r\n"), "the gateway reads");
        assert_eq!(wire.response(false, BOUND).expect("an answer").status, 200);
    };
    // The first of all requests takes more than its body: the program's own pages.
    let whole = " ".repeat(BYTES);
    post(format!("{BYTES:x}\r\n{whole}\r\n"));
    let (_, most_of_others) = resident_bytes(&gateway);
    post("1\r\n \r\n".repeat(BYTES));
    watch.assert_serves_others();
    let more = resident_bytes(&gateway).1.saturating_sub(most_of_others);
    assert!(more < 1 << 20, "{more} bytes more than for a body of {BYTES} in one piece");
    let received = origin.received();
    assert_eq!(received.iter().filter(|request| request.body_bytes == BYTES + 2).count(), 2);
}
