//! The codec without sockets: heads, bodies and requests in whatever pieces they come.

mod answers;
mod malformed;
mod requests;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body::Frame;

use super::head::{Head, Reader};
use crate::{head::ResponseHead, headers::Headers, http1::Error};

/// What was read of an answer.
#[derive(Debug)]
struct Read {
    response: Response<()>,
    /// What came before it.
    informational: Vec<StatusCode>,
    keep_alive: bool,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
    /// What follows the answer.
    rest: BytesMut,
}

/// Reads an answer that comes in `pieces`, after which the upstream closes if `closes`.
fn read<'a>(
    method: &Method,
    pieces: impl IntoIterator<Item = &'a [u8]>,
    closes: bool,
) -> Result<Option<Read>, Error> {
    let mut reader = Reader::new(method.clone());
    let mut buffer = BytesMut::new();
    let (mut head, mut informational) = (None, Vec::new());
    let (mut body, mut trailers) = (Vec::new(), None);
    for piece in pieces {
        buffer.extend_from_slice(piece);
        if head.is_none() {
            head =
                reader.take(&mut buffer, &mut Headers::default(), |head| informational.push(head.status))?;
        }
        if let Some(Head { body: decoder, .. }) = &mut head {
            while let Some(frame) = decoder.decode(&mut buffer)? {
                take(frame, &mut body, &mut trailers);
            }
        }
    }
    let Some(Head { response, body: mut decoder, keep_alive }) = head else { return Ok(None) };
    if closes {
        decoder.close()?;
    }
    let response = as_response(response);
    Ok(decoder.is_end().then_some(Read { response, informational, keep_alive, body, trailers, rest: buffer }))
}

/// As libraries have it.
fn as_response(head: ResponseHead) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers.into_map();
    if let Some(reason) = head.reason {
        response.extensions_mut().insert(reason);
    }
    response
}

fn take(frame: Frame<Bytes>, body: &mut Vec<u8>, trailers: &mut Option<HeaderMap>) {
    match frame.into_data() {
        Ok(data) => {
            assert!(!data.is_empty(), "a frame without a byte");
            assert!(trailers.is_none(), "nothing follows trailers");
            body.extend_from_slice(&data);
        }
        Err(frame) => *trailers = frame.into_trailers().ok(),
    }
}

/// The answer to a GET that comes at once.
fn whole(answer: impl AsRef<[u8]>) -> Result<Option<Read>, Error> {
    read(&Method::GET, [answer.as_ref()], false)
}
