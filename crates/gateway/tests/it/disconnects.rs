//! Clients and upstreams that go away in the middle.

mod requests;
mod upstreams;

use http_body_util::{BodyExt as _, Empty};
use tollgate_testkit::{Answer, BOUND, Client, Gate, Gateway, Origin, eventually, eventually_async};

use crate::support::stage::{
    Event, Stage, USER, final_events, final_events_async, request, sent, settlements,
};

/// One job at a time, and each call counts.
fn one_job(stage: Stage) -> Gateway {
    stage.charge(r#"{ meter = "jobs" }, { meter = "calls" }"#, "jobs = 1\ncalls = \"1000/day\"").start()
}

/// How a call ended: status, amount, and what the event says of it.
type Call = (u16, i64, Option<String>);

fn calls(events: Vec<Event>) -> Vec<Call> {
    let events = events.into_iter().filter(|event| event.meter == "calls");
    events.map(|event| (event.status, event.amount, event.metadata)).collect()
}

fn ended(how: &str) -> Option<String> {
    Some(format!(r#"{{"end":"{how}"}}"#))
}

/// Asserts that all of so many requests were settled, and that the one job can be had again.
fn assert_usable(gateway: &Gateway, settled: f64) {
    assert!(eventually(BOUND, || settlements(gateway) >= settled), "settled");
    let mut wire = sent(gateway, request("GET", "/", "", ""));
    assert_eq!(wire.response(false, BOUND).expect("an answer").status, 200, "no hold is left");
}

fn streaming(gate: &Gate) -> Answer {
    let events = vec!["data: 1\n\n".to_owned(), "data: 2\n\n".to_owned()];
    Answer::Sse { events, gate: Some(gate.clone()) }
}

fn empty_get(
    path: &str,
) -> http::Request<http_body_util::combinators::BoxBody<bytes::Bytes, std::io::Error>> {
    let body = Empty::new().map_err(|never| match never {}).boxed();
    http::Request::get(path).header(USER.0, USER.1).body(body).unwrap()
}

#[test]
fn a_client_gone_before_the_answer_cancels_the_upstream() {
    let origin = Origin::builder().on("/hang", Answer::Hang).start();
    let mut gateway = one_job(Stage::before(&origin));
    let wire = sent(&gateway, request("POST", "/hang", "Content-Length: 2\r\n", "ab"));
    assert!(origin.wait_requests(1, BOUND));
    let mut other = sent(&gateway, request("GET", "/", "", ""));
    let refused = other.response(false, BOUND).expect("an answer");
    assert_eq!((refused.status, refused.json()["error"].as_str()), (429, Some("too_many_jobs")));
    drop(wire);
    assert!(eventually(BOUND, || origin.abandoned() == 1), "the upstream learns that nobody waits");
    assert_usable(&gateway, 1.0);
    drop(other);
    assert_eq!(calls(final_events(&mut gateway)), [(499, 1, ended("client_gone")), (200, 1, None)]);
}

#[tokio::test]
async fn a_stream_reset_before_the_answer_cancels_the_upstream() {
    for upstream_h2 in [false, true] {
        let builder = Origin::builder().on("/hang", Answer::Hang);
        let origin = if upstream_h2 { builder.http2().start() } else { builder.start() };
        let protocol = if upstream_h2 { r#"protocol = "http2""# } else { "" };
        let mut gateway = one_job(Stage::before(&origin).upstream(protocol));
        let mut client = Client::http2(gateway.address()).await.unwrap();
        tokio::select! {
            answer = client.get("/hang", &[USER]) => panic!("{answer:?}"),
            arrived = eventually_async(BOUND, || origin.requests() == 1) => assert!(arrived),
        }
        assert!(eventually_async(BOUND, || origin.abandoned() == 1).await, "h2 out: {upstream_h2}");
        assert!(eventually_async(BOUND, || settlements(&gateway) >= 1.0).await);
        // The connection goes on, and the job is free.
        assert_eq!(client.get("/", &[USER]).await.unwrap().status, 200);
        drop(client);
        assert_eq!(
            calls(final_events_async(&mut gateway).await),
            [(499, 1, ended("client_gone")), (200, 1, None)]
        );
    }
}

#[test]
fn a_client_gone_in_the_middle_of_the_answer_is_charged_once() {
    let gate = Gate::new();
    let origin = Origin::builder().on("/stream", streaming(&gate)).start();
    let mut gateway = one_job(Stage::before(&origin));
    let mut wire = sent(&gateway, request("GET", "/stream", "", ""));
    assert!(wire.read_until(BOUND, |read| read.ends_with(b"data: 1\n\n\r\n")));
    drop(wire);
    assert!(eventually(BOUND, || origin.abandoned() == 1));
    assert_usable(&gateway, 1.0);
    assert_eq!(calls(final_events(&mut gateway)), [(200, 1, ended("client_gone")), (200, 1, None)]);
}

#[tokio::test]
async fn a_stream_reset_in_the_middle_of_the_answer_is_charged_once() {
    for upstream_h2 in [false, true] {
        let gate = Gate::new();
        let builder = Origin::builder().on("/stream", streaming(&gate));
        let origin = if upstream_h2 { builder.http2().start() } else { builder.start() };
        let protocol = if upstream_h2 { r#"protocol = "http2""# } else { "" };
        let mut gateway = one_job(Stage::before(&origin).upstream(protocol));
        let mut client = Client::http2(gateway.address()).await.unwrap();
        let mut response = client.open(empty_get("/stream")).await.unwrap();
        assert!(response.frame().await.unwrap().is_ok());
        drop(response);
        assert!(eventually_async(BOUND, || origin.abandoned() == 1).await, "h2 out: {upstream_h2}");
        assert!(eventually_async(BOUND, || settlements(&gateway) >= 1.0).await);
        assert_eq!(client.get("/", &[USER]).await.unwrap().status, 200);
        drop(client);
        assert_eq!(
            calls(final_events_async(&mut gateway).await),
            [(200, 1, ended("client_gone")), (200, 1, None)]
        );
    }
}

/// Tokens that an abandoned stream reported before are what is charged; otherwise what was set aside.
#[test]
fn an_abandoned_stream_is_charged_what_is_known() {
    let gate = Gate::new();
    let usage = r#"data: {"object":"chat.completion.chunk","choices":[],"usage":{"total_tokens":33}}"#;
    let told = vec![format!("{usage}\n\n"), "data: [DONE]\n\n".to_owned()];
    let origin = Origin::builder()
        .on("/untold", streaming(&gate))
        .on("/told", Answer::Sse { events: told, gate: Some(gate.clone()) })
        .start();
    let charge = r#"{ meter = "tokens", amount = "llm.total_tokens", hold = 200 }"#;
    let mut gateway = Stage::before(&origin)
        .charge(charge, r#"tokens = "10_000/day""#)
        .route(r#"llm = { client_gone = "cancel" }"#)
        .start();
    for path in ["/untold", "/told"] {
        let mut wire = sent(&gateway, request("POST", path, "Content-Length: 2\r\n", "{}"));
        assert!(wire.read_until(BOUND, |read| read.ends_with(b"\n\n\r\n")));
    }
    assert!(eventually(BOUND, || settlements(&gateway) >= 2.0));
    let events = final_events(&mut gateway);
    let charged: Vec<_> = events.iter().map(|e| (e.amount, e.estimated)).collect();
    assert_eq!(charged, [(200, true), (33, true)], "{events:?}");
}
