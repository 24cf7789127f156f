//! One transaction: lines, rollups, watermark.

use rusqlite::{Connection, OptionalExtension, Result, Transaction, TransactionBehavior, params};
use tollgate_core::{Charge, Event, UnixMillis};
use uuid::Uuid;

use super::{
    insert::{Insert, Inserts},
    lines::Lines,
    minutes, resources,
};
use crate::{
    Journal, Position,
    journal::ReadError,
    ledger::{
        feed::{self, Expect},
        period::Period,
        resources::{self as changes, Resources},
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

/// Settlements that wait for their transaction.
pub(super) struct Batch {
    lines: Lines,
    /// The watermark afterwards.
    pub(super) reached: Position,
}

/// What the lines that were new add up to.
#[derive(Default)]
struct New {
    totals: Totals,
    resources: Resources,
    /// The latest admission among them.
    newest: Option<UnixMillis>,
}

impl Batch {
    /// Reads as many settlements from `from` on as a batch takes.
    pub(super) fn read(journal: &Journal, from: Position) -> std::result::Result<Self, ReadError> {
        let mut lines = Lines::default();
        let reached = feed::next(journal, from, feed::BATCH_BYTES_MAX, |record| lines.push(&record))?;
        lines.sort();
        Ok(Self { lines, reached })
    }

    /// Inserts the lines that are new, adds them to the rollups, moves the watermark, commits; says what to
    /// expect of the next batch. The connection must be in no transaction.
    pub(super) fn commit(&self, connection: &Connection, journal: Uuid, expect: Expect) -> Result<Expect> {
        if expect == Expect::New {
            let transaction = begin(connection)?;
            if let Some(new) = self.insert_all(&transaction)? {
                self.end(transaction, journal, new)?;
                return Ok(Expect::New);
            }
            // Nobody knows which of them are new: dropping the transaction takes them back.
        }
        let transaction = begin(connection)?;
        let (new, expect) = self.insert_new(&transaction)?;
        self.end(transaction, journal, new)?;
        Ok(expect)
    }

    /// Inserts all lines; none when one of them was there.
    fn insert_all(&self, transaction: &Transaction<'_>) -> Result<Option<New>> {
        let mut new = New::default();
        let mut inserts = Inserts::prepare(transaction, self.lines.count())?;
        self.lines.each(|event| {
            new.add(event);
            inserts.insert(event)
        })?;
        Ok((inserts.inserted() == self.lines.count()).then_some(new))
    }

    /// Inserts the lines that are not there, one by one.
    fn insert_new(&self, transaction: &Transaction<'_>) -> Result<(New, Expect)> {
        let (mut new, mut expect) = (New::default(), Expect::New);
        let mut insert = Insert::prepare(transaction, 1)?;
        self.lines.each(|event| {
            insert.bind(0, event)?;
            match insert.execute()? {
                0 => expect = Expect::Repeated,
                _ => new.add(event),
            }
            Ok(())
        })?;
        Ok((new, expect))
    }

    fn end(&self, transaction: Transaction<'_>, journal: Uuid, new: New) -> Result<()> {
        let New { totals, resources, newest } = new;
        if let Some(newest) = newest {
            add_to_rollups(&transaction, totals.into_vec(), newest)?;
        }
        resources::add(&transaction, &resources.into_changes())?;
        let position = i64::try_from(self.reached.get()).unwrap_or(i64::MAX);
        transaction
            .prepare_cached(
                "INSERT INTO journal_watermark (journal, position) VALUES (?1, ?2) \
                 ON CONFLICT (journal) DO UPDATE SET position = excluded.position",
            )?
            .execute(params![journal.to_string(), position])?;
        transaction.commit()
    }
}

impl New {
    fn add(&mut self, event: &Event<'_>) {
        let Event { id, charge: Charge { meter, amount, estimated: _ }, settlement } = event;
        self.totals.add(settlement, meter, *amount);
        if let Some(resource) = settlement.resource {
            let key = changes::Key {
                meter: (*meter).to_owned(),
                resource: resource.to_owned(),
                user_id: settlement.user_id.to_owned(),
                org_id: settlement.org_id.unwrap_or_default().to_owned(),
            };
            self.resources.add(key, id.to_bits(), *amount);
        }
        self.newest = self.newest.max(Some(settlement.at));
    }
}

fn begin(connection: &Connection) -> Result<Transaction<'_>> {
    Transaction::new_unchecked(connection, TransactionBehavior::Immediate)
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
