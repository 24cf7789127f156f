//! One transaction: lines, rollups, watermark.
//!
//! What a batch has is new, except after a commit whose confirmation was lost, or when journal or database
//! were restored. So the lines are copied straight into the ledger, whose key refuses a batch with a line
//! that is there. Only then it is copied beside it, and what is new is inserted from there: that costs three
//! times as much.

use std::pin::pin;

use bytes::Bytes;
use futures_util::SinkExt as _;
use tokio_postgres::error::SqlState;
use tollgate_core::UnixMillis;
use uuid::Uuid;

use super::{
    PostgresError,
    batch::Batch,
    connection::Connection,
    copy::{Lines, columns},
    locks, minutes, resources, rollups,
    types::At,
};
use crate::{
    Position,
    ledger::{
        feed::Expect,
        minutes::Minutes,
        period::Period,
        resources::{Key, Resources},
        totals::Totals,
    },
};

/// Where a batch is copied to that may not be new. Emptied by every commit; nobody else sees it.
pub(super) const STAGING: &str = "CREATE TEMPORARY TABLE IF NOT EXISTS tollgate_staging (id uuid, \
    at timestamptz, user_id text, org_id text, tier text, meter text, amount bigint, estimated boolean, \
    route text, method text, status integer, duration_ms bigint, request_id text, resource text, \
    metadata jsonb) ON COMMIT DELETE ROWS";

const COPY: &str = concat!("COPY usage_ledger (", columns!(), ") FROM STDIN (FORMAT binary)");
const COPY_TO_STAGING: &str = concat!("COPY tollgate_staging (", columns!(), ") FROM STDIN (FORMAT binary)");

/// Inserts what is new, and tells what is not: another transaction may have had it, even one of this very
/// journal whose commit was never confirmed.
const INSERT: &str = concat!(
    "WITH inserted AS (INSERT INTO usage_ledger (",
    columns!(),
    ") SELECT ",
    columns!(),
    " FROM tollgate_staging ORDER BY id ON CONFLICT (id) DO NOTHING RETURNING id) \
     SELECT user_id, meter, at, coalesce(org_id, ''), route, amount, id, resource \
     FROM tollgate_staging AS staged \
     WHERE NOT EXISTS (SELECT FROM inserted WHERE inserted.id = staged.id)"
);

/// What a transaction added.
#[derive(Clone, Copy, Debug)]
pub(super) struct Added {
    /// The latest admission.
    pub(super) newest: UnixMillis,
    /// Sums of minutes.
    pub(super) minutes: usize,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Committed {
    /// None when nothing was new.
    pub(super) added: Option<Added>,
    /// Of the next one.
    pub(super) expect: Expect,
}

impl Batch {
    /// Inserts the lines that are new, adds them to the rollups, moves the watermark, commits. After an
    /// error nobody knows whether it was committed: to do it again does no harm.
    pub(super) async fn commit(
        self,
        connection: &Connection,
        journal: Uuid,
        mut expect: Expect,
    ) -> Result<Committed, PostgresError> {
        let Self { from: _, reached, lines, mut totals, resources: mut named, newest } = self;
        let mut minutes = begin(connection).await?;
        if lines.keys().len() > 0 {
            if expect == Expect::New && !insert_all(connection, &lines).await? {
                connection.run("ROLLBACK").await?;
                minutes = begin(connection).await?;
                expect = Expect::Repeated;
            }
            if expect == Expect::Repeated {
                expect = insert_new(connection, &lines, (&mut totals, &mut named)).await?;
            }
        }
        let totals = totals.into_vec();
        let added =
            newest.filter(|_| !totals.is_empty()).map(|newest| Added { newest, minutes: totals.len() });
        rollups::add(connection, totals, minutes).await?;
        resources::add(connection, &named.into_changes()).await?;
        let position = i64::try_from(reached.get()).unwrap_or(i64::MAX);
        connection
            .execute(
                // An older transaction that was given up, but committed late, does not move it back.
                "INSERT INTO journal_watermark AS kept (journal, position) VALUES ($1, $2) ON CONFLICT \
                 (journal) DO UPDATE SET position = greatest(kept.position, excluded.position)",
                &[&journal, &position],
            )
            .await?;
        connection.run("COMMIT").await?;
        Ok(Committed { added, expect })
    }
}

/// Begins the transaction, and says how far minutes are merged: until its end nobody merges more.
async fn begin(connection: &Connection) -> Result<Minutes, PostgresError> {
    connection.run("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
    connection.execute("SELECT pg_advisory_xact_lock_shared($1)", &[&locks::MINUTES]).await?;
    // As of now: who merges minutes has committed before the lock was given.
    minutes::read(connection).await
}

/// Inserts all lines. False, and then the transaction is lost, when one of them is there; one that is being
/// inserted by another transaction is waited for.
async fn insert_all(connection: &Connection, lines: &Lines) -> Result<bool, PostgresError> {
    match copy(connection, COPY, lines).await {
        Ok(()) => Ok(true),
        Err(PostgresError::Refused(error)) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Inserts the lines that are not there, and takes the others out of the sums.
async fn insert_new(
    connection: &Connection,
    lines: &Lines,
    (totals, resources): (&mut Totals, &mut Resources),
) -> Result<Expect, PostgresError> {
    copy(connection, COPY_TO_STAGING, lines).await?;
    let there = connection.query(INSERT, &[]).await?;
    for row in &there {
        let At(at) = row.try_get(2)?;
        let start = Period::Minute.start(UnixMillis(at));
        let key = (row.try_get(0)?, row.try_get(1)?, start, row.try_get(3)?, row.try_get(4)?);
        totals.change(key, -i128::from(row.try_get::<_, i64>(5)?), -1);
        if let Some(resource) = row.try_get(7)? {
            let (user_id, meter, org_id) = (row.try_get(0)?, row.try_get(1)?, row.try_get(3)?);
            resources
                .take_back(&Key { meter, resource, user_id, org_id }, row.try_get::<_, Uuid>(6)?.as_u128());
        }
    }
    Ok(if there.is_empty() { Expect::New } else { Expect::Repeated })
}

async fn copy(connection: &Connection, sql: &'static str, lines: &Lines) -> Result<(), PostgresError> {
    let statement = connection.statement(sql).await?;
    let copied = async {
        let mut sink = pin!(connection.client().copy_in::<_, Bytes>(&statement).await?);
        for chunk in lines.chunks() {
            sink.feed(chunk).await?;
        }
        sink.finish().await
    };
    connection.step(copied).await.map(|_| ())
}

/// How far each journal is in the ledger, in the order of their ids.
pub(super) async fn watermarks(connection: &Connection) -> Result<Vec<(Uuid, Position)>, PostgresError> {
    let rows = connection.query("SELECT journal, position FROM journal_watermark ORDER BY 1", &[]).await?;
    let watermark = |row: &tokio_postgres::Row| {
        let position = u64::try_from(row.try_get::<_, i64>(1)?).unwrap_or(0);
        Ok((row.try_get(0)?, Position::new(position)))
    };
    rows.iter().map(watermark).collect()
}
