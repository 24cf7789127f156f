//! Where one request ends and the next begins: never a matter of opinion.
//!
//! Each row is sent as it is on a connection of its own, with a request for `/x/smuggled` behind or inside it that
//! must never be served as a request.

mod answers;

use tollgate_testkit::{BOUND, Origin, OriginBuilder, Received, Response, Wire};

use crate::scene::Scene;

const TIERS: &str = r#"
default_tier = "free"
[meters]
calls = { unit = "calls" }
[tiers.free]
other_meters = "unlimited"
"#;

const ROUTES: &str = r#"
[[routes]]
path = "/x/"
upstream = "origin"
charge = [{ meter = "calls" }]
"#;

const SMUGGLED: &str = "GET /x/smuggled HTTP/1.1\r\nHost: gateway.test\r\nX-User-Id: victim\r\n\r\n";

fn scene(origin: OriginBuilder) -> Scene {
    Scene::start(origin, ROUTES, TIERS)
}

/// What a client got for its bytes.
struct Got {
    responses: Vec<Response>,
    closed: bool,
}

/// Sends a request line, the identity, `rest`, and reads until the gateway closes or has nothing more to say.
fn send(scene: &Scene, request_line: &str, rest: impl AsRef<[u8]>) -> Got {
    let mut wire = Wire::connect(scene.gateway.address());
    let start = format!("{request_line}\r\nHost: gateway.test\r\nX-User-Id: ann\r\n");
    wire.send([start.as_bytes(), rest.as_ref()].concat());
    // A connection that stays open is told apart by one more request, whose answer is the last.
    let answered =
        wire.read_until(BOUND, |read| Response::parse_all(read).iter().any(|answer| answer.status >= 200));
    assert!(answered, "no answer to {request_line}");
    wire.send("GET /x/last HTTP/1.1\r\nHost: gateway.test\r\nX-User-Id: ann\r\nConnection: close\r\n\r\n");
    let closed = wire.closes(BOUND);
    Got { responses: Response::parse_all(wire.unread()), closed }
}

fn seen(scene: &Scene) -> Vec<String> {
    scene.origin.received().iter().map(|request| request.target.clone()).collect()
}

/// Fails unless the client was refused, its connection closed, and nothing whole reached the origin.
fn assert_refused(scene: &Scene, what: &str, got: &Got) {
    let statuses: Vec<_> = got.responses.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [400], "{what}: one refusal");
    assert!(got.closed, "{what}: the connection ends");
    assert_eq!(seen(scene), [""; 0], "{what}: no request reaches the origin");
}

/// Fails unless exactly one request reached the origin, cleanly framed, and the connection ended; that request.
fn assert_one_reframed(scene: &Scene, what: &str, got: &Got) -> Received {
    let statuses: Vec<_> = got.responses.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200], "{what}: one answer");
    assert!(got.closed, "{what}: the connection ends, so nothing that follows is taken for a request");
    let received = scene.origin.received();
    assert_eq!(received.len(), 1, "{what}: {:?}", seen(scene));
    assert_cleanly_framed(&received[0], what);
    received[0].clone()
}

fn assert_cleanly_framed(request: &Received, what: &str) {
    let framed = request.all("content-length").len() + request.all("transfer-encoding").len();
    assert!(framed <= 1, "{what}: {:?}", request.headers);
    assert!(request.all("transfer-encoding").iter().all(|coding| *coding == "chunked"), "{what}");
    assert!(request.all("content-length").iter().all(|length| length.bytes().all(|b| b.is_ascii_digit())));
    let head = String::from_utf8(request.raw_head.clone()).unwrap();
    assert_eq!(head.matches('\n').count(), head.matches("\r\n").count(), "{what}: no bare line feed");
    assert_eq!(head.matches('\r').count(), head.matches("\r\n").count(), "{what}: no bare carriage return");
    assert_eq!(request.header("expect"), None, "{what}");
}

#[test]
fn a_length_beside_chunks_is_reframed_and_ends_the_connection() {
    let chunked = format!("5\r\nhello\r\n0\r\n\r\n{SMUGGLED}");
    for (what, headers) in [
        ("CL.TE", format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", chunked.len())),
        ("TE.CL", "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n".to_owned()),
        ("a length of zero", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n".to_owned()),
        ("in lower case", "content-length: 3\r\nX-A: b\r\ntransfer-encoding: chunked\r\n".to_owned()),
    ] {
        let scene = scene(Origin::builder());
        let got = send(&scene, "POST /x/ HTTP/1.1", format!("{headers}\r\n{chunked}"));
        let received = assert_one_reframed(&scene, what, &got);
        assert_eq!(received.body, b"hello", "{what}");
        assert_eq!(received.header("content-length"), None, "{what}");
    }
}

#[test]
fn a_length_beside_chunks_lets_no_request_through_behind_a_pipelined_one_either() {
    let chunked = format!("5\r\nhello\r\n0\r\n\r\n{SMUGGLED}");
    let second = "POST /x/second HTTP/1.1\r\nHost: gateway.test\r\nX-User-Id: ann\r\n";
    for (what, headers) in [
        ("CL.TE", format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", chunked.len())),
        ("TE.CL", "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n".to_owned()),
    ] {
        let scene = scene(Origin::builder());
        let got = send(&scene, "GET /x/first HTTP/1.1", format!("\r\n{second}{headers}\r\n{chunked}"));
        assert!(got.closed, "{what}");
        let targets = seen(&scene);
        assert!(
            ["/x/first", "/x/second"].starts_with(&targets.iter().map(|t| &**t).collect::<Vec<_>>()),
            "{what}: {targets:?}"
        );
        let received = scene.origin.received();
        received.iter().for_each(|request| assert_cleanly_framed(request, what));
        assert!(received.iter().skip(1).all(|request| request.body == b"hello"), "{what}");
        assert_eq!(got.responses[0].status, 200, "{what}");
        assert!(got.responses.len() <= 2, "{what}: {:?}", got.responses);
    }
}

#[test]
fn a_transfer_coding_that_is_not_exactly_chunked_is_refused() {
    let scene = scene(Origin::builder());
    for coding in [
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: identity\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: chunke\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding:\x0bchunked\r\n",
        "Transfer-Encoding\t: chunked\r\n",
    ] {
        let got = send(&scene, "POST /x/ HTTP/1.1", format!("{coding}\r\n5\r\nhello\r\n0\r\n\r\n{SMUGGLED}"));
        assert_refused(&scene, coding, &got);
    }
}

#[test]
fn an_expectation_does_not_hide_a_body() {
    // 0.CL: a proxy that thinks the body of an `Expect` request comes later reads it as the next request.
    for expect in ["100-continue", "100-Continue", "y 100-continue", "x"] {
        let scene = scene(Origin::builder());
        let rest = format!("Expect: {expect}\r\nContent-Length: {}\r\n\r\n{SMUGGLED}", SMUGGLED.len());
        let got = send(&scene, "GET /x/ HTTP/1.1", rest);
        let received = scene.origin.received();
        assert!(got.closed, "{expect}");
        assert_eq!(seen(&scene), ["/x/", "/x/last"], "{expect}: the body is no request");
        assert_eq!(received[0].body, SMUGGLED.as_bytes(), "{expect}: it is the body");
        received.iter().for_each(|request| assert_cleanly_framed(request, expect));
    }
}

#[test]
fn an_options_request_with_chunks_has_them_as_its_body() {
    // TE.0: an upstream that ignores the body of OPTIONS would find a request in it.
    let scene = scene(Origin::builder());
    let chunk = format!("{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len());
    let got = send(&scene, "OPTIONS /x/ HTTP/1.1", format!("Transfer-Encoding: chunked\r\n\r\n{chunk}"));
    assert!(got.closed);
    assert_eq!(seen(&scene), ["/x/", "/x/last"]);
    let request = &scene.origin.received()[0];
    assert_cleanly_framed(request, "TE.0");
    assert_eq!((&*request.method, &*request.body), ("OPTIONS", SMUGGLED.as_bytes()));
}

#[test]
fn a_content_length_that_is_no_number_or_two_is_refused() {
    let scene = scene(Origin::builder());
    for length in [
        "Content-Length: +5\r\n",
        "Content-Length: 5,6\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Content-Length: 18446744073709551621\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: 5.0\r\n",
        "Content-Length:\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nContent-Length: +5\r\n",
        "Content-Length : 5\r\n",
        "Content-Length: 5\r\n 6\r\n",
    ] {
        let got = send(&scene, "POST /x/ HTTP/1.1", format!("{length}\r\nhello{SMUGGLED}"));
        assert_refused(&scene, length, &got);
    }
}

#[test]
fn the_same_content_length_twice_is_refused_or_said_once() {
    for length in
        ["Content-Length: 5\r\nContent-Length: 5\r\n", "Content-Length: 5, 5\r\n", "Content-Length: 05\r\n"]
    {
        let scene = scene(Origin::builder());
        let got = send(&scene, "POST /x/ HTTP/1.1", format!("{length}\r\nhello"));
        if got.responses[0].status == 400 {
            assert_refused(&scene, length, &got);
            continue;
        }
        assert_eq!(seen(&scene), ["/x/", "/x/last"], "{length}");
        let request = &scene.origin.received()[0];
        assert_eq!(request.body, b"hello", "{length}");
        assert_eq!(
            request.header("content-length").and_then(|length| length.parse().ok()),
            Some(5),
            "{length}"
        );
        assert_cleanly_framed(request, length);
    }
}

#[test]
fn chunks_that_are_none_end_the_request_and_the_connection() {
    let scene = scene(Origin::builder());
    let long_extension = format!("5;{}\r\nhello\r\n0\r\n\r\n", "e".repeat(64 * 1024));
    for (what, chunks) in [
        ("a size beyond 64 bits", "ffffffffffffffff1\r\nhello\r\n0\r\n\r\n"),
        ("a line feed in an extension (CVE-2025-55315)", "5;\nhello\r\n0\r\n\r\n"),
        ("a line feed after the size", "5\nhello\r\n0\r\n\r\n"),
        ("an extension of 64 KB", &long_extension),
        ("a size that is no number", "g\r\nhello\r\n0\r\n\r\n"),
        ("a negative size", "-5\r\nhello\r\n0\r\n\r\n"),
        ("a signed size", "+5\r\nhello\r\n0\r\n\r\n"),
        ("a size in C", "0x5\r\nhello\r\n0\r\n\r\n"),
        ("no size", "\r\nhello\r\n0\r\n\r\n"),
        ("a chunk longer than its size", "4\r\nhello\r\n0\r\n\r\n"),
        ("a chunk that ends with a line feed", "5\r\nhello\n0\r\n\r\n"),
        ("a carriage return in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
    ] {
        let rest = format!("Transfer-Encoding: chunked\r\n\r\n{chunks}{SMUGGLED}");
        let got = send(&scene, "POST /x/ HTTP/1.1", rest);
        // The head may have gone ahead of its body; it must be given up, and not look complete.
        assert_refused(&scene, what, &got);
    }
    let lines = scene.settled();
    assert!(lines.iter().all(|line| line.user == "ann"), "nobody is charged for what was inside: {lines:?}");
    assert!(lines.len() <= 12, "each is settled at most once: {lines:?}");
}

#[test]
fn an_extension_of_a_chunk_that_is_well_formed_is_no_trouble() {
    let scene = scene(Origin::builder());
    let got =
        send(&scene, "POST /x/ HTTP/1.1", "Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n");
    assert_eq!(got.responses.iter().map(|answer| answer.status).collect::<Vec<_>>(), [200, 200]);
    let request = &scene.origin.received()[0];
    assert_cleanly_framed(request, "an extension");
    assert_eq!(request.body, b"hello");
}

#[test]
fn http_1_0_knows_no_chunks() {
    let scene = scene(Origin::builder());
    let rest = format!("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n{SMUGGLED}");
    let got = send(&scene, "POST /x/ HTTP/1.0", rest);
    assert_refused(&scene, "HTTP/1.0 with chunks", &got);
}

#[test]
fn http_1_0_keeps_its_connection_only_if_asked_and_is_forwarded_as_http_1_1() {
    let scene = scene(Origin::builder());
    let got = send(&scene, "POST /x/ HTTP/1.0", format!("Content-Length: 5\r\n\r\nhello{SMUGGLED}"));
    let request = assert_one_reframed(&scene, "HTTP/1.0", &got);
    assert_eq!((&*request.version, &*request.body), ("HTTP/1.1", &b"hello"[..]));
}

#[test]
fn an_upgrade_that_the_upstream_declines_leaves_an_ordinary_connection() {
    let scene = scene(Origin::builder());
    let got =
        send(&scene, "GET /x/ HTTP/1.1", format!("Connection: Upgrade\r\nUpgrade: x\r\n\r\n{SMUGGLED}"));
    // What is pipelined behind is a request of its own: identified, metered and charged as one.
    assert_eq!(seen(&scene), ["/x/", "/x/smuggled", "/x/last"]);
    let received = scene.origin.received();
    assert_eq!(received[0].header("upgrade"), None, "only WebSockets are asked for");
    assert_eq!(received[1].all("x-user-id"), ["victim"], "as this trusted peer says");
    assert_eq!(got.responses.len(), 3);
    let mut users: Vec<_> = scene.settled().into_iter().map(|line| line.user).collect();
    users.sort_unstable();
    assert_eq!(users, ["ann", "ann", "victim"], "nothing passes unmetered");
}

#[test]
fn a_websocket_that_the_upstream_declines_opens_no_tunnel() {
    let scene = scene(Origin::builder());
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                   Sec-WebSocket-Version: 13\r\n\r\n";
    let got = send(&scene, "GET /x/ HTTP/1.1", format!("{upgrade}{SMUGGLED}"));
    assert_eq!(got.responses[0].status, 200);
    let requests = scene.settled();
    assert_eq!(requests.len(), seen(&scene).iter().filter(|target| *target != "/mark").count());
    assert!(got.closed);
}

#[test]
fn http2_over_cleartext_is_not_upgraded_to() {
    let scene = scene(Origin::builder());
    let upgrade = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n";
    let got = send(&scene, "GET /x/ HTTP/1.1", upgrade);
    assert_eq!(got.responses[0].status, 200, "an ordinary answer");
    let request = &scene.origin.received()[0];
    for absent in ["upgrade", "http2-settings", "connection"] {
        assert_eq!(request.header(absent), None, "{absent}");
    }
}

#[test]
fn connect_is_not_served() {
    for target in ["origin.test:443", "127.0.0.1:9000", "/x/"] {
        let scene = scene(Origin::builder());
        let got = send(&scene, &format!("CONNECT {target} HTTP/1.1"), "\r\n");
        let status = got.responses[0].status;
        assert!((400..500).contains(&status), "{target}: {status}");
        assert!(seen(&scene).iter().all(|target| target == "/x/last"), "{target}: {:?}", seen(&scene));
    }
}

#[test]
fn control_bytes_in_header_values_are_refused() {
    let scene = scene(Origin::builder());
    for byte in (0..0x20u8).chain([0x7f]).filter(|byte| *byte != b'\t') {
        // A line feed ends the line, and what follows is none.
        let value = [b"X-Note: a", &[byte][..], b"b\r\n\r\n"].concat();
        let mut wire = Wire::connect(scene.gateway.address());
        let start = b"GET /x/ HTTP/1.1\r\nHost: gateway.test\r\nX-User-Id: ann\r\n";
        wire.send([&start[..], &value[..]].concat());
        let answer = wire.response(false, BOUND).unwrap_or_else(|| panic!("no answer to {byte:#x}"));
        assert_eq!(answer.status, 400, "{byte:#x}");
        assert!(wire.closes(BOUND), "{byte:#x}");
        assert_eq!(scene.origin.requests(), 0, "{byte:#x}");
    }
}

#[test]
fn control_bytes_in_names_methods_and_targets_are_refused() {
    let scene = scene(Origin::builder());
    for (what, bytes) in [
        ("in a name", &b"GET /x/ HTTP/1.1\r\nHost: g\r\nX-User-Id: ann\r\nX-\x01: a\r\n\r\n"[..]),
        ("a blank in a name", b"GET /x/ HTTP/1.1\r\nHost: g\r\nX-User-Id: ann\r\nX Note: a\r\n\r\n"),
        ("an empty name", b"GET /x/ HTTP/1.1\r\nHost: g\r\nX-User-Id: ann\r\n: a\r\n\r\n"),
        ("in the method", b"G\x00ET /x/ HTTP/1.1\r\nHost: g\r\nX-User-Id: ann\r\n\r\n"),
        ("in the target", b"GET /x/\x01 HTTP/1.1\r\nHost: g\r\nX-User-Id: ann\r\n\r\n"),
        ("a blank in the target", b"GET /x/ y HTTP/1.1\r\nHost: g\r\nX-User-Id: ann\r\n\r\n"),
        ("another version", b"GET /x/ HTTP/1.2\r\nHost: g\r\nX-User-Id: ann\r\n\r\n"),
        ("a lower-case version", b"GET /x/ http/1.1\r\nHost: g\r\nX-User-Id: ann\r\n\r\n"),
        ("no version", b"GET /x/\r\nHost: g\r\nX-User-Id: ann\r\n\r\n"),
    ] {
        let mut wire = Wire::connect(scene.gateway.address());
        wire.send(bytes);
        let answer = wire.response(false, BOUND).unwrap_or_else(|| panic!("{what}: no answer"));
        assert!([400, 505].contains(&answer.status), "{what}: {answer:?}");
        assert!(wire.closes(BOUND), "{what}");
    }
    assert_eq!(scene.origin.requests(), 0);
}

#[test]
fn bare_line_feeds_are_refused_or_made_good() {
    let scene = scene(Origin::builder());
    let mut wire = Wire::connect(scene.gateway.address());
    wire.send("GET /x/ HTTP/1.1\nHost: gateway.test\nX-User-Id: ann\nConnection: close\n\n");
    let answer = wire.response(false, BOUND).unwrap();
    if answer.status != 400 {
        assert_eq!(answer.status, 200);
        let received = scene.origin.received();
        assert_eq!(received.len(), 1);
        assert_cleanly_framed(&received[0], "bare line feeds");
        assert_eq!(received[0].all("x-user-id"), ["ann"]);
    }
    assert!(wire.closes(BOUND));
}

#[test]
fn a_request_head_that_is_split_anywhere_is_one_request() {
    let scene = scene(Origin::builder());
    let request =
        b"POST /x/ HTTP/1.1\r\nHost: gateway.test\r\nX-User-Id: ann\r\nContent-Length: 5\r\n\r\nhello";
    let mut wire = Wire::connect(scene.gateway.address());
    for byte in request {
        wire.send([*byte]);
    }
    assert_eq!(wire.response(false, BOUND).unwrap().status, 200);
    assert_eq!(scene.origin.received().len(), 1);
    assert_eq!(scene.origin.last().body, b"hello");
}
