//! The same for answers of upstreams.

use tollgate_testkit::{Answer, BOUND, Origin, Wire};

use super::{scene, send};

#[test]
fn a_tunnel_that_the_upstream_opens_unasked_is_a_failure() {
    let switching = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n".to_vec();
    let scene = scene(Origin::builder().on("/x/", Answer::Raw(switching)));
    let got = send(&scene, "GET /x/ HTTP/1.1", "Connection: Upgrade\r\nUpgrade: x\r\n\r\n");
    assert_eq!(got.responses[0].status, 502, "{:?}", got.responses[0]);
}

#[test]
fn an_answer_framed_in_two_ways_does_not_reach_the_client_as_two() {
    let both =
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n\
                 HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
            .to_vec();
    let scene = scene(Origin::builder().on("/x/", Answer::Raw(both)));
    let mut wire = Wire::connect(scene.gateway.address());
    let request = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: g\r\nX-User-Id: ann\r\n\r\n");
    wire.send(request("/x/"));
    let answer = wire.response(false, BOUND).unwrap();
    let framed = answer.all("content-length").len() + answer.all("transfer-encoding").len();
    assert_eq!(framed, 1, "{answer:?}");
    assert!(answer.status == 502 || answer.text() == "hello", "{answer:?}");
    // What came behind it belongs to nobody.
    let mut other = Wire::connect(scene.gateway.address());
    other.send(request("/x/other"));
    assert_eq!(other.response(false, BOUND).unwrap().json()["path"], "/x/other");
    assert!(!String::from_utf8_lossy(wire.unread()).contains("evil"));
}

#[test]
fn a_header_that_the_upstream_splits_is_not_passed_on() {
    for bad in ["X-Note: a\r\n b\r\n", "X-Note: a\rX-Evil: b\r\n", "X Note: a\r\n", "X-Note: a\x00b\r\n"] {
        let answer = format!("HTTP/1.1 200 OK\r\n{bad}Content-Length: 2\r\n\r\nok").into_bytes();
        let scene = scene(Origin::builder().on("/x/", Answer::Raw(answer)));
        let mut wire = Wire::connect(scene.gateway.address());
        wire.send("GET /x/ HTTP/1.1\r\nHost: g\r\nX-User-Id: ann\r\nConnection: close\r\n\r\n");
        let answer = wire.response(false, BOUND).unwrap();
        assert_eq!(answer.status, 502, "{bad:?}: {answer:?}");
        assert_eq!(answer.header("x-evil"), None);
    }
}
