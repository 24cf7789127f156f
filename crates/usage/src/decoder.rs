//! A compressed body, decoded as it arrives.
//!
//! Each decoder writes what it decodes into the body's reader; nothing else is kept but the tables that the format bounds
//! and a window of at most 32 KiB (gzip, deflate), 8 MiB (zstd) or 16 MiB (br). A body that breaks its coding, or that is
//! too long once decoded, says nothing: how much of it was read before that would depend on its chunks.

use std::fmt;
use std::io::{self, Write};

use brotli_decompressor::DecompressorWriter as BrotliDecoder;
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use zstd::stream::write::Decoder as ZstdDecoder;

use crate::coding::Coding;

/// Decoded bytes of a body that are read at most: ten large images in base64 are about 40 MiB, while a bomb of 64 KiB
/// would decode to as much as this.
pub const DECODED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// RFC 9659 lets a `Content-Encoding` of zstd have windows of 8 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Bytes that a brotli decoder hands on at once.
const BROTLI_PIECE_BYTES: usize = 4096;

/// What reads a decoded body.
pub(crate) trait Sink {
    fn feed(&mut self, decoded: &[u8]);
}

/// The decoder of one body.
pub(crate) enum Decoder<S: Sink> {
    Plain(S),
    /// Of `deflate`, before the first byte shows which format it is.
    Undecided(Bounded<S>),
    Gzip(Box<MultiGzDecoder<Bounded<S>>>),
    Zlib(Box<ZlibDecoder<Bounded<S>>>),
    Deflate(Box<DeflateDecoder<Bounded<S>>>),
    Brotli(Box<BrotliDecoder<Bounded<S>>>),
    Zstd(Box<ZstdDecoder<'static, Bounded<S>>>),
    /// What the body said cannot be known.
    Broken,
}

impl<S: Sink> Decoder<S> {
    pub(crate) fn new(coding: Coding, sink: S) -> Self {
        let bounded = |sink| Bounded { sink, left: DECODED_BYTES_MAX };
        match coding {
            Coding::Plain => Self::Plain(sink),
            Coding::Deflate => Self::Undecided(bounded(sink)),
            Coding::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(bounded(sink)))),
            Coding::Brotli => Self::Brotli(Box::new(BrotliDecoder::new(bounded(sink), BROTLI_PIECE_BYTES))),
            Coding::Zstd => zstd(bounded(sink)).map_or(Self::Broken, |decoder| Self::Zstd(Box::new(decoder))),
        }
    }

    /// Decodes the body's next bytes.
    pub(crate) fn feed(&mut self, chunk: &[u8]) {
        if let (Self::Undecided(_), Some(&first)) = (&*self, chunk.first()) {
            self.decide(first);
        }
        let decoded = match self {
            Self::Plain(sink) => {
                sink.feed(chunk);
                Ok(())
            }
            Self::Gzip(decoder) => decode(decoder, chunk),
            Self::Zlib(decoder) => decode(decoder, chunk),
            Self::Deflate(decoder) => decode(decoder, chunk),
            Self::Brotli(decoder) => decode(decoder, chunk),
            Self::Zstd(decoder) => decode(decoder, chunk),
            Self::Undecided(_) | Self::Broken => Ok(()),
        };
        if decoded.is_err() {
            *self = Self::Broken;
        }
    }

    /// The reader of what was decoded, unless that is not to be trusted.
    pub(crate) fn sink(&self) -> Option<&S> {
        match self {
            Self::Plain(sink) => Some(sink),
            Self::Undecided(bounded) => Some(&bounded.sink),
            Self::Gzip(decoder) => Some(&decoder.get_ref().sink),
            Self::Zlib(decoder) => Some(&decoder.get_ref().sink),
            Self::Deflate(decoder) => Some(&decoder.get_ref().sink),
            Self::Brotli(decoder) => Some(&decoder.get_ref().sink),
            Self::Zstd(decoder) => Some(&decoder.get_ref().sink),
            Self::Broken => None,
        }
    }

    /// The same, to tell it something.
    pub(crate) fn sink_mut(&mut self) -> Option<&mut S> {
        match self {
            Self::Plain(sink) => Some(sink),
            Self::Undecided(bounded) => Some(&mut bounded.sink),
            Self::Gzip(decoder) => Some(&mut decoder.get_mut().sink),
            Self::Zlib(decoder) => Some(&mut decoder.get_mut().sink),
            Self::Deflate(decoder) => Some(&mut decoder.get_mut().sink),
            Self::Brotli(decoder) => Some(&mut decoder.get_mut().sink),
            Self::Zstd(decoder) => Some(&mut decoder.get_mut().sink),
            Self::Broken => None,
        }
    }

    /// The reader of a body that is not compressed.
    pub(crate) fn plain(&self) -> Option<&S> {
        if let Self::Plain(sink) = self { Some(sink) } else { None }
    }

    /// The same, to read on.
    pub(crate) fn plain_mut(&mut self) -> Option<&mut S> {
        if let Self::Plain(sink) = self { Some(sink) } else { None }
    }

    /// zlib begins with its method, which is 8; bare deflate that begins so would have to begin with an uncompressed
    /// block whose unused bits are set.
    fn decide(&mut self, first: u8) {
        if let Self::Undecided(bounded) = std::mem::replace(self, Self::Broken) {
            *self = if first & 0x0f == 8 {
                Self::Zlib(Box::new(ZlibDecoder::new(bounded)))
            } else {
                Self::Deflate(Box::new(DeflateDecoder::new(bounded)))
            };
        }
    }
}

fn zstd<S: Sink>(sink: Bounded<S>) -> io::Result<ZstdDecoder<'static, Bounded<S>>> {
    let mut decoder = ZstdDecoder::new(sink)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    Ok(decoder)
}

/// Bytes after the end of the coding are passed over.
fn decode(decoder: &mut impl Write, chunk: &[u8]) -> io::Result<()> {
    let mut rest = chunk;
    while !rest.is_empty() {
        let read = decoder.write(rest)?;
        if read == 0 {
            break;
        }
        rest = rest.get(read..).unwrap_or_default();
    }
    // What was decoded so far is to be read now.
    decoder.flush()
}

impl<S: Sink + fmt::Debug> fmt::Debug for Decoder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Decoder").field(&self.sink()).finish()
    }
}

/// The reader of a decoded body, with the bytes that it may still be given.
pub(crate) struct Bounded<S> {
    sink: S,
    left: usize,
}

impl<S: Sink> Write for Bounded<S> {
    fn write(&mut self, decoded: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(decoded.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        self.sink.feed(decoded);
        Ok(decoded.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
