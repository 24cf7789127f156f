//! The sums per minute: which of them are merged to quarters of an hour, and when.
//!
//! Contract
//! - A line admitted before `until` is in the row of its quarter of an hour, a later one in the row of
//!   its minute; both in `usage_minutely`, and each in one row.
//! - `until` only grows, in the transaction of a batch, which merges at least as many rows as it adds
//!   while there are any that are over for [`KEPT_MILLIS`]: the table holds about that many minutes.
//! - Who asks for a minute asks for the one that it is; who asks for more begins and ends at hours or at
//!   midnights, which in every time zone of today are at quarters of an hour.

use tollgate_core::{Span, UnixMillis};

use super::period::{Period, Piece, Source, pieces};

/// How long before the newest admission of a batch minutes are merged.
pub(super) const KEPT_MILLIS: i64 = 3_600_000;

/// How far minutes are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Minutes {
    /// The start of the first minute that is not merged.
    pub(crate) until: i64,
    /// The end of the last minute that has a row: nothing is behind it.
    pub(super) end: i64,
}

impl Minutes {
    /// From what the tables have: how far minutes are merged, and the start of the last row.
    pub(super) fn new(until: i64, last: Option<i64>) -> Self {
        let end = last.map_or(until, |last| last.saturating_add(Period::Minute.millis()));
        Self { until, end: end.max(until) }
    }

    /// The start of the row that a line admitted at `at` is in.
    pub(super) fn start(self, at: UnixMillis) -> i64 {
        let period = if at.0 < self.until { Period::Quarter } else { Period::Minute };
        period.start(at)
    }

    /// All pieces that `span` is summed from.
    pub(super) fn cut(self, span: Span) -> impl Iterator<Item = Piece> {
        pieces(span).flat_map(move |piece| {
            let minutes = piece.source == Source::Rollup(Period::Minute);
            let cut = minutes.then(|| self.pieces(piece.start, piece.end));
            cut.into_iter().flatten().chain((!minutes).then_some(piece))
        })
    }

    /// Cuts the span from minute `start` to minute `end` into rows of quarters, rows of minutes, and
    /// those minutes of a merged quarter that only the lines know; what no row can be in is left out.
    fn pieces(self, start: i64, end: i64) -> impl Iterator<Item = Piece> {
        let end = end.min(self.end).max(start);
        let merged = end.min(self.until).max(start);
        // The quarter that is being merged has a row for what is merged of it.
        let last = if merged == self.until { merged } else { Period::Quarter.start(UnixMillis(merged)) };
        let first = Period::Quarter.next_start(start).map_or(merged, |first| first.min(merged));
        let last = last.max(first);
        let piece = |source, start, end| Piece { source, start, end };
        [
            piece(Source::Lines, start, first),
            piece(Source::Rollup(Period::Quarter), first, last),
            piece(Source::Lines, last, merged),
            piece(Source::Rollup(Period::Minute), merged, end),
        ]
        .into_iter()
        .filter(|piece| piece.start < piece.end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_cover_minutes_once_and_a_row_is_never_cut(
            start in -200..200i64,
            length in 0..120i64,
            until in prop_oneof![Just(i64::MIN), (-300..300i64).prop_map(|minute| minute * 60_000)],
            rows in 0..300i64,
        ) {
            let (start, end) = (start * 60_000, (start + length) * 60_000);
            let minutes = Minutes { until, end: until.max(-18_000_000) + rows * 60_000 };
            let mut reached = start;
            for Piece { source, start, end } in minutes.pieces(start, end) {
                prop_assert_eq!(start, reached);
                reached = end;
                for edge in [start, end] {
                    let row_before = minutes.start(UnixMillis(edge - 1));
                    let row_behind = minutes.start(UnixMillis(edge));
                    let is_rollup = source != Source::Lines;
                    prop_assert!(!is_rollup || edge == until || row_before != row_behind, "cut at {edge}");
                }
                let is_merged = end <= until;
                prop_assert_eq!(source == Source::Rollup(Period::Minute), !is_merged);
            }
            prop_assert_eq!(reached, end.min(minutes.end).max(start));
        }
    }
}
