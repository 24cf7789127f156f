//! Who else is there: each gateway says so about once a second, by the database's clock.

use std::time::Duration;

use uuid::Uuid;

use super::{PostgresError, connection::Connection};

/// From one sign of life to the next.
pub(super) const PERIOD: Duration = Duration::from_secs(1);

/// Says that the gateway with this journal begins.
pub(super) async fn begin(connection: &Connection, journal: Uuid) -> Result<(), PostgresError> {
    let sql = "INSERT INTO gateway_instances (journal, started_at, seen_at) VALUES ($1, now(), now()) \
        ON CONFLICT (journal) DO UPDATE SET started_at = excluded.started_at, seen_at = excluded.seen_at";
    connection.execute(sql, &[&journal]).await.map(|_| ())
}

/// Says that it is there.
pub(super) async fn show(connection: &Connection, journal: Uuid) -> Result<(), PostgresError> {
    let sql = "INSERT INTO gateway_instances (journal, started_at, seen_at) VALUES ($1, now(), now()) \
        ON CONFLICT (journal) DO UPDATE SET seen_at = excluded.seen_at";
    connection.execute(sql, &[&journal]).await.map(|_| ())
}

/// Says that it is there no longer.
pub(super) async fn end(connection: &Connection, journal: Uuid) -> Result<(), PostgresError> {
    let sql = "UPDATE gateway_instances SET seen_at = '-infinity' WHERE journal = $1";
    connection.execute(sql, &[&journal]).await.map(|_| ())
}

/// The journals of those seen within `fresh`, in the order of their ids; `own` is always one of them.
pub(super) async fn seen(
    connection: &Connection,
    own: Uuid,
    fresh: Duration,
) -> Result<Vec<Uuid>, PostgresError> {
    let sql = "SELECT journal FROM gateway_instances \
        WHERE journal = $1 OR seen_at > now() - $2::bigint * interval '1 millisecond' ORDER BY 1";
    let fresh = i64::try_from(fresh.as_millis()).unwrap_or(i64::MAX).min(MILLIS_MAX);
    let rows = connection.query(sql, &[&own, &fresh]).await?;
    let mut seen = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<_>, _>>()?;
    if !seen.contains(&own) {
        seen.push(own);
        seen.sort_unstable();
    }
    Ok(seen)
}

/// A thousand years: what an interval stands.
const MILLIS_MAX: i64 = 1000 * 366 * 86_400_000;
