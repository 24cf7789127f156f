//! A request as it is written.

use http::{HeaderValue, Method};
use http_body::Body;

use crate::{
    head::RequestHead,
    headers::{Headers, Known, write_line},
    http1::{Coding, announced},
};

/// How the request's body is to be sent; nobody but us says so.
pub(super) fn coding(headers: &Headers, body: &impl Body) -> Coding {
    match body.size_hint().exact() {
        Some(0) => Coding::End,
        Some(length) => Coding::Length(length),
        None => Coding::Chunked { announced: announced(headers) },
    }
}

/// Writes a request's head, framed as `coding` is.
pub(super) fn head(buffer: &mut Vec<u8>, head: &RequestHead, host: &HeaderValue, coding: &Coding) {
    for piece in [head.method.as_str().as_bytes(), b" ", head.target.text(), b" HTTP/1.1\r\n"] {
        buffer.extend_from_slice(piece);
    }
    write_line(buffer, b"host", host.as_bytes());
    let is_ours = |known| matches!(known, Known::Host | Known::ContentLength | Known::TransferEncoding);
    head.headers.write(buffer, |field| !is_ours(field.known));
    match coding {
        Coding::Length(length) => {
            buffer.extend_from_slice(b"content-length: ");
            buffer.extend_from_slice(itoa::Buffer::new().format(*length).as_bytes());
            buffer.extend_from_slice(b"\r\n");
        }
        Coding::Chunked { .. } => buffer.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        // Of these methods a body is expected (RFC 9110, section 8.6).
        Coding::End if matches!(head.method, Method::POST | Method::PUT | Method::PATCH) => {
            buffer.extend_from_slice(b"content-length: 0\r\n");
        }
        Coding::End | Coding::Close | Coding::Nothing => {}
    }
    buffer.extend_from_slice(b"\r\n");
}
