//! The content codings that a body may be compressed with.

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Plain,
    Gzip,
    /// The zlib format, or what some services mistake for it: bare deflate.
    Deflate,
    Brotli,
    Zstd,
}

impl Coding {
    /// The coding that a `Content-Encoding` header names; `None` when it is unknown, or when there are several.
    pub(crate) fn of(content_encoding: Option<&str>) -> Option<Self> {
        let mut codings = content_encoding
            .unwrap_or_default()
            .split(',')
            .map(str::trim)
            .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity"));
        let Some(coding) = codings.next() else { return Some(Self::Plain) };
        let known = [
            ("gzip", Self::Gzip),
            ("x-gzip", Self::Gzip),
            ("deflate", Self::Deflate),
            ("br", Self::Brotli),
            ("zstd", Self::Zstd),
        ];
        let (_, coding) = known.into_iter().find(|(name, _)| coding.eq_ignore_ascii_case(name))?;
        codings.next().is_none().then_some(coding)
    }
}

/// Whether bodies with this content coding are decoded, as [`FieldReader`](crate::FieldReader) and others do.
#[must_use]
pub fn is_decoded(coding: &str) -> bool {
    Coding::of(Some(coding)).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_known_coding_at_most() {
        for (header, coding) in [
            (None, Some(Coding::Plain)),
            (Some(""), Some(Coding::Plain)),
            (Some("identity"), Some(Coding::Plain)),
            (Some("GZIP"), Some(Coding::Gzip)),
            (Some(" identity , br "), Some(Coding::Brotli)),
            (Some("zstd"), Some(Coding::Zstd)),
            (Some("deflate"), Some(Coding::Deflate)),
            (Some("gzip, gzip"), None),
            (Some("compress"), None),
        ] {
            assert_eq!(Coding::of(header), coding, "{header:?}");
        }
    }
}
