//! Inserting lines: several with one statement, that is told only what differs from what it was told before.

use rusqlite::{CachedStatement, Connection, Error, Result, ffi::SQLITE_CONSTRAINT_PRIMARYKEY};
use tollgate_core::{Charge, Event, Settlement};
use uuid::Uuid;

/// A statement is begun and ended once for all its rows, and a row that comes behind the one before it need not
/// be looked for from the root: one of 16 costs 5,900 instructions, one alone 9,100. 64 at once cost more, because so
/// many texts do not fit into what SQLite has at hand for small things.
const ROWS: [usize; 2] = [16, 1];

/// What becomes of a line that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeated {
    /// It stays, and the statement fails: the lines before it are inserted. So SQLite need not be able to take them
    /// back, for which it would copy each page before the first change by the statement.
    Fail,
    /// It stays.
    Ignore,
}
const COLUMNS: usize = 15;

/// Inserts a known number of lines, none of which is there.
pub(super) struct Inserts<'c> {
    /// As many rows each as [`ROWS`] says.
    inserts: [Insert<'c>; ROWS.len()],
    /// Which of them is being filled, and how many rows it has.
    current: usize,
    filled: usize,
    /// Lines that are still to come.
    left: usize,
    /// Lines that were new.
    inserted: usize,
}

impl<'c> Inserts<'c> {
    /// For no line yet.
    pub(super) fn prepare(connection: &'c Connection) -> Result<Self> {
        let [many, one] = ROWS;
        let insert = |rows| Insert::prepare(connection, rows, Repeated::Fail);
        Ok(Self { inserts: [insert(many)?, insert(one)?], current: 0, filled: 0, left: 0, inserted: 0 })
    }

    /// So many lines come.
    pub(super) fn expect(&mut self, lines: usize) {
        self.left += lines;
    }

    /// Inserts the event's line, now or with those to come that are expected.
    ///
    /// # Errors
    ///
    /// When it is there, [`is_repeated`] says.
    pub(super) fn insert(&mut self, event: &Event<'_>) -> Result<()> {
        if self.filled == 0 {
            self.current = ROWS.iter().position(|rows| *rows <= self.left).unwrap_or(ROWS.len() - 1);
        }
        let insert = &mut self.inserts[self.current];
        insert.bind(self.filled, event)?;
        self.filled += 1;
        if self.filled == ROWS[self.current] {
            self.inserted += insert.execute()?;
            self.left = self.left.saturating_sub(self.filled);
            self.filled = 0;
        }
        Ok(())
    }

    /// How many lines were inserted.
    pub(super) fn inserted(&self) -> usize {
        self.inserted
    }
}

/// Whether a line was there.
pub(super) fn is_repeated(error: &Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == SQLITE_CONSTRAINT_PRIMARYKEY)
}

/// A prepared statement, and what its texts are bound to: SQLite copies what it is given.
pub(super) struct Insert<'c> {
    statement: CachedStatement<'c>,
    rows: Vec<Row>,
}

/// What the parameters of a row are bound to, but for the id.
struct Row {
    /// The parameter before its first one.
    offset: usize,
    at: Number,
    user_id: Text,
    org_id: Text,
    tier: Text,
    meter: Text,
    amount: Number,
    estimated: Number,
    route: Text,
    method: Text,
    status: Number,
    duration_ms: Number,
    request_id: Text,
    resource: Text,
    metadata: Text,
}

impl<'c> Insert<'c> {
    /// Inserts so many lines at once.
    pub(super) fn prepare(connection: &'c Connection, rows: usize, repeated: Repeated) -> Result<Self> {
        let (fail, ignore) = match repeated {
            Repeated::Fail => ("OR FAIL", ""),
            Repeated::Ignore => ("", "ON CONFLICT (id) DO NOTHING"),
        };
        let row = format!("({})", ["?"; COLUMNS].join(", "));
        let sql = format!(
            "INSERT {fail} INTO usage_ledger (id, at, user_id, org_id, tier, meter, amount, estimated, route, method, \
             status, duration_ms, request_id, resource, metadata) VALUES {} {ignore}",
            vec![row; rows].join(", ")
        );
        let mut statement = connection.prepare_cached(&sql)?;
        // All parameters are null now.
        statement.clear_bindings();
        Ok(Self { statement, rows: (0..rows).map(Row::unbound).collect() })
    }

    /// Inserts what was bound; how many lines were inserted.
    pub(super) fn execute(&mut self) -> Result<usize> {
        self.statement.raw_execute()
    }

    /// Makes the event's line row number `row`.
    pub(super) fn bind(&mut self, row: usize, event: &Event<'_>) -> Result<()> {
        let Self { statement, rows } = self;
        rows[row].bind(statement, event)
    }
}

impl Row {
    fn unbound(number: usize) -> Self {
        let offset = number * COLUMNS;
        let text = |column: usize| Text { index: offset + column, null: true, text: String::new() };
        let number = |column: usize| Number { index: offset + column, bound: None };
        Self {
            offset,
            at: number(2),
            user_id: text(3),
            org_id: text(4),
            tier: text(5),
            meter: text(6),
            amount: number(7),
            estimated: number(8),
            route: text(9),
            method: text(10),
            status: number(11),
            duration_ms: number(12),
            request_id: text(13),
            resource: text(14),
            metadata: text(15),
        }
    }

    fn bind(&mut self, statement: &mut CachedStatement<'_>, event: &Event<'_>) -> Result<()> {
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
            metadata: _,
            settled_by: _,
            charges: _,
        } = settlement;
        let mut text = Uuid::encode_buffer();
        let id: &str = Uuid::from_u128(id.to_bits()).hyphenated().encode_lower(&mut text);
        statement.raw_bind_parameter(self.offset + 1, id)?;
        self.at.bind(statement, at.0)?;
        self.user_id.bind(statement, Some(user_id))?;
        self.org_id.bind(statement, *org_id)?;
        self.tier.bind(statement, Some(tier))?;
        self.meter.bind(statement, Some(meter))?;
        self.amount.bind(statement, *amount)?;
        self.estimated.bind(statement, i64::from(*estimated))?;
        self.route.bind(statement, Some(route))?;
        self.method.bind(statement, Some(method))?;
        self.status.bind(statement, i64::from(*status))?;
        self.duration_ms.bind(statement, i64::try_from(*duration_ms).unwrap_or(i64::MAX))?;
        self.request_id.bind(statement, Some(request_id))?;
        self.resource.bind(statement, *resource)?;
        self.metadata.bind(statement, event.metadata().as_deref())
    }
}

/// What the text parameter number `index` is bound to.
struct Text {
    index: usize,
    null: bool,
    text: String,
}

/// What the number parameter number `index` is bound to; nothing yet when none.
struct Number {
    index: usize,
    bound: Option<i64>,
}

impl Text {
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

impl Number {
    fn bind(&mut self, statement: &mut CachedStatement<'_>, value: i64) -> Result<()> {
        if self.bound != Some(value) {
            statement.raw_bind_parameter(self.index, value)?;
            self.bound = Some(value);
        }
        Ok(())
    }
}
