//! Reading a file that another thread or process may be writing.

use std::path::Path;

use rusqlite::Connection;
use tollgate_core::Span;
use uuid::Uuid;

use super::{batch, events, minutes, schema, sums};
use crate::{EventFilter, LedgerError, LedgerEvent, Position, Subject, ledger::minutes::Minutes};

/// A transaction that sees the file as of its first read.
pub(crate) struct Reader {
    connection: Connection,
}

impl Reader {
    pub(crate) fn open(path: &Path) -> Result<Self, LedgerError> {
        let connection = schema::open_to_read(path)?;
        // The first read of a transaction fixes what all later ones see.
        connection.execute_batch("BEGIN; SELECT 1 FROM journal_watermark LIMIT 1;")?;
        Ok(Self { connection })
    }

    pub(crate) fn sum(&self, subject: &Subject, meter: &str, span: Span) -> Result<i64, LedgerError> {
        Ok(sums::sum(&self.connection, subject, meter, span)?)
    }

    pub(crate) fn events(&self, filter: &EventFilter) -> Result<Vec<LedgerEvent>, LedgerError> {
        Ok(events::select(&self.connection, filter)?)
    }

    pub(crate) fn events_by_id(&self, ids: &[Uuid]) -> Result<Vec<LedgerEvent>, LedgerError> {
        let get = |id: &Uuid| events::get(&self.connection, *id).transpose();
        Ok(ids.iter().filter_map(get).collect::<Result<_, _>>()?)
    }

    pub(crate) fn watermarks(&self) -> Result<Vec<(Uuid, Position)>, LedgerError> {
        Ok(batch::watermarks(&self.connection)?)
    }

    pub(crate) fn minutes(&self) -> Result<Minutes, LedgerError> {
        Ok(minutes::read(&self.connection)?)
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }
}
