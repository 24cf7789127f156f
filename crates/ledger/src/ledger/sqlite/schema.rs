//! The tables: their migrations, and the ways of opening the file.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::{Durability, LedgerError};

/// In their order; `PRAGMA user_version` counts those that are done.
const MIGRATIONS: [&str; 3] = [
    include_str!("../../../../../migrations/sqlite/0001_ledger.sql"),
    include_str!("../../../../../migrations/sqlite/0002_subjects.sql"),
    include_str!("../../../../../migrations/sqlite/0003_resources.sql"),
];

/// Longest wait for somebody else who writes to the file, as a person with a shell may.
const BUSY: Duration = Duration::from_millis(500);
/// The write-ahead log is cut to this after a checkpoint.
const WAL_BYTES_KEPT: i64 = 64 << 20;
/// Of a page of a new file; one that is there keeps its own. Lines come at the end, where a large page is written with
/// fewer calls for its bytes: with 4 KiB a line costs a tenth more, with 16 KiB a tenth less. But a sum that changes
/// alone is written with all of its page, in each batch.
const PAGE_BYTES: i64 = 8 << 10;
/// Pages kept in memory, in KiB: a batch and the sums it adds to, so that none is written twice.
const CACHE_KIB: i64 = 32 << 10;
/// What the write-ahead log has when a commit copies it to the file: some batches, because sums are written in each of
/// them but copied once.
const CHECKPOINT_BYTES: i64 = 32 << 20;
/// Statements kept prepared: more than there are.
const STATEMENTS: usize = 32;

/// The newest version of the tables.
pub(super) const VERSION: usize = MIGRATIONS.len();

/// Opens the ledger to write, makes it when there is none, and brings its tables up to date.
pub(crate) fn open(path: &Path, durability: Durability) -> Result<Connection, LedgerError> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    let page_bytes: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    // A commit that a loss of power takes back would be lost once its segment is deleted.
    let synchronous = match durability {
        Durability::Process => "NORMAL",
        Durability::Power => "FULL",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_BYTES / page_bytes)?;
    migrate(&mut connection)?;
    Ok(connection)
}

/// Opens the ledger to read.
pub(crate) fn open_to_read(path: &Path) -> Result<Connection, LedgerError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    let found = version(&connection)?;
    if found == MIGRATIONS.len() { Ok(connection) } else { Err(unknown(found)) }
}

/// The version of the tables in the file; 0 when there is none.
pub(super) fn version_of(path: &Path) -> Result<usize, LedgerError> {
    if !path.exists() {
        return Ok(0);
    }
    Ok(version(&Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?)?)
}

fn migrate(connection: &mut Connection) -> Result<(), LedgerError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = version(&transaction)?;
    if found > MIGRATIONS.len() {
        return Err(unknown(found));
    }
    for migration in &MIGRATIONS[found..] {
        transaction.execute_batch(migration)?;
    }
    if found < MIGRATIONS.len() {
        let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
        transaction.pragma_update(None, "user_version", known)?;
    }
    Ok(transaction.commit()?)
}

fn version(connection: &Connection) -> rusqlite::Result<usize> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(usize::try_from(version).unwrap_or(usize::MAX))
}

fn unknown(found: usize) -> LedgerError {
    LedgerError::Schema { found, known: MIGRATIONS.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_has_large_pages_and_an_old_one_keeps_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let page_bytes = |connection: &Connection| -> i64 {
            connection.pragma_query_value(None, "page_size", |row| row.get(0)).unwrap()
        };
        let path = dir.path().join("new.sqlite3");
        let connection = open(&path, Durability::Process).unwrap();
        assert_eq!(page_bytes(&connection), PAGE_BYTES);
        let path = dir.path().join("old.sqlite3");
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "page_size", 4096).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        for migration in MIGRATIONS {
            connection.execute_batch(migration).unwrap();
        }
        connection.pragma_update(None, "user_version", i64::try_from(VERSION).unwrap()).unwrap();
        drop(connection);
        let connection = open(&path, Durability::Process).unwrap();
        assert_eq!(page_bytes(&connection), 4096);
    }

    #[test]
    fn a_second_opening_changes_nothing_and_a_newer_schema_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.sqlite3");
        assert!(open_to_read(&path).is_err());
        drop(open(&path, Durability::Process).unwrap());
        drop(open(&path, Durability::Power).unwrap());
        let connection = open_to_read(&path).unwrap();
        assert_eq!(version(&connection).unwrap(), MIGRATIONS.len());
        drop(connection);
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        for opened in [open(&path, Durability::Process), open_to_read(&path)] {
            let message = opened.unwrap_err().to_string();
            assert!(message.contains("99"), "{message}");
        }
    }
}
