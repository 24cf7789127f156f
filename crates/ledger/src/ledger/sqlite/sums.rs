//! What a subject has used in a span.

use rusqlite::{Connection, Result, Rows, params};
use tollgate_core::Span;

use super::{events::id_range, minutes};
use crate::ledger::{
    Subject,
    period::{Period, Piece, Source},
    totals::clamp,
};

/// Sums the subject's amounts of `meter` in `span`; beyond 64 bits it stays at the bound.
pub(super) fn sum(connection: &Connection, subject: &Subject, meter: &str, span: Span) -> Result<i64> {
    let asked = Asked { connection, subject, meter };
    let mut sum = 0i128;
    for piece in minutes::read(connection)?.cut(span) {
        sum += asked.sum(piece)?;
    }
    Ok(clamp(sum))
}

struct Asked<'a> {
    connection: &'a Connection,
    subject: &'a Subject,
    meter: &'a str,
}

impl Asked<'_> {
    fn sum(&self, piece: Piece) -> Result<i128> {
        let Piece { source, start, end } = piece;
        let (by_user, by_org) = sql(source);
        let (sql, id) = match self.subject {
            Subject::User(id) => (by_user, id),
            Subject::Org(id) => (by_org, id),
        };
        let mut statement = self.connection.prepare_cached(sql)?;
        match source {
            Source::Lines => {
                let ids = id_range(start, end);
                add_up(statement.query(params![id, self.meter, start, end, ids.start, ids.end])?)
            }
            Source::Rollup(Period::Hour | Period::Day) => {
                add_up(statement.query(params![id, self.meter, start, end])?)
            }
            Source::Rollup(period @ (Period::Minute | Period::Quarter)) => {
                let mut sum = 0;
                let mut next = Some(start);
                while let Some(start) = next.filter(|start| *start < end) {
                    sum += add_up(statement.query(params![id, self.meter, start])?)?;
                    next = start.checked_add(1).and_then(|after| period.next_start(after));
                }
                Ok(sum)
            }
        }
    }
}

/// Row by row, because SQLite's own sum fails beyond 64 bits.
fn add_up(mut rows: Rows<'_>) -> Result<i128> {
    let mut sum = 0i128;
    while let Some(row) = rows.next()? {
        sum += i128::from(row.get::<_, i64>(0)?);
    }
    Ok(sum)
}

/// By user, and by organisation: one named '' has no rollups, because '' stands for none there.
const fn sql(source: Source) -> (&'static str, &'static str) {
    match source {
        Source::Lines => (
            "SELECT amount FROM usage_ledger WHERE id >= ?5 AND id < ?6 \
             AND at >= ?3 AND at < ?4 AND user_id = ?1 AND meter = ?2",
            "SELECT amount FROM usage_ledger WHERE id >= ?5 AND id < ?6 \
             AND at >= ?3 AND at < ?4 AND org_id = ?1 AND org_id <> '' AND meter = ?2",
        ),
        Source::Rollup(Period::Minute | Period::Quarter) => (
            "SELECT amount FROM usage_minutely WHERE start = ?3 AND user_id = ?1 AND meter = ?2",
            "SELECT amount FROM usage_minutely INDEXED BY usage_minutely_org \
             WHERE start = ?3 AND org_id = ?1 AND org_id <> '' AND meter = ?2",
        ),
        Source::Rollup(Period::Hour) => (
            "SELECT amount FROM usage_hourly WHERE user_id = ?1 AND meter = ?2 AND start >= ?3 AND start < ?4",
            "SELECT amount FROM usage_hourly \
             WHERE org_id = ?1 AND org_id <> '' AND meter = ?2 AND start >= ?3 AND start < ?4",
        ),
        Source::Rollup(Period::Day) => (
            "SELECT amount FROM usage_daily WHERE user_id = ?1 AND meter = ?2 AND start >= ?3 AND start < ?4",
            "SELECT amount FROM usage_daily \
             WHERE org_id = ?1 AND org_id <> '' AND meter = ?2 AND start >= ?3 AND start < ?4",
        ),
    }
}
