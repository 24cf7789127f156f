//! Reading a ledger that another thread or process may be writing.

use std::{fmt, path::Path};

use rusqlite::Connection;
use tollgate_core::Span;
use uuid::Uuid;

use super::{EventFilter, LedgerError, LedgerEvent, Subject, batch, events, schema, sums};
use crate::Position;

/// The ledger as it was when the reader was opened: all its answers agree with each other. Open
/// another one to see what came later, and do not keep one for long: the file grows meanwhile.
pub struct LedgerReader {
    connection: Connection,
}

impl LedgerReader {
    /// Opens the ledger read-only.
    ///
    /// # Errors
    ///
    /// When there is none, SQLite refuses, or its schema is not the one this program knows.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let connection = schema::open_to_read(path)?;
        // The first read of a transaction fixes what all later ones see.
        connection.execute_batch("BEGIN; SELECT 1 FROM journal_watermark LIMIT 1;")?;
        Ok(Self { connection })
    }

    /// What `subject` has used of `meter` in `span`; beyond 64 bits it stays at the bound. What the span
    /// cuts off from a minute, or from a quarter of an hour once its minutes are merged, is summed from
    /// all lines admitted there, found by their ids: exact, but slow under much traffic.
    ///
    /// # Errors
    ///
    /// When SQLite cannot read.
    pub fn sum(&self, subject: &Subject, meter: &str, span: Span) -> Result<i64, LedgerError> {
        Ok(sums::sum(&self.connection, subject, meter, span)?)
    }

    /// The lines that `filter` selects, in the order of their ids. Looks at every line of the filter's
    /// span, or of the whole ledger when there is none: for audits and tests, not for every request.
    ///
    /// # Errors
    ///
    /// When SQLite cannot read.
    pub fn events(&self, filter: &EventFilter) -> Result<Vec<LedgerEvent>, LedgerError> {
        Ok(events::select(&self.connection, filter)?)
    }

    /// The line with this id.
    ///
    /// # Errors
    ///
    /// When SQLite cannot read.
    pub fn event(&self, id: Uuid) -> Result<Option<LedgerEvent>, LedgerError> {
        Ok(events::get(&self.connection, id)?)
    }

    /// Up to where the settlements of `journal` are in the ledger; none when nothing of it is.
    ///
    /// # Errors
    ///
    /// When SQLite cannot read.
    pub fn watermark(&self, journal: Uuid) -> Result<Option<Position>, LedgerError> {
        Ok(batch::watermark(&self.connection, journal)?)
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }
}

impl fmt::Debug for LedgerReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LedgerReader").finish_non_exhaustive()
    }
}
