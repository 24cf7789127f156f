//! HTTP/1.1 as both sides of the gateway speak it: where messages and bodies end, and buffers between them
//! and a stream.
//!
//! Framing is strict: what could be read in two ways is an error.

mod chunked;
mod coding;
mod decode;
mod framing;
mod head_end;
mod input;
mod lines;
mod output;
mod sending;
mod stream;
mod tunnel;

use std::io;

pub(crate) use coding::{Coding, announced};
pub(crate) use decode::Decoder;
pub(crate) use framing::Framing;
pub(crate) use head_end::{head_end, skip_empty_line};
pub(crate) use input::Input;
pub(crate) use lines::{
    LineEnd, Malformed, RequestLine, StatusLine, header_lines, request_line, status_line,
};
pub(crate) use output::Output;
pub(crate) use sending::Sending;
pub(crate) use stream::Stream;
pub(crate) use tunnel::Tunnel;

use crate::body::BodyError;

/// Lines of a message's trailers: what hyper allows too.
pub(crate) const HEADERS_MAX: usize = 100;
/// Bytes of all trailers of a message.
const TRAILER_BYTES_MAX: usize = 16 * 1024;
/// Bytes of all chunk extensions of a message. Nobody uses them; they cost the sender less than the reader.
const EXTENSION_BYTES_MAX: usize = 16 * 1024;
/// Informational answers before an answer. They carry no body, so more are of no use to anybody.
pub(crate) const INFORMATIONAL_MAX: usize = 32;

/// Why an exchange over HTTP/1 failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it closed the connection before it answered")]
    NoAnswer,
    #[error("it closed the connection in the middle of its message")]
    Cut,
    #[error("its message is not HTTP: {0}")]
    Malformed(#[from] Malformed),
    #[error("its message is not framed by the rules: {0}")]
    Framing(&'static str),
    #[error("its head has more bytes, or more lines, than it may")]
    TooLarge,
    /// The body that is sent did not come to its end; who makes it knows why.
    #[error("the body: {0}")]
    Body(BodyError),
}

impl Error {
    /// Whether the connection ended before there was a head of an answer.
    pub(crate) const fn is_closed(&self) -> bool {
        matches!(self, Self::Io(_) | Self::NoAnswer)
    }
}
