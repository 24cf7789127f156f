//! Whether the sums are the sums of the lines, compared where they are.

use tokio_postgres::types::ToSql;

use super::{PostgresError, connection::Connection, types::At};
use crate::{
    audit::{AuditReport, Difference, Sum},
    ledger::{minutes::Minutes, period::Period},
};

/// What the comparison of one table gave.
pub(super) struct Compared {
    pub(super) rows: u64,
    pub(super) differences: Vec<Difference>,
}

impl AuditReport {
    pub(super) fn add(&mut self, Compared { rows, differences }: Compared) {
        self.rollup_rows += rows;
        self.differences.extend(differences);
    }
}

pub(super) async fn count_lines(connection: &Connection) -> Result<u64, PostgresError> {
    count(connection, "SELECT count(*) FROM usage_ledger").await
}

/// Compares the sums of `period`'s table with those of the lines.
pub(super) async fn compare(
    connection: &Connection,
    period: Period,
    minutes: Minutes,
) -> Result<Compared, PostgresError> {
    let table = period.table();
    let width = match period {
        Period::Minute | Period::Quarter => {
            "CASE WHEN at < $1 THEN interval '15 minutes' ELSE interval '1 minute' END"
        }
        Period::Hour => "interval '1 hour'",
        Period::Day => "interval '1 day'",
    };
    let until = At(minutes.until);
    let values: &[&(dyn ToSql + Sync)] = match period {
        Period::Minute | Period::Quarter => &[&until],
        Period::Hour | Period::Day => &[],
    };
    let sql = format!(
        "SELECT user_id, meter, start, org_id, route, kept.amount, kept.events, real.amount, real.events \
         FROM {table} AS kept FULL JOIN (SELECT user_id, meter, date_bin({width}, at, timestamptz '2000-01-01') AS start, \
         coalesce(org_id, '') AS org_id, route, least(greatest(sum(amount), -9223372036854775808), \
         9223372036854775807)::bigint AS amount, count(*) AS events FROM usage_ledger \
         GROUP BY 1, 2, 3, 4, 5) AS real USING (user_id, meter, start, org_id, route) \
         WHERE kept.amount IS DISTINCT FROM real.amount OR kept.events IS DISTINCT FROM real.events \
         ORDER BY 1, 2, 3, 4, 5"
    );
    let rows = connection.step(connection.client().query(&sql, values)).await?;
    let difference = |row: &tokio_postgres::Row| {
        let sum = |amount: usize, events: usize| {
            let sum = (row.try_get::<_, Option<i64>>(amount)?, row.try_get::<_, Option<i64>>(events)?);
            Ok::<_, tokio_postgres::Error>(Sum { amount: sum.0.unwrap_or(0), events: sum.1.unwrap_or(0) })
        };
        let At(start) = row.try_get(2)?;
        Ok::<_, tokio_postgres::Error>(Difference::Rollup {
            table,
            user_id: row.try_get(0)?,
            meter: row.try_get(1)?,
            start,
            org_id: row.try_get(3)?,
            route: row.try_get(4)?,
            rollup: sum(5, 6)?,
            lines: sum(7, 8)?,
        })
    };
    let differences = rows.iter().map(difference).collect::<Result<_, _>>()?;
    let rows = count(connection, &format!("SELECT count(*) FROM {table}")).await?;
    Ok(Compared { rows, differences })
}

/// Compares what resources have with their lines.
pub(super) async fn compare_resources(connection: &Connection) -> Result<Compared, PostgresError> {
    let sql = "SELECT meter, resource, user_id, org_id, kept.amount, real.amount \
        FROM usage_resources AS kept FULL JOIN (SELECT meter, resource, user_id, \
        coalesce(org_id, '') AS org_id, least(greatest(sum(amount), -9223372036854775808), \
        9223372036854775807)::bigint AS amount FROM usage_ledger WHERE resource IS NOT NULL \
        GROUP BY 1, 2, 3, 4) AS real USING (meter, resource, user_id, org_id) \
        WHERE coalesce(kept.amount, 0) <> coalesce(real.amount, 0) ORDER BY 1, 2, 3, 4";
    let rows = connection.query(sql, &[]).await?;
    let difference = |row: &tokio_postgres::Row| {
        Ok::<_, tokio_postgres::Error>(Difference::Resource {
            meter: row.try_get(0)?,
            resource: row.try_get(1)?,
            user_id: row.try_get(2)?,
            org_id: row.try_get(3)?,
            kept: row.try_get::<_, Option<i64>>(4)?.unwrap_or(0),
            lines: row.try_get::<_, Option<i64>>(5)?.unwrap_or(0),
        })
    };
    let differences = rows.iter().map(difference).collect::<Result<_, _>>()?;
    let rows = count(connection, "SELECT count(*) FROM usage_resources").await?;
    Ok(Compared { rows, differences })
}

async fn count(connection: &Connection, sql: &str) -> Result<u64, PostgresError> {
    let row = connection.step(connection.client().query_one(sql, &[])).await?;
    Ok(u64::try_from(row.try_get::<_, i64>(0)?).unwrap_or(0))
}
