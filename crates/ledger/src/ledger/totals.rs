//! What a batch adds to the rollups.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use tollgate_core::{Settlement, UnixMillis};

use super::period::Period;

/// What a rollup is kept for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) user_id: String,
    pub(super) meter: String,
    /// Of the period, in milliseconds since the epoch.
    pub(super) start: i64,
    pub(super) org_id: String,
    pub(super) route: String,
}

/// A key and the sum of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Total {
    pub(super) key: Key,
    pub(super) amount: i128,
    pub(super) events: i64,
}

/// Sums per minute, found without making a key first.
#[derive(Debug, Default)]
pub(super) struct Totals {
    table: HashTable<Total>,
    hasher: RandomState,
}

/// A [`Key`] that borrows.
pub(super) type KeyRef<'a> = (&'a str, &'a str, i64, &'a str, &'a str);

impl Key {
    fn borrowed(&self) -> KeyRef<'_> {
        let Self { user_id, meter, start, org_id, route } = self;
        (user_id, meter, *start, org_id, route)
    }
}

impl Totals {
    /// Adds a line of `settlement`.
    pub(super) fn add(&mut self, settlement: &Settlement<'_>, meter: &str, amount: i64) {
        let Settlement { user_id, at, org_id, route, .. } = settlement;
        let key = (*user_id, meter, Period::Minute.start(*at), org_id.unwrap_or_default(), *route);
        self.change(key, amount.into(), 1);
    }

    /// Adds an amount of so many lines; negative ones take away what was added.
    pub(super) fn change(&mut self, key: KeyRef<'_>, amount: i128, events: i64) {
        let hasher = &self.hasher;
        let entry = self.table.entry(
            hasher.hash_one(key),
            |total| total.key.borrowed() == key,
            |total| hasher.hash_one(total.key.borrowed()),
        );
        let mut total = entry.or_insert_with(|| {
            let (user_id, meter, start, org_id, route) = key;
            let own = str::to_owned;
            let key = Key {
                user_id: own(user_id),
                meter: own(meter),
                start,
                org_id: own(org_id),
                route: own(route),
            };
            Total { key, amount: 0, events: 0 }
        });
        let total = total.get_mut();
        total.amount += amount;
        total.events += events;
    }

    /// All that have a line, in no order.
    pub(super) fn into_vec(self) -> Vec<Total> {
        self.table.into_iter().filter(|total| total.events != 0).collect()
    }
}

/// Moves each start to what `start` makes of it, adds up those that are the same then, and sorts them.
pub(super) fn coarsen(totals: &mut Vec<Total>, start: impl Fn(UnixMillis) -> i64) {
    for Total { key, .. } in &mut *totals {
        key.start = start(UnixMillis(key.start));
    }
    totals.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    totals.dedup_by(|later, first| {
        let same = later.key == first.key;
        if same {
            first.amount += later.amount;
            first.events += later.events;
        }
        same
    });
}

/// The nearest 64-bit number.
pub(crate) fn clamp(sum: i128) -> i64 {
    i64::try_from(sum).unwrap_or(if sum > 0 { i64::MAX } else { i64::MIN })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use tollgate_core::{RequestKey, SettledBy};

    use super::*;

    proptest! {
        #[test]
        fn totals_are_the_sums_of_their_lines_at_every_coarseness(
            lines in proptest::collection::vec((0..3usize, 0..3usize, 0..8_000_000i64, any::<i64>()), 0..60)
        ) {
            const NAMES: [&str; 3] = ["", "a", "b"];
            let mut totals = Totals::default();
            for (user, meter, at, amount) in &lines {
                let settlement = Settlement {
                    key: RequestKey::from_bits(0), at: UnixMillis(*at), user_id: NAMES[*user], org_id: None,
                    tier: "", route: "/", method: "GET", status: 200, duration_ms: 1, request_id: "",
                    resource: None, metadata: None, settled_by: SettledBy::Exchange,
                    charges: std::iter::empty().collect(),
                };
                totals.add(&settlement, NAMES[*meter], *amount);
            }
            let mut totals = totals.into_vec();
            for period in [Period::Minute, Period::Hour, Period::Day] {
                coarsen(&mut totals, |at| period.start(at));
                let mut expected = BTreeMap::<_, (i128, i64)>::new();
                for (user, meter, at, amount) in &lines {
                    let start = period.start(UnixMillis(*at));
                    let sum = expected.entry((NAMES[*user], NAMES[*meter], start, "", "/")).or_default();
                    *sum = (sum.0 + i128::from(*amount), sum.1 + 1);
                }
                let found: Vec<_> = totals.iter().map(|t| (t.key.borrowed(), (t.amount, t.events))).collect();
                prop_assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
            }
        }
    }
}
