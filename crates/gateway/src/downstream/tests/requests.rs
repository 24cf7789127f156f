//! Requests that are well formed.

use http::{Method, Version};
use proptest::prelude::*;

use super::{Read, read, whole};
use crate::downstream::fuzzed::check;

#[test]
fn a_request_is_read_to_its_end_and_no_further() {
    let request: &[u8] =
        b"POST /a?b HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nx-a: 2\r\ncontent-length: 5\r\n\r\nhelloGET";
    let Read { request, asked, body, rest, .. } = whole(request).unwrap().expect("the end");
    assert_eq!((request.method(), request.version()), (&Method::POST, Version::HTTP_11));
    assert_eq!(request.uri().path_and_query().map(|target| target.as_str()), Some("/a?b"));
    assert_eq!(request.headers().get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert!(asked.keep_alive && asked.by_http_11 && !asked.by_head && !asked.expects_continue);
    assert_eq!((&*body, &*rest), (&b"hello"[..], &b"GET"[..]));
}

#[test]
fn every_form_of_a_target_is_read() {
    for (target, path, authority) in [
        ("/a", "/a", None),
        ("*", "*", None),
        ("http://h.test/a?b", "/a", Some("h.test")),
        ("h.test:443", "", Some("h.test:443")),
    ] {
        let read =
            whole(format!("OPTIONS {target} HTTP/1.1\r\nHost: h.test\r\n\r\n")).unwrap().expect(target);
        assert_eq!(read.request.uri().path(), path, "{target}");
        assert_eq!(read.request.uri().authority().map(|a| a.as_str()), authority, "{target}");
    }
}

#[test]
fn connections_are_kept_by_the_rules() {
    for (head, keep_alive) in [
        ("GET / HTTP/1.1\r\n", true),
        ("GET / HTTP/1.1\r\nConnection: close\r\n", false),
        ("GET / HTTP/1.1\r\nConnection: x, Close\r\nConnection: keep-alive\r\n", false),
        ("GET / HTTP/1.0\r\n", false),
        ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n", true),
        ("GET / HTTP/1.1\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n", false),
    ] {
        let read = whole(format!("{head}\r\n0\r\n\r\n")).unwrap().expect(head);
        assert_eq!(read.asked.keep_alive, keep_alive, "{head}");
        assert!(!read.request.headers().contains_key("content-length"), "{head}");
    }
}

#[test]
fn what_the_client_can_take_is_known() {
    let head = "HEAD / HTTP/1.1\r\nTE: gzip;q=1, Trailers\r\nExpect: 100-Continue\r\n\r\n";
    let asked = whole(head).unwrap().expect("the end").asked;
    assert!(asked.by_head && asked.wants_trailers && asked.expects_continue);
    let asked = whole("GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").unwrap().expect("the end").asked;
    assert!(!asked.expects_continue && !asked.by_http_11, "HTTP/1.0 knows no informational answers");
    let asked = whole("GET / HTTP/1.1\r\nExpect: x\r\n\r\n").unwrap().expect("the end").asked;
    assert!(!asked.expects_continue);
}

#[test]
fn empty_lines_before_a_request_are_none() {
    let read = whole("\r\n\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap().expect("the end");
    assert_eq!(read.request.headers().len(), 1);
    assert!(whole("\r\n\r\n").unwrap().is_none());
}

/// One message, by the way its end is known.
fn framed(body: &[u8], kind: u8, chunk: usize) -> Vec<u8> {
    let mut message = b"\r\nPUT /a HTTP/1.1\r\nHost: h\r\nX-A: b\r\n".to_vec();
    if kind == 0 {
        message.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes().chain(body.iter().copied()));
        return message;
    }
    message.extend(b"Transfer-Encoding: chunked\r\n\r\n");
    for piece in body.chunks(chunk) {
        message.extend(format!("{:X};a=b\r\n", piece.len()).into_bytes());
        message.extend(piece);
        message.extend(b"\r\n");
    }
    message.extend(if kind == 1 { &b"000\r\nX-Sum: 17\r\nx-sum: 18\r\n\r\n"[..] } else { b"0\r\n\r\n" });
    message
}

fn cut_at(message: &[u8], mut cuts: Vec<usize>) -> Vec<&[u8]> {
    cuts.iter_mut().for_each(|cut| *cut %= message.len() + 1);
    cuts.sort_unstable();
    let ends = cuts.iter().copied().chain([message.len()]);
    let mut from = 0;
    ends.map(|end| &message[std::mem::replace(&mut from, end)..end]).collect()
}

/// What requests, and attacks, are made of.
const PIECES: &[&str] = &[
    "GET / HTTP/1.1\r\n",
    "POST /a?b HTTP/1.1\r\n",
    "PUT http://h/ HTTP/1.0\r\n",
    "Host: h\r\n",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
    "Expect: 100-continue\r\n",
    "X: a\r\n b\r\n",
    "\r\n",
    "\r\n",
    "\n",
    "5\r\nhello\r\n",
    "5;a=b\r\nhello\r\n",
    "5;\nhello\r\n",
    "0\r\n\r\n",
    "0\r\nX: a\r\n\r\n",
    "hello",
];

proptest! {
    #[test]
    fn any_pieces_give_the_same_request(
        body in proptest::collection::vec(any::<u8>(), 0..2000),
        kind in 0..3u8,
        chunk in 1..500usize,
        cuts in proptest::collection::vec(any::<usize>(), 0..12),
    ) {
        let message = framed(&body, kind, chunk);
        for pieces in [cut_at(&message, cuts), message.chunks(1).collect()] {
            let Read { request, body: read, trailers, rest, .. } = read(pieces).unwrap().expect("the end");
            prop_assert_eq!((request.method(), request.uri().path()), (&Method::PUT, "/a"));
            prop_assert_eq!(request.headers().len(), 3);
            prop_assert_eq!(&read, &body);
            prop_assert!(rest.is_empty());
            let sums = trailers.map(|trailers| trailers.get_all("x-sum").iter().count());
            prop_assert_eq!(sums, (kind == 1).then_some(2));
        }
    }

    #[test]
    fn a_request_that_is_cut_has_no_end(
        body in proptest::collection::vec(any::<u8>(), 1..300),
        kind in 0..3u8,
        chunk in 1..100usize,
        cut in any::<usize>(),
    ) {
        let message = framed(&body, kind, chunk);
        let read = whole(&message[..cut % message.len()]);
        prop_assert!(matches!(read, Ok(None)), "{:?}", read);
    }

    #[test]
    fn any_bytes_are_the_same_requests_however_they_are_cut(
        pieces in proptest::collection::vec(
            prop_oneof![
                proptest::sample::select(PIECES).prop_map(|piece| piece.as_bytes().to_vec()),
                proptest::collection::vec(any::<u8>(), 0..3),
            ],
            0..24,
        ),
    ) {
        check(&pieces.concat());
    }

    #[test]
    fn noise_is_no_request_and_no_panic(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = whole(&noise);
        let head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let _ = whole([&head[..], &noise].concat());
    }
}
