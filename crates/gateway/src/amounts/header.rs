//! Headers as values: each has one line, or makes no sense.

use tollgate_core::Decimal;
use tollgate_usage::Said;

use crate::headers;

/// The number that a header is.
pub(super) fn number<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Said<Decimal> {
    match text(lines) {
        Said::Value(text) => Decimal::parse(text).map_or(Said::Wrong, Said::Value),
        Said::Missing => Said::Missing,
        Said::Wrong => Said::Wrong,
    }
}

/// The id that a header is.
pub(super) fn id<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Option<&'a str> {
    match text(lines) {
        Said::Value(text) if !text.is_empty() => Some(text),
        Said::Value(_) | Said::Missing | Said::Wrong => None,
    }
}

fn text<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Said<&'a str> {
    let mut lines = lines.into_iter();
    match (lines.next().map(headers::text), lines.next()) {
        (None, _) => Said::Missing,
        (Some(Some(text)), None) => Said::Value(text.trim()),
        (Some(_), _) => Said::Wrong,
    }
}
