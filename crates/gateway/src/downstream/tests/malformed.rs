//! Requests that could be read in two ways, or never end.

use super::{BYTES_MAX, Error, LINES_MAX, read, whole};

/// Fails unless this is refused, in one piece and byte by byte.
fn assert_refused(request: &str) {
    let what = &request[..request.len().min(200)];
    assert!(whole(request).is_err(), "{what:?}");
    assert!(read(request.as_bytes().chunks(1)).is_err(), "{what:?} byte by byte");
}

#[test]
fn heads_that_are_none_are_refused() {
    for head in [
        "SSH-2.0-OpenSSH\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/1.2\r\n\r\n",
        "GET / HTTP/2.0\r\n\r\n",
        "GET / http/1.1\r\n\r\n",
        "GET  / HTTP/1.1\r\n\r\n",
        "GET / y HTTP/1.1\r\n\r\n",
        "GET /\x01 HTTP/1.1\r\n\r\n",
        "G\0ET / HTTP/1.1\r\n\r\n",
        " GET / HTTP/1.1\r\n\r\n",
        "GET h:h:h HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\n X: a\r\n\r\n",
        "GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\nX: a\rY: b\r\n\r\n",
        "GET / HTTP/1.1\r\nX Y: a\r\n\r\n",
        "GET / HTTP/1.1\r\nX : a\r\n\r\n",
        "GET / HTTP/1.1\r\nX: a\0b\r\n\r\n",
        "GET / HTTP/1.1\r\nX: a\x7fb\r\n\r\n",
        "GET / HTTP/1.1\r\n: a\r\n\r\n",
        "GET / HTTP/1.1\r\nX\r\n\r\n",
        "GET / HTTP/1.1\nX: a\n\n",
        "GET / HTTP/1.1\nX: a\r\n\r\n",
        "GET / HTTP/1.1\r\nX: a\nY: b\r\n\r\n",
        "GET / HTTP/1.1\r\nX: a\n\r\n",
        "GET / HTTP/1.1\r\nX: a\r\n\n",
    ] {
        assert_refused(head);
    }
}

#[test]
fn framing_in_two_ways_is_refused() {
    for framing in [
        "Content-Length: +5\r\n",
        "Content-Length: 5,6\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length:\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: identity\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "Transfer-Encoding:\x0bchunked\r\n",
    ] {
        assert_refused(&format!("POST / HTTP/1.1\r\n{framing}\r\n5\r\nhello\r\n0\r\n\r\n"));
    }
    assert_refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
}

#[test]
fn chunks_that_are_none_are_refused() {
    let extension = format!("5;{}\r\nhello\r\n0\r\n\r\n", "e".repeat(64 * 1024));
    for chunks in [
        "ffffffffffffffff1\r\nhello\r\n0\r\n\r\n",
        "5;\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        "4\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        &extension,
    ] {
        assert_refused(&format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"));
    }
}

#[test]
fn heads_that_are_too_large_are_told_apart_from_malformed_ones() {
    let lines = |count| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(count));
    assert!(whole(lines(LINES_MAX)).unwrap().is_some());
    assert!(matches!(whole(lines(LINES_MAX + 1)), Err(Error::TooLarge)));
    let long = |bytes| format!("GET / HTTP/1.1\r\na: {}", "b".repeat(bytes));
    let rest = BYTES_MAX - long(0).len();
    assert!(whole(long(rest - 4) + "\r\n\r\n").unwrap().is_some());
    assert!(matches!(whole(long(rest - 3) + "\r\n\r\n"), Err(Error::TooLarge)));
    assert!(whole(long(rest)).unwrap().is_none());
    assert!(matches!(whole(long(rest + 1)), Err(Error::TooLarge)), "without an end, too");
    assert!(matches!(read(long(BYTES_MAX).as_bytes().chunks(7)), Err(Error::TooLarge)));
}
