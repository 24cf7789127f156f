//! Answers that could be read in two ways, or never end.

use http::Method;

use super::{Error, read, whole};
use crate::{
    http1::{Decoder, HEADERS_MAX, INFORMATIONAL_MAX},
    upstream::http1::HEAD_BYTES_MAX,
};

#[test]
fn heads_that_are_none_are_refused() {
    for head in [
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 099 No\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-Note: a\r\n b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-Note: a\rX-Evil: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX Note: a\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-Note : a\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-Note: a\0b\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: a\r\n\r\n",
    ] {
        assert!(whole(head).is_err(), "{head:?}");
    }
}

#[test]
fn lengths_that_are_no_number_or_two_are_refused() {
    for length in [
        "Content-Length: +5\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 5,6\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: 5.0\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length:\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
    ] {
        for method in [Method::GET, Method::HEAD] {
            let answer = format!("HTTP/1.1 200 OK\r\n{length}\r\nhello");
            assert!(
                matches!(read(&method, [answer.as_bytes()], false), Err(Error::Framing(_))),
                "{length:?}"
            );
        }
    }
}

#[test]
fn codings_that_are_not_chunked_alone_are_refused() {
    for coding in [
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: identity\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding:\x0bchunked\r\n",
        "Transfer-Encoding:\r\n",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{coding}\r\n5\r\nhello\r\n0\r\n\r\n");
        assert!(whole(answer).is_err(), "{coding:?}");
    }
    assert!(whole("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").is_err(), "HTTP/1.0");
}

#[test]
fn chunks_that_are_none_are_refused_wherever_they_are_cut() {
    let extension = format!("5;{}\r\nhello\r\n0\r\n\r\n", "e".repeat(64 * 1024));
    let trailers = format!("0\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1));
    let trailer = format!("0\r\na: {}\r\n\r\n", "b".repeat(64 * 1024));
    for chunks in [
        "ffffffffffffffff1\r\nhello\r\n0\r\n\r\n",
        "5;\nhello\r\n0\r\n\r\n",
        "5;a\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        ";a\r\nhello\r\n0\r\n\r\n",
        "4\r\nhello\r\n0\r\n\r\n",
        "6\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "0\r\n\n",
        "0\r\na: b\n\r\n",
        "0\r\na b: c\r\n\r\n",
        "0\r\n b: c\r\n\r\n",
        &extension,
        &trailers,
        &trailer,
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        let what = &chunks[..chunks.len().min(40)];
        assert!(whole(&answer).is_err(), "{what:?}");
        assert!(read(&Method::GET, answer.as_bytes().chunks(1), false).is_err(), "{what:?} byte by byte");
    }
}

/// A frame that was whole is passed on, also where what follows is not; after that nothing is.
#[test]
fn what_came_before_a_mistake_arrives() {
    use bytes::BytesMut;
    let mut decoder = Decoder::Chunked(Default::default());
    let mut buffer = BytesMut::from("5\r\nhello\r\nx");
    let frame = decoder.decode(&mut buffer).unwrap().expect("the chunk");
    assert_eq!(frame.into_data().unwrap(), "hello");
    assert!(!decoder.is_end());
    assert!(decoder.decode(&mut buffer).is_err());
    buffer.extend_from_slice(b"\r\n0\r\n\r\n");
    decoder.advance(&mut buffer);
    assert!(decoder.decode(&mut buffer).is_err());
    assert!(decoder.close().is_err());
    assert!(!decoder.is_end(), "what follows is part of nothing");
}

#[test]
fn heads_without_end_are_refused() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(HEAD_BYTES_MAX));
    assert!(whole(&long).is_err());
    assert!(whole(format!("{long}\r\n\r\n")).is_err());
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1));
    assert!(whole(many).is_err());
    let informational = "HTTP/1.1 100 Continue\r\n\r\n".repeat(INFORMATIONAL_MAX + 1);
    assert!(whole(&informational).is_err());
    assert!(read(&Method::GET, informational.as_bytes().chunks(7), false).is_err());
}
