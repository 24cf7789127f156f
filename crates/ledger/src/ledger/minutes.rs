//! The sums per minute: which of them are merged to quarters of an hour, and when.
//!
//! Contract
//! - A line admitted before `until` is in the row of its quarter of an hour, a later one in the row of
//!   its minute; both in `usage_minutely`, and each in one row.
//! - `until` only grows, in the transaction of a batch, which merges at least as many rows as it adds
//!   while there are any that are over for [`KEPT_MILLIS`]: the table holds about that many minutes.
//! - Who asks for a minute asks for the one that it is; who asks for more begins and ends at hours or at
//!   midnights, which in every time zone of today are at quarters of an hour.

use rusqlite::{Connection, Result, Transaction};
use tollgate_core::UnixMillis;

use super::{
    batch::on_conflict_add,
    period::{Period, Piece, Source},
};

/// How long before the newest admission of a batch minutes are merged.
const KEPT_MILLIS: i64 = 3_600_000;

/// How far minutes are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Minutes {
    /// The start of the first minute that is not merged.
    pub(crate) until: i64,
    /// The end of the last minute that has a row: nothing is behind it.
    end: i64,
}

impl Minutes {
    pub(crate) fn read(connection: &Connection) -> Result<Self> {
        let sql = "SELECT until, (SELECT max(start) FROM usage_minutely) FROM minutes_merged";
        let mut statement = connection.prepare_cached(sql)?;
        let (until, last): (i64, Option<i64>) =
            statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let end = last.map_or(until, |last| last.saturating_add(Period::Minute.millis()));
        Ok(Self { until, end: end.max(until) })
    }

    /// The start of the row that a line admitted at `at` is in.
    pub(super) fn start(self, at: UnixMillis) -> i64 {
        let period = if at.0 < self.until { Period::Quarter } else { Period::Minute };
        period.start(at)
    }

    /// Cuts the span from minute `start` to minute `end` into rows of quarters, rows of minutes, and
    /// those minutes of a merged quarter that only the lines know; what no row can be in is left out.
    pub(super) fn pieces(self, start: i64, end: i64) -> impl Iterator<Item = Piece> {
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

/// Merges minutes that were over long before `newest`, about as many rows as were `added`.
pub(super) fn merge(
    transaction: &Transaction<'_>,
    minutes: Minutes,
    newest: UnixMillis,
    added: usize,
) -> Result<()> {
    let overdue = Period::Minute.start(UnixMillis(newest.0.saturating_sub(KEPT_MILLIS)));
    let mut oldest = transaction.prepare_cached("SELECT min(start) FROM usage_minutely WHERE start >= ?1")?;
    let (mut until, mut merged) = (minutes.until, 0);
    while merged <= added {
        let Some(minute) = oldest.query_row([until], |row| row.get::<_, Option<i64>>(0))? else { break };
        if minute >= overdue {
            break;
        }
        merged += merge_minute(transaction, minute)?;
        until = minute.saturating_add(Period::Minute.millis());
    }
    if until > minutes.until {
        transaction.prepare_cached("UPDATE minutes_merged SET until = ?1")?.execute([until])?;
    }
    Ok(())
}

/// Adds the rows of `minute` to those of its quarter; how many there were, or 1 when nothing is to do.
fn merge_minute(transaction: &Transaction<'_>, minute: i64) -> Result<usize> {
    const ADD: &str = concat!(
        "INSERT INTO usage_minutely (user_id, meter, start, org_id, route, amount, events) ",
        "SELECT user_id, meter, ?2, org_id, route, amount, events FROM usage_minutely WHERE start = ?1",
        on_conflict_add!()
    );
    let quarter = Period::Quarter.start(UnixMillis(minute));
    if quarter == minute {
        return Ok(1);
    }
    transaction.prepare_cached(ADD)?.execute([minute, quarter])?;
    transaction.prepare_cached("DELETE FROM usage_minutely WHERE start = ?1")?.execute([minute])
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
