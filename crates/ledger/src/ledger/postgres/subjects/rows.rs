//! Rows of the table, read and written.

use std::collections::HashMap;

use tokio_postgres::Row;
use tollgate_core::UnixMillis;

use crate::{
    Subject, SubjectRow,
    ledger::postgres::{
        PostgresError,
        connection::Connection,
        types::{At, stored},
    },
};

/// Columns of the row, from 2 on.
const SELECT: &str = "SELECT scope, id, tier, org_id, time_zone, billing_anchor, overrides::text, updated_at \
    FROM subjects JOIN unnest($1::text[], $2::text[]) AS asked (scope, id) USING (scope, id)";

/// Whether there is no row at all.
pub(super) async fn is_empty(connection: &Connection) -> Result<bool, PostgresError> {
    let row = connection.query_one("SELECT NOT EXISTS (SELECT FROM subjects)", &[]).await?;
    Ok(row.try_get(0)?)
}

/// The rows of these subjects, as far as there are any.
pub(super) async fn get(
    connection: &Connection,
    subjects: &[&Subject],
) -> Result<HashMap<Subject, SubjectRow>, PostgresError> {
    let (mut scopes, mut ids) = (Vec::new(), Vec::new());
    for subject in subjects {
        let (scope, id) = subject.columns();
        scopes.push(scope);
        ids.push(stored(id));
    }
    let rows = connection.query(SELECT, &[&scopes, &ids]).await?;
    rows.iter()
        .filter_map(|row| read(row).transpose())
        .collect::<Result<_, tokio_postgres::Error>>()
        .map_err(Into::into)
}

/// Keeps the row, if there is one, as it is until the transaction ends.
pub(super) async fn lock(connection: &Connection, subject: &Subject) -> Result<(), PostgresError> {
    let (scope, id) = subject.columns();
    connection
        .query("SELECT FROM subjects WHERE scope = $1 AND id = $2 FOR UPDATE", &[&scope, &stored(id)])
        .await?;
    Ok(())
}

/// Writes the row, whether there is one or not.
pub(super) async fn put(
    connection: &Connection,
    subject: &Subject,
    row: &SubjectRow,
) -> Result<(), PostgresError> {
    let SubjectRow { tier, org_id, time_zone, billing_anchor, overrides, updated_at } = row;
    let (scope, id) = subject.columns();
    let (anchor, updated_at) = (billing_anchor.map(At::from), At::from(*updated_at));
    connection
        .execute(
            "INSERT INTO subjects (scope, id, tier, org_id, time_zone, billing_anchor, overrides, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7::text::jsonb, $8) \
             ON CONFLICT (scope, id) DO UPDATE SET tier = excluded.tier, org_id = excluded.org_id, \
             time_zone = excluded.time_zone, billing_anchor = excluded.billing_anchor, \
             overrides = excluded.overrides, updated_at = excluded.updated_at",
            &[&scope, &stored(id), tier, org_id, time_zone, &anchor, overrides, &updated_at],
        )
        .await?;
    Ok(())
}

/// Removes the row; whether there was one.
pub(super) async fn remove(connection: &Connection, subject: &Subject) -> Result<bool, PostgresError> {
    let (scope, id) = subject.columns();
    let sql = "DELETE FROM subjects WHERE scope = $1 AND id = $2";
    Ok(connection.execute(sql, &[&scope, &stored(id)]).await? > 0)
}

fn read(row: &Row) -> Result<Option<(Subject, SubjectRow)>, tokio_postgres::Error> {
    let Some(subject) = Subject::from_columns(row.try_get(0)?, row.try_get(1)?) else { return Ok(None) };
    let instant = |At(at)| UnixMillis(at);
    let row = SubjectRow {
        tier: row.try_get(2)?,
        org_id: row.try_get(3)?,
        time_zone: row.try_get(4)?,
        billing_anchor: row.try_get::<_, Option<At>>(5)?.map(instant),
        overrides: row.try_get(6)?,
        updated_at: instant(row.try_get(7)?),
    };
    Ok(Some((subject, row)))
}
