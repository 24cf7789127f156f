//! Bodies as a service compresses them.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use zstd::stream::write::Encoder as ZstdEncoder;

/// Both halves of a body in `coding`: what has left when the first is flushed, and the rest.
///
/// # Errors
/// When an encoder cannot write to memory.
pub fn encode(coding: &str, halves: [&[u8]; 2]) -> io::Result<[Vec<u8>; 2]> {
    let level = Compression::fast();
    match coding {
        "gzip" => {
            flushed(GzEncoder::new(Vec::new(), level), halves, |it| it.get_ref().len(), GzEncoder::finish)
        }
        "deflate" => {
            flushed(ZlibEncoder::new(Vec::new(), level), halves, |it| it.get_ref().len(), ZlibEncoder::finish)
        }
        "zstd" => {
            flushed(ZstdEncoder::new(Vec::new(), 1)?, halves, |it| it.get_ref().len(), ZstdEncoder::finish)
        }
        "br" => Ok(stored_brotli(halves)),
        _ => {
            let encoder = DeflateEncoder::new(Vec::new(), level);
            flushed(encoder, halves, |it| it.get_ref().len(), DeflateEncoder::finish)
        }
    }
}

fn flushed<E: Write>(
    mut encoder: E,
    [first, second]: [&[u8]; 2],
    written: fn(&E) -> usize,
    finish: fn(E) -> io::Result<Vec<u8>>,
) -> io::Result<[Vec<u8>; 2]> {
    encoder.write_all(first)?;
    encoder.flush()?;
    let end = written(&encoder);
    encoder.write_all(second)?;
    let mut coded = finish(encoder)?;
    let rest = coded.split_off(end);
    Ok([coded, rest])
}

/// Uncompressed meta-blocks of at most 64 KiB (RFC 7932, 9.2): our decoder's crate has no encoder.
fn stored_brotli(halves: [&[u8]; 2]) -> [Vec<u8>; 2] {
    /// Says that the window has 64 KiB.
    const WINDOW_BITS: u32 = 1;
    let mut bits = WINDOW_BITS;
    let mut coded = halves.map(|half| {
        let mut coded = Vec::new();
        for block in half.chunks(1 << 16) {
            // Not the last, four nibbles of length less one, the length, uncompressed; then up to the next byte.
            let length = u32::try_from(block.len() - 1).unwrap_or(0);
            let head = (length << 3 | 1 << 19) << bits;
            coded.extend_from_slice(&head.to_le_bytes()[..3]);
            coded.extend_from_slice(block);
            bits = 0;
        }
        coded
    });
    // The last, and empty.
    coded[1].push(0b11 << bits);
    coded
}
