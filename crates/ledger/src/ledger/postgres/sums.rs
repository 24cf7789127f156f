//! What a subject has used in a span.

use futures_util::future::try_join_all;
use tokio_postgres::types::ToSql;
use tollgate_core::Span;
use uuid::Uuid;

use super::{
    PostgresError,
    connection::Connection,
    types::{At, stored},
};
use crate::ledger::{
    Subject, event,
    minutes::Minutes,
    period::{Period, Piece, Source},
    totals::clamp,
};

/// Sums the subject's amounts of `meter` in `span`; beyond 64 bits it stays at the bound.
pub(super) async fn sum(
    connection: &Connection,
    minutes: Minutes,
    (subject, meter, span): (&Subject, &str, Span),
) -> Result<i64, PostgresError> {
    let pieces = minutes.cut(span).map(|piece| sum_piece(connection, subject, meter, piece));
    Ok(clamp(try_join_all(pieces).await?.into_iter().sum()))
}

async fn sum_piece(
    connection: &Connection,
    subject: &Subject,
    meter: &str,
    piece: Piece,
) -> Result<i128, PostgresError> {
    let Piece { source, start, end } = piece;
    let (by_user, by_org) = sql(source);
    let (sql, id) = match subject {
        Subject::User(id) => (by_user, id),
        Subject::Org(id) => (by_org, id),
    };
    let (id, meter) = (stored(id), stored(meter));
    let (first, behind) = event::id_range(start, end);
    let behind = behind.unwrap_or(Uuid::max());
    let starts = starts(source, start, end);
    let (start, end) = (At(start), At(end));
    let values: &[&(dyn ToSql + Sync)] = match source {
        Source::Lines => &[&id, &meter, &start, &end, &first, &behind],
        Source::Rollup(Period::Hour | Period::Day) => &[&id, &meter, &start, &end],
        Source::Rollup(Period::Minute | Period::Quarter) => &[&id, &meter, &starts],
    };
    let row = connection.query_one(sql, values).await?;
    // Beyond 64 bits; what the sum of any number of 64-bit numbers is not beyond is 128.
    Ok(row.try_get::<_, String>(0)?.parse().unwrap_or(0))
}

/// The starts of the piece's minutes or quarters: at most those of two hours.
fn starts(source: Source, start: i64, end: i64) -> Vec<At> {
    let Source::Rollup(period @ (Period::Minute | Period::Quarter)) = source else { return Vec::new() };
    let next = |start: &i64| start.checked_add(1).and_then(|after| period.next_start(after));
    std::iter::successors(period.next_start(start), next).take_while(|start| *start < end).map(At).collect()
}

/// By user, and by organisation: one named '' has no rollups, because '' stands for none there.
const fn sql(source: Source) -> (&'static str, &'static str) {
    match source {
        Source::Lines => (
            "SELECT coalesce(sum(amount), 0)::text FROM usage_ledger WHERE id >= $5 AND id < $6 \
             AND at >= $3 AND at < $4 AND user_id = $1 AND meter = $2",
            "SELECT coalesce(sum(amount), 0)::text FROM usage_ledger WHERE id >= $5 AND id < $6 \
             AND at >= $3 AND at < $4 AND org_id = $1 AND org_id <> '' AND meter = $2",
        ),
        Source::Rollup(Period::Minute | Period::Quarter) => (
            "SELECT coalesce(sum(amount), 0)::text FROM usage_minutely \
             WHERE start = ANY($3) AND user_id = $1 AND meter = $2",
            "SELECT coalesce(sum(amount), 0)::text FROM usage_minutely \
             WHERE start = ANY($3) AND org_id = $1 AND org_id <> '' AND meter = $2",
        ),
        Source::Rollup(Period::Hour) => (
            "SELECT coalesce(sum(amount), 0)::text FROM usage_hourly \
             WHERE user_id = $1 AND meter = $2 AND start >= $3 AND start < $4",
            "SELECT coalesce(sum(amount), 0)::text FROM usage_hourly \
             WHERE org_id = $1 AND org_id <> '' AND meter = $2 AND start >= $3 AND start < $4",
        ),
        Source::Rollup(Period::Day) => (
            "SELECT coalesce(sum(amount), 0)::text FROM usage_daily \
             WHERE user_id = $1 AND meter = $2 AND start >= $3 AND start < $4",
            "SELECT coalesce(sum(amount), 0)::text FROM usage_daily \
             WHERE org_id = $1 AND org_id <> '' AND meter = $2 AND start >= $3 AND start < $4",
        ),
    }
}
