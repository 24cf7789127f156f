//! Upstreams whose answers do not come to their end.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use socket2::SockRef;
use tollgate_testkit::{Answer, BOUND, Client, Ending, Gateway, Origin};

use super::{assert_usable, calls, ended, one_job};
use crate::support::stage::{Stage, USER, final_events, final_events_async, request, sent};

fn cuts(http2: bool) -> Origin {
    let cut = Answer::CutLength { promised: 1000, sent: "only this".to_owned() };
    let builder = Origin::builder()
        .on("/length", cut)
        .on("/chunked", Answer::CutChunked(vec!["only ".to_owned(), "this".to_owned()]));
    if http2 { builder.http2().start() } else { builder.start() }
}

async fn assert_cut(gateway: &Gateway, path: &str, http2: bool) {
    let mut client = if http2 {
        Client::http2(gateway.address()).await.unwrap()
    } else {
        Client::http1(gateway.address()).await.unwrap()
    };
    let answer = client.get(path, &[USER]).await.unwrap();
    assert_eq!((answer.status, answer.ending), (200, Ending::Cut), "{path}, h2 in: {http2}");
    assert_eq!(answer.text(), "only this", "what came before the cut arrives");
}

#[tokio::test]
async fn a_cut_answer_is_seen_as_cut() {
    for upstream_h2 in [false, true] {
        let origin = cuts(upstream_h2);
        let protocol = if upstream_h2 { r#"protocol = "http2""# } else { "" };
        let mut gateway = one_job(Stage::before(&origin).upstream(protocol));
        let mut settled = 0.0;
        for path in ["/length", "/chunked"] {
            for client_h2 in [false, true] {
                assert_cut(&gateway, path, client_h2).await;
                assert_usable(&gateway, settled + 1.0);
                settled += 2.0;
            }
        }
        let cut: Vec<_> = calls(final_events_async(&mut gateway).await)
            .into_iter()
            .filter(|(_, _, end)| end.is_some())
            .collect();
        assert_eq!(cut, vec![(200, 1, ended("upstream_cut")); 4], "h2 out: {upstream_h2}");
    }
}

#[test]
fn a_cut_chunked_answer_has_no_last_chunk() {
    let origin = cuts(false);
    let gateway = one_job(Stage::before(&origin));
    let mut wire = sent(&gateway, request("GET", "/chunked", "", ""));
    assert!(wire.closes(BOUND), "the connection cannot go on");
    assert!(!wire.unread().ends_with(b"0\r\n\r\n"), "{:?}", String::from_utf8_lossy(wire.unread()));
}

#[test]
fn an_upstream_that_closes_without_an_answer_is_not_charged() {
    let origin = Origin::builder().on("/close", Answer::Close).start();
    let mut gateway = one_job(Stage::before(&origin));
    let mut wire = sent(&gateway, request("POST", "/close", "Content-Length: 2\r\n", "ab"));
    let answer = wire.response(false, BOUND).expect("an answer");
    assert_eq!((answer.status, answer.json()["error"].as_str()), (502, Some("upstream_unavailable")));
    assert_usable(&gateway, 1.0);
    drop(wire);
    assert_eq!(calls(final_events(&mut gateway)), [(502, 0, ended("no_answer")), (200, 1, None)]);
}

/// An upstream that sends this to everybody and then resets the connection.
fn resetting(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head);
            let _ = stream.write_all(answer.as_bytes());
            // Closing without lingering sends a reset.
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
    });
    address
}

#[test]
fn a_reset_instead_of_an_answer_is_502() {
    let mut gateway = one_job(Stage::at(&[resetting("")]));
    let mut wire = sent(&gateway, request("GET", "/", "", ""));
    assert_eq!(wire.response(false, BOUND).expect("an answer").status, 502);
    drop(wire);
    assert_eq!(calls(final_events(&mut gateway)), [(502, 0, ended("no_answer"))]);
}

#[test]
fn a_reset_in_the_middle_of_an_answer_is_seen_as_cut() {
    let mut gateway = one_job(Stage::at(&[resetting("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nonly")]));
    let mut wire = sent(&gateway, request("GET", "/", "", ""));
    assert!(wire.closes(BOUND));
    match wire.response(false, BOUND) {
        Some(answer) if answer.status == 200 => assert_eq!(answer.ending, Ending::Cut),
        // The reset may overtake the answer's head.
        answer => assert!(answer.is_none_or(|answer| answer.status == 502)),
    }
    drop(wire);
    assert_eq!(calls(final_events(&mut gateway)).len(), 1);
}

#[test]
fn what_is_no_http_is_502() {
    for garbage in
        ["SSH-2.0-OpenSSH\r\n\r\n", "HTTP/1.1 abc\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"]
    {
        let origin = Origin::builder().on("/odd", Answer::Raw(garbage.as_bytes().to_vec())).start();
        let mut gateway = one_job(Stage::before(&origin));
        let mut wire = sent(&gateway, request("GET", "/odd", "", ""));
        let answer = wire.response(false, BOUND).expect("an answer");
        assert_eq!((answer.status, answer.json()["error"].as_str()), (502, Some("upstream_unavailable")));
        assert_usable(&gateway, 1.0);
        drop(wire);
        assert_eq!(calls(final_events(&mut gateway))[0], (502, 0, ended("no_answer")), "{garbage}");
    }
}
