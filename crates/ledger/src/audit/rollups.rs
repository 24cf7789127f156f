//! Whether the sums per minute, hour and day, and of resources, are the sums of the lines.

use std::cmp::Ordering;

use rusqlite::{Connection, Result, Row, Rows};

use super::{AuditReport, Difference, difference::Sum, resources};
use crate::{
    LedgerError, LedgerReader,
    ledger::{Store, minutes::Minutes, period::Period, totals::clamp},
};

const PERIODS: [Period; 3] = [Period::Minute, Period::Hour, Period::Day];

/// What a row is the sum of: user, meter, start, organisation, route.
type Key = (String, String, i64, String, String);

/// Counts the lines, and compares every sum with them.
pub(super) fn check(ledger: &LedgerReader, report: &mut AuditReport) -> std::result::Result<(), LedgerError> {
    match &ledger.store {
        Store::Sqlite(reader) => {
            let minutes = reader.minutes()?;
            report.events = count_lines(reader.connection())?;
            PERIODS
                .iter()
                .try_for_each(|period| check_period(reader.connection(), *period, minutes, report))?;
            Ok(resources::check(reader.connection(), report)?)
        }
        Store::Postgres(reader) => reader.compare(&PERIODS, report),
    }
}

fn count_lines(connection: &Connection) -> Result<u64> {
    let lines: i64 = connection.query_row("SELECT count(*) FROM usage_ledger", [], |row| row.get(0))?;
    Ok(u64::try_from(lines).unwrap_or(0))
}

/// Walks through the sums in the table and the sums of the lines, both in the order of their keys.
fn check_period(
    connection: &Connection,
    period: Period,
    minutes: Minutes,
    report: &mut AuditReport,
) -> Result<()> {
    let mut table = connection.prepare(&table_sql(period))?;
    let mut lines = connection.prepare(&lines_sql(period, minutes))?;
    let mut kept = Cursor::new(table.query([])?, kept_sum)?;
    let mut real = Cursor::new(lines.query([])?, real_sum)?;
    loop {
        let order = match (&kept.row, &real.row) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((kept, _)), Some((real, _))) => kept.cmp(real),
        };
        let kept_row = if order.is_le() { kept.take()? } else { None };
        let real_row = if order.is_ge() { real.take()? } else { None };
        report.rollup_rows += u64::from(kept_row.is_some());
        let sum = |row: &Option<(Key, Sum)>| row.as_ref().map(|(_, sum)| *sum).unwrap_or_default();
        let (rollup, lines) = (sum(&kept_row), sum(&real_row));
        let orphan = real_row.is_none();
        if let Some((key, _)) = kept_row.or(real_row).filter(|_| orphan || rollup != lines) {
            report.differences.push(difference(period, key, rollup, lines));
        }
    }
}

fn difference(period: Period, key: Key, rollup: Sum, lines: Sum) -> Difference {
    let (user_id, meter, start, org_id, route) = key;
    Difference::Rollup { table: period.table(), user_id, meter, start, org_id, route, rollup, lines }
}

fn table_sql(period: Period) -> String {
    let table = period.table();
    format!("SELECT user_id, meter, start, org_id, route, amount, events FROM {table} ORDER BY 1, 2, 3, 4, 5")
}

/// In two halves, because SQLite's sum fails beyond 64 bits; with a remainder that is never negative.
fn lines_sql(period: Period, minutes: Minutes) -> String {
    let millis = match period {
        Period::Minute | Period::Quarter => format!(
            "CASE WHEN at < {} THEN {} ELSE {} END",
            literal(minutes.until),
            Period::Quarter.millis(),
            Period::Minute.millis()
        ),
        Period::Hour | Period::Day => period.millis().to_string(),
    };
    format!(
        "SELECT user_id, meter, at - ((at % millis) + millis) % millis, org_id, route, \
         sum(amount >> 32), sum(amount & 4294967295), count(*) \
         FROM (SELECT user_id, meter, at, ifnull(org_id, '') org_id, route, amount, {millis} millis \
         FROM usage_ledger) GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5"
    )
}

/// SQLite reads the least of all integers as a float.
fn literal(number: i64) -> String {
    if number == i64::MIN { format!("({} - 1)", i64::MIN + 1) } else { number.to_string() }
}

fn kept_sum(row: &Row<'_>) -> Result<Sum> {
    Ok(Sum { amount: row.get(5)?, events: row.get(6)? })
}

fn real_sum(row: &Row<'_>) -> Result<Sum> {
    let (high, low): (i64, i64) = (row.get(5)?, row.get(6)?);
    let amount = clamp((i128::from(high) << 32) + i128::from(low));
    Ok(Sum { amount, events: row.get(7)? })
}

/// Rows in order, the next one at hand.
struct Cursor<'s> {
    rows: Rows<'s>,
    sum: fn(&Row<'_>) -> Result<Sum>,
    row: Option<(Key, Sum)>,
}

impl<'s> Cursor<'s> {
    fn new(rows: Rows<'s>, sum: fn(&Row<'_>) -> Result<Sum>) -> Result<Self> {
        let mut cursor = Self { rows, sum, row: None };
        cursor.take()?;
        Ok(cursor)
    }

    /// The row at hand; the next one takes its place.
    fn take(&mut self) -> Result<Option<(Key, Sum)>> {
        let next = match self.rows.next()? {
            Some(row) => {
                let key = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
                Some((key, (self.sum)(row)?))
            }
            None => None,
        };
        Ok(std::mem::replace(&mut self.row, next))
    }
}
