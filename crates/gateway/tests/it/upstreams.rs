//! Several URLs, and services that are slow, stale or away.

mod availability;
mod connections;
mod timeouts;

use std::{
    collections::HashSet,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
};

use tollgate_testkit::{Answer, BOUND, Client, Gate, Gateway, Origin, Reuse, eventually, free_port};

use crate::support::stage::{Stage, USER, final_events, request, sent};

/// How often the gateway sent a request again.
fn retries(gateway: &Gateway) -> f64 {
    gateway.metric(r#"tollgate_upstream_retries_total{upstream="main"}"#).unwrap_or(0.0)
}

#[tokio::test]
async fn requests_are_spread_over_the_urls() {
    let origins = [Origin::echo(), Origin::echo(), Origin::echo()];
    let gateway = Stage::at(&origins.each_ref().map(Origin::address)).start();
    let mut client = Client::http1(gateway.address()).await.unwrap();
    for _ in 0..90 {
        assert_eq!(client.get("/", &[USER]).await.unwrap().status, 200);
    }
    let requests = origins.each_ref().map(Origin::requests);
    assert_eq!(requests.iter().sum::<usize>(), 90);
    // By chance alone, a URL gets fewer than five of ninety once in 10^9 runs.
    assert!(requests.iter().all(|count| *count >= 5), "{requests:?}");
}

#[test]
fn the_less_loaded_of_two_urls_is_chosen() {
    let gate = Gate::new();
    let events = vec!["data: 1\n\n".to_owned(), "data: 2\n\n".to_owned()];
    let stream = Answer::Sse { events, gate: Some(gate.clone()) };
    let origins = [0, 1].map(|_| Origin::builder().on("/stream", stream.clone()).start());
    let gateway = Stage::at(&origins.each_ref().map(Origin::address)).start();
    let mut streaming = sent(&gateway, request("GET", "/stream", "", ""));
    assert!(streaming.read_until(BOUND, |read| read.ends_with(b"data: 1\n\n\r\n")));
    let busy = origins.iter().position(|origin| origin.requests() == 1).expect("one has the stream");
    let mut wire = sent(&gateway, request("GET", "/", "", "").repeat(20));
    for _ in 0..20 {
        assert_eq!(wire.response(false, BOUND).expect("an answer").status, 200);
    }
    assert_eq!(origins[busy].requests(), 1);
    assert_eq!(origins[1 - busy].requests(), 20);
    gate.open();
    assert!(streaming.response(false, BOUND).expect("the stream").text().ends_with("data: 2\n\n"));
}

#[tokio::test]
async fn another_url_takes_what_one_that_is_down_cannot() {
    let origin = Origin::echo();
    let down = ([127, 0, 0, 1], free_port()).into();
    let gateway = Stage::at(&[down, origin.address()]).upstream("eject_after = 1000").start();
    let mut client = Client::http1(gateway.address()).await.unwrap();
    for n in 0..30 {
        // With a body too: nothing of it was sent.
        let answer = client.post(&format!("/{n}"), &[USER], "body").await.unwrap();
        assert_eq!((answer.status, answer.json()["body"].as_str()), (200, Some("body")));
    }
    assert_eq!(origin.requests(), 30);
    assert!(retries(&gateway) > 0.0);
}

#[test]
fn a_stale_pooled_connection_costs_a_get_nothing() {
    for reuse in [Reuse::CloseOnNext, Reuse::CloseIdle] {
        let origin = Origin::builder().reuse(reuse).start();
        let mut gateway = Stage::before(&origin).start();
        let mut wire = sent(&gateway, "");
        for n in 0..8 {
            wire.send(request("GET", &format!("/{n}"), "", ""));
            let answer = wire.response(false, BOUND).expect("an answer");
            assert_eq!((answer.status, answer.json()["path"].as_str()), (200, Some(&*format!("/{n}"))));
        }
        let paths: Vec<_> = origin.received().iter().map(|received| received.target.clone()).collect();
        assert_eq!(paths, ["/0", "/1", "/2", "/3", "/4", "/5", "/6", "/7"]);
        if reuse == Reuse::CloseOnNext {
            // Each of the seven found the connection of its predecessor, and was sent once more.
            assert_eq!(retries(&gateway), 7.0);
        }
        drop(wire);
        let events = final_events(&mut gateway);
        assert_eq!(events.iter().map(|e| (e.status, e.amount)).collect::<Vec<_>>(), [(200, 1); 8]);
    }
}

#[test]
fn a_post_that_was_sent_is_not_repeated() {
    let origin = Origin::builder().reuse(Reuse::CloseOnNext).start();
    let mut gateway = Stage::before(&origin).start();
    let mut wire = sent(&gateway, request("POST", "/1", "Content-Length: 1\r\n", "a"));
    assert_eq!(wire.response(false, BOUND).expect("an answer").status, 200);
    for (path, lines) in [("/2", "Content-Length: 1\r\n"), ("/4", "Content-Length: 0\r\n")] {
        let body = if lines.contains('1') { "b" } else { "" };
        wire.send(request("POST", path, lines, body));
        let answer = wire.response(false, BOUND).expect("an answer");
        assert_eq!((answer.status, answer.json()["error"].as_str()), (502, Some("upstream_unavailable")));
        // A new connection for the next.
        wire.send(request("POST", "/3", "Content-Length: 1\r\n", "c"));
        assert_eq!(wire.response(false, BOUND).expect("an answer").status, 200);
    }
    assert_eq!(origin.requests(), 5, "each was sent once");
    assert_eq!(retries(&gateway), 0.0);
    drop(wire);
    let mut charged: Vec<_> = final_events(&mut gateway).iter().map(|e| (e.status, e.amount)).collect();
    charged.sort_unstable();
    assert_eq!(charged, [(200, 1), (200, 1), (200, 1), (502, 0), (502, 0)]);
}

/// A GET may be repeated once; an upstream that fails again and again is not hammered.
#[test]
fn a_request_is_sent_twice_at_most() {
    let origin = Origin::builder().on("/close", Answer::Close).start();
    let gateway = Stage::before(&origin).start();
    let mut wire = sent(&gateway, request("GET", "/", "", ""));
    assert_eq!(wire.response(false, BOUND).expect("an answer").status, 200);
    wire.send(request("GET", "/close", "", ""));
    assert_eq!(wire.response(false, BOUND).expect("an answer").status, 502);
    let closed = origin.received().iter().filter(|received| received.path() == "/close").count();
    assert_eq!(closed, 2);
    // On a connection of its own it is not repeated: that one was not stale.
    wire.send(request("GET", "/close", "", ""));
    assert_eq!(wire.response(false, BOUND).expect("an answer").status, 502);
    let closed = origin.received().iter().filter(|received| received.path() == "/close").count();
    assert_eq!(closed, 3);
}

#[test]
fn connections_max_bounds_what_an_upstream_sees() {
    let origin = Origin::builder().on("/hang", Answer::Hang).start();
    let gateway = Stage::before(&origin).upstream("connections_max = 2").start();
    let hanging = [0, 1].map(|_| sent(&gateway, request("GET", "/hang", "", "")));
    assert!(origin.wait_requests(2, BOUND));
    let mut wire = sent(&gateway, request("GET", "/", "", ""));
    let answer = wire.response(false, BOUND).expect("an answer");
    assert_eq!((answer.status, answer.json()["error"].as_str()), (503, Some("overloaded")));
    assert!(answer.header("retry-after").is_some());
    assert_eq!(origin.connections(), 2);
    drop(hanging);
    let mut statuses = HashSet::new();
    let back = eventually(BOUND, || {
        wire.send(request("GET", "/", "", ""));
        statuses.insert(wire.response(false, BOUND).expect("an answer").status);
        statuses.contains(&200)
    });
    assert!(back, "{statuses:?}");
}

/// An upstream that answers before it has read the request may never read it.
#[test]
fn a_connection_with_an_unread_request_serves_nobody_else() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let gateway = Stage::at(&[upstream.local_addr().unwrap()]).start();
    let serve = |stream: &mut TcpStream| {
        let mut head = [0; 4096];
        assert!(stream.read(&mut head).unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    };
    let mut uploading = sent(&gateway, request("POST", "/", "Content-Length: 1000\r\n", "begun"));
    let (mut first, _) = upstream.accept().unwrap();
    serve(&mut first);
    assert_eq!(uploading.response(false, BOUND).expect("an answer").status, 200);
    let mut wire = sent(&gateway, request("GET", "/", "", ""));
    upstream.set_nonblocking(true).unwrap();
    let mut second = None;
    assert!(eventually(BOUND, || {
        second = upstream.accept().ok();
        second.is_some()
    }));
    let (mut second, _) = second.expect("a connection");
    second.set_nonblocking(false).unwrap();
    serve(&mut second);
    assert_eq!(wire.response(false, BOUND).expect("an answer").status, 200);
}

/// What waits for a connection that is being made waits for nobody's answer.
#[test]
fn a_burst_on_a_cold_http2_upstream_is_served_side_by_side() {
    const BURST: usize = 12;
    let gate = Gate::new();
    // Reads and answers nothing until the test has seen all of the burst.
    let together = Answer::SlowReader { piece_bytes: 1, gate: gate.clone() };
    let origin = Origin::builder().http2().on("/", together).start();
    let gateway = Stage::before(&origin).upstream("protocol = \"http2\"").start();
    let mut wires: Vec<_> = (0..BURST).map(|_| sent(&gateway, "")).collect();
    gateway.pause();
    for wire in &mut wires {
        assert!(wire.send(request("POST", "/", "Content-Length: 1\r\n", "a")));
    }
    gateway.resume();
    let arrived = origin.wait_requests(BURST, BOUND);
    assert!(arrived, "only {} at the origin: they wait for each other's answers", origin.requests());
    gate.open();
    for wire in &mut wires {
        let answer = wire.response(false, BOUND).expect("an answer");
        assert_eq!((answer.status, answer.json()["body"].as_str()), (200, Some("a")));
    }
    assert_eq!(origin.connections(), 1, "one connects for all");
}
