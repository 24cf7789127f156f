//! Reading a ledger that other threads and processes may be writing.

use std::fmt;

use tollgate_core::Span;
use uuid::Uuid;

use super::{EventFilter, LedgerError, LedgerEvent, LedgerOptions, Subject, postgres, sqlite};
use crate::Position;

/// The ledger as it was when the reader was opened: all its answers agree with each other. Open
/// another one to see what came later, and do not keep one for long: the store keeps what is old meanwhile.
pub struct LedgerReader {
    pub(crate) store: Store,
}

/// What is read.
pub(crate) enum Store {
    Sqlite(sqlite::Reader),
    Postgres(postgres::Reader),
}

impl LedgerReader {
    /// Opens the ledger read-only. A reader of Postgres waits for it, and so must not be used inside an
    /// asynchronous task.
    ///
    /// # Errors
    ///
    /// When there is none, the store refuses, or its schema is not the one this program knows.
    pub fn open(options: &LedgerOptions) -> Result<Self, LedgerError> {
        let store = match options {
            LedgerOptions::Sqlite { path } => Store::Sqlite(sqlite::Reader::open(path)?),
            LedgerOptions::Postgres(options) => Store::Postgres(postgres::Reader::open(options)?),
        };
        Ok(Self { store })
    }

    /// What `subject` has used of `meter` in `span`; beyond 64 bits it stays at the bound. What the span
    /// cuts off from a minute, or from a quarter of an hour once its minutes are merged, is summed from
    /// all lines admitted there, found by their ids: exact, but slow under much traffic.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn sum(&self, subject: &Subject, meter: &str, span: Span) -> Result<i64, LedgerError> {
        match &self.store {
            Store::Sqlite(reader) => reader.sum(subject, meter, span),
            Store::Postgres(reader) => reader.sum(subject, meter, span),
        }
    }

    /// The lines that `filter` selects, in the order of their ids. Looks at every line of the filter's
    /// span, or of the whole ledger when there is none: for audits and tests, not for every request.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn events(&self, filter: &EventFilter) -> Result<Vec<LedgerEvent>, LedgerError> {
        match &self.store {
            Store::Sqlite(reader) => reader.events(filter),
            Store::Postgres(reader) => reader.events(filter),
        }
    }

    /// The line with this id.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn event(&self, id: Uuid) -> Result<Option<LedgerEvent>, LedgerError> {
        Ok(self.events_by_id(&[id])?.pop())
    }

    /// The lines with these ids, in no order.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn events_by_id(&self, ids: &[Uuid]) -> Result<Vec<LedgerEvent>, LedgerError> {
        match &self.store {
            Store::Sqlite(reader) => reader.events_by_id(ids),
            Store::Postgres(reader) => reader.events_by_id(ids),
        }
    }

    /// `event` as the store keeps it.
    pub(crate) fn as_kept(&self, event: LedgerEvent) -> LedgerEvent {
        match &self.store {
            Store::Sqlite(_) => event,
            Store::Postgres(_) => postgres::as_kept(event),
        }
    }

    /// Up to where the settlements of `journal` are in the ledger; none when nothing of it is.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn watermark(&self, journal: Uuid) -> Result<Option<Position>, LedgerError> {
        let watermarks = self.watermarks()?;
        Ok(watermarks.into_iter().find(|(id, _)| *id == journal).map(|(_, position)| position))
    }

    /// The same for all journals, in the order of their ids.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn watermarks(&self) -> Result<Vec<(Uuid, Position)>, LedgerError> {
        match &self.store {
            Store::Sqlite(reader) => reader.watermarks(),
            Store::Postgres(reader) => reader.watermarks(),
        }
    }
}

impl fmt::Debug for LedgerReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LedgerReader").finish_non_exhaustive()
    }
}
