//! Requests as they are written.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use proptest::prelude::*;
use tokio::io::AsyncWrite;

use crate::{
    headers::Headers,
    http1::{Coding, Output, announced},
    upstream::http1::encode,
};

/// Takes at most so many bytes at a time.
struct Narrow {
    written: Vec<u8>,
    at_once_max: usize,
}

impl AsyncWrite for Narrow {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let count = buf.len().min(self.at_once_max);
        self.written.extend(&buf[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all = bufs.iter().flat_map(|buf| buf.iter().copied());
        let before = self.written.len();
        let count = self.at_once_max;
        self.written.extend(all.take(count));
        Poll::Ready(Ok(self.written.len() - before))
    }
}

fn flush(output: &mut Output, stream: &mut Narrow) {
    let polled = output.poll_flush(stream, &mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Ready(Ok(()))), "it is always ready");
    assert!(output.is_empty() && output.has_room());
}

fn head(method: Method, headers: &[(HeaderName, &'static str)], coding: &Coding) -> String {
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = "/a?b".parse().unwrap();
    for (name, value) in headers {
        request.headers_mut().append(name.clone(), HeaderValue::from_static(value));
    }
    let mut buffer = Vec::new();
    let host = HeaderValue::from_static("service:80");
    encode::head(&mut buffer, &request.into_parts().0.into(), &host, coding);
    String::from_utf8(buffer).unwrap()
}

#[test]
fn the_gateway_alone_says_host_and_framing() {
    let said = [
        (header::HOST, "client.test"),
        (header::CONTENT_LENGTH, "7"),
        (header::TRANSFER_ENCODING, "chunked"),
        (header::ACCEPT, "a"),
        (header::ACCEPT, "b"),
    ];
    let start = "/a?b HTTP/1.1\r\nhost: service:80\r\naccept: a\r\naccept: b\r\n";
    for (method, coding, framing) in [
        (Method::GET, Coding::End, ""),
        (Method::HEAD, Coding::End, ""),
        (Method::DELETE, Coding::End, ""),
        (Method::POST, Coding::End, "content-length: 0\r\n"),
        (Method::POST, Coding::Length(12), "content-length: 12\r\n"),
        (Method::GET, Coding::Chunked { announced: Vec::new() }, "transfer-encoding: chunked\r\n"),
    ] {
        let expected = format!("{method} {start}{framing}\r\n");
        assert_eq!(head(method, &said, &coding), expected);
    }
}

#[test]
fn a_body_is_as_long_as_it_says() {
    let mut output = Output::default();
    let mut coding = Coding::Length(5);
    coding.data(Bytes::from("hel"), false, &mut output).unwrap();
    assert!(coding.data(Bytes::from("lo!"), true, &mut output).is_err(), "longer");
    assert!(coding.end(None, &mut output).is_err(), "shorter");
    assert!(Coding::End.data(Bytes::from("x"), true, &mut output).is_err(), "none");
}

#[test]
fn trailers_pass_if_they_were_announced_and_harm_nobody() {
    let mut headers = Headers::default();
    headers.insert(&header::TRAILER, &HeaderValue::from_static("X-Sum, host,, Transfer-Encoding"));
    let mut trailers = HeaderMap::new();
    for name in ["x-sum", "host", "transfer-encoding", "x-other"] {
        trailers.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
    }
    let mut output = Output::default();
    let mut coding = Coding::Chunked { announced: announced(&headers) };
    coding.data(Bytes::from("abcd"), false, &mut output).unwrap();
    coding.end(Some(&trailers), &mut output).unwrap();
    let mut stream = Narrow { written: Vec::new(), at_once_max: usize::MAX };
    flush(&mut output, &mut stream);
    assert_eq!(stream.written, b"4\r\nabcd\r\n0\r\nx-sum: 1\r\n\r\n");
}

proptest! {
    #[test]
    fn what_is_put_in_is_written_once_and_in_order(
        pieces in proptest::collection::vec(1..20_000usize, 1..6),
        chunked in any::<bool>(),
        at_once_max in 1..30_000usize,
    ) {
        let mut stream = Narrow { written: Vec::new(), at_once_max };
        let mut output = Output::default();
        output.buffer().extend(b"head");
        let total: usize = pieces.iter().sum();
        let mut coding =
            if chunked { Coding::Chunked { announced: Vec::new() } } else { Coding::Length(total as u64) };
        let mut expected = b"head".to_vec();
        for (position, length) in pieces.iter().enumerate() {
            let data = vec![b'a' + u8::try_from(position).unwrap(); *length];
            if chunked {
                expected.extend(format!("{length:x}\r\n").into_bytes());
            }
            expected.extend(&data);
            if chunked {
                expected.extend(b"\r\n");
            }
            let last = position + 1 == pieces.len();
            coding.data(data.into(), last, &mut output).unwrap();
            if last {
                coding.end(None, &mut output).unwrap();
            }
            if last || !output.has_room() {
                flush(&mut output, &mut stream);
            }
        }
        if chunked {
            expected.extend(b"0\r\n\r\n");
        }
        prop_assert!(stream.written == expected);
    }
}
