//! A request as it is written.

use std::io::Write as _;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use http_body::Body as _;

use super::{Error, output::Output};
use crate::body::RequestBody;

/// How the end of a request's body is said.
#[derive(Debug, Default)]
pub(super) enum Coding {
    /// It was said.
    #[default]
    End,
    /// By its length, of which so much is left; never 0.
    Length(u64),
    /// By a last chunk, with trailers that were announced.
    Chunked { announced: Vec<HeaderName> },
}

impl Coding {
    /// How the request's body is to be sent; nobody but us says so.
    pub(super) fn of(request: &Request<RequestBody>) -> Self {
        match request.body().size_hint().exact() {
            Some(0) => Self::End,
            Some(length) => Self::Length(length),
            None => Self::Chunked { announced: announced(request.headers()) },
        }
    }

    /// Puts in data that is not empty; `last` if nothing follows.
    pub(super) fn data(&mut self, data: Bytes, last: bool, output: &mut Output) -> Result<(), Error> {
        match self {
            Self::End => Err(Error::Request("it is longer than it said".into())),
            Self::Length(left) => {
                let rest = left.checked_sub(data.len() as u64);
                let rest = rest.ok_or_else(|| Error::Request("it is longer than it said".into()))?;
                *self = if rest == 0 { Self::End } else { Self::Length(rest) };
                output.put(data, b"");
                Ok(())
            }
            Self::Chunked { .. } => {
                let _ = write!(output.buffer(), "{:x}\r\n", data.len());
                if last {
                    *self = Self::End;
                }
                output.put(data, if last { b"\r\n0\r\n\r\n" } else { b"\r\n" });
                Ok(())
            }
        }
    }

    /// Says the end.
    pub(super) fn end(&mut self, trailers: &HeaderMap, output: &mut Output) -> Result<(), Error> {
        match std::mem::take(self) {
            Self::End => {}
            Self::Length(_) => return Err(Error::Request("it is shorter than it said".into())),
            Self::Chunked { announced } => {
                let buffer = output.buffer();
                buffer.extend_from_slice(b"0\r\n");
                for (name, value) in trailers.iter().filter(|(name, _)| announced.contains(name)) {
                    line(buffer, name, value);
                }
                buffer.extend_from_slice(b"\r\n");
            }
        }
        Ok(())
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
        Coding::End => {}
    }
    buffer.extend_from_slice(b"\r\n");
}

fn line(buffer: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
    buffer.extend_from_slice(name);
    buffer.extend_from_slice(b": ");
    buffer.extend_from_slice(value);
    buffer.extend_from_slice(b"\r\n");
}

/// The trailers that `Trailer` announces, without what frames, routes or authenticates a message: a reader who
/// merges trailers into the head must not be misled (RFC 9110, section 6.5.1).
pub(super) fn announced(headers: &HeaderMap) -> Vec<HeaderName> {
    let lines = headers.get_all(header::TRAILER).iter();
    let names = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let names = names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok());
    names.filter(|name| !NO_TRAILERS.contains(name)).collect()
}

const NO_TRAILERS: [HeaderName; 14] = [
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::HOST,
    header::MAX_FORWARDS,
    header::SET_COOKIE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
