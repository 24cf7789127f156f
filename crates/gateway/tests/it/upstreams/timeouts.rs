//! Upstreams that take their time.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use http_body_util::BodyExt as _;
use socket2::{Domain, Socket, Type};
use tollgate_testkit::{Answer, BOUND, Client, Ending, Gate, Origin, Wire, eventually};

use crate::support::stage::{Stage, USER, final_events, request, sent};

/// A listener that completes no connection: its queue is full.
struct Full {
    address: SocketAddr,
    _listener: Socket,
    _queued: Vec<Socket>,
}

impl Full {
    fn new() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let mut queued = Vec::new();
        loop {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let is_full = socket.connect_timeout(&address.into(), Duration::from_millis(500)).is_err();
            queued.push(socket);
            if is_full {
                return Self { address, _listener: listener, _queued: queued };
            }
            assert!(queued.len() < 100, "the queue fills up");
        }
    }
}

fn timed_out(wire: &mut Wire) {
    let answer = wire.response(false, BOUND).expect("an answer");
    assert_eq!((answer.status, answer.json()["error"].as_str()), (504, Some("upstream_timeout")));
}

#[test]
fn a_connection_that_does_not_come_about_is_504() {
    let full = Full::new();
    let mut gateway = Stage::at(&[full.address]).upstream(r#"connect_timeout = "200ms""#).start();
    let mut wire = sent(&gateway, request("GET", "/", "", ""));
    timed_out(&mut wire);
    drop(wire);
    let events = final_events(&mut gateway);
    assert_eq!((events.len(), events[0].amount, events[0].status), (1, 0, 504));
}

#[test]
fn a_missing_answer_is_504_and_the_upstream_is_told() {
    let origin = Origin::builder().on("/hang", Answer::Hang).start();
    let mut gateway = Stage::before(&origin).upstream(r#"response_timeout = "700ms""#).start();
    let mut wire = sent(&gateway, request("POST", "/hang", "Content-Length: 4\r\n", "body"));
    timed_out(&mut wire);
    assert!(eventually(BOUND, || origin.abandoned() == 1));
    // The client's connection is as good as before.
    wire.send(request("GET", "/", "", ""));
    assert_eq!(wire.response(false, BOUND).expect("an answer").status, 200);
    drop(wire);
    let events = final_events(&mut gateway);
    assert_eq!(events.iter().map(|e| (e.status, e.amount)).collect::<Vec<_>>(), [(504, 0), (200, 1)]);
}

fn stalling() -> (Origin, Gate) {
    let gate = Gate::new();
    let events = (0..1000).map(|n| format!("data: {n}\n\n")).collect();
    (Origin::builder().on("/stream", Answer::Sse { events, gate: Some(gate.clone()) }).start(), gate)
}

#[test]
fn silence_in_the_middle_of_an_answer_cuts_http_1() {
    let (origin, _gate) = stalling();
    let mut gateway = Stage::before(&origin).upstream(r#"idle_timeout = "500ms""#).start();
    let mut wire = sent(&gateway, request("GET", "/stream", "", ""));
    assert!(wire.closes(BOUND));
    let answer = wire.response(false, BOUND).expect("an answer");
    assert_eq!((answer.status, answer.ending), (200, Ending::Cut), "no last chunk");
    assert_eq!(answer.text(), "data: 0\n\n");
    assert!(eventually(BOUND, || origin.abandoned() == 1));
    let events = final_events(&mut gateway);
    assert_eq!((events.len(), events[0].status), (1, 200));
    assert_eq!(events[0].metadata.as_deref(), Some(r#"{"end":"upstream_cut"}"#));
}

#[tokio::test]
async fn silence_in_the_middle_of_an_answer_resets_http_2() {
    let (origin, _gate) = stalling();
    let gateway = Stage::before(&origin).upstream(r#"idle_timeout = "500ms""#).start();
    let mut client = Client::http2(gateway.address()).await.unwrap();
    let answer = client.get("/stream", &[USER]).await.unwrap();
    assert_eq!((answer.status, answer.text().as_str(), answer.ending), (200, "data: 0\n\n", Ending::Cut));
    // Other streams of the connection go on.
    assert_eq!(client.get("/", &[USER]).await.unwrap().status, 200);
}

#[tokio::test]
async fn an_answer_that_never_pauses_ends_at_total_timeout() {
    let (origin, gate) = stalling();
    let timeouts = "total_timeout = \"600ms\"\nidle_timeout = \"500ms\"";
    let gateway = Stage::before(&origin).upstream(timeouts).start();
    let mut client = Client::http1(gateway.address()).await.unwrap();
    let empty = http_body_util::Empty::new().map_err(|never| match never {}).boxed();
    let request = http::Request::get("/stream").header(USER.0, USER.1).body(empty).unwrap();
    let mut response = client.open(request).await.unwrap();
    let mut events = 0;
    let cut = loop {
        match tokio::time::timeout(BOUND, response.frame()).await.expect("the next event") {
            Some(Ok(_)) => events += 1,
            other => break matches!(other, Some(Err(_))),
        }
        // Slower than the gateway's clock ticks, faster than its idle timeout.
        tokio::time::sleep(Duration::from_millis(20)).await;
        gate.pass(1);
    };
    assert!(cut, "after {events} events");
    assert!((2..1000).contains(&events), "{events}");
    assert!(eventually(BOUND, || origin.abandoned() == 1));
}

#[test]
fn total_timeout_ends_the_wait_for_an_answer_too() {
    let origin = Origin::builder().on("/hang", Answer::Hang).start();
    let gateway = Stage::before(&origin).upstream(r#"total_timeout = "300ms""#).start();
    let mut wire = sent(&gateway, request("GET", "/hang", "", ""));
    timed_out(&mut wire);
    assert!(eventually(BOUND, || origin.abandoned() == 1));
}

/// Moves a stream on for twice as long as the timeout lasts.
fn assert_outlives(timeout: &str) {
    let (origin, gate) = stalling();
    let gateway = Stage::before(&origin).upstream(timeout).start();
    let mut stream = TcpStream::connect(gateway.address()).unwrap();
    stream.set_read_timeout(Some(BOUND)).unwrap();
    stream.write_all(request("GET", "/stream", "", "").as_bytes()).unwrap();
    let started = Instant::now();
    let mut buffer = [0; 4096];
    while started.elapsed() < Duration::from_millis(2200) {
        let read = stream.read(&mut buffer);
        assert!(matches!(read, Ok(1..)), "{timeout}: {read:?} after {:?}", started.elapsed());
        std::thread::sleep(Duration::from_millis(50));
        gate.pass(1);
    }
}

#[test]
fn a_transfer_that_moves_outlives_the_idle_timeout() {
    assert_outlives(r#"idle_timeout = "1s""#);
}

#[test]
fn an_answer_that_has_begun_outlives_the_response_timeout() {
    assert_outlives(r#"response_timeout = "1s""#);
}

/// While a request is still on its way, an upstream that has begun to answer may have nothing to say.
#[test]
fn a_request_that_moves_keeps_its_answer_alive() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let gateway = Stage::at(&[upstream.local_addr().unwrap()]).upstream(r#"idle_timeout = "1s""#).start();
    let mut wire = sent(&gateway, request("POST", "/", "Content-Length: 1000\r\n", ""));
    let (mut stream, _) = upstream.accept().unwrap();
    stream.set_read_timeout(Some(BOUND)).unwrap();
    let mut buffer = [0; 4096];
    assert!(stream.read(&mut buffer).unwrap() > 0);
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab").unwrap();
    assert!(wire.read_until(BOUND, |read| read.ends_with(b"\r\n\r\nab")));
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(2200) {
        assert!(wire.send("x"));
        let read = stream.read(&mut buffer);
        assert!(matches!(read, Ok(1..)), "{read:?} after {:?}", started.elapsed());
        std::thread::sleep(Duration::from_millis(50));
    }
    stream.write_all(b"cd").unwrap();
    assert!(wire.read_until(BOUND, |read| read.ends_with(b"abcd")));
}

/// Once nothing passes in either direction, it is over.
#[test]
fn a_request_that_stalls_after_the_answer_began_is_cut() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let gateway = Stage::at(&[upstream.local_addr().unwrap()]).upstream(r#"idle_timeout = "1s""#).start();
    let mut wire = sent(&gateway, request("POST", "/", "Content-Length: 1000\r\n", "begun"));
    let (mut stream, _) = upstream.accept().unwrap();
    assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab").unwrap();
    assert!(wire.closes(BOUND));
    let answer = wire.response(false, BOUND).expect("an answer");
    assert_eq!((answer.status, answer.text().as_str(), answer.ending), (200, "ab", Ending::Cut));
}

#[test]
fn total_timeout_counts_from_the_beginning_of_the_request() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let gateway = Stage::at(&[upstream.local_addr().unwrap()]).upstream(r#"total_timeout = "2s""#).start();
    let started = Instant::now();
    let mut wire = sent(&gateway, request("GET", "/", "", ""));
    let (mut stream, _) = upstream.accept().unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab").unwrap();
    assert!(wire.closes(BOUND));
    let took = started.elapsed();
    assert!(wire.response(false, BOUND).is_some_and(|answer| answer.ending == Ending::Cut));
    // Counted from the head of the answer, it would be 3.5 s at least.
    assert!(took < Duration::from_millis(3400), "{took:?}");
}
