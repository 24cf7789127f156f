//! HTTP/1 with clients: one task carries a connection's requests one after another, and no channel stands
//! between a request and its socket.
//!
//! A [`Wire`] is shared by those who need it while a request is served: the [`Received`] body reads from it,
//! what an upstream says before its answer is put on it, and [`converse`] writes the answer and looks whether
//! the client is still there. Everybody borrows it for one step, nobody across a wait.
//!
//! A connection serves again only if the request was read to its end and the answer written to its end.

mod answer;
mod conversation;
mod date;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzed;
mod head;
mod received;
mod wire;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub(crate) use conversation::converse;
pub(crate) use date::Date;
pub(crate) use received::Received;
pub(crate) use wire::{Shared, Wire};

/// Room for one read, where bodies keep filling it: there are more clients than upstreams, and they send less.
const READ_BYTES_MAX: usize = 64 * 1024;
/// Bytes that are read of further requests while one is served: what one read takes anyway. With more, a client
/// who leaves is noticed when its answer is written.
const AHEAD_BYTES_MAX: usize = 8 * 1024;
/// What a client may still send when its connection is closed, and how long: answered with a reset, it could lose
/// the answer that says why.
const LINGER_BYTES_MAX: usize = 256 * 1024;
const LINGER_TIME_MAX: Duration = Duration::from_millis(500);
