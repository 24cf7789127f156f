//! How the documents of a response body lie one after the other.

use crate::coding::Coding;

/// The framings that a [`Scanner`](crate::Scanner) reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// The body is one JSON document.
    Json,
    /// The body is a stream of server-sent events, each with a JSON document as its data.
    Sse,
    /// The body is lines, each a JSON document.
    Lines,
    /// The body is a JSON array of documents, or documents one after the other, or a lone one.
    JsonArray,
    /// The body is a stream of AWS event stream frames, each with a JSON document as its payload.
    Frames,
}

impl Framing {
    /// Whether there may be many documents, which are then written one after the other.
    pub(crate) fn is_stream(self) -> bool {
        match self {
            Self::Json => false,
            Self::Sse | Self::Lines | Self::JsonArray | Self::Frames => true,
        }
    }
}

/// The framing of a response with these `Content-Type` and `Content-Encoding` headers.
///
/// `None` when the body cannot be scanned: another media type, none at all, or a compressed body.
#[must_use]
pub fn framing(content_type: Option<&str>, content_encoding: Option<&str>) -> Option<Framing> {
    (Coding::of(content_encoding)? == Coding::Plain).then(|| by_media_type(content_type?))?
}

/// The framing of a body of this type, once it is decoded.
pub(crate) fn by_media_type(content_type: &str) -> Option<Framing> {
    const LINES: [&str; 5] = [
        "application/x-ndjson",
        "application/ndjson",
        "application/stream+json",
        "application/x-jsonl",
        "application/jsonl",
    ];
    let media_type = content_type.split(';').next()?.trim();
    if media_type.eq_ignore_ascii_case("text/event-stream") {
        Some(Framing::Sse)
    } else if media_type.eq_ignore_ascii_case("application/vnd.amazon.eventstream") {
        Some(Framing::Frames)
    } else if LINES.iter().any(|lines| media_type.eq_ignore_ascii_case(lines)) {
        Some(Framing::Lines)
    } else if media_type.eq_ignore_ascii_case("application/json") || has_json_suffix(media_type) {
        Some(Framing::Json)
    } else {
        None
    }
}

fn has_json_suffix(media_type: &str) -> bool {
    media_type.rsplit_once('+').is_some_and(|(_, suffix)| suffix.eq_ignore_ascii_case("json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_matched_without_their_parameters_and_case() {
        for json in ["application/json", "Application/JSON; charset=utf-8", "application/problem+json"] {
            assert_eq!(framing(Some(json), None), Some(Framing::Json), "{json}");
        }
        for lines in ["application/x-ndjson", "application/stream+json", "application/x-jsonl; charset=utf-8"]
        {
            assert_eq!(framing(Some(lines), None), Some(Framing::Lines), "{lines}");
        }
        assert_eq!(framing(Some("application/vnd.amazon.eventstream"), None), Some(Framing::Frames));
        assert_eq!(framing(Some("text/event-stream;charset=UTF-8"), Some("identity")), Some(Framing::Sse));
    }

    #[test]
    fn what_cannot_be_read_has_no_framing() {
        for other in
            ["application/octet-stream", "text/plain", "application/ndjson-x", "json", "", "audio/mpeg"]
        {
            assert_eq!(framing(Some(other), None), None, "{other}");
        }
        assert_eq!(framing(None, None), None);
        for coding in ["gzip", "br", "identity, zstd", "x-unknown"] {
            assert_eq!(framing(Some("application/json"), Some(coding)), None, "{coding}");
        }
    }
}
