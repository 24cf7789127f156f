//! The tokens of an image, by the size that its first bytes say.

use crate::base64::Decoder;

/// Tokens of an image whose size is not seen: the largest amount that Anthropic states, and more than OpenAI's for all
/// models but GPT-4o mini.
pub(crate) const IMAGE_TOKENS_MAX: i64 = 4_784;

/// Tokens of an image at most whose size is seen: where Qwen's models stop, for one.
const SIZED_TOKENS_MAX: i64 = 16_384;

/// Characters of base64 that are looked at: in a JPEG the size may come after a thumbnail of 64 KiB.
const HEAD_CHARS_MAX: usize = 128 * 1024;

/// Tokens of the image that `data` is in base64.
pub(crate) fn tokens(data: &str) -> i64 {
    let head = data.as_bytes();
    let head = &head[..head.len().min(HEAD_CHARS_MAX)];
    // The other alphabet is not decoded.
    if head.iter().any(|byte| matches!(byte, b'-' | b'_')) {
        return IMAGE_TOKENS_MAX;
    }
    let mut bytes = Vec::with_capacity(head.len() / 4 * 3);
    Decoder::default().decode(head, |decoded| bytes.extend_from_slice(decoded));
    size(&bytes).map_or(IMAGE_TOKENS_MAX, |(width, height)| of_size(width.into(), height.into()))
}

/// The largest of what providers count for an image of so many pixels.
fn of_size(width: i64, height: i64) -> i64 {
    let squares = |side: i64| (width + side - 1) / side * ((height + side - 1) / side);
    // Google: 258 for each tile of two thirds of the shorter side.
    let tile = (width.min(height) * 2 / 3).clamp(256, 768);
    let google = 258 * if width.max(height) <= 384 { 1 } else { squares(tile) };
    // OpenAI: tiles of 512, of which there are eight at most; or 1536 patches of 32, each up to 2.46 tokens.
    let tiles = 85 + 170 * squares(512).min(8);
    let patches = squares(32).min(1_536) * 246 / 100;
    // Qwen, and Anthropic with fewer.
    let fine = squares(28);
    // Marks around it.
    google.max(tiles).max(patches).max(fine).min(SIZED_TOKENS_MAX) + 8
}

/// Width and height in pixels.
fn size(bytes: &[u8]) -> Option<(u32, u32)> {
    let size = match bytes {
        [0x89, b'P', b'N', b'G', ..] => (be32(bytes, 16)?, be32(bytes, 20)?),
        [b'G', b'I', b'F', ..] => (le(bytes, 6, 2)?, le(bytes, 8, 2)?),
        [b'R', b'I', b'F', b'F', ..] => webp(bytes)?,
        [0xff, 0xd8, ..] => jpeg(bytes)?,
        _ => return None,
    };
    (size.0 > 0 && size.1 > 0).then_some(size)
}

fn webp(bytes: &[u8]) -> Option<(u32, u32)> {
    match bytes.get(12..16)? {
        b"VP8 " => Some((le(bytes, 26, 2)? & 0x3fff, le(bytes, 28, 2)? & 0x3fff)),
        b"VP8L" => {
            let bits = le(bytes, 21, 4)?;
            Some(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
        }
        b"VP8X" => Some((le(bytes, 24, 3)? + 1, le(bytes, 27, 3)? + 1)),
        _ => None,
    }
}

/// The size is in the segment that begins a frame.
fn jpeg(bytes: &[u8]) -> Option<(u32, u32)> {
    let mut rest = bytes.get(2..)?;
    loop {
        match *rest {
            [0xff, 0xff, ..] => rest = &rest[1..],
            [0xff, 0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf, _, _, _, a, b, c, d, ..] => {
                return Some((u16::from_be_bytes([c, d]).into(), u16::from_be_bytes([a, b]).into()));
            }
            [0xff, 0x01 | 0xd0..=0xd8, ..] => rest = &rest[2..],
            [0xff, _, high, low, ..] => {
                let segment_bytes = usize::from(u16::from_be_bytes([high, low])).max(2);
                rest = rest.get(2 + segment_bytes..)?;
            }
            _ => return None,
        }
    }
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// `count` bytes, the least significant first.
fn le(bytes: &[u8], at: usize, count: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(count)?)?;
    Some(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u32::from(byte)))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use proptest::prelude::*;

    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x04\0\0\0\x03\0\x08\x02";
    const GIF: &[u8] = b"GIF89a\0\x04\0\x03\xf7";
    const JPEG: &[u8] = b"\xff\xd8\xff\xe0\0\x06JFIF\xff\xff\xc4\0\x03\0\xff\xc2\0\x11\x08\x03\0\x04\0\x03";
    const LOSSY: &[u8] = b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\0\0\0\x9d\x01\x2a\0\x04\0\x03";
    const LOSSLESS: &[u8] = b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f\xff\xc3\xbf\0";
    const EXTENDED: &[u8] = b"RIFF\0\0\0\0WEBPVP8X\0\0\0\0\0\0\0\0\xff\x03\0\xff\x02\0";

    #[test]
    fn the_size_is_read_in_each_format() {
        for image in [PNG, GIF, JPEG, LOSSY, LOSSLESS, EXTENDED] {
            assert_eq!(size(image), Some((1024, 768)), "{image:?}");
            for end in 0..image.len() {
                assert!(matches!(size(&image[..end]), None | Some((1024, 768))), "{image:?}");
            }
            assert_eq!(tokens(&BASE64_STANDARD.encode(image)), of_size(1024, 768));
        }
        assert_eq!(tokens("iVBORw0KGgo"), IMAGE_TOKENS_MAX);
        assert_eq!(tokens("/9j/____"), IMAGE_TOKENS_MAX);
    }

    #[test]
    fn amounts_are_not_under_what_providers_state() {
        // Google, OpenAI in tiles and in patches, Anthropic.
        for (width, height, stated) in [
            (8, 8, 258),
            (384, 384, 258),
            (960, 540, 1_548),
            (513, 513, 765),
            (1024, 1024, 2_518),
            (1024, 1024, 1_398),
            (2048, 2048, 3_778),
        ] {
            assert!(of_size(width, height) >= stated, "{width} x {height}");
        }
        assert!(of_size(8, 8) < 300);
        assert_eq!(of_size(u32::MAX.into(), u32::MAX.into()), SIZED_TOKENS_MAX + 8);
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_size_or_none(
            bytes in prop::collection::vec(any::<u8>(), 0..60),
            start in prop::sample::select(vec![PNG, GIF, JPEG, LOSSY, LOSSLESS, EXTENDED]), kept in 0_usize..30,
        ) {
            let bytes = [&start[..kept.min(start.len())], &bytes].concat();
            let amount = tokens(&BASE64_STANDARD.encode(bytes));
            prop_assert!((0..=SIZED_TOKENS_MAX + 8).contains(&amount));
        }
    }
}
