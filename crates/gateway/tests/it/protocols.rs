//! HTTP/1 and HTTP/2, in and out.

mod http1;
mod kept;
mod messages;
mod streaming;
mod tls;
mod trailers;

use http::Method;
use tollgate_testkit::{BOUND, Client, Ending, Origin, Response};

use crate::support::stage::{Stage, USER, request, sent};

#[tokio::test]
async fn http_1_and_2_reach_upstreams_of_both() {
    for (upstream_h2, seen) in [(false, "HTTP/1.1"), (true, "HTTP/2.0")] {
        let origin = if upstream_h2 { Origin::builder().http2().start() } else { Origin::echo() };
        let protocol = if upstream_h2 { r#"protocol = "http2""# } else { "" };
        let gateway = Stage::before(&origin).upstream(protocol).start();
        for client_h2 in [false, true] {
            let mut client = if client_h2 {
                Client::http2(gateway.address()).await.unwrap()
            } else {
                Client::http1(gateway.address()).await.unwrap()
            };
            let answer = client.post("/x?q=1", &[USER, ("X-Mine", "7")], "the body").await.unwrap();
            assert_eq!((answer.status, answer.ending), (200, Ending::Complete));
            let echo = answer.json();
            assert_eq!(echo["version"], seen, "client h2: {client_h2}");
            assert_eq!((&echo["method"], &echo["path"]), (&"POST".into(), &"/x?q=1".into()));
            assert_eq!(echo["body"], "the body");
            let received = origin.last();
            assert_eq!(received.all("x-mine"), ["7"]);
            assert_eq!(received.all("x-user-id"), ["ada"]);
            // What frames a message is the business of each connection alone.
            assert_eq!(received.header("connection"), None);
            let bodiless = client.get("/y", &[USER]).await.unwrap();
            assert_eq!((bodiless.status, &bodiless.json()["body_bytes"]), (200, &0.into()));
        }
    }
}

#[test]
fn http_1_0_is_answered_and_closed() {
    let origin = Origin::echo();
    let gateway = Stage::before(&origin).start();
    let mut wire = sent(&gateway, "GET /old HTTP/1.0\r\nX-User-Id: ada\r\n\r\n");
    assert!(wire.closes(BOUND), "a connection without keep-alive ends with its answer");
    let (answer, _) = Response::parse(wire.unread(), false).expect("an answer");
    assert_eq!(answer.status, 200);
    assert_ne!(answer.ending, Ending::Cut);
    assert_eq!(answer.header("transfer-encoding"), None, "HTTP/1.0 knows no chunks");
    assert_eq!(answer.json()["path"], "/old");
    // The upstream is spoken to in the gateway's own version.
    assert_eq!(origin.last().version, "HTTP/1.1");
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let origin = Origin::echo();
    let gateway = Stage::before(&origin).start();
    let all: String = (0..10)
        .map(|n| match n % 2 {
            0 => request("GET", &format!("/{n}"), "", ""),
            _ => request("POST", &format!("/{n}"), "Content-Length: 3\r\n", "abc"),
        })
        .collect();
    let mut wire = sent(&gateway, all);
    for n in 0..10 {
        let answer = wire.response(false, BOUND).expect("an answer");
        assert_eq!(answer.json()["path"], format!("/{n}"));
        assert_eq!(answer.json()["body_bytes"], if n % 2 == 0 { 0 } else { 3 });
    }
    assert_eq!(origin.requests(), 10);
}

#[tokio::test]
async fn an_upstream_connection_serves_one_client_after_another() {
    for http2 in [false, true] {
        let origin = if http2 { Origin::builder().http2().start() } else { Origin::echo() };
        let protocol = if http2 { r#"protocol = "http2""# } else { "" };
        let gateway = Stage::before(&origin).upstream(protocol).start();
        for n in 0..12 {
            let mut client = Client::http1(gateway.address()).await.unwrap();
            let method = if n % 3 == 0 { Method::POST } else { Method::GET };
            let answer = client.request(method, "/", &[USER], "x".into()).await.unwrap();
            assert_eq!(answer.status, 200);
        }
        assert_eq!((origin.requests(), origin.connections()), (12, 1), "h2: {http2}");
    }
}
