//! One transaction: lines, rollups, watermark.

use rusqlite::{Connection, OptionalExtension, Result, Transaction, TransactionBehavior, params};
use tollgate_core::{Charge, Event, UnixMillis};
use uuid::Uuid;

use super::{
    insert::{Insert, Inserts, Repeated, is_repeated},
    lines::Lines,
    minutes, resources,
    shipper::ShipError,
};
use crate::{
    Journal, Position,
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

/// Settlements inserted at once, in bytes: some 300, half a millisecond. They are in the order of
/// their ids among themselves, which is almost that of all, and stay in the processor's cache.
const PIECE_BYTES: usize = 64 << 10;
/// Sums added to at once: as long.
const PIECE_SUMS: usize = 100;

/// A batch of settlements on its way.
pub(super) struct Batch<'a> {
    pub(super) connection: &'a Connection,
    pub(super) journal: &'a Journal,
    /// The position of the first.
    pub(super) from: Position,
    /// Whether it ends with a segment, at the latest.
    pub(super) by_segment: bool,
    /// For the settlements of a piece.
    pub(super) lines: &'a mut Lines,
    /// Called after each piece.
    pub(super) pause: &'a dyn Fn(),
}

/// What the lines that were new add up to.
#[derive(Default)]
struct New {
    totals: Totals,
    resources: Resources,
    /// The latest admission among them.
    newest: Option<UnixMillis>,
}

impl Batch<'_> {
    /// Reads as many settlements as a batch takes, inserts the lines that are new, adds them to the rollups, moves
    /// the watermark, commits; returns the watermark, and what to expect of the next batch. The connection must be
    /// in no transaction.
    pub(super) fn ship(mut self, expect: Expect) -> std::result::Result<(Position, Expect), ShipError> {
        if expect == Expect::New {
            let transaction = begin(self.connection)?;
            if let Some((new, reached)) = self.insert_all(&transaction)? {
                self.end(transaction, new, reached)?;
                return Ok((reached, Expect::New));
            }
            // Nobody knows which of them are new: dropping the transaction takes them back.
        }
        let transaction = begin(self.connection)?;
        let (new, reached, expect) = self.insert_new(&transaction)?;
        self.end(transaction, new, reached)?;
        Ok((reached, expect))
    }

    /// Inserts all lines; none when one of them was there, or cannot be read.
    fn insert_all(
        &mut self,
        transaction: &Connection,
    ) -> std::result::Result<Option<(New, Position)>, ShipError> {
        let (mut new, mut expected) = (New::default(), 0);
        let mut inserts = Inserts::prepare(transaction)?;
        let inserted = self.pieces(|lines| {
            expected += lines.count();
            inserts.expect(lines.count());
            lines.each(|event| {
                new.add(event);
                inserts.insert(event)
            })
        });
        match inserted {
            Err(ShipError::Sqlite(error)) if is_repeated(&error) => Ok(None),
            Err(error) => Err(error),
            Ok(reached) => Ok((inserts.inserted() == expected).then_some((new, reached))),
        }
    }

    /// Inserts the lines that are not there, one by one.
    fn insert_new(
        &mut self,
        transaction: &Connection,
    ) -> std::result::Result<(New, Position, Expect), ShipError> {
        let (mut new, mut expect) = (New::default(), Expect::New);
        let mut insert = Insert::prepare(transaction, 1, Repeated::Ignore)?;
        let reached = self.pieces(|lines| {
            lines.each(|event| {
                insert.bind(0, event)?;
                match insert.execute()? {
                    0 => expect = Expect::Repeated,
                    _ => new.add(event),
                }
                Ok(())
            })
        })?;
        Ok((new, reached, expect))
    }

    /// Gives the settlements of the batch to `each`, a piece at a time; returns the position behind them.
    fn pieces(
        &mut self,
        mut each: impl FnMut(&Lines) -> Result<()>,
    ) -> std::result::Result<Position, ShipError> {
        let Self { connection: _, journal, from, by_segment, lines, pause } = self;
        lines.clear();
        let mut piece = |lines: &mut Lines| {
            lines.sort();
            each(lines)?;
            lines.clear();
            pause();
            Ok::<_, ShipError>(())
        };
        let mut each = |position, payload: &[u8]| {
            if let Err(error) = lines.push(position, payload) {
                return Ok(Err(error));
            }
            if lines.bytes() >= PIECE_BYTES {
                piece(lines)?;
            }
            Ok::<_, ShipError>(Ok(()))
        };
        let (tail, mut reached, mut left) = (journal.tail(), *from, feed::BATCH_BYTES_MAX);
        // A segment at a time: that one ends is no reason to commit.
        while reached < tail && left > 0 {
            let next = feed::next_payloads(journal, reached, left, &mut each)?;
            if next <= reached {
                break;
            }
            left = left.saturating_sub(next.get() - reached.get());
            reached = next;
            if *by_segment {
                break;
            }
        }
        piece(lines)?;
        Ok(reached)
    }

    fn end(&self, transaction: Transaction<'_>, new: New, reached: Position) -> Result<()> {
        let New { totals, resources, newest } = new;
        if let Some(newest) = newest {
            self.add_to_rollups(&transaction, totals.into_vec(), newest)?;
        }
        resources::add(&transaction, &resources.into_changes())?;
        let position = i64::try_from(reached.get()).unwrap_or(i64::MAX);
        transaction
            .prepare_cached(
                "INSERT INTO journal_watermark (journal, position) VALUES (?1, ?2) \
                 ON CONFLICT (journal) DO UPDATE SET position = excluded.position",
            )?
            .execute(params![self.journal.id().to_string(), position])?;
        transaction.commit()
    }

    fn add_to_rollups(
        &self,
        transaction: &Transaction<'_>,
        mut new: Vec<Total>,
        newest: UnixMillis,
    ) -> Result<()> {
        let minutes = minutes::read(transaction)?;
        coarsen(&mut new, |at| minutes.start(at));
        self.roll_up(transaction, roll_up!("usage_minutely"), &new)?;
        minutes::merge(transaction, minutes, newest, new.len())?;
        coarsen(&mut new, |at| Period::Hour.start(at));
        self.roll_up(transaction, roll_up!("usage_hourly"), &new)?;
        coarsen(&mut new, |at| Period::Day.start(at));
        self.roll_up(transaction, roll_up!("usage_daily"), &new)
    }

    fn roll_up(&self, transaction: &Transaction<'_>, sql: &str, totals: &[Total]) -> Result<()> {
        let mut upsert = transaction.prepare_cached(sql)?;
        for totals in totals.chunks(PIECE_SUMS) {
            for Total { key: Key { user_id, meter, start, org_id, route }, amount, events } in totals {
                upsert.execute(params![user_id, meter, start, org_id, route, clamp(*amount), events])?;
            }
            (self.pause)();
        }
        Ok(())
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
