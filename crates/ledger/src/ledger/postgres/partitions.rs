//! The ledger's partitions: one a month of its ids, made before they are needed.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant, SystemTime},
};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use uuid::Uuid;

use super::{PostgresError, connection::Connection, locks};

/// How many months from now on have their partition.
const AHEAD: usize = 3;
/// How often that is looked after: far less than a month.
const PERIOD: Duration = Duration::from_secs(3600);
/// The bits of an id behind its milliseconds.
const MILLIS_SHIFT: u32 = 80;

/// A month in UTC, by its first day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Month(Date);

impl Month {
    /// The month of an id; the last one that the calendar has for those beyond it.
    fn of(id: u128) -> Self {
        let millis = i64::try_from(id >> MILLIS_SHIFT).unwrap_or(i64::MAX);
        Self::at(Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX))
    }

    fn now() -> Self {
        Self::at(Timestamp::try_from(SystemTime::now()).unwrap_or_default())
    }

    fn at(at: Timestamp) -> Self {
        Self(TimeZone::UTC.to_datetime(at).date().first_of_month())
    }

    /// None behind the calendar's last.
    fn next(self) -> Option<Self> {
        self.0.last_of_month().tomorrow().ok().map(Self)
    }

    /// The first id; the least of all for the first month that ids have.
    fn first_id(self) -> Uuid {
        let start = self.0.to_zoned(TimeZone::UTC).map(|start| start.timestamp().as_millisecond());
        let millis = u128::from(start.unwrap_or(0).max(0).unsigned_abs());
        Uuid::from_u128(millis << MILLIS_SHIFT)
    }

    /// The months of ids that come in their order.
    pub(super) fn of_all(ids: impl Iterator<Item = u128>) -> BTreeSet<Self> {
        let mut months = BTreeSet::new();
        let mut end = Some(0);
        for id in ids {
            if end.is_some_and(|end| id >= end) {
                let month = Self::of(id);
                end = month.next().map(|next| next.first_id().as_u128());
                months.insert(month);
            }
        }
        months
    }

    fn table(self) -> String {
        format!("usage_ledger_{:04}_{:02}", self.0.year(), self.0.month())
    }

    /// What its partition takes.
    fn bounds(self) -> String {
        let end = self.next().map_or("MAXVALUE".to_owned(), |next| format!("'{}'", next.first_id()));
        format!("FROM ('{}') TO ({end})", self.first_id())
    }
}

/// Which partitions a connection has seen.
#[derive(Debug, Default)]
pub(super) struct Partitions {
    there: BTreeSet<Month>,
    looked: Option<Instant>,
}

impl Partitions {
    /// Makes the partitions of `months` that are missing, and from time to time those to come.
    pub(super) async fn ensure(
        &mut self,
        connection: &Connection,
        months: &BTreeSet<Month>,
    ) -> Result<(), PostgresError> {
        let mut wanted: BTreeSet<_> = months.difference(&self.there).copied().collect();
        let due = self.looked.is_none_or(|looked| looked.elapsed() >= PERIOD);
        if due {
            wanted.extend(std::iter::successors(Some(Month::now()), |month| month.next()).take(AHEAD));
        }
        for month in wanted {
            make(connection, month).await?;
            self.there.insert(month);
        }
        if due {
            self.looked = Some(Instant::now());
        }
        Ok(())
    }
}

/// Makes one unless it is there. It is made beside the table and attached then, which stops nobody who
/// reads or writes.
async fn make(connection: &Connection, month: Month) -> Result<(), PostgresError> {
    let (table, bounds) = (month.table(), month.bounds());
    let is_there = "SELECT EXISTS (SELECT FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid \
        WHERE inhparent = 'usage_ledger'::regclass AND relname = $1)";
    if connection.query_one(is_there, &[&table]).await?.try_get(0)? {
        return Ok(());
    }
    connection.run("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
    connection.execute("SELECT pg_advisory_xact_lock($1)", &[&locks::SCHEMA]).await?;
    if !connection.query_one(is_there, &[&table]).await?.try_get::<_, bool>(0)? {
        let sql = format!(
            "CREATE TABLE {table} (LIKE usage_ledger INCLUDING ALL); \
             ALTER TABLE usage_ledger ATTACH PARTITION {table} FOR VALUES {bounds}"
        );
        connection.run(&sql).await?;
    }
    connection.run("COMMIT").await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_of_ids_follow_each_other() {
        let id = |millis: u128| millis << MILLIS_SHIFT | u128::MAX >> 48;
        // 2026-11-30T23:59:59.999Z and a millisecond later.
        let (november, december) = (Month::of(id(1_796_083_199_999)), Month::of(id(1_796_083_200_000)));
        assert_eq!(november.table(), "usage_ledger_2026_11");
        assert_eq!(november.next(), Some(december));
        assert_eq!(december.first_id().as_u128() >> MILLIS_SHIFT, 1_796_083_200_000);
        assert_eq!(Month::of(0).table(), "usage_ledger_1970_01");
        let ids = [0, 1, id(1_796_083_199_999), id(1_796_083_200_000), u128::MAX - 1, u128::MAX];
        let months = Month::of_all(ids.into_iter());
        assert_eq!(months, BTreeSet::from_iter(ids.map(Month::of)));
        assert_eq!(months.len(), 4);
        let last = Month::of(u128::MAX);
        assert!(last.bounds().ends_with("TO (MAXVALUE)"), "{}", last.bounds());
    }
}
