//! Messages with special framing: without a body, expecting, announced early.

use http::Method;
use tollgate_testkit::{Answer, BOUND, Client, Ending, Origin, Reply};

use crate::support::stage::{Stage, USER, request, sent};

fn bodiless_origin(http2: bool) -> Origin {
    let tagged = |status| {
        Answer::Reply(Reply { status, headers: vec![("etag".into(), "\"v1\"".into())], body: Vec::new() })
    };
    let builder = Origin::builder()
        .on("/204", tagged(204))
        .on("/304", tagged(304))
        .on("/long", Answer::Reply(Reply { status: 200, headers: Vec::new(), body: vec![b'x'; 5000] }));
    if http2 { builder.http2().start() } else { builder.start() }
}

#[test]
fn answers_without_a_body_leave_http_1_connections_usable() {
    let origin = bodiless_origin(false);
    let gateway = Stage::before(&origin).start();
    let all = [
        request("HEAD", "/long", "", ""),
        request("GET", "/204", "", ""),
        request("GET", "/304", "If-None-Match: \"v1\"\r\n", ""),
        request("GET", "/long", "", ""),
    ];
    let mut wire = sent(&gateway, all.concat());
    let head = wire.response(true, BOUND).expect("the answer to HEAD");
    assert_eq!((head.status, head.header("content-length")), (200, Some("5000")));
    let no_content = wire.response(false, BOUND).expect("204");
    assert_eq!((no_content.status, no_content.header("etag")), (204, Some("\"v1\"")));
    assert_eq!(no_content.header("content-length"), None);
    assert_eq!(no_content.header("transfer-encoding"), None);
    let unchanged = wire.response(false, BOUND).expect("304");
    assert_eq!((unchanged.status, unchanged.header("etag")), (304, Some("\"v1\"")));
    let whole = wire.response(false, BOUND).expect("the answer after them");
    assert_eq!((whole.status, whole.body.len(), whole.ending), (200, 5000, Ending::Complete));
    assert_eq!(
        origin.received().iter().map(|r| &*r.method).collect::<Vec<_>>(),
        ["HEAD", "GET", "GET", "GET"]
    );
    assert_eq!(origin.connections(), 1, "the upstream's connection stays usable too");
}

#[tokio::test]
async fn answers_without_a_body_end_their_http_2_streams() {
    for upstream_h2 in [false, true] {
        let origin = bodiless_origin(upstream_h2);
        let protocol = if upstream_h2 { r#"protocol = "http2""# } else { "" };
        let gateway = Stage::before(&origin).upstream(protocol).start();
        let mut client = Client::http2(gateway.address()).await.unwrap();
        let head = client.request(Method::HEAD, "/long", &[USER], "".into()).await.unwrap();
        assert_eq!((head.status, head.body.len(), head.ending), (200, 0, Ending::Complete));
        for status in [204, 304] {
            let answer = client.get(&format!("/{status}"), &[USER]).await.unwrap();
            assert_eq!((answer.status, answer.body.len(), answer.ending), (status, 0, Ending::Complete));
            assert_eq!(answer.header("etag"), Some("\"v1\""));
        }
        assert_eq!(client.get("/long", &[USER]).await.unwrap().body.len(), 5000);
    }
}

#[test]
fn continue_is_said_when_the_body_is_wanted() {
    let origin = Origin::echo();
    let gateway = Stage::before(&origin).start();
    let lines = "Expect: 100-continue\r\nContent-Length: 8\r\n";
    let mut wire = sent(&gateway, request("POST", "/upload", lines, ""));
    let invited = wire.read_until(BOUND, |read| read.starts_with(b"HTTP/1.1 100 Continue\r\n\r\n"));
    assert!(invited, "{:?}", String::from_utf8_lossy(wire.unread()));
    assert_eq!(origin.received().len(), 0);
    assert!(wire.send("the body"));
    let answer = wire.response(false, BOUND).expect("the answer");
    assert_eq!((answer.status, answer.json()["body"].as_str()), (200, Some("the body")));
}

#[test]
fn continue_is_not_said_to_what_is_refused() {
    let origin = Origin::echo();
    let gateway = Stage::before(&origin).charge(r#"{ meter = "calls" }"#, r#"calls = "1/lifetime""#).start();
    let mut first = sent(&gateway, request("GET", "/", "", ""));
    assert_eq!(first.response(false, BOUND).expect("an answer").status, 200);

    let lines = "Expect: 100-continue\r\nContent-Length: 8\r\n";
    let mut wire = sent(&gateway, request("POST", "/upload", lines, ""));
    assert!(wire.read_until(BOUND, |read| read.windows(4).any(|end| end == b"\r\n\r\n")));
    let read = String::from_utf8_lossy(wire.unread()).into_owned();
    assert!(read.starts_with("HTTP/1.1 429 "), "{read}");
    assert_eq!(origin.requests(), 1, "the refused request is not forwarded");
}

#[tokio::test]
async fn early_hints_do_not_disturb_the_answer() {
    let answer = Reply::json(200, r#"{"final":true}"#);
    let origin = Origin::builder().on("/", Answer::EarlyHints(answer)).start();
    let gateway = Stage::before(&origin).start();
    for _ in 0..2 {
        let mut http1 = Client::http1(gateway.address()).await.unwrap();
        let mut http2 = Client::http2(gateway.address()).await.unwrap();
        for client in [&mut http1, &mut http2] {
            let answer = client.get("/", &[USER]).await.unwrap();
            assert_eq!((answer.status, answer.json()["final"].as_bool()), (200, Some(true)));
        }
    }
    assert_eq!(origin.connections(), 1);
}
