//! A request as it is written.

use http::{HeaderValue, Method, Request, header};
use http_body::Body;

use crate::http1::{Coding, announced, line};

/// How the request's body is to be sent; nobody but us says so.
pub(super) fn coding<B: Body>(request: &Request<B>) -> Coding {
    match request.body().size_hint().exact() {
        Some(0) => Coding::End,
        Some(length) => Coding::Length(length),
        None => Coding::Chunked { announced: announced(request.headers()) },
    }
}

/// Writes a request's head, framed as `coding` is.
pub(super) fn head<B>(buffer: &mut Vec<u8>, request: &Request<B>, host: &HeaderValue, coding: &Coding) {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    for piece in [request.method().as_str(), " ", target, " HTTP/1.1\r\n"] {
        buffer.extend_from_slice(piece.as_bytes());
    }
    line(buffer, &header::HOST, host);
    for (name, value) in request.headers() {
        if *name != header::HOST && *name != header::CONTENT_LENGTH && *name != header::TRANSFER_ENCODING {
            line(buffer, name, value);
        }
    }
    match coding {
        Coding::Length(length) => {
            buffer.extend_from_slice(b"content-length: ");
            buffer.extend_from_slice(itoa::Buffer::new().format(*length).as_bytes());
            buffer.extend_from_slice(b"\r\n");
        }
        Coding::Chunked { .. } => buffer.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        // Of these methods a body is expected (RFC 9110, section 8.6).
        Coding::End if matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH) => {
            buffer.extend_from_slice(b"content-length: 0\r\n");
        }
        Coding::End | Coding::Close | Coding::Nothing => {}
    }
    buffer.extend_from_slice(b"\r\n");
}
