//! Lines of the ledger, read back.

use std::ops::Range;

use rusqlite::{Connection, Result, Row, params_from_iter, types::Value};
use tollgate_core::{Span, UnixMillis};
use uuid::Uuid;

use crate::ledger::{EventFilter, LedgerEvent, Subject, event};

const COLUMNS: &str = "id, at, user_id, org_id, tier, meter, amount, estimated, route, method, status, \
    duration_ms, request_id, resource, metadata";

/// The lines that `filter` selects, in the order of their ids.
pub(super) fn select(connection: &Connection, filter: &EventFilter) -> Result<Vec<LedgerEvent>> {
    let EventFilter { subject, meter, span, request_id, limit } = filter;
    let mut conditions: Vec<(&str, Value)> = Vec::new();
    match subject {
        Some(Subject::User(id)) => conditions.push(("user_id = ?", id.clone().into())),
        Some(Subject::Org(id)) => conditions.push(("org_id = ?", id.clone().into())),
        None => {}
    }
    conditions.extend(meter.clone().map(|meter| ("meter = ?", meter.into())));
    if let Some(Span { start, end }) = span {
        let ids = id_range(start.0, end.0);
        conditions.push(("id >= ?", ids.start.into()));
        conditions.push(("id < ?", ids.end.into()));
        conditions.push(("at >= ?", start.0.into()));
        conditions.push(("at < ?", end.0.into()));
    }
    conditions.extend(request_id.clone().map(|id| ("request_id = ?", id.into())));
    let mut sql = format!("SELECT {COLUMNS} FROM usage_ledger WHERE 1");
    for (condition, _) in &conditions {
        sql.push_str(" AND ");
        sql.push_str(condition);
    }
    sql.push_str(" ORDER BY id LIMIT ?");
    let limit = Value::from(limit.map_or(-1, i64::from));
    let values = conditions.into_iter().map(|(_, value)| value).chain([limit]);
    connection.prepare_cached(&sql)?.query_map(params_from_iter(values), LedgerEvent::from_row)?.collect()
}

/// In which of all ids those of requests admitted in `start..end` lie.
pub(super) fn id_range(start: i64, end: i64) -> Range<String> {
    let (first, behind) = event::id_range(start, end);
    // Behind all ids is what is no hexadecimal digit.
    first.to_string()..behind.map_or_else(|| "g".to_owned(), |id| id.to_string())
}

/// The line with this id.
pub(super) fn get(connection: &Connection, id: Uuid) -> Result<Option<LedgerEvent>> {
    let sql = format!("SELECT {COLUMNS} FROM usage_ledger WHERE id = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([id.to_string()])?;
    rows.next()?.map(LedgerEvent::from_row).transpose()
}

impl LedgerEvent {
    fn from_row(row: &Row<'_>) -> Result<Self> {
        let id: String = row.get(0)?;
        let bad_id = |error| {
            rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
        };
        let duration_ms: i64 = row.get(11)?;
        Ok(Self {
            id: Uuid::parse_str(&id).map_err(bad_id)?,
            at: UnixMillis(row.get(1)?),
            user_id: row.get(2)?,
            org_id: row.get(3)?,
            tier: row.get(4)?,
            meter: row.get(5)?,
            amount: row.get(6)?,
            estimated: row.get(7)?,
            route: row.get(8)?,
            method: row.get(9)?,
            status: row.get(10)?,
            duration_ms: u64::try_from(duration_ms).unwrap_or(0),
            request_id: row.get(12)?,
            resource: row.get(13)?,
            metadata: row.get(14)?,
        })
    }
}
