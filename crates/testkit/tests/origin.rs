//! The kit's own upstream and clients, so that a failing gateway test is about the gateway.

use futures_util::{SinkExt, StreamExt};
use http::Request;
use http_body_util::{BodyExt, Empty};
use tokio_tungstenite::tungstenite::Message;
use tollgate_testkit::{
    Answer, BOUND, Client, Ending, Gate, Origin, Reply, Response, Reuse, Wire, eventually, eventually_async,
    raw, tls,
};

const GET: &str = "GET /x HTTP/1.1\r\nHost: h\r\n\r\n";

fn get(path: &str) -> String {
    GET.replace("/x", path)
}

fn first(bytes: &[u8]) -> Response {
    Response::parse_all(bytes).swap_remove(0)
}

fn events() -> Vec<String> {
    ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"].map(str::to_owned).to_vec()
}

#[test]
fn echo_shows_the_request_and_keeps_its_bytes() {
    let origin = Origin::echo();
    let request = "POST /a?b=c HTTP/1.1\r\nHost: h\r\nX_Odd:  1\r\nTransfer-Encoding: chunked\r\n\r\n\
        3\r\nabc\r\n2;x\r\nde\r\n0\r\nX-T: v\r\n\r\n";
    let echo = first(&raw(origin.address(), request)).json();
    assert_eq!(
        (&echo["method"], &echo["path"], &echo["body"]),
        (&"POST".into(), &"/a?b=c".into(), &"abcde".into())
    );
    let last = origin.last();
    assert!(request.as_bytes().starts_with(&last.raw_head));
    assert_eq!(last.header("x_odd"), Some("1"));
    assert_eq!(last.trailers, [("X-T".to_owned(), "v".to_owned())]);
    assert_eq!((origin.requests(), origin.connections(), origin.abandoned()), (1, 1, 0));
}

#[test]
fn scripted_answers_are_on_the_wire_as_named() {
    let origin = Origin::builder()
        .on("/hints", Answer::EarlyHints(Reply::json(200, "{}")))
        .on("/length", Answer::CutLength { promised: 10, sent: "abc".to_owned() })
        .on("/chunks", Answer::CutChunked(vec!["abc".to_owned()]))
        .on("/close", Answer::Close)
        .on("/early", Answer::Early(Reply::json(413, "{}")))
        .on("/raw", Answer::Raw(b"nonsense".to_vec()))
        .otherwise(|_| Answer::status(500))
        .start();
    let ask = |path: &str| raw(origin.address(), get(path));
    let hints: Vec<u16> =
        Response::parse_all(&ask("/hints")).iter().map(|response| response.status).collect();
    assert_eq!(hints, [103, 200]);
    for path in ["/length", "/chunks"] {
        let cut = first(&ask(path));
        assert_eq!((cut.text().as_str(), cut.ending), ("abc", Ending::Cut), "{path}");
    }
    assert!(ask("/close").is_empty());
    assert_eq!(ask("/raw"), b"nonsense");
    assert_eq!(first(&ask("/other")).status, 500);
    let unsent_body = "POST /early HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n";
    assert_eq!(first(&raw(origin.address(), unsent_body)).status, 413);
}

#[test]
fn continues_are_sent_and_heads_have_no_body() {
    let origin = Origin::echo();
    let mut wire = Wire::connect(origin.address());
    wire.send("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert!(wire.read_until(BOUND, |read| read.starts_with(b"HTTP/1.1 100 Continue\r\n\r\n")));
    wire.send("ab");
    assert_eq!(wire.response(false, BOUND).expect("a response").json()["body_bytes"], 2);
    wire.send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(wire.response(true, BOUND).expect("a response").status, 200);
    assert!(wire.unread().is_empty());
    assert_eq!(origin.connections(), 1);
}

#[test]
fn connections_go_stale_as_told() {
    let closes = Origin::builder().reuse(Reuse::CloseIdle).start();
    let mut wire = Wire::connect(closes.address());
    wire.send(GET);
    assert_eq!(wire.response(false, BOUND).expect("a response").status, 200);
    assert!(wire.closes(BOUND));

    let stale = Origin::builder().reuse(Reuse::CloseOnNext).start();
    let mut wire = Wire::connect(stale.address());
    wire.send(GET);
    assert_eq!(wire.response(false, BOUND).expect("a response").status, 200);
    wire.send(GET);
    assert!(wire.closes(BOUND) && wire.unread().is_empty());
    assert_eq!((stale.requests(), stale.received().len()), (2, 1));
}

#[test]
fn gates_hold_events_and_bodies_back_and_gone_peers_are_noticed() {
    let (gate, slow) = (Gate::new(), Gate::new());
    let origin = Origin::builder()
        .on("/sse", Answer::Sse { events: events(), gate: Some(gate.clone()) })
        .on("/slow", Answer::SlowReader { piece_bytes: 2, gate: slow.clone() })
        .on("/hang", Answer::Hang)
        .start();
    let mut wire = Wire::connect(origin.address());
    wire.send(get("/sse"));
    let has = |wanted: &'static str| move |read: &[u8]| String::from_utf8_lossy(read).contains(wanted);
    assert!(wire.read_until(BOUND, has("data: 1")));
    assert!(!String::from_utf8_lossy(wire.unread()).contains("data: 2"));
    gate.pass(1);
    assert!(wire.read_until(BOUND, has("data: 2")));
    gate.open();
    let whole = wire.response(false, BOUND).expect("a response");
    assert_eq!((whole.text(), whole.ending), (events().concat(), Ending::Complete));

    let mut wire = Wire::connect(origin.address());
    wire.send("POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcde");
    slow.pass(3);
    assert_eq!(wire.response(false, BOUND).expect("a response").json()["body"], "abcde");

    let mut wire = Wire::connect(origin.address());
    wire.send(get("/hang"));
    assert!(origin.wait_requests(3, BOUND));
    assert_eq!(origin.abandoned(), 0);
    drop(wire);
    assert!(eventually(BOUND, || origin.abandoned() == 1));
}

#[test]
fn a_stopped_origin_comes_back_at_its_address() {
    let mut origin = Origin::echo();
    let address = origin.address();
    origin.stop();
    assert!(Wire::try_connect(address).is_err());
    let again = Origin::builder().at(address).start();
    assert_eq!(first(&raw(again.address(), GET)).status, 200);
}

#[tokio::test]
async fn both_protocols_give_the_same_to_clients() {
    let chunked = Answer::Chunked {
        chunks: vec!["ab".to_owned(), "cd".to_owned()],
        trailers: vec![("x-sum".to_owned(), "4".to_owned())],
    };
    let script = || {
        Origin::builder()
            .on("/trailers", chunked.clone())
            .on("/sse", Answer::Sse { events: events(), gate: None })
            .on("/cut", Answer::CutChunked(vec!["abc".to_owned()]))
            .on("/close", Answer::Close)
    };
    let (one, two) = (script().start(), script().http2().start());
    let clients = [Client::http1(one.address()).await, Client::http2(two.address()).await];
    for mut client in clients.map(|client| client.expect("a connection")) {
        let echo = client.post("/p?q", &[("x-a", "1"), ("x-a", "2")], "body").await.expect("an echo").json();
        assert_eq!((&echo["path"], &echo["body"]), (&"/p?q".into(), &"body".into()));
        let trailers = client.get("/trailers", &[]).await.expect("trailers");
        assert_eq!((trailers.text().as_str(), trailers.ending), ("abcd", Ending::Complete));
        assert_eq!(trailers.trailers, [("x-sum".to_owned(), "4".to_owned())]);
        assert_eq!(client.get("/sse", &[]).await.expect("events").text(), events().concat());
        assert_eq!(client.get("/cut", &[]).await.expect("a head").ending, Ending::Cut);
    }
    for origin in [&one, &two] {
        assert_eq!(origin.received()[0].all("X-A"), ["1", "2"]);
        assert_eq!(origin.abandoned(), 0);
    }
    let mut client = Client::http2(two.address()).await.expect("a connection");
    assert!(client.get("/close", &[]).await.is_err());
}

#[tokio::test]
async fn http2_origins_notice_reset_streams() {
    let origin = Origin::builder().http2().on("/hang", Answer::Hang).start();
    let mut client = Client::http2(origin.address()).await.expect("a connection");
    let body = Empty::new().map_err(|never| match never {}).boxed();
    let request = Request::get("/hang").body(body).expect("a request");
    tokio::select! {
        _ = client.open(request) => unreachable!("a hanging origin answered"),
        arrived = eventually_async(BOUND, || origin.requests() == 1) => assert!(arrived),
    }
    assert!(eventually_async(BOUND, || origin.abandoned() == 1).await);
}

#[tokio::test]
async fn tls_negotiates_the_protocol() {
    let authority = tls::Authority::new();
    let identity = authority.issue(&["localhost", "127.0.0.1"]);
    for (protocol, is_http2) in [("h2", true), ("http/1.1", false)] {
        let origin = Origin::builder().tls(identity.server_config(&["h2", "http/1.1"])).start();
        let config = authority.client_config(&[protocol]);
        let mut client = Client::tls(origin.address(), "localhost", config).await.expect("a connection");
        assert_eq!(client.is_http2(), is_http2);
        assert_eq!(client.server_certificate(), Some(identity.certificate_der()));
        assert_eq!(client.get("/", &[]).await.expect("an echo").status, 200);
    }
    let origin = Origin::builder().tls(identity.server_config(&[])).start();
    let stranger = tls::Authority::new().client_config(&[]);
    assert!(Client::tls(origin.address(), "localhost", stranger).await.is_err());
}

#[tokio::test]
async fn web_sockets_echo() {
    let origin = Origin::builder().on("/ws", Answer::WebSocket).start();
    let url = format!("ws://{}/ws", origin.address());
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.expect("a web socket");
    for message in [Message::text("grüße"), Message::binary(vec![0, 255])] {
        socket.send(message.clone()).await.expect("a sent message");
        assert_eq!(socket.next().await.expect("an answer").expect("a message"), message);
    }
    socket.close(None).await.expect("a close");
    assert_eq!(origin.requests(), 1);
}
