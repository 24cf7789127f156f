//! Heads that are too much: 431, and nothing reaches the upstream.

use tollgate_testkit::{BOUND, Client, Origin};

use super::Watch;
use crate::support::stage::{Stage, USER, request, sent};

#[test]
fn too_many_header_lines_of_http_1_are_431() {
    let origin = Origin::echo();
    let gateway = Stage::before(&origin).listen("headers_max = 20").start();
    let watch = Watch::over(&gateway);
    for (lines, status) in [(18, 200), (19, 431), (5000, 431)] {
        // Host and the user's id are two.
        let lines = (0..lines).map(|n| format!("X-{n}: {n}\r\n")).collect::<String>();
        let mut wire = sent(&gateway, request("GET", "/many", &lines, ""));
        assert_eq!(wire.response(false, BOUND).expect("an answer").status, status);
        assert!(status == 200 || wire.closes(BOUND));
    }
    watch.assert_unharmed();
    assert_eq!(origin.received().iter().filter(|received| received.path() == "/many").count(), 1);
}

#[tokio::test]
async fn too_many_header_lines_of_http_2_are_431() {
    let origin = Origin::echo();
    let gateway = Stage::before(&origin).listen("headers_max = 20").start();
    let mut client = Client::http2(gateway.address()).await.unwrap();
    let names: Vec<String> = (0..500).map(|n| format!("x-{n}")).collect();
    for (lines, status) in [(15, 200), (21, 431), (500, 431)] {
        let headers: Vec<_> = names[..lines].iter().map(|name| (&**name, "1")).chain([USER]).collect();
        assert_eq!(client.get("/many", &headers).await.unwrap().status, status, "{lines}");
    }
    assert_eq!(origin.requests(), 1);
}

#[test]
fn a_head_of_http_1_that_is_too_large_is_431() {
    let origin = Origin::echo();
    let gateway = Stage::before(&origin).listen("header_bytes_max = \"16KiB\"").start();
    let watch = Watch::over(&gateway);
    for (bytes, status) in [(12 << 10, 200), (20 << 10, 431), (8 << 20, 431)] {
        let lines = format!("X-Large: {}\r\n", "l".repeat(bytes));
        let mut wire = tollgate_testkit::Wire::connect(gateway.address());
        // The gateway need not take all of it.
        wire.send(request("GET", "/large", &lines, ""));
        let answer = wire.response(false, BOUND);
        // What is still on its way when the gateway closes may take the answer with it.
        assert!(answer.is_none_or(|answer| answer.status == status) || bytes > 1 << 20, "{bytes}");
        assert!(status == 200 || wire.closes(BOUND));
    }
    watch.assert_unharmed();
    assert_eq!(origin.received().iter().filter(|received| received.path() == "/large").count(), 1);
}

#[tokio::test]
async fn a_head_of_http_2_that_is_too_large_is_431() {
    let origin = Origin::echo();
    let gateway = Stage::before(&origin).listen("header_bytes_max = \"16KiB\"").start();
    let mut client = Client::http2(gateway.address()).await.unwrap();
    let large = "l".repeat(4 << 10);
    let names: Vec<String> = (0..16).map(|n| format!("x-{n}")).collect();
    let headers = |lines: usize| -> Vec<_> {
        names[..lines].iter().map(|name| (&**name, &*large)).chain([USER]).collect()
    };
    for (lines, status) in [(3, 200), (5, 431), (3, 200)] {
        assert_eq!(client.get("/large", &headers(lines)).await.unwrap().status, status, "{lines}");
    }
    // Far beyond the bound, it is not worth a connection.
    let far = client.get("/large", &headers(16)).await;
    assert!(far.is_err() || far.is_ok_and(|answer| answer.status == 431));
    assert_eq!(origin.requests(), 2);
}

/// A target without end is a head without end.
#[test]
fn a_long_target_is_refused() {
    let origin = Origin::echo();
    let gateway = Stage::before(&origin).start();
    let watch = Watch::over(&gateway);
    for bytes in [10 << 10, 1 << 20] {
        let path = format!("/{}", "p".repeat(bytes));
        let mut wire = tollgate_testkit::Wire::connect(gateway.address());
        wire.send(request("GET", &path, "", ""));
        let answer = wire.response(false, BOUND);
        assert!(answer.is_none_or(|answer| [400, 414, 431].contains(&answer.status)), "{bytes}");
        assert!(wire.closes(BOUND));
    }
    watch.assert_unharmed();
}

#[test]
fn connections_max_refuses_the_next_and_nobody_else() {
    let origin = Origin::echo();
    let gateway = Stage::before(&origin).listen("connections_max = 4").start();
    let mut open = [0; 4].map(|_| sent(&gateway, request("GET", "/", "", "")));
    for wire in &mut open {
        assert_eq!(wire.response(false, BOUND).expect("an answer").status, 200);
    }
    let mut fifth = tollgate_testkit::Wire::connect(gateway.address());
    fifth.send(request("GET", "/", "", ""));
    assert!(fifth.closes(BOUND));
    let refused = fifth.response(false, BOUND).expect("an answer");
    assert_eq!((refused.status, refused.json()["error"].as_str()), (503, Some("overloaded")));
    assert!(gateway.metric("tollgate_connections_refused_total") >= Some(1.0));
    for wire in &mut open {
        wire.send(request("GET", "/", "", ""));
        assert_eq!(wire.response(false, BOUND).expect("an answer").status, 200);
    }
    drop(open);
    assert!(tollgate_testkit::eventually(BOUND, || {
        let mut wire = tollgate_testkit::Wire::connect(gateway.address());
        wire.send(request("GET", "/", "", ""));
        wire.response(false, BOUND).is_some_and(|answer| answer.status == 200)
    }));
}
