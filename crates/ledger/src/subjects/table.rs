//! Editing the table, while a gateway runs or not.

use std::{fmt, time::Duration};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tollgate_core::UnixMillis;

use super::SubjectRow;
use crate::{
    Durability, LedgerError, LedgerOptions, Subject,
    ledger::{
        postgres::subjects as postgres,
        sqlite::{schema, subjects as sqlite},
    },
};

/// Longest wait for a gateway that writes; a batch takes well below a second.
const BUSY: Duration = Duration::from_secs(10);

/// The table as an operator edits it.
pub struct SubjectTable(Store);

enum Store {
    Sqlite(Connection),
    Postgres(postgres::Table),
}

impl SubjectTable {
    /// Opens the table of the ledger; the ledger is made when there is none, and its tables are brought up
    /// to date.
    ///
    /// # Errors
    ///
    /// When the store refuses or is away, or its schema is newer than this program.
    pub fn open(options: &LedgerOptions) -> Result<Self, LedgerError> {
        Ok(Self(match options {
            LedgerOptions::Sqlite { path } => {
                let connection = schema::open(path, Durability::Power)?;
                connection.busy_timeout(BUSY)?;
                Store::Sqlite(connection)
            }
            LedgerOptions::Postgres(options) => Store::Postgres(postgres::Table::open(options)?),
        }))
    }

    /// The row of `subject`.
    ///
    /// # Errors
    ///
    /// When the store cannot read.
    pub fn get(&self, subject: &Subject) -> Result<Option<SubjectRow>, LedgerError> {
        match &self.0 {
            Store::Sqlite(connection) => Ok(sqlite::get(connection, subject)?),
            Store::Postgres(table) => table.get(subject),
        }
    }

    /// Changes the row of `subject` at `now`, or makes it from an empty one, in one transaction; what it is
    /// then.
    ///
    /// # Errors
    ///
    /// When the store cannot write, or the table refuses the row. Nothing has changed then.
    pub fn edit(
        &mut self,
        subject: &Subject,
        now: UnixMillis,
        change: impl FnOnce(&mut SubjectRow),
    ) -> Result<SubjectRow, LedgerError> {
        match &mut self.0 {
            Store::Sqlite(connection) => {
                let transaction = Transaction::new(connection, TransactionBehavior::Immediate)?;
                let mut row = sqlite::get(&transaction, subject)?.unwrap_or_else(|| SubjectRow::empty(now));
                row.updated_at = now;
                change(&mut row);
                sqlite::put(&transaction, subject, &row)?;
                transaction.commit()?;
                Ok(row)
            }
            Store::Postgres(table) => table.edit(subject, now, change),
        }
    }

    /// Removes the row of `subject`; whether there was one.
    ///
    /// # Errors
    ///
    /// When the store cannot write.
    pub fn remove(&mut self, subject: &Subject) -> Result<bool, LedgerError> {
        match &self.0 {
            Store::Sqlite(connection) => Ok(sqlite::remove(connection, subject)?),
            Store::Postgres(table) => table.remove(subject),
        }
    }
}

impl fmt::Debug for SubjectTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubjectTable").finish_non_exhaustive()
    }
}
