//! The sums per minute in Postgres: which are merged, and the merging.
//!
//! Any number of gateways add to them, and whichever comes first merges: alone, in a transaction of its
//! own, so that nobody adds a row to a minute that is being merged.

use tollgate_core::UnixMillis;

use super::{
    PostgresError, commit::Added, connection::Connection, locks, rollups::on_conflict_add, types::At,
};
use crate::ledger::{
    minutes::{KEPT_MILLIS, Minutes},
    period::Period,
};

/// How far minutes are merged.
pub(super) async fn read(connection: &Connection) -> Result<Minutes, PostgresError> {
    let sql = "SELECT until, (SELECT max(start) FROM usage_minutely) FROM minutes_merged";
    let row = connection.query_one(sql, &[]).await?;
    let (At(until), last) = (row.try_get(0)?, row.try_get::<_, Option<At>>(1)?);
    Ok(Minutes::new(until, last.map(|At(last)| last)))
}

/// Merges minutes that were over long before the newest line `added`, about as many rows as were added.
pub(super) async fn merge(connection: &Connection, added: Added) -> Result<(), PostgresError> {
    let Added { newest, minutes } = added;
    let overdue = Period::Minute.start(UnixMillis(newest.0.saturating_sub(KEPT_MILLIS)));
    if oldest(connection).await?.is_none_or(|minute| minute >= overdue) {
        return Ok(());
    }
    connection.run("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
    connection.execute("SELECT pg_advisory_xact_lock($1)", &[&locks::MINUTES]).await?;
    let mut merged = 0;
    while merged <= minutes as u64 {
        let Some(minute) = oldest(connection).await?.filter(|minute| *minute < overdue) else { break };
        merged += merge_minute(connection, minute).await?;
        let until = minute.saturating_add(Period::Minute.millis());
        connection.execute("UPDATE minutes_merged SET until = $1", &[&At(until)]).await?;
    }
    connection.run("COMMIT").await
}

/// The oldest minute that is not merged, if there is one.
async fn oldest(connection: &Connection) -> Result<Option<i64>, PostgresError> {
    let sql = "SELECT (SELECT min(start) FROM usage_minutely WHERE start >= until) FROM minutes_merged";
    let row = connection.query_one(sql, &[]).await?;
    Ok(row.try_get::<_, Option<At>>(0)?.map(|At(oldest)| oldest))
}

/// Adds the rows of `minute` to those of its quarter; how many there were, or 1 when nothing is to do.
async fn merge_minute(connection: &Connection, minute: i64) -> Result<u64, PostgresError> {
    const MERGE: &str = concat!(
        "WITH gone AS (DELETE FROM usage_minutely WHERE start = $1 \
         RETURNING user_id, meter, org_id, route, amount, events) \
         INSERT INTO usage_minutely AS kept (user_id, meter, start, org_id, route, amount, events) \
         SELECT user_id, meter, $2::timestamptz, org_id, route, amount, events FROM gone",
        on_conflict_add!()
    );
    let quarter = Period::Quarter.start(UnixMillis(minute));
    if quarter == minute {
        return Ok(1);
    }
    connection.execute(MERGE, &[&At(minute), &At(quarter)]).await
}
