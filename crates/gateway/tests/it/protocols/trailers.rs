//! Trailers, both ways.

use std::{convert::Infallible, io};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tollgate_testkit::{Answer, BOUND, Client, Origin};

use crate::support::stage::{Stage, USER, request, sent};

fn checksummed(http2: bool) -> Origin {
    let chunks = vec!["ab".to_owned(), "cd".to_owned()];
    let trailers = vec![("X-Checksum".to_owned(), "17".to_owned())];
    let builder = Origin::builder().on("/sum", Answer::Chunked { chunks, trailers });
    if http2 { builder.http2().start() } else { builder.start() }
}

#[tokio::test]
async fn response_trailers_reach_http_2_clients() {
    for upstream_h2 in [false, true] {
        let origin = checksummed(upstream_h2);
        let protocol = if upstream_h2 { r#"protocol = "http2""# } else { "" };
        let gateway = Stage::before(&origin).upstream(protocol).start();
        let mut client = Client::http2(gateway.address()).await.unwrap();
        let answer = client.get("/sum", &[USER, ("TE", "trailers")]).await.unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "abcd"));
        assert_eq!(answer.trailers, [("x-checksum".to_owned(), "17".to_owned())], "h2 out: {upstream_h2}");
    }
}

#[test]
fn response_trailers_reach_http_1_clients_who_want_them() {
    let origin = checksummed(false);
    let gateway = Stage::before(&origin).start();
    let mut wire = sent(&gateway, request("GET", "/sum", "Connection: TE\r\nTE: trailers\r\n", ""));
    let answer = wire.response(false, BOUND).expect("an answer");
    assert_eq!((answer.status, answer.text().as_str()), (200, "abcd"));
    assert_eq!(answer.trailers, [("x-checksum".to_owned(), "17".to_owned())]);

    // Who did not ask for them gets the same body without, and can go on.
    wire.send(request("GET", "/sum", "", ""));
    let answer = wire.response(false, BOUND).expect("an answer");
    assert_eq!((answer.text().as_str(), answer.trailers.len()), ("abcd", 0));
}

#[test]
fn request_trailers_of_http_1_reach_the_upstream() {
    let origin = Origin::echo();
    let gateway = Stage::before(&origin).start();
    let lines = "Transfer-Encoding: chunked\r\nTrailer: X-Checksum\r\n";
    let body = "4\r\nabcd\r\n0\r\nX-Checksum: 17\r\n\r\n";
    let mut wire = sent(&gateway, request("POST", "/", lines, body));
    assert_eq!(wire.response(false, BOUND).expect("an answer").status, 200);
    let received = origin.last();
    assert_eq!(received.body, b"abcd");
    let trailers: Vec<_> = received.trailers.iter().map(|(n, v)| (n.to_lowercase(), &**v)).collect();
    assert_eq!(trailers, [("x-checksum".to_owned(), "17")]);
}

#[tokio::test]
async fn request_trailers_of_http_2_reach_the_upstream() {
    let origin = Origin::builder().http2().start();
    let gateway = Stage::before(&origin).upstream(r#"protocol = "http2""#).start();
    let mut client = Client::http2(gateway.address()).await.unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", "17".parse().unwrap());
    let frames = [Frame::data(Bytes::from("abcd")), Frame::trailers(trailers)];
    let frames = futures_util::stream::iter(frames.map(Ok::<_, Infallible>));
    let body = StreamBody::new(frames).map_err(|never: Infallible| -> io::Error { match never {} }).boxed();
    let request = Request::post("/").header(USER.0, USER.1).body(body).unwrap();
    assert_eq!(client.open(request).await.unwrap().status(), 200);
    let received = origin.last();
    assert_eq!(received.body, b"abcd");
    assert_eq!(received.trailers, [("x-checksum".to_owned(), "17".to_owned())]);
}

/// Services that speak gRPC refuse calls over a proxy that would lose their trailers.
#[tokio::test]
async fn http_2_upstreams_learn_that_trailers_arrive() {
    let origin = Origin::builder().http2().start();
    let gateway = Stage::before(&origin).upstream(r#"protocol = "http2""#).start();
    let mut client = Client::http2(gateway.address()).await.unwrap();
    let answer = client.post("/grpc", &[USER, ("TE", "trailers")], "").await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(origin.last().all("te"), ["trailers"]);
}
