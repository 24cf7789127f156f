//! HTTP/1.1 towards upstreams, polled by the exchange that waits for it: no task and no channel stand
//! between a request and its socket.
//!
//! A [`Connection`] carries one exchange after another. It writes the request while it reads the answer,
//! whichever comes first, and hands out the answer's body as slices of what was read. Framing is strict:
//! what could be read in two ways is an error, and a connection serves again only if the request was sent
//! whole, the answer was read to its end, and nothing follows it.

mod answer;
mod connection;
mod encode;
mod head;
mod upload;

#[cfg(test)]
mod tests;

pub(crate) use answer::Answer;
pub(crate) use connection::Connection;

use super::endpoint::Connected;

/// Bytes of an answer's head: what hyper buffers at most.
const HEAD_BYTES_MAX: usize = 408 * 1024;

/// Room for one read, where answers keep filling it.
const READ_BYTES_MAX: usize = 256 * 1024;

/// What becomes of a connection to an upstream after `101`.
pub(crate) type Tunnel = crate::http1::Tunnel<Connected>;
