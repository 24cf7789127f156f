//! Lines of the ledger, read back.

use std::ops::Range;

use rusqlite::{Connection, Result, Row, params_from_iter, types::Value};
use tollgate_core::{RequestKey, Span, UnixMillis};
use uuid::Uuid;

use super::Subject;

/// One line of `usage_ledger`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerEvent {
    /// Primary key, a uuid v7.
    pub id: Uuid,
    /// When the request was admitted.
    pub at: UnixMillis,
    /// The user.
    pub user_id: String,
    /// The organisation, if the user has one.
    pub org_id: Option<String>,
    /// The tier's name.
    pub tier: String,
    /// The meter's name.
    pub meter: String,
    /// What is charged, in the meter's unit.
    pub amount: i64,
    /// Whether the amount is assumed rather than measured.
    pub estimated: bool,
    /// The route's name.
    pub route: String,
    /// The request's method.
    pub method: String,
    /// The answer's status; 0 when there was none.
    pub status: u16,
    /// From admission to settlement, in milliseconds.
    pub duration_ms: u64,
    /// What the client and the upstream know the request by.
    pub request_id: String,
    /// What the request was about.
    pub resource: Option<String>,
    /// More, as one JSON object.
    pub metadata: Option<String>,
}

/// Which lines to read; what is none does not restrict.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Only this subject's. No index helps: for audits and tests, unless the span is short.
    pub subject: Option<Subject>,
    /// Only this meter's.
    pub meter: Option<String>,
    /// Only of requests admitted in this span.
    pub span: Option<Span>,
    /// Only of the request with this id.
    pub request_id: Option<String>,
    /// At most so many, the oldest ids first.
    pub limit: Option<u32>,
}

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

/// In which of all ids those of requests admitted in `start..end` lie: a uuid v7 begins with the
/// milliseconds, as many as it has room for.
pub(super) fn id_range(start: i64, end: i64) -> Range<String> {
    let first = |at: i64| RequestKey::new(UnixMillis(at), 0).to_bits() >> 80 << 80;
    let text = |bits| Uuid::from_u128(bits).to_string();
    // The last of all milliseconds has no next one: behind its ids is what is no hexadecimal digit.
    let last = first(end.saturating_sub(1));
    let behind = last.checked_add(1 << 80).map_or_else(|| "g".to_owned(), text);
    text(first(start))..behind
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
