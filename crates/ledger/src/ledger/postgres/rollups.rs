//! Adding to the sums per minute, hour and day.

use tokio_postgres::types::ToSql;

use super::{PostgresError, connection::Connection, types::At};
use crate::ledger::{
    minutes::Minutes,
    period::Period,
    totals::{Total, clamp, coarsen},
};

/// A sum beyond 64 bits stays at the bound.
macro_rules! on_conflict_add {
    () => {
        " ON CONFLICT (user_id, meter, start, org_id, route) DO UPDATE SET \
         events = kept.events + excluded.events, amount = least(greatest(\
         kept.amount::numeric + excluded.amount, -9223372036854775808), 9223372036854775807)"
    };
}
pub(super) use on_conflict_add;

/// The rows come in the order of the arrays, which is that of their keys.
macro_rules! roll_up {
    ($table:literal) => {
        concat!(
            "INSERT INTO ",
            $table,
            " AS kept (user_id, meter, start, org_id, route, amount, events) SELECT * FROM unnest(\
             $1::text[], $2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::bigint[], $7::bigint[])",
            on_conflict_add!()
        )
    };
}

/// Adds the sums of new lines to what is kept.
pub(super) async fn add(
    connection: &Connection,
    mut totals: Vec<Total>,
    minutes: Minutes,
) -> Result<(), PostgresError> {
    if totals.is_empty() {
        return Ok(());
    }
    coarsen(&mut totals, |at| minutes.start(at));
    roll_up(connection, roll_up!("usage_minutely"), &totals).await?;
    coarsen(&mut totals, |at| Period::Hour.start(at));
    roll_up(connection, roll_up!("usage_hourly"), &totals).await?;
    coarsen(&mut totals, |at| Period::Day.start(at));
    roll_up(connection, roll_up!("usage_daily"), &totals).await
}

async fn roll_up(connection: &Connection, sql: &'static str, totals: &[Total]) -> Result<(), PostgresError> {
    fn column<'t, T>(totals: &'t [Total], value: impl Fn(&'t Total) -> T) -> Vec<T> {
        totals.iter().map(value).collect()
    }
    let values: [&(dyn ToSql + Sync); 7] = [
        &column(totals, |total| total.key.user_id.as_str()),
        &column(totals, |total| total.key.meter.as_str()),
        &column(totals, |total| At(total.key.start)),
        &column(totals, |total| total.key.org_id.as_str()),
        &column(totals, |total| total.key.route.as_str()),
        &column(totals, |total| clamp(total.amount)),
        &column(totals, |total| total.events),
    ];
    connection.execute(sql, &values).await.map(|_| ())
}
