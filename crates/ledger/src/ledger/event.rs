//! Lines of the ledger, read back.

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

/// In which of all ids those of requests admitted in `start..end` lie: the first, and the one behind the
/// last if there is one. A uuid v7 begins with the milliseconds, as many as it has room for.
pub(super) fn id_range(start: i64, end: i64) -> (Uuid, Option<Uuid>) {
    let first = |at: i64| RequestKey::new(UnixMillis(at), 0).to_bits() >> 80 << 80;
    // The last of all milliseconds has no next one.
    let behind = first(end.saturating_sub(1)).checked_add(1 << 80);
    (Uuid::from_u128(first(start)), behind.map(Uuid::from_u128))
}
