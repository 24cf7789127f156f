//! Lines of the ledger, read back.

use tokio_postgres::{
    Row,
    types::{Json, ToSql},
};
use tollgate_core::{Span, UnixMillis};
use uuid::Uuid;

use super::{
    PostgresError,
    connection::Connection,
    copy::columns,
    types::{At, stored},
};
use crate::ledger::{EventFilter, LedgerEvent, Subject, event};

type Value = Box<dyn ToSql + Sync + Send>;

/// The lines that `filter` selects, in the order of their ids.
pub(super) async fn select(
    connection: &Connection,
    filter: &EventFilter,
) -> Result<Vec<LedgerEvent>, PostgresError> {
    let EventFilter { subject, meter, span, request_id, limit } = filter;
    let text = |text: &str| -> Value { Box::new(stored(text).into_owned()) };
    let mut conditions: Vec<(&str, Value)> = Vec::new();
    match subject {
        Some(Subject::User(id)) => conditions.push(("user_id =", text(id))),
        Some(Subject::Org(id)) => conditions.push(("org_id =", text(id))),
        None => {}
    }
    conditions.extend(meter.as_ref().map(|meter| ("meter =", text(meter))));
    if let Some(Span { start, end }) = span {
        let (first, behind) = event::id_range(start.0, end.0);
        conditions.push(("id >=", Box::new(first)));
        conditions.extend(behind.map(|behind| ("id <", Box::new(behind) as Value)));
        conditions.push(("at >=", Box::new(At::from(*start))));
        conditions.push(("at <", Box::new(At::from(*end))));
    }
    conditions.extend(request_id.as_ref().map(|id| ("request_id =", text(id))));
    let mut sql = concat!("SELECT ", columns!(), " FROM usage_ledger WHERE true").to_owned();
    for (number, (condition, _)) in (1..).zip(&conditions) {
        sql.push_str(&format!(" AND {condition} ${number}"));
    }
    sql.push_str(" ORDER BY id");
    if let Some(limit) = limit {
        sql.push_str(&format!(" LIMIT {limit}"));
    }
    let values: Vec<&(dyn ToSql + Sync)> = conditions.iter().map(|(_, value)| &**value as _).collect();
    let rows = connection.step(connection.client().query(&sql, &values)).await?;
    Ok(rows.iter().map(from_row).collect::<Result<_, _>>()?)
}

/// The lines with these ids, in no order.
pub(super) async fn by_id(connection: &Connection, ids: &[Uuid]) -> Result<Vec<LedgerEvent>, PostgresError> {
    let sql = concat!("SELECT ", columns!(), " FROM usage_ledger WHERE id = ANY($1)");
    let rows = connection.query(sql, &[&ids]).await?;
    Ok(rows.iter().map(from_row).collect::<Result<_, _>>()?)
}

fn from_row(row: &Row) -> Result<LedgerEvent, tokio_postgres::Error> {
    let At(at) = row.try_get(1)?;
    let metadata: Option<Json<serde_json::Value>> = row.try_get(14)?;
    Ok(LedgerEvent {
        id: row.try_get(0)?,
        at: UnixMillis(at),
        user_id: row.try_get(2)?,
        org_id: row.try_get(3)?,
        tier: row.try_get(4)?,
        meter: row.try_get(5)?,
        amount: row.try_get(6)?,
        estimated: row.try_get(7)?,
        route: row.try_get(8)?,
        method: row.try_get(9)?,
        status: u16::try_from(row.try_get::<_, i32>(10)?).unwrap_or(0),
        duration_ms: u64::try_from(row.try_get::<_, i64>(11)?).unwrap_or(0),
        request_id: row.try_get(12)?,
        resource: row.try_get(13)?,
        metadata: metadata.map(|Json(value)| value.to_string()),
    })
}
