//! The tables: their migrations.

use super::{
    PostgresError, PostgresOptions,
    connection::{Connection, Purpose},
    locks,
};
use crate::{LedgerError, Migrated};

/// In their order; `tollgate_schema` has a row for each that is done.
const MIGRATIONS: [(&str, &str); 3] = [
    ("0001_ledger", include_str!("../../../../../migrations/postgres/0001_ledger.sql")),
    ("0002_subjects", include_str!("../../../../../migrations/postgres/0002_subjects.sql")),
    ("0003_resources", include_str!("../../../../../migrations/postgres/0003_resources.sql")),
];

/// Brings the tables up to date; one process at a time.
pub(super) async fn migrate(options: &PostgresOptions) -> Result<Migrated, LedgerError> {
    let connection = Connection::open(options, Purpose::Migrate).await?;
    connection.run("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
    connection.execute("SELECT pg_advisory_xact_lock($1)", &[&locks::SCHEMA]).await?;
    connection
        .run(
            "CREATE TABLE IF NOT EXISTS tollgate_schema (version integer NOT NULL PRIMARY KEY, \
             name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())",
        )
        .await?;
    let from = check(found(&connection).await?)?;
    for (version, (name, sql)) in (1i32..).zip(MIGRATIONS).skip(from) {
        connection.run(sql).await?;
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&version, &name];
        connection.execute("INSERT INTO tollgate_schema (version, name) VALUES ($1, $2)", &values).await?;
    }
    connection.run("COMMIT").await?;
    Ok(Migrated { from, to: MIGRATIONS.len() })
}

/// Makes sure that the tables are those that this program knows: makes them if need be.
pub(super) async fn ensure(connection: &Connection, options: &PostgresOptions) -> Result<(), LedgerError> {
    if check(version(connection).await?)? < MIGRATIONS.len() {
        let Migrated { from, to } = migrate(options).await?;
        tracing::info!(from, to, "the ledger's schema is brought up to date");
    }
    Ok(())
}

/// The tables' version; an error when it is not the one that this program knows.
pub(super) async fn require(connection: &Connection) -> Result<(), LedgerError> {
    let (found, known) = (version(connection).await?, MIGRATIONS.len());
    if found == known { Ok(()) } else { Err(LedgerError::Schema { found, known }) }
}

fn check(found: usize) -> Result<usize, LedgerError> {
    let known = MIGRATIONS.len();
    if found > known { Err(LedgerError::Schema { found, known }) } else { Ok(found) }
}

async fn version(connection: &Connection) -> Result<usize, PostgresError> {
    let exists = connection.query_one("SELECT to_regclass('tollgate_schema') IS NOT NULL", &[]).await?;
    if exists.try_get(0)? { found(connection).await } else { Ok(0) }
}

async fn found(connection: &Connection) -> Result<usize, PostgresError> {
    let row = connection.query_one("SELECT coalesce(max(version), 0) FROM tollgate_schema", &[]).await?;
    Ok(usize::try_from(row.try_get::<_, i32>(0)?).unwrap_or(0))
}
