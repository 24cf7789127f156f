//! Answers that are well formed.

use http::{Method, StatusCode};
use proptest::prelude::*;

use super::{Read, read, whole};

#[test]
fn head_and_body_in_one_piece_are_one_frame_and_the_end() {
    let answer: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-a: 1\r\nX-A: 2\r\n\r\nhello";
    let read = whole(answer).unwrap().expect("the end");
    assert_eq!((read.response.status(), &*read.body, read.keep_alive), (StatusCode::OK, &b"hello"[..], true));
    assert_eq!(read.response.headers().get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert!(read.rest.is_empty());
}

#[test]
fn what_has_no_body_ends_with_its_head() {
    for (method, head) in [
        (Method::HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        (Method::HEAD, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (Method::GET, "HTTP/1.1 204 No Content\r\n\r\n"),
        (Method::GET, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
        (Method::GET, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ] {
        let read = read(&method, [head.as_bytes(), b"behind"], false).unwrap().expect(head);
        assert!(read.body.is_empty() && read.keep_alive, "{head}");
        assert_eq!(&*read.rest, b"behind", "{head}");
    }
}

#[test]
fn connections_are_kept_by_the_rules() {
    for (head, keep_alive) in [
        ("HTTP/1.1 200 OK\r\n", true),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\n", false),
        ("HTTP/1.1 200 OK\r\nConnection: x, Close\r\nConnection: keep-alive\r\n", false),
        ("HTTP/1.0 200 OK\r\n", false),
        ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n", true),
    ] {
        let read = whole(format!("{head}Content-Length: 0\r\n\r\n")).unwrap().expect(head);
        assert_eq!(read.keep_alive, keep_alive, "{head}");
    }
}

#[test]
fn chunks_beside_a_length_win_and_end_the_connection() {
    let answer =
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let read = whole(answer).unwrap().expect("the end");
    assert_eq!((&*read.body, read.keep_alive), (&b"hello"[..], false));
}

#[test]
fn without_a_length_the_body_ends_with_the_connection() {
    let answer: &[u8] = b"HTTP/1.1 200 OK\r\n\r\nhello";
    assert!(whole(answer).unwrap().is_none(), "more may come");
    let read = read(&Method::GET, [answer, b" there"], true).unwrap().expect("the end");
    assert_eq!((&*read.body, read.keep_alive), (&b"hello there"[..], false));
}

#[test]
fn informational_answers_are_told_apart_from_the_answer_and_a_switch_is_one() {
    let before = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let read = whole(format!("{before}HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")).unwrap().expect("200");
    assert_eq!((read.response.status(), read.keep_alive), (StatusCode::OK, true));
    assert!(read.response.headers().get("link").is_none());
    assert_eq!(read.informational.iter().map(StatusCode::as_u16).collect::<Vec<_>>(), [100, 103]);
    let switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nfirst";
    let read = whole(format!("{before}{switch}")).unwrap().expect("101");
    assert_eq!((read.response.status().as_u16(), read.keep_alive, &*read.rest), (101, false, &b"first"[..]));
}

#[test]
fn an_empty_line_before_an_answer_is_none_of_it() {
    for before in ["\r\n", "\n", "HTTP/1.1 100 Continue\r\n\r\n\r\n"] {
        let answer = format!("{before}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        for read in [whole(&answer), read(&Method::GET, answer.as_bytes().chunks(1), false)] {
            assert_eq!(read.unwrap().expect("the end").body, b"ok", "{answer:?}");
        }
    }
}

#[test]
fn what_the_head_says_otherwise_is_kept() {
    let answer = b"HTTP/1.0 299 Quite Fine\nX-Odd: \x80\xff\nContent-Length: 0\n\n";
    let read = whole(answer).unwrap().expect("the end");
    assert!(!read.keep_alive, "HTTP/1.0 ends its connections");
    let reason = read.response.extensions().get::<hyper::ext::ReasonPhrase>();
    assert_eq!(reason.map(hyper::ext::ReasonPhrase::as_bytes), Some(&b"Quite Fine"[..]));
    assert_eq!(read.response.headers()["x-odd"].as_bytes(), b"\x80\xff");
}

/// One message, by the way its end is known.
fn framed(body: &[u8], kind: u8, chunk: usize) -> Vec<u8> {
    let mut message = b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nX-A: b\r\n".to_vec();
    match kind {
        0 => message
            .extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes().chain(body.iter().copied())),
        1 => {
            message.extend(b"Transfer-Encoding: chunked\r\n\r\n");
            for piece in body.chunks(chunk) {
                message.extend(format!("{:X};a=b\r\n", piece.len()).into_bytes());
                message.extend(piece);
                message.extend(b"\r\n");
            }
            message.extend(b"000\r\nX-Sum: 17\r\nx-sum: 18\r\n\r\n");
        }
        _ => {
            message.extend(b"\r\n");
            message.extend(body);
        }
    }
    message
}

fn cut_at(message: &[u8], mut cuts: Vec<usize>) -> Vec<&[u8]> {
    cuts.iter_mut().for_each(|cut| *cut %= message.len() + 1);
    cuts.sort_unstable();
    let ends = cuts.iter().copied().chain([message.len()]);
    let mut from = 0;
    ends.map(|end| &message[std::mem::replace(&mut from, end)..end]).collect()
}

proptest! {
    #[test]
    fn any_pieces_give_the_same_answer(
        body in proptest::collection::vec(any::<u8>(), 0..2000),
        kind in 0..3u8,
        chunk in 1..500usize,
        cuts in proptest::collection::vec(any::<usize>(), 0..12),
    ) {
        let message = framed(&body, kind, chunk);
        for pieces in [cut_at(&message, cuts), message.chunks(1).collect()] {
            let Read { response, body: read, trailers, rest, .. } =
                read(&Method::GET, pieces, kind == 2).unwrap().expect("the end");
            prop_assert_eq!(response.status(), StatusCode::OK);
            prop_assert_eq!(response.headers().len(), if kind == 2 { 1 } else { 2 });
            prop_assert_eq!(&read, &body);
            prop_assert!(rest.is_empty());
            let sums = trailers.map(|trailers| trailers.get_all("x-sum").iter().count());
            prop_assert_eq!(sums, (kind == 1).then_some(2));
        }
    }

    #[test]
    fn a_message_that_is_cut_has_no_end(
        body in proptest::collection::vec(any::<u8>(), 1..300),
        kind in 0..2u8,
        chunk in 1..100usize,
        cut in any::<usize>(),
    ) {
        let message = framed(&body, kind, chunk);
        let cut = &message[..cut % message.len()];
        let read = read(&Method::GET, [cut], true);
        prop_assert!(!matches!(read, Ok(Some(_))), "{:?}", read);
    }

    #[test]
    fn noise_is_no_answer_and_no_panic(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = whole(&noise);
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let _ = whole([&head[..], &noise].concat());
    }
}
