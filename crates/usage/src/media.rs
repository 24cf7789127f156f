//! What images, sounds and files in a request cost, by stated amounts: their tokens are known to their provider only.

use crate::image;

/// Sounds and films: 32 tokens a second (Google's) at 8 kbit a second, the least that speech is coded in.
const SOUND_BYTES_PER_TOKEN: usize = 32;

/// What a string is that stands where a medium is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Medium {
    /// An image of so many tokens.
    Image(i64),
    /// Something else of so many tokens.
    Other(i64),
    /// The address of something that is no image and that the provider fetches.
    Elsewhere,
    /// A text, and no medium.
    Text,
}

/// What kind is expected where the string stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Image,
    Sound,
    /// A file, if it does not say what it is.
    Any,
}

/// What `text`, without escapes, stands for.
pub(crate) fn medium(text: &str, expected: Kind) -> Medium {
    let (declared, data) = match text.strip_prefix("data:").and_then(|rest| rest.split_once(',')) {
        Some((head, data)) => (Some(kind_of_type(head)), data),
        None => (None, text),
    };
    if ["http://", "https://", "gs://", "s3://", "file://"].iter().any(|scheme| text.starts_with(scheme)) {
        return if expected == Kind::Image {
            Medium::Image(image::IMAGE_TOKENS_MAX)
        } else {
            Medium::Elsewhere
        };
    }
    if !is_base64(data) {
        return Medium::Text;
    }
    let bytes = data.len() / 4 * 3 + 3;
    match declared.or_else(|| kind_of_bytes(data)).unwrap_or(expected) {
        Kind::Image => Medium::Image(image::tokens(data)),
        Kind::Sound => Medium::Other(count(bytes / SOUND_BYTES_PER_TOKEN + 1)),
        // The text of a file has no more tokens than bytes; nor has a page of a PDF, of some KiB, with its image.
        Kind::Any => Medium::Other(count(bytes)),
    }
}

fn count(tokens: usize) -> i64 {
    i64::try_from(tokens).unwrap_or(i64::MAX)
}

fn kind_of_type(head: &str) -> Kind {
    match head.split('/').next() {
        Some("image") => Kind::Image,
        Some("audio" | "video") => Kind::Sound,
        _ => Kind::Any,
    }
}

/// By the first bytes of the format, in base64.
fn kind_of_bytes(data: &str) -> Option<Kind> {
    const IMAGES: [&str; 3] = ["iVBORw0KGgo", "/9j/", "R0lGOD"];
    const SOUNDS: [&str; 5] = ["SUQz", "T2dnUw", "ZkxhQ", "//uQ", "GkXfo"];
    let begins = |starts: &[&str]| starts.iter().any(|start| data.starts_with(start));
    // WebP and WAV begin alike.
    if data.starts_with("UklGR") {
        return Some(if data.get(12..16) == Some("RUJQ") { Kind::Image } else { Kind::Sound });
    }
    if begins(&IMAGES) {
        Some(Kind::Image)
    } else if begins(&SOUNDS) {
        Some(Kind::Sound)
    } else {
        None
    }
}

/// Lines may be broken.
fn is_base64(data: &str) -> bool {
    const fn is_digit(byte: u8) -> bool {
        byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'=' | b'\n' | b'\r')
    }
    !data.is_empty() && data.bytes().all(is_digit)
}
