//! Requests in whatever pieces they come, and answers as they are framed.

mod malformed;
mod requests;
mod wire;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request};
use http_body::Frame;

use super::head::{Asked, Head, Reader};
use crate::{headers::Headers, http1::Error};

/// Bounds of heads in these tests.
const BYTES_MAX: usize = 4096;
const LINES_MAX: usize = 20;

/// What was read of a request.
#[derive(Debug)]
struct Read {
    request: Request<()>,
    asked: Asked,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
    /// What follows the request.
    rest: BytesMut,
}

/// Reads a request that comes in `pieces`; `None` if there is more to come.
fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<Read>, Error> {
    let mut reader = Reader::new(BYTES_MAX, LINES_MAX);
    let (mut buffer, mut head) = (BytesMut::new(), None);
    let (mut body, mut trailers) = (Vec::new(), None);
    for piece in pieces {
        buffer.extend_from_slice(piece);
        if head.is_none() {
            head = reader.take(&mut buffer, &mut Headers::default())?;
        }
        if let Some(Head { body: decoder, .. }) = &mut head {
            decoder.advance(&mut buffer);
            while let Some(frame) = decoder.decode(&mut buffer)? {
                take(frame, &mut body, &mut trailers);
            }
        }
    }
    let Some(Head { parts, body: decoder, asked }) = head else { return Ok(None) };
    let uri = parts.target.to_uri();
    let request = parts.into_request(uri, ());
    Ok(decoder.is_end().then_some(Read { request, asked, body, trailers, rest: buffer }))
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

/// The request that comes at once.
fn whole(request: impl AsRef<[u8]>) -> Result<Option<Read>, Error> {
    read([request.as_ref()])
}
