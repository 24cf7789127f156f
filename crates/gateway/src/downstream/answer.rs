//! An answer as it is written.

use http::StatusCode;
use http_body::Body as _;
use hyper::ext::ReasonPhrase;

use super::head::{Asked, names};
use crate::{
    body::ResponseBody,
    head::ResponseHead,
    headers::Known,
    http1::{Coding, announced},
    said::Said,
    worker::{Worker, wall_clock},
};

/// How an answer's end is said, and what comes after it.
#[derive(Debug)]
pub(super) struct Framed {
    pub(super) coding: Coding,
    /// Whether the connection can carry the next answer.
    pub(super) keep_alive: bool,
}

/// Writes an answer's head and what is said beside it, framed as the client understands it.
pub(super) fn head(
    buffer: &mut Vec<u8>,
    (head, said): (&ResponseHead, &Said),
    body: &ResponseBody,
    asked: &Asked,
    worker: &Worker,
) -> Framed {
    let (status, headers) = (head.status, &head.headers);
    let bodiless = status.is_informational() || matches!(status.as_u16(), 204 | 304);
    let length = body.size_hint().exact();
    let coding = match length {
        _ if asked.by_head || bodiless => Coding::Nothing,
        Some(0) => Coding::End,
        Some(length) => Coding::Length(length),
        None if !asked.by_http_11 => Coding::Close,
        None if asked.wants_trailers => Coding::Chunked { announced: announced(headers) },
        None => Coding::Chunked { announced: Vec::new() },
    };

    status_line(buffer, asked.by_http_11, status, head.reason.as_ref());
    let says_close = headers.all_known(Known::Connection).any(|value| names(value, b"close"));
    let says_date = headers.has_known(Known::Date);
    headers.write(buffer, |field| match field.known {
        // To HEAD, the upstream says how long its answer to GET would be.
        Known::ContentLength => asked.by_head && !bodiless,
        Known::TransferEncoding => false,
        Known::Trailer => matches!(coding, Coding::Chunked { .. }),
        Known::Other => !said.replaces(field.name),
        _ => true,
    });
    buffer.extend_from_slice(&said.0);
    match (&coding, length) {
        (Coding::Chunked { .. }, _) => buffer.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        (Coding::Length(length), _) => content_length(buffer, *length),
        (Coding::End, _) => content_length(buffer, 0),
        // Of an answer without a body, nobody knows how long it would be with one.
        (Coding::Nothing, Some(length))
            if length > 0 && !bodiless && !headers.has_known(Known::ContentLength) =>
        {
            content_length(buffer, length);
        }
        (Coding::Nothing | Coding::Close, _) => {}
    }
    if !says_date {
        worker.date.put(buffer, worker.deadlines.now(), wall_clock);
    }
    let keep_alive = asked.keep_alive && !says_close && !matches!(coding, Coding::Close);
    if asked.by_http_11 && !keep_alive && !says_close && status != StatusCode::SWITCHING_PROTOCOLS {
        buffer.extend_from_slice(b"connection: close\r\n");
    } else if !asked.by_http_11 && keep_alive {
        buffer.extend_from_slice(b"connection: keep-alive\r\n");
    }
    buffer.extend_from_slice(b"\r\n");
    Framed { coding, keep_alive }
}

/// Writes what comes before an answer.
pub(super) fn informational(buffer: &mut Vec<u8>, head: &ResponseHead) {
    status_line(buffer, true, head.status, head.reason.as_ref());
    let is_framing = |known| matches!(known, Known::ContentLength | Known::TransferEncoding);
    head.headers.write(buffer, |field| !is_framing(field.known));
    buffer.extend_from_slice(b"\r\n");
}

fn status_line(buffer: &mut Vec<u8>, by_http_11: bool, status: StatusCode, reason: Option<&ReasonPhrase>) {
    if by_http_11 && status == StatusCode::OK && reason.is_none() {
        buffer.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    let canonical = || status.canonical_reason().unwrap_or("Unknown").as_bytes();
    let version = if by_http_11 { b"HTTP/1.1 " } else { b"HTTP/1.0 " };
    for piece in
        [version, status.as_str().as_bytes(), b" ", reason.map_or_else(canonical, ReasonPhrase::as_bytes)]
    {
        buffer.extend_from_slice(piece);
    }
    buffer.extend_from_slice(b"\r\n");
}

fn content_length(buffer: &mut Vec<u8>, length: u64) {
    buffer.extend_from_slice(b"content-length: ");
    buffer.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
    buffer.extend_from_slice(b"\r\n");
}
