//! One transaction: lines, rollups, watermark.

use rusqlite::{Connection, OptionalExtension, Result, Transaction, TransactionBehavior, params};
use tollgate_core::{Charge, Event, Settlement, UnixMillis};
use uuid::Uuid;

use super::{insert::Insert, minutes};
use crate::{
    Position,
    ledger::{
        period::Period,
        totals::{Key, Total, Totals, clamp, coarsen},
    },
};

/// SQLite adds integers beyond 64 bits as floats; such a sum stays at the bound instead.
macro_rules! on_conflict_add {
    () => {
        " ON CONFLICT (user_id, meter, start, org_id, route) DO UPDATE SET events = events + excluded.events, \
          amount = CASE WHEN typeof(amount + excluded.amount) = 'integer' THEN amount + excluded.amount \
          WHEN excluded.amount > 0 THEN 9223372036854775807 ELSE -9223372036854775807 - 1 END"
    };
}
pub(super) use on_conflict_add;

macro_rules! roll_up {
    ($table:literal) => {
        concat!(
            "INSERT INTO ",
            $table,
            " (user_id, meter, start, org_id, route, amount, events) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            on_conflict_add!()
        )
    };
}

/// An open transaction; dropping it changes nothing.
pub(super) struct Batch<'c> {
    // Before the transaction: a statement that failed is reset before the rollback.
    insert: Insert<'c>,
    transaction: Transaction<'c>,
    /// Sums of the lines that were new.
    new: Totals,
    /// The latest admission among them.
    newest: Option<UnixMillis>,
}

impl<'c> Batch<'c> {
    /// The connection must be in no transaction.
    pub(super) fn begin(connection: &'c Connection) -> Result<Self> {
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        let insert = Insert::prepare(connection)?;
        Ok(Self { insert, transaction, new: Totals::default(), newest: None })
    }

    /// Inserts the settlement's lines, except those that are there.
    pub(super) fn add(&mut self, settlement: &Settlement<'_>) -> Result<()> {
        for event in settlement.events() {
            if self.insert.insert(&event)? {
                let Event { id: _, charge: Charge { meter, amount, estimated: _ }, settlement } = event;
                self.new.add(settlement, meter, amount);
                self.newest = self.newest.max(Some(settlement.at));
            }
        }
        Ok(())
    }

    /// Adds what was new to the rollups, moves the watermark, commits.
    pub(super) fn commit(self, journal: Uuid, watermark: Position) -> Result<()> {
        let Self { insert, transaction, new, newest } = self;
        drop(insert);
        if let Some(newest) = newest {
            add_to_rollups(&transaction, new.into_vec(), newest)?;
        }
        transaction
            .prepare_cached(
                "INSERT INTO journal_watermark (journal, position) VALUES (?1, ?2) \
                 ON CONFLICT (journal) DO UPDATE SET position = excluded.position",
            )?
            .execute(params![journal.to_string(), i64::try_from(watermark.get()).unwrap_or(i64::MAX)])?;
        transaction.commit()
    }
}

fn add_to_rollups(transaction: &Transaction<'_>, mut new: Vec<Total>, newest: UnixMillis) -> Result<()> {
    let minutes = minutes::read(transaction)?;
    coarsen(&mut new, |at| minutes.start(at));
    roll_up(transaction, roll_up!("usage_minutely"), &new)?;
    minutes::merge(transaction, minutes, newest, new.len())?;
    coarsen(&mut new, |at| Period::Hour.start(at));
    roll_up(transaction, roll_up!("usage_hourly"), &new)?;
    coarsen(&mut new, |at| Period::Day.start(at));
    roll_up(transaction, roll_up!("usage_daily"), &new)
}

fn roll_up(transaction: &Transaction<'_>, sql: &str, totals: &[Total]) -> Result<()> {
    let mut upsert = transaction.prepare_cached(sql)?;
    for Total { key: Key { user_id, meter, start, org_id, route }, amount, events } in totals {
        upsert.execute(params![user_id, meter, start, org_id, route, clamp(*amount), events])?;
    }
    Ok(())
}

/// How far `journal` is in the ledger; none when nothing of it is.
pub(super) fn watermark(connection: &Connection, journal: Uuid) -> Result<Option<Position>> {
    let position: Option<i64> = connection
        .prepare_cached("SELECT position FROM journal_watermark WHERE journal = ?1")?
        .query_row([journal.to_string()], |row| row.get(0))
        .optional()?;
    Ok(position.map(|position| Position::new(u64::try_from(position).unwrap_or(0))))
}

/// How far each journal is in the ledger, in the order of their ids.
pub(super) fn watermarks(connection: &Connection) -> Result<Vec<(Uuid, Position)>> {
    let mut statement =
        connection.prepare_cached("SELECT journal, position FROM journal_watermark ORDER BY 1")?;
    let mut rows = statement.query([])?;
    let mut watermarks = Vec::new();
    while let Some(row) = rows.next()? {
        // Whatever else was written there by hand is no journal's.
        if let Ok(journal) = Uuid::parse_str(row.get_ref(0)?.as_str()?) {
            watermarks.push((journal, Position::new(u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0))));
        }
    }
    Ok(watermarks)
}
