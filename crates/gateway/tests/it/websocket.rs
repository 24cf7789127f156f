//! WebSockets: requests that turn into tunnels.

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _, handshake::client::Response},
};
use tollgate_testkit::{
    Answer, BOUND, Client, Ending, Gateway, Origin, Reply, eventually_async, tls::Authority,
};

use crate::support::stage::{
    Stage, USER, final_events, final_events_async, in_flight, request, sent, settlements,
};

/// The header lines of a handshake.
const HANDSHAKE: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn origin() -> Origin {
    Origin::builder().on("/ws", Answer::WebSocket).start()
}

async fn open(gateway: &Gateway, path: &str) -> Result<(WebSocketStream<TcpStream>, Response), Error> {
    open_over(TcpStream::connect(gateway.address()).await?, gateway, path).await
}

async fn open_over<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    gateway: &Gateway,
    path: &str,
) -> Result<(WebSocketStream<S>, Response), Error> {
    let mut request = format!("ws://{}{path}", gateway.address()).into_client_request()?;
    request.headers_mut().insert("x-user-id", "ada".parse().unwrap());
    request.headers_mut().insert("x-forwarded-uri", "/healthz".parse().unwrap());
    client_async(request, stream).await
}

#[tokio::test]
async fn messages_pass_both_ways() {
    let origin = origin();
    let gateway = Stage::before(&origin).start();
    let (mut socket, response) = open(&gateway, "/ws").await.unwrap();
    assert_eq!(response.status(), 101);
    assert!(response.headers().contains_key("x-ratelimit-limit"), "{response:?}");
    assert!(response.headers().contains_key("x-request-id"));
    let large = "x".repeat(300_000);
    for text in ["hello", "", &large, "bye"] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
    }
    let received = origin.last();
    assert_eq!(received.all("x-user-id"), ["ada"]);
    assert_eq!(received.header("x-forwarded-uri"), None);
    assert_eq!(received.header("upgrade"), Some("websocket"));
    assert!(received.header("connection").is_some_and(|named| named.eq_ignore_ascii_case("upgrade")));
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = socket.next().await {}
}

/// Over TLS on both sides, to a service that would rather speak HTTP/2 and does so with everybody else.
#[tokio::test]
async fn a_tunnel_leads_to_services_that_prefer_http_2() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let server = authority.issue(&["localhost"]);
    let (cert, key) = server.write(folder.path());
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.certificate_pem()).unwrap();
    let origin =
        Origin::builder().on("/ws", Answer::WebSocket).tls(server.server_config(&["h2", "http/1.1"])).start();
    let gateway = Stage::of_urls(vec![format!("https://localhost:{}", origin.address().port())])
        .listen(format!("tls = {{ cert = {cert:?}, key = {key:?} }}"))
        .upstream(format!("ca = {ca:?}\nprotocol = \"auto\""))
        .start();
    let config = authority.client_config(&["http/1.1"]);
    let mut client = Client::tls(gateway.address(), "localhost", config.clone()).await.unwrap();
    for _ in 0..2 {
        assert_eq!(client.get("/plain", &[USER]).await.unwrap().status, 200);
        assert_eq!(origin.last().version, "HTTP/2.0");

        let stream = TcpStream::connect(gateway.address()).await.unwrap();
        let stream = tokio_rustls::TlsConnector::from(config.clone())
            .connect("localhost".try_into().unwrap(), stream)
            .await
            .unwrap();
        let (mut socket, response) = open_over(stream, &gateway, "/ws").await.unwrap();
        assert_eq!((response.status().as_u16(), &*origin.last().version), (101, "HTTP/1.1"));
        for text in ["hello", &"x".repeat(300_000)] {
            socket.send(Message::text(text)).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
        }
    }
}

#[tokio::test]
async fn a_tunnel_is_one_request_with_its_bytes_and_duration() {
    let origin = origin();
    let mut gateway = Stage::before(&origin).start();
    let (mut socket, _) = open(&gateway, "/ws").await.unwrap();
    let opened = std::time::Instant::now();
    for _ in 0..10 {
        socket.send(Message::binary(vec![7; 1000])).await.unwrap();
        assert!(socket.next().await.unwrap().unwrap().is_binary());
    }
    assert!(eventually_async(BOUND, || opened.elapsed().as_millis() >= 20).await);
    assert!(
        eventually_async(BOUND, || in_flight(&gateway) == 1).await,
        "it is in flight as long as it is open"
    );
    let at_least_ms = i64::try_from(opened.elapsed().as_millis()).unwrap();
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = socket.next().await {}
    drop(socket);
    assert!(eventually_async(BOUND, || settlements(&gateway) >= 1.0).await);

    let events = final_events_async(&mut gateway).await;
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!((&*events[0].meter, events[0].amount, events[0].status), ("calls", 1, 101));
    assert!(events[0].duration_ms >= at_least_ms, "{events:?}, open for {at_least_ms} ms at least");
    let metadata: serde_json::Value = serde_json::from_str(events[0].metadata.as_deref().unwrap()).unwrap();
    assert_eq!(metadata["websocket"], true);
    // A frame of 1000 bytes has 8 bytes before it from a client, who masks it, and 4 from a server; then
    // both sides close.
    assert_eq!(metadata["request_bytes"], 10 * 1008 + 6);
    assert_eq!(metadata["response_bytes"], 10 * 1004 + 2);
}

#[tokio::test]
async fn over_quota_the_upstream_sees_no_handshake() {
    let origin = origin();
    let gateway = Stage::before(&origin).charge(r#"{ meter = "calls" }"#, r#"calls = "1/lifetime""#).start();
    let (first, _) = open(&gateway, "/ws").await.unwrap();
    let refused = match open(&gateway, "/ws").await {
        Err(Error::Http(response)) => response,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused.status(), 429);
    assert_eq!(origin.requests(), 1);
    drop(first);
}

#[tokio::test]
async fn an_open_tunnel_holds_its_job() {
    let origin = origin();
    let gateway = Stage::before(&origin).charge(r#"{ meter = "jobs" }"#, "jobs = 1").start();
    let (first, _) = open(&gateway, "/ws").await.unwrap();
    assert!(matches!(open(&gateway, "/ws").await, Err(Error::Http(refused)) if refused.status() == 429));
    drop(first);
    assert!(eventually_async(BOUND, || settlements(&gateway) >= 1.0).await);
    assert!(open(&gateway, "/ws").await.is_ok());
}

#[test]
fn another_protocol_is_not_asked_for() {
    let origin = Origin::echo();
    let gateway = Stage::before(&origin).start();
    for upgrade in ["h2c", "TLS/1.0", "websocket, h2c", "websocket\r\nUpgrade: h2c", "x"] {
        let lines =
            format!("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\nHTTP2-Settings: AAMA\r\n");
        // The bytes after it are the next request, not a tunnel.
        let both = request("GET", "/first", &lines, "") + &request("GET", "/second", "", "");
        let mut wire = sent(&gateway, both);
        for path in ["/first", "/second"] {
            let answer = wire.response(false, BOUND).expect("an answer");
            assert_eq!((answer.status, answer.json()["path"].as_str()), (200, Some(path)), "{upgrade}");
            let received = origin.last();
            for hop in ["upgrade", "connection", "http2-settings"] {
                assert_eq!(received.header(hop), None, "{upgrade}");
            }
        }
    }
}

#[test]
fn an_upstream_may_decline_with_an_ordinary_answer() {
    let origin = Origin::builder().on("/plain", Answer::Reply(Reply::json(200, "{}"))).start();
    let mut gateway = Stage::before(&origin).start();
    let both = request("GET", "/plain", HANDSHAKE, "") + &request("GET", "/next", "", "");
    let mut wire = sent(&gateway, both);
    let declined = wire.response(false, BOUND).expect("an answer");
    assert_eq!((declined.status, declined.text().as_str(), declined.ending), (200, "{}", Ending::Complete));
    let next = wire.response(false, BOUND).expect("the next answer");
    assert_eq!(next.json()["path"], "/next");
    assert_eq!(origin.last().header("upgrade"), None);
    drop(wire);
    let events = final_events(&mut gateway);
    assert_eq!(events.iter().map(|e| (e.status, e.amount)).collect::<Vec<_>>(), [(200, 1), (200, 1)]);
}

#[test]
fn a_switch_that_nobody_asked_for_is_no_answer() {
    let switch =
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nsecret".to_vec();
    let origin = Origin::builder().on("/", Answer::Raw(switch)).start();
    let mut gateway = Stage::before(&origin).start();
    let mut wire = sent(&gateway, request("GET", "/", "", ""));
    let answer = wire.response(false, BOUND).expect("an answer");
    assert_eq!((answer.status, answer.json()["error"].as_str()), (502, Some("upstream_unavailable")));
    assert!(!answer.text().contains("secret"));
    drop(wire);
    let events = final_events(&mut gateway);
    assert_eq!(events.iter().map(|e| (e.status, e.amount)).collect::<Vec<_>>(), [(502, 0)]);
}

#[tokio::test]
async fn a_drain_settles_the_tunnels_that_it_cuts() {
    let origin = origin();
    let mut gateway = Stage::before(&origin).tables("[shutdown]\ngrace = \"400ms\"").start();
    let (mut socket, _) = open(&gateway, "/ws").await.unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    assert!(socket.next().await.unwrap().unwrap().is_text());
    let events = final_events_async(&mut gateway).await;
    assert!(!matches!(socket.next().await, Some(Ok(_))), "the tunnel is cut");
    assert_eq!(events.iter().map(|e| (e.status, e.amount)).collect::<Vec<_>>(), [(101, 1)]);
    let metadata: serde_json::Value = serde_json::from_str(events[0].metadata.as_deref().unwrap()).unwrap();
    assert_eq!((&metadata["request_bytes"], &metadata["response_bytes"]), (&11.into(), &7.into()));
}

#[tokio::test]
async fn a_tunnel_in_which_nothing_moves_is_closed() {
    let origin = origin();
    let gateway = Stage::before(&origin).upstream(r#"idle_timeout = "300ms""#).start();
    let (mut socket, _) = open(&gateway, "/ws").await.unwrap();
    let end = tokio::time::timeout(BOUND, socket.next()).await.expect("the end of the tunnel");
    assert!(!matches!(end, Some(Ok(_))), "{end:?}");
    assert!(eventually_async(BOUND, || settlements(&gateway) >= 1.0).await);
}
