//! What holds for any bytes that a client sends. For tests and for the fuzz target.

use bytes::BytesMut;
use http::{HeaderMap, Request, header};

use super::head::{Asked, Head, Reader};
use crate::{
    headers::{Headers, write_line},
    http1::Decoder,
};

/// Bounds of heads.
const BYTES_MAX: usize = 1024;
const LINES_MAX: usize = 8;

/// All that was read of a client's bytes.
#[derive(Debug, Default)]
struct Seen {
    requests: Vec<Seeing>,
    /// Whether nothing more is read.
    is_broken: bool,
}

/// What was read of one request.
#[derive(Debug)]
struct Seeing {
    request: Request<()>,
    asked: Asked,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
    is_whole: bool,
}

/// Fails unless `input` is the same requests however it is cut, each of which means the same when it is written in the
/// gateway's own way.
pub(crate) fn check(input: &[u8]) {
    let whole = see([input]);
    // The input says itself where it is cut.
    let size = usize::from(input.first().copied().unwrap_or_default()) % 61 + 2;
    for cut in [see(input.chunks(1)), see(input.chunks(size))] {
        assert_eq!(format!("{whole:?}"), format!("{cut:?}"));
    }
    for seen in whole.requests.iter().filter(|seen| seen.is_whole) {
        check_rewritten(seen);
    }
}

fn check_rewritten(seen: &Seeing) {
    let head = &seen.request;
    let mut text = format!("{} {} {:?}\r\n", head.method(), head.uri(), head.version()).into_bytes();
    for (name, value) in head.headers() {
        assert!(value.as_bytes().iter().all(|byte| *byte == b'\t' || *byte >= b' ' && *byte != 0x7f));
        if ![header::CONTENT_LENGTH, header::TRANSFER_ENCODING].contains(name) {
            write_line(&mut text, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    text.extend_from_slice(format!("content-length: {}\r\n\r\n", seen.body.len()).as_bytes());
    text.extend_from_slice(&seen.body);
    // Its head may be longer than that of the client, which left out what may be left out.
    let again = see_within([&*text], text.len().max(BYTES_MAX), LINES_MAX + 1);
    let [again] = &*again.requests else {
        unreachable!("one request: {:?}", text.escape_ascii().to_string())
    };
    assert!(again.is_whole);
    assert_eq!((&again.body, again.request.method()), (&seen.body, head.method()));
    assert_eq!(again.request.uri(), head.uri());
    let of = |headers: &HeaderMap| {
        let mut headers = headers.clone();
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::TRANSFER_ENCODING);
        headers
    };
    assert_eq!(of(again.request.headers()), of(head.headers()));
}

fn see<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Seen {
    see_within(pieces, BYTES_MAX, LINES_MAX)
}

/// Reads what comes in `pieces` as a connection does whose client keeps it.
fn see_within<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, bytes_max: usize, lines_max: usize) -> Seen {
    let mut reader = Reader::new(bytes_max, lines_max);
    let (mut buffer, mut body) = (BytesMut::new(), Decoder::End);
    let mut seen = Seen::default();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        while !seen.is_broken && step(&mut reader, &mut buffer, &mut body, &mut seen) {}
    }
    // The end of an error is for ever.
    if seen.is_broken && !body.is_end() {
        buffer.extend_from_slice(b"\r\n0\r\n\r\n");
        body.advance(&mut buffer);
        assert!(body.decode(&mut buffer).is_err() && !body.is_end());
    }
    seen
}

/// Whether there may be more to take.
fn step(reader: &mut Reader, buffer: &mut BytesMut, body: &mut Decoder, seen: &mut Seen) -> bool {
    let Some(current) = seen.requests.last_mut().filter(|last| !last.is_whole) else {
        // Nothing follows the last request of a connection.
        if seen.requests.last().is_some_and(|last| !last.asked.keep_alive) {
            return false;
        }
        match reader.take(buffer, &mut Headers::default()) {
            Ok(None) => return false,
            Err(_) => seen.is_broken = true,
            Ok(Some(Head { parts, body: decoder, asked })) => {
                *body = decoder;
                body.advance(buffer);
                let is_whole = body.is_end();
                let uri = parts.target.to_uri();
                let request = parts.into_request(uri, ());
                seen.requests.push(Seeing { request, asked, body: Vec::new(), trailers: None, is_whole });
            }
        }
        return true;
    };
    match body.decode(buffer) {
        Err(_) => seen.is_broken = true,
        Ok(None) if !body.is_end() => return false,
        Ok(None) => {}
        Ok(Some(frame)) => match frame.into_data() {
            Ok(data) => {
                assert!(!data.is_empty() && current.trailers.is_none());
                current.body.extend_from_slice(&data);
            }
            Err(frame) => current.trailers = frame.into_trailers().ok(),
        },
    }
    current.is_whole = body.is_end();
    true
}
