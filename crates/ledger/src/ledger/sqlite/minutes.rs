//! The sums per minute in SQLite: which are merged, and the merging.

use rusqlite::{Connection, Result, Transaction};
use tollgate_core::UnixMillis;

use super::batch::on_conflict_add;
use crate::ledger::{
    minutes::{KEPT_MILLIS, Minutes},
    period::Period,
};

/// How far minutes are merged.
pub(crate) fn read(connection: &Connection) -> Result<Minutes> {
    let sql = "SELECT until, (SELECT max(start) FROM usage_minutely) FROM minutes_merged";
    let mut statement = connection.prepare_cached(sql)?;
    let (until, last) = statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Minutes::new(until, last))
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
