//! Editing, for a thread that waits.

use tokio::runtime::{Builder, Runtime};
use tollgate_core::UnixMillis;

use super::rows;
use crate::{
    LedgerError, Subject, SubjectRow,
    ledger::postgres::{
        PostgresOptions,
        connection::{Connection, Purpose},
        schema,
    },
};

pub(crate) struct Table {
    // Before the runtime that it needs.
    connection: Connection,
    runtime: Runtime,
}

impl Table {
    /// Connects, and brings the tables up to date.
    pub(crate) fn open(options: &PostgresOptions) -> Result<Self, LedgerError> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(LedgerError::Thread)?;
        let connection = runtime.block_on(async {
            let connection = Connection::open(options, Purpose::Answer).await?;
            schema::ensure(&connection, options).await?;
            Ok::<_, LedgerError>(connection)
        })?;
        Ok(Self { connection, runtime })
    }

    pub(crate) fn get(&self, subject: &Subject) -> Result<Option<SubjectRow>, LedgerError> {
        let rows = self.runtime.block_on(rows::get(&self.connection, &[subject]));
        Ok(rows?.remove(subject))
    }

    /// In one transaction.
    pub(crate) fn edit(
        &self,
        subject: &Subject,
        now: UnixMillis,
        change: impl FnOnce(&mut SubjectRow),
    ) -> Result<SubjectRow, LedgerError> {
        let connection = &self.connection;
        let edited = self.runtime.block_on(async {
            connection.run("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
            rows::lock(connection, subject).await?;
            let row = rows::get(connection, &[subject]).await?.remove(subject);
            let mut row = row.unwrap_or_else(|| SubjectRow::empty(now));
            row.updated_at = now;
            change(&mut row);
            rows::put(connection, subject, &row).await?;
            connection.run("COMMIT").await?;
            Ok(row)
        });
        if edited.is_err() {
            // It may be closed already.
            let _ = self.runtime.block_on(connection.run("ROLLBACK"));
        }
        edited.map_err(LedgerError::Postgres)
    }

    pub(crate) fn remove(&self, subject: &Subject) -> Result<bool, LedgerError> {
        Ok(self.runtime.block_on(rows::remove(&self.connection, subject))?)
    }
}
