//! A request as it is written.

use http::{HeaderMap, HeaderValue, Method, header, request::Parts};
use http_body::Body;

use crate::{
    forwarding::Added,
    http1::{Coding, announced, line},
};

/// How the request's body is to be sent; nobody but us says so.
pub(super) fn coding(headers: &HeaderMap, body: &impl Body) -> Coding {
    match body.size_hint().exact() {
        Some(0) => Coding::End,
        Some(length) => Coding::Length(length),
        None => Coding::Chunked { announced: announced(headers) },
    }
}

/// Writes a request's head, framed as `coding` is.
pub(super) fn head(
    buffer: &mut Vec<u8>,
    (parts, added): (&Parts, &Added),
    host: &HeaderValue,
    coding: &Coding,
) {
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    for piece in [parts.method.as_str(), " ", target, " HTTP/1.1\r\n"] {
        buffer.extend_from_slice(piece.as_bytes());
    }
    line(buffer, &header::HOST, host);
    for (name, value) in &parts.headers {
        if *name != header::HOST && *name != header::CONTENT_LENGTH && *name != header::TRANSFER_ENCODING {
            line(buffer, name, value);
        }
    }
    for (name, value) in added {
        line(buffer, name, value);
    }
    match coding {
        Coding::Length(length) => {
            buffer.extend_from_slice(b"content-length: ");
            buffer.extend_from_slice(itoa::Buffer::new().format(*length).as_bytes());
            buffer.extend_from_slice(b"\r\n");
        }
        Coding::Chunked { .. } => buffer.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        // Of these methods a body is expected (RFC 9110, section 8.6).
        Coding::End if matches!(parts.method, Method::POST | Method::PUT | Method::PATCH) => {
            buffer.extend_from_slice(b"content-length: 0\r\n");
        }
        Coding::End | Coding::Close | Coding::Nothing => {}
    }
    buffer.extend_from_slice(b"\r\n");
}
