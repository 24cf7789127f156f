//! What a language model's answer says about its own use of tokens: bytes in, usage out, without I/O.
//!
//! A [`Scanner`] reads a copy of the response while it passes. It finds usage by structure and path (`usage` at
//! the top of a document, `response.usage`, `message.usage`), never by searching text, so an answer that talks
//! about `"usage"` changes nothing. What the fields mean together is decided by what the request asked for
//! ([`Scanner::of`]), or without it by the fields that only one dialect has. A route that names its fields decides for
//! itself ([`Scanner::with_pointers`]).
//!
//! While a stream runs, its scanner also says how far it has come ([`Scanner::progress`]), where it can end
//! ([`Scanner::is_at_boundary`]) and how its dialect ends at a limit ([`Scanner::final_events`]). [`UsageChunkFilter`] takes
//! out the chunk that a chat has only because the gateway asked for usage; the scanner is to be fed before it.
//! [`Realtime`] reads WebSockets.
//!
//! [`ask`] reads the other way round: what a request may cost at most, before it is forwarded. Where a route's responses
//! have a shape of their own, [`Pointers`] name their fields.
//!
//! Contract
//! - Any chunking of the same bytes gives the same usage.
//! - Memory is [`SCANNER_BYTES_MAX`] at most and the window of a decoder, whatever is sent. Of the body, no more is kept
//!   than the beginning of an event, which the next one is compared with.
//! - Absent is not zero: a field that is missing, or that is no non-negative integer within `i64`, is `None`.
//! - No input makes it panic; what it cannot read it skips.
//! - A request is read from its whole body without recursion; memory is a few bytes for each open bracket, 256 at most, and
//!   at most a copy of one of its strings.

mod asked;
mod base64;
mod body;
mod coding;
mod decoder;
mod dialect;
mod document;
mod ending;
mod estimate;
mod fields;
mod find;
mod frames;
mod framing;
mod headers;
mod image;
mod include_usage;
mod json;
mod lines;
mod media;
mod memo;
mod model;
mod overheads;
mod paths;
mod places;
mod pointers;
mod progress;
mod readings;
mod realtime;
mod request;
mod scalar;
mod scanner;
mod short;
mod sse;
mod stream;
#[cfg(test)]
mod testing;
mod text;
mod tokens;
mod usage_chunk;
mod websocket;
mod written;

pub use asked::{Asked, ask};
pub use coding::is_decoded;
pub use decoder::DECODED_BYTES_MAX;
pub use fields::{Field, FieldReader, Fields, Said, Want};
pub use framing::{Framing, framing};
pub use include_usage::IncludeUsage;
pub use pointers::{Pointers, Shape};
pub use progress::Progress;
pub use realtime::{REALTIME_BYTES_MAX, Realtime};
pub use request::{Request, Response};
pub use scanner::{SCANNER_BYTES_MAX, Scanner};
pub use tokens::TokenUsage;
pub use usage_chunk::{USAGE_CHUNK_BYTES_MAX, UsageChunkFilter};
pub use websocket::close_frame;
