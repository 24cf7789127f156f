//! Headers as values: each has one line, or makes no sense.

use http::HeaderValue;
use tollgate_core::Decimal;
use tollgate_usage::Said;

/// The number that a header is.
pub(super) fn number<'a>(lines: impl IntoIterator<Item = &'a HeaderValue>) -> Said<Decimal> {
    match text(lines) {
        Said::Value(text) => Decimal::parse(text).map_or(Said::Wrong, Said::Value),
        Said::Missing => Said::Missing,
        Said::Wrong => Said::Wrong,
    }
}

/// The id that a header is.
pub(super) fn id<'a>(lines: impl IntoIterator<Item = &'a HeaderValue>) -> Option<&'a str> {
    match text(lines) {
        Said::Value(text) if !text.is_empty() => Some(text),
        Said::Value(_) | Said::Missing | Said::Wrong => None,
    }
}

fn text<'a>(lines: impl IntoIterator<Item = &'a HeaderValue>) -> Said<&'a str> {
    let mut lines = lines.into_iter();
    match (lines.next().map(HeaderValue::to_str), lines.next()) {
        (None, _) => Said::Missing,
        (Some(Ok(text)), None) => Said::Value(text.trim()),
        (Some(_), _) => Said::Wrong,
    }
}
