//! One transaction: lines, rollups, watermark.

use std::{
    collections::{BTreeSet, HashSet},
    pin::pin,
};

use bytes::Bytes;
use futures_util::SinkExt as _;
use tokio_postgres::types::ToSql;
use tollgate_core::{Charge, Event, Settlement, UnixMillis};
use uuid::Uuid;

use super::{
    PostgresError,
    connection::Connection,
    copy::{Lines, columns},
    locks, minutes,
    partitions::Month,
    types::{At, stored},
};
use crate::{
    Position,
    ledger::{
        minutes::Minutes,
        period::Period,
        totals::{Total, Totals, clamp, coarsen},
    },
};

/// Where a batch is copied to. Emptied by every commit; nobody else sees it.
pub(super) const STAGING: &str = "CREATE TEMPORARY TABLE IF NOT EXISTS tollgate_staging (id uuid, \
    at timestamptz, user_id text, org_id text, tier text, meter text, amount bigint, estimated boolean, \
    route text, method text, status integer, duration_ms bigint, request_id text, resource text, \
    metadata jsonb) ON COMMIT DELETE ROWS";

const COPY: &str = concat!("COPY tollgate_staging (", columns!(), ") FROM STDIN (FORMAT binary)");

/// Inserts what is new, and tells what is not: another transaction may have had it, even one of this very
/// journal whose commit was never confirmed.
const INSERT: &str = concat!(
    "WITH inserted AS (INSERT INTO usage_ledger (",
    columns!(),
    ") SELECT ",
    columns!(),
    " FROM tollgate_staging ORDER BY id ON CONFLICT (id) DO NOTHING RETURNING id) \
     SELECT user_id, meter, at, coalesce(org_id, ''), route, amount FROM tollgate_staging AS staged \
     WHERE NOT EXISTS (SELECT FROM inserted WHERE inserted.id = staged.id)"
);

/// A sum beyond 64 bits stays at the bound.
macro_rules! on_conflict_add {
    () => {
        " ON CONFLICT (user_id, meter, start, org_id, route) DO UPDATE SET \
         events = kept.events + excluded.events, amount = least(greatest(\
         kept.amount::numeric + excluded.amount, -9223372036854775808), 9223372036854775807)"
    };
}
pub(super) use on_conflict_add;

/// The rows come in the order of the arrays, which is that of their keys.
macro_rules! roll_up {
    ($table:literal) => {
        concat!(
            "INSERT INTO ",
            $table,
            " AS kept (user_id, meter, start, org_id, route, amount, events) SELECT * FROM unnest(\
             $1::text[], $2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::bigint[], $7::bigint[])",
            on_conflict_add!()
        )
    };
}

/// Settlements that wait for their transaction.
#[derive(Debug)]
pub(super) struct Batch {
    lines: Lines,
    /// A request may be settled twice after a crash; the first one counts.
    seen: HashSet<u128>,
    months: BTreeSet<Month>,
    totals: Totals,
    /// The latest admission.
    newest: Option<UnixMillis>,
}

/// What a transaction added.
#[derive(Clone, Copy, Debug)]
pub(super) struct Added {
    /// The latest admission.
    pub(super) newest: UnixMillis,
    /// Sums of minutes.
    pub(super) minutes: usize,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            lines: Lines::new(),
            seen: HashSet::new(),
            months: BTreeSet::new(),
            totals: Totals::default(),
            newest: None,
        }
    }

    pub(super) fn add(&mut self, settlement: &Settlement<'_>) {
        if !self.seen.insert(settlement.key.to_bits()) {
            return;
        }
        let Settlement { at, user_id, org_id, route, .. } = settlement;
        let (user, org, route) = (stored(user_id), stored(org_id.unwrap_or_default()), stored(route));
        for event in settlement.events() {
            self.lines.push(&event);
            let Event { id, charge: Charge { meter, amount, estimated: _ }, settlement: _ } = event;
            self.months.insert(Month::of(id.to_bits()));
            let key = (&*user, &*stored(meter), Period::Minute.start(*at), &*org, &*route);
            self.totals.change(key, amount.into(), 1);
            self.newest = self.newest.max(Some(*at));
        }
    }

    /// In which months its lines are.
    pub(super) fn months(&self) -> &BTreeSet<Month> {
        &self.months
    }

    /// Inserts the lines that are new, adds them to the rollups, moves the watermark, commits. After an
    /// error nobody knows whether it was committed: to do it again does no harm.
    pub(super) async fn commit(
        self,
        connection: &Connection,
        journal: Uuid,
        watermark: Position,
    ) -> Result<Option<Added>, PostgresError> {
        let Self { lines, seen, months: _, mut totals, newest } = self;
        connection.run("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
        let mut added = None;
        if !seen.is_empty() {
            connection.execute("SELECT pg_advisory_xact_lock_shared($1)", &[&locks::MINUTES]).await?;
            // As of now: who merges minutes has committed before the lock was given.
            let minutes = minutes::read(connection).await?;
            copy(connection, lines).await?;
            for row in connection.query(INSERT, &[]).await? {
                let At(at) = row.try_get(2)?;
                let start = Period::Minute.start(UnixMillis(at));
                let key = (row.try_get(0)?, row.try_get(1)?, start, row.try_get(3)?, row.try_get(4)?);
                totals.change(key, -i128::from(row.try_get::<_, i64>(5)?), -1);
            }
            let totals = totals.into_vec();
            added =
                newest.filter(|_| !totals.is_empty()).map(|newest| Added { newest, minutes: totals.len() });
            add_to_rollups(connection, totals, minutes).await?;
        }
        let position = i64::try_from(watermark.get()).unwrap_or(i64::MAX);
        connection
            .execute(
                // An older transaction that was given up, but committed late, does not move it back.
                "INSERT INTO journal_watermark AS kept (journal, position) VALUES ($1, $2) ON CONFLICT \
                 (journal) DO UPDATE SET position = greatest(kept.position, excluded.position)",
                &[&journal, &position],
            )
            .await?;
        connection.run("COMMIT").await?;
        Ok(added)
    }
}

async fn copy(connection: &Connection, lines: Lines) -> Result<(), PostgresError> {
    let statement = connection.statement(COPY).await?;
    let bytes = Bytes::from(lines.finish());
    let copied = async {
        let mut sink = pin!(connection.client().copy_in::<_, Bytes>(&statement).await?);
        sink.send(bytes).await?;
        sink.finish().await
    };
    connection.step(copied).await.map(|_| ())
}

async fn add_to_rollups(
    connection: &Connection,
    mut totals: Vec<Total>,
    minutes: Minutes,
) -> Result<(), PostgresError> {
    if totals.is_empty() {
        return Ok(());
    }
    coarsen(&mut totals, |at| minutes.start(at));
    roll_up(connection, roll_up!("usage_minutely"), &totals).await?;
    coarsen(&mut totals, |at| Period::Hour.start(at));
    roll_up(connection, roll_up!("usage_hourly"), &totals).await?;
    coarsen(&mut totals, |at| Period::Day.start(at));
    roll_up(connection, roll_up!("usage_daily"), &totals).await
}

async fn roll_up(connection: &Connection, sql: &'static str, totals: &[Total]) -> Result<(), PostgresError> {
    fn column<'t, T>(totals: &'t [Total], value: impl Fn(&'t Total) -> T) -> Vec<T> {
        totals.iter().map(value).collect()
    }
    let values: [&(dyn ToSql + Sync); 7] = [
        &column(totals, |total| total.key.user_id.as_str()),
        &column(totals, |total| total.key.meter.as_str()),
        &column(totals, |total| At(total.key.start)),
        &column(totals, |total| total.key.org_id.as_str()),
        &column(totals, |total| total.key.route.as_str()),
        &column(totals, |total| clamp(total.amount)),
        &column(totals, |total| total.events),
    ];
    connection.execute(sql, &values).await.map(|_| ())
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
