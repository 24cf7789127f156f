//! Which HTTP/1 connections carry a next request, for how long, and at what price.

use std::{net::TcpListener, time::Duration};

use tollgate_testkit::{Answer, BOUND, Ending, Origin, Reply, Response, Wire};

use crate::support::stage::{Stage, request, resident_bytes, sent};

/// A request of nobody's, which is refused.
fn refused(lines: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: tollgate.test\r\n{lines}\r\n")
}

/// Fails unless the connection ends with what was said on it, which said so; that answer.
fn last_answer(wire: &mut Wire, what: &str) -> Response {
    assert!(wire.closes(BOUND), "{what}");
    let mut answers = Response::parse_all(wire.unread());
    assert_eq!(answers.len(), 1, "{what}: {answers:?}");
    let answer = answers.remove(0);
    assert_eq!((answer.header("connection"), answer.ending), (Some("close"), Ending::Complete), "{what}");
    answer
}

#[test]
fn an_answer_before_the_end_of_a_long_body_says_that_it_is_the_last() {
    let origin = Origin::builder().on("/", Answer::Early(Reply::json(401, "{}"))).start();
    let gateway = Stage::before(&origin).start();
    for (what, lines, begun) in [
        ("a length", "Content-Length: 1000000\r\n", "begun"),
        ("chunks", "Transfer-Encoding: chunked\r\n", "5\r\nbegun\r\n"),
        ("nothing yet", "Content-Length: 1000000\r\n", ""),
    ] {
        let mut wire = sent(&gateway, request("POST", "/", lines, begun));
        assert_eq!(last_answer(&mut wire, what).status, 401, "{what}");
    }
}

/// Whatever comes of a short body in time is read away; what never comes is not waited for.
#[test]
fn an_answer_before_the_end_of_a_short_body_is_followed_by_others() {
    let origin = Origin::builder().on("/", Answer::Early(Reply::json(401, "{}"))).start();
    let gateway = Stage::before(&origin).start();
    for ends in [true, false] {
        let mut wire = sent(&gateway, request("POST", "/", "Content-Length: 1000\r\n", "begun"));
        let answer = wire.response(false, BOUND).expect("an answer");
        assert_eq!((answer.status, answer.header("connection")), (401, None));
        if ends {
            wire.send("x".repeat(995) + &request("GET", "/next", "", ""));
            assert_eq!(wire.response(false, BOUND).expect("the next answer").status, 200);
        } else {
            assert!(wire.closes(BOUND), "nobody waits for ever");
        }
    }
}

#[test]
fn a_refusal_before_the_end_of_a_long_body_says_that_it_is_the_last() {
    let gateway = Stage::before(&Origin::echo()).start();
    for (what, lines) in [
        ("more than is read away", "Content-Length: 1000000\r\n"),
        ("who knows how much", "Transfer-Encoding: chunked\r\n"),
        ("more than ever comes", "Content-Length: 1000\r\n"),
        ("not asked for", "Content-Length: 10\r\nExpect: 100-continue\r\n"),
    ] {
        let mut wire = sent(&gateway, refused(lines) + "5\r\nbegun\r\n");
        assert_eq!(last_answer(&mut wire, what).status, 401, "{what}");
    }
}

#[test]
fn what_follows_a_head_that_cannot_be_read_is_not_served() {
    let origin = Origin::echo();
    let gateway = Stage::before(&origin).start();
    for head in
        ["GET /\r\n\r\n", "GET / HTTP/1.1\r\nX: a\n\r\n", "POST / HTTP/1.1\r\nTransfer-Encoding: x\r\n\r\n"]
    {
        let mut wire = sent(&gateway, head.to_owned() + &request("GET", "/next", "", ""));
        assert_eq!(last_answer(&mut wire, head).status, 400, "{head:?}");
    }
    assert_eq!(origin.requests(), 0);
}

/// In an outage, what clients need least is to connect again each time.
#[test]
fn a_request_that_no_upstream_took_leaves_its_connection_as_good_as_before() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateway = Stage::at(&[nobody]).start();
    let mut wire = Wire::connect(gateway.address());
    for (lines, body) in [
        ("Content-Length: 5\r\n", "hello"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ("", ""),
    ] {
        wire.send(request("POST", "/", lines, body));
        let answer = wire.response(false, BOUND).expect("an answer");
        assert!((502..504).contains(&answer.status), "{answer:?}");
        assert_eq!(answer.header("connection"), None, "{lines}");
    }
}

/// What is read away of a refused request is no beginning of the next one's head.
#[test]
fn a_connection_whose_last_request_was_refused_may_be_idle_as_long_as_others() {
    const HEADER_TIMEOUT: Duration = Duration::from_millis(500);
    const BODY_BYTES: usize = 60_000;
    let origin = Origin::echo();
    let gateway = Stage::before(&origin).listen("header_timeout = \"500ms\"").start();
    let mut wire = Wire::connect(gateway.address());
    wire.send(refused(&format!("Content-Length: {BODY_BYTES}\r\n")));
    wire.send("b".repeat(BODY_BYTES));
    let answer = wire.response(false, BOUND).expect("an answer");
    assert_eq!((answer.status, answer.header("connection")), (401, None));
    assert!(!wire.closes(HEADER_TIMEOUT * 5), "it is idle, and within its time");
    wire.send(request("GET", "/", "", ""));
    assert_eq!(wire.response(false, BOUND).expect("an answer").status, 200);
}

/// An idle connection keeps room for a small request, whatever was said on it before.
#[test]
fn idle_connections_do_not_keep_what_was_said_on_them() {
    const CONNECTIONS: u64 = 150;
    let long = "l".repeat(60_000);
    let large = Reply::json(200, "{}").header("X-Large", &long);
    let origin = Origin::builder().on("/", Answer::Reply(large)).start();
    let gateway = Stage::before(&origin).start();
    let serve = |wire: &mut Wire| {
        wire.send(request("GET", "/", &format!("X-Large: {}\r\n", &long[..30_000]), ""));
        assert_eq!(wire.response(false, BOUND).expect("an answer").status, 200);
    };
    // What one costs is no matter of how many are idle.
    (0..10).for_each(|_| serve(&mut Wire::connect(gateway.address())));
    let (before, _) = resident_bytes(&gateway);
    let idle: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let mut wire = Wire::connect(gateway.address());
            serve(&mut wire);
            wire
        })
        .collect();
    let each = resident_bytes(&gateway).0.saturating_sub(before) / CONNECTIONS;
    assert!(each < 96 << 10, "{each} bytes for each of {}", idle.len());
}
