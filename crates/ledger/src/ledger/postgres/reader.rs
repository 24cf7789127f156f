//! Reading as of one instant, for a thread that waits.

use tokio::runtime::{Builder, Runtime};
use tollgate_core::Span;
use uuid::Uuid;

use super::{
    PostgresOptions, audit, commit,
    connection::{Connection, Purpose},
    events, minutes, schema, sums,
};
use crate::{AuditReport, EventFilter, LedgerError, LedgerEvent, Position, Subject, ledger::period::Period};

/// A transaction that sees the ledger as of its first read.
pub(crate) struct Reader {
    // Before the runtime that it needs.
    connection: Connection,
    runtime: Runtime,
}

impl Reader {
    pub(crate) fn open(options: &PostgresOptions) -> Result<Self, LedgerError> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(LedgerError::Thread)?;
        let connection = runtime.block_on(async {
            let connection = Connection::open(options, Purpose::Read).await?;
            schema::require(&connection).await?;
            // The first read of a transaction fixes what all later ones see.
            connection.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
            minutes::read(&connection).await?;
            Ok::<_, LedgerError>(connection)
        })?;
        Ok(Self { connection, runtime })
    }

    pub(crate) fn sum(&self, subject: &Subject, meter: &str, span: Span) -> Result<i64, LedgerError> {
        self.runtime.block_on(async {
            let minutes = minutes::read(&self.connection).await?;
            Ok(sums::sum(&self.connection, minutes, (subject, meter, span)).await?)
        })
    }

    pub(crate) fn events(&self, filter: &EventFilter) -> Result<Vec<LedgerEvent>, LedgerError> {
        Ok(self.runtime.block_on(events::select(&self.connection, filter))?)
    }

    pub(crate) fn events_by_id(&self, ids: &[Uuid]) -> Result<Vec<LedgerEvent>, LedgerError> {
        Ok(self.runtime.block_on(events::by_id(&self.connection, ids))?)
    }

    pub(crate) fn watermarks(&self) -> Result<Vec<(Uuid, Position)>, LedgerError> {
        Ok(self.runtime.block_on(commit::watermarks(&self.connection))?)
    }

    /// Counts the lines, and compares every sum of `periods` with them.
    pub(crate) fn compare(&self, periods: &[Period], report: &mut AuditReport) -> Result<(), LedgerError> {
        self.runtime.block_on(async {
            let minutes = minutes::read(&self.connection).await?;
            report.events = audit::count_lines(&self.connection).await?;
            for period in periods {
                report.add(audit::compare(&self.connection, *period, minutes).await?);
            }
            report.add(audit::compare_resources(&self.connection).await?);
            Ok(())
        })
    }
}
