//! Requests whose bodies do not come to their end.

use std::io;

use bytes::Bytes;
use futures_util::stream;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::sync::mpsc;
use tollgate_testkit::{Answer, BOUND, Client, Origin, eventually, eventually_async};

use super::{assert_usable, calls, ended, one_job};
use crate::support::stage::{Stage, USER, final_events, final_events_async, request, sent, settlements};

#[test]
fn a_cut_request_is_not_forwarded_as_whole() {
    let begun =
        [("Content-Length: 1000\r\n", "only this"), ("Transfer-Encoding: chunked\r\n", "4\r\nonly\r\n")];
    for (lines, body) in begun {
        for upstream_h2 in [false, true] {
            let origin = if upstream_h2 { Origin::builder().http2().start() } else { Origin::echo() };
            let protocol = if upstream_h2 { r#"protocol = "http2""# } else { "" };
            let mut gateway = one_job(Stage::before(&origin).upstream(protocol));
            let wire = sent(&gateway, request("POST", "/upload", lines, body));
            assert!(origin.wait_requests(1, BOUND));
            drop(wire);
            assert!(eventually(BOUND, || origin.abandoned() == 1), "h2 out: {upstream_h2}, {lines}");
            assert_eq!(origin.received().len(), 0, "no upload is taken for whole");
            assert_usable(&gateway, 1.0);
            // What was never asked for in full was not done: it is settled, and costs nothing.
            assert_eq!(calls(final_events(&mut gateway)), [(499, 0, ended("client_gone")), (200, 1, None)]);
        }
    }
}

/// A client that ends its sending half in the middle of a body has not sent the body.
#[test]
fn a_half_closed_request_is_not_forwarded_as_whole() {
    let origin = Origin::echo();
    let gateway = one_job(Stage::before(&origin));
    let mut wire = sent(&gateway, request("POST", "/upload", "Content-Length: 1000\r\n", "only this"));
    assert!(origin.wait_requests(1, BOUND));
    wire.finish();
    assert!(wire.closes(BOUND));
    assert!(eventually(BOUND, || origin.abandoned() == 1));
    assert_eq!(origin.received().len(), 0);
    assert_usable(&gateway, 1.0);
}

/// Whether the service sees it is a matter of moments; what it saw is paid for, and each is settled.
#[test]
fn a_client_that_leaves_with_its_request_gets_nothing_done_for_nothing() {
    const REQUESTS: u8 = 40;
    let origin = Origin::builder().on("/hang", Answer::Hang).start();
    let charges = r#"{ meter = "calls" }"#;
    let mut gateway = Stage::before(&origin).charge(charges, "calls = \"1000/day\"").start();
    // From here on the user is known, and no request waits for that.
    assert_usable(&gateway, 0.0);
    for number in 0..REQUESTS {
        let mut wire = sent(&gateway, request("POST", "/hang", "Content-Length: 2\r\n", "ab"));
        if number % 2 == 0 {
            wire.finish();
            assert!(wire.closes(BOUND));
        }
    }
    assert!(eventually(BOUND, || settlements(&gateway) >= f64::from(REQUESTS) + 1.0));
    let mut calls = calls(final_events(&mut gateway));
    assert_eq!(calls.remove(0), (200, 1, None));
    assert_eq!(calls.len(), usize::from(REQUESTS));
    assert!(calls.iter().all(|(status, _, end)| (*status, end) == (499, &ended("client_gone"))), "{calls:?}");
    let charged = 1 + calls.iter().filter(|(_, amount, _)| *amount == 1).count();
    let received = origin.received().len();
    assert!(received <= charged, "{received} were forwarded whole, {charged} were charged");
}

#[tokio::test]
async fn a_reset_upload_is_not_forwarded_as_whole() {
    for upstream_h2 in [false, true] {
        let origin = if upstream_h2 { Origin::builder().http2().start() } else { Origin::echo() };
        let protocol = if upstream_h2 { r#"protocol = "http2""# } else { "" };
        let mut gateway = one_job(Stage::before(&origin).upstream(protocol));
        let mut client = Client::http2(gateway.address()).await.unwrap();
        let (frames, receiver) = mpsc::channel::<io::Result<Frame<Bytes>>>(1);
        let received = stream::unfold(receiver, |mut receiver| async move {
            let frame = receiver.recv().await?;
            Some((frame, receiver))
        });
        let upload = Request::post("/upload").header(USER.0, USER.1);
        let upload = upload.body(StreamBody::new(received).boxed()).unwrap();
        let (answer, ()) = tokio::join!(client.open(upload), async {
            frames.send(Ok(Frame::data(Bytes::from("only this")))).await.unwrap();
            assert!(eventually_async(BOUND, || origin.requests() == 1).await);
            frames.send(Err(io::Error::other("the client gives up"))).await.unwrap();
        });
        assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status() != 200));
        assert!(eventually_async(BOUND, || settlements(&gateway) >= 1.0).await);
        assert_eq!(origin.received().len(), 0, "h2 out: {upstream_h2}");
        assert_eq!(client.get("/", &[USER]).await.unwrap().status, 200);
        drop(client);
        let ends = calls(final_events_async(&mut gateway).await);
        assert_eq!((ends.len(), ends[1].0), (2, 200), "{ends:?}");
    }
}
