//! Inserting lines: one statement for a whole batch, that is told only what differs from line to line.

use rusqlite::{CachedStatement, Connection, Result};
use tollgate_core::{Charge, Event, Settlement};
use uuid::Uuid;

const INSERT: &str = "INSERT INTO usage_ledger (id, at, user_id, org_id, tier, meter, amount, estimated, \
    route, method, status, duration_ms, request_id, resource, metadata) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15) ON CONFLICT (id) DO NOTHING";

/// The prepared statement, and what its texts are bound to: SQLite copies what it is given.
pub(super) struct Insert<'c> {
    statement: CachedStatement<'c>,
    user_id: Bound,
    org_id: Bound,
    tier: Bound,
    meter: Bound,
    route: Bound,
    method: Bound,
    request_id: Bound,
    resource: Bound,
    metadata: Bound,
}

impl<'c> Insert<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> Result<Self> {
        let mut statement = connection.prepare_cached(INSERT)?;
        // All parameters are null now.
        statement.clear_bindings();
        Ok(Self {
            statement,
            user_id: Bound::null(3),
            org_id: Bound::null(4),
            tier: Bound::null(5),
            meter: Bound::null(6),
            route: Bound::null(9),
            method: Bound::null(10),
            request_id: Bound::null(13),
            resource: Bound::null(14),
            metadata: Bound::null(15),
        })
    }

    /// Inserts the event's line unless there is one with its id; whether it was inserted.
    pub(super) fn insert(&mut self, event: &Event<'_>) -> Result<bool> {
        let Event { id, charge: Charge { meter, amount, estimated }, settlement } = event;
        let Settlement {
            key: _,
            at,
            user_id,
            org_id,
            tier,
            route,
            method,
            status,
            duration_ms,
            request_id,
            resource,
            metadata,
            settled_by: _,
            charges: _,
        } = settlement;
        let statement = &mut self.statement;
        let mut text = Uuid::encode_buffer();
        let id: &str = Uuid::from_u128(id.to_bits()).hyphenated().encode_lower(&mut text);
        statement.raw_bind_parameter(1, id)?;
        statement.raw_bind_parameter(2, at.0)?;
        self.user_id.bind(statement, Some(user_id))?;
        self.org_id.bind(statement, *org_id)?;
        self.tier.bind(statement, Some(tier))?;
        self.meter.bind(statement, Some(meter))?;
        statement.raw_bind_parameter(7, *amount)?;
        statement.raw_bind_parameter(8, *estimated)?;
        self.route.bind(statement, Some(route))?;
        self.method.bind(statement, Some(method))?;
        statement.raw_bind_parameter(11, *status)?;
        statement.raw_bind_parameter(12, i64::try_from(*duration_ms).unwrap_or(i64::MAX))?;
        self.request_id.bind(statement, Some(request_id))?;
        self.resource.bind(statement, *resource)?;
        self.metadata.bind(statement, *metadata)?;
        Ok(statement.raw_execute()? == 1)
    }
}

/// What the text parameter number `index` is bound to.
struct Bound {
    index: usize,
    null: bool,
    text: String,
}

impl Bound {
    const fn null(index: usize) -> Self {
        Self { index, null: true, text: String::new() }
    }

    fn bind(&mut self, statement: &mut CachedStatement<'_>, value: Option<&str>) -> Result<()> {
        let Self { index, null, text } = self;
        let bound = if *null { None } else { Some(text.as_str()) };
        if bound == value {
            return Ok(());
        }
        statement.raw_bind_parameter(*index, value)?;
        *null = value.is_none();
        text.clear();
        text.push_str(value.unwrap_or_default());
        Ok(())
    }
}
