//! Minutes, hours and days in UTC, and how a span is made of them.

use tollgate_core::{Span, UnixMillis};

/// What rollups are kept for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Period {
    Minute,
    /// Of an hour: what minutes are merged to.
    Quarter,
    Hour,
    Day,
}

impl Period {
    /// Milliseconds.
    pub(crate) const fn millis(self) -> i64 {
        match self {
            Self::Minute => 60_000,
            Self::Quarter => 900_000,
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
        }
    }

    /// The table of its rollups.
    pub(crate) const fn table(self) -> &'static str {
        match self {
            Self::Minute | Self::Quarter => "usage_minutely",
            Self::Hour => "usage_hourly",
            Self::Day => "usage_daily",
        }
    }

    /// The start of the period that `at` lies in.
    pub(crate) const fn start(self, at: UnixMillis) -> i64 {
        at.0.saturating_sub(at.0.rem_euclid(self.millis()))
    }

    /// The first start that is not before `at`; none behind the last.
    pub(super) fn next_start(self, at: i64) -> Option<i64> {
        match at.rem_euclid(self.millis()) {
            0 => Some(at),
            past => at.checked_add(self.millis() - past),
        }
    }

    /// The whole periods inside `start..end`; none when there are none.
    fn whole(self, start: i64, end: i64) -> Option<(i64, i64)> {
        // Before the first whole period of all time, and behind the last one, there are no events.
        let first = if start == i64::MIN { start } else { self.next_start(start)? };
        let last = if end == i64::MAX { end } else { end.checked_sub(end.rem_euclid(self.millis()))? };
        (first < last).then_some((first, last))
    }
}

/// Where a piece of a span is summed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// The lines themselves.
    Lines,
    /// The sums of whole periods.
    Rollup(Period),
}

/// A piece of a span: what begins in `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) source: Source,
    pub(crate) start: i64,
    pub(crate) end: i64,
}

/// Cuts `span` into whole days, whole hours around them, whole minutes around those, and what is left.
pub(crate) fn pieces(span: Span) -> impl Iterator<Item = Piece> {
    let (start, end) = (span.start.0, span.end.0.max(span.start.0));
    let whole = |period: Period, (start, end)| period.whole(start, end).unwrap_or((end, end));
    let minutes = whole(Period::Minute, (start, end));
    let hours = whole(Period::Hour, minutes);
    let days = whole(Period::Day, hours);
    let piece = |source, start, end| Piece { source, start, end };
    [
        piece(Source::Lines, start, minutes.0),
        piece(Source::Rollup(Period::Minute), minutes.0, hours.0),
        piece(Source::Rollup(Period::Hour), hours.0, days.0),
        piece(Source::Rollup(Period::Day), days.0, days.1),
        piece(Source::Rollup(Period::Hour), days.1, hours.1),
        piece(Source::Rollup(Period::Minute), hours.1, minutes.1),
        piece(Source::Lines, minutes.1, end),
    ]
    .into_iter()
    .filter(|piece| piece.start < piece.end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_cover_a_span_once_and_lie_on_whole_periods(
            start in prop_oneof![any::<i64>(), -1_000_000_000..1_000_000_000i64, Just(i64::MIN)],
            length in prop_oneof![any::<i64>(), 0..200_000_000i64, Just(i64::MAX)],
        ) {
            let end = start.saturating_add(length);
            let mut reached = start;
            for piece in pieces(Span { start: UnixMillis(start), end: UnixMillis(end) }) {
                prop_assert_eq!(piece.start, reached);
                reached = piece.end;
                if let Source::Rollup(period) = piece.source {
                    for edge in [piece.start, piece.end] {
                        let whole = edge.rem_euclid(period.millis()) == 0;
                        prop_assert!(whole || edge == i64::MIN || edge == i64::MAX);
                    }
                }
            }
            prop_assert_eq!(reached, end.max(start));
        }
    }

    #[test]
    fn all_of_time_is_days_only() {
        let all: Vec<_> = pieces(Span::ALWAYS).collect();
        let days = Piece { source: Source::Rollup(Period::Day), start: i64::MIN, end: i64::MAX };
        assert_eq!(all, [days]);
    }
}
