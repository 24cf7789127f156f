//! HTTP/1.1 towards upstreams, polled by the exchange that waits for it: no task and no channel stand
//! between a request and its socket.
//!
//! A [`Connection`] carries one exchange after another. It writes the request while it reads the answer,
//! whichever comes first, and hands out the answer's body as slices of what was read. Framing is strict:
//! what could be read in two ways is an error, and a connection serves again only if the request was sent
//! whole, the answer was read to its end, and nothing follows it.

mod answer;
mod chunked;
mod connection;
mod decode;
mod encode;
mod framing;
mod head;
mod input;
mod output;
mod stream;
mod tunnel;
mod upload;

#[cfg(test)]
mod tests;

use std::io;

pub(crate) use answer::Answer;
pub(crate) use connection::Connection;
pub(crate) use stream::Stream;
pub(crate) use tunnel::Tunnel;

use crate::body::BodyError;

/// Header lines of an answer, or of its trailers: what hyper allows too.
const HEADERS_MAX: usize = 100;
/// Bytes of an answer's head: what hyper buffers at most.
const HEAD_BYTES_MAX: usize = 408 * 1024;
/// Bytes of all trailers of an answer.
const TRAILER_BYTES_MAX: usize = 16 * 1024;
/// Bytes of all chunk extensions of an answer. Nobody uses them; they cost the sender less than the reader.
const EXTENSION_BYTES_MAX: usize = 16 * 1024;
/// Informational answers before the answer. They carry no body, so more are of no use to anybody.
const INFORMATIONAL_MAX: usize = 32;

/// Why an exchange over HTTP/1 failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it closed the connection before it answered")]
    NoAnswer,
    #[error("it closed the connection in the middle of its answer")]
    Cut,
    #[error("its answer is not HTTP: {0}")]
    Malformed(#[from] httparse::Error),
    #[error("its answer is not framed by the rules: {0}")]
    Framing(&'static str),
    /// The request's body did not come to its end; who sent it knows why.
    #[error("the request's body: {0}")]
    Request(BodyError),
}

impl Error {
    /// Whether the connection ended before there was a head of an answer.
    pub(crate) const fn is_closed(&self) -> bool {
        matches!(self, Self::Io(_) | Self::NoAnswer)
    }
}
