//! `[counters]`, `[ledger]` and `[journal]`: where use is counted and kept.

use std::ops::RangeInclusive;

use super::{
    Reader,
    postgres::{Postgres, PostgresStore, Url},
};
use crate::{
    item::Item,
    number::{Unit, show_bytes},
    report::Flaw,
    section::Section,
    text::quote,
};

/// A subject with a handful of counters takes some 500 bytes: a million is half a gigabyte.
const SUBJECTS_DEFAULT: usize = 1_000_000;
/// Below a thousand, busy subjects would push each other out; a hundred million is 50 GB.
const SUBJECTS_BOUNDS: RangeInclusive<usize> = 1000..=100_000_000;

/// Hours of traffic at full speed with the ledger away.
const BYTES_DEFAULT: u64 = 1 << 30;
/// From two of the smallest segments to more than any disk has.
const BYTES_BOUNDS: RangeInclusive<u64> = (128 << 10)..=(1 << 50);

/// Replayed in a blink, and large enough that files are not opened all the time.
const SEGMENT_BYTES_DEFAULT: u64 = 8 << 20;
/// The smallest holds the largest event many times over; the largest is what is still mapped at once.
const SEGMENT_BYTES_BOUNDS: RangeInclusive<u64> = (64 << 10)..=(1 << 30);

/// More than the connections of a default gateway, so that streams of HTTP/2 find room too.
const IN_FLIGHT_DEFAULT: usize = 16_384;
/// Each has a slot of its own in memory and in the journal.
const IN_FLIGHT_BOUNDS: RangeInclusive<usize> = 1..=1_000_000;

/// Where quotas are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters {
    /// Which store.
    pub store: CounterStore,
    /// Most subjects whose counters are kept in memory at once.
    pub subjects_max: usize,
}

/// Where counters live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CounterStore {
    /// In this process; rebuilt from ledger and journal after a restart.
    Memory,
}

/// Where events end up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerStore {
    /// A SQLite file in the data directory.
    Sqlite,
    /// A Postgres database, which several gateways may share.
    Postgres(PostgresStore),
}

/// Bounds of the journal, and what recovery does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalLimits {
    /// Most bytes of journal on disk; beyond, metered routes answer 503.
    pub bytes_max: u64,
    /// Bytes of one segment file; at most half of `bytes_max`.
    pub segment_bytes: u64,
    /// Most metered requests in flight at once, each with a reserved slot in the journal.
    pub requests_in_flight_max: usize,
    /// How a request that was admitted before a crash and never answered is settled.
    pub unanswered: Unanswered,
}

/// How recovery settles a request that nobody knows the end of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// What was held for it is charged, marked as estimated: the upstream may have done the work.
    Charge,
    /// Nothing is charged: the client got no answer.
    Release,
}

impl Counters {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self {
            store: section.or("store", CounterStore::Memory, |item| {
                store(item, ("memory", CounterStore::Memory), &["redis://", "rediss://"])
            }),
            subjects_max: section
                .or("subjects_max", SUBJECTS_DEFAULT, |item| item.amount_in(Unit::Count, SUBJECTS_BOUNDS)),
        }
    }
}

impl LedgerStore {
    pub(super) fn read(section: &mut Section<'_>, reader: Reader<'_>) -> Self {
        let mut is_postgres = false;
        let url = section.maybe("store", |item| {
            let text = item.string("\"sqlite\"")?;
            is_postgres = text.starts_with("postgres");
            match text {
                "sqlite" => None,
                "postgres" => Some(Url::Elsewhere),
                _ if text.starts_with("postgres://") || text.starts_with("postgresql://") => {
                    item.check(Postgres::parse(text)).map(|postgres| Url::Here(Box::new(postgres)))
                }
                _ => {
                    let suggestion = "write \"sqlite\" or \"postgres://user@host/database\"";
                    item.wrong(Flaw::new("this is not a store", suggestion));
                    None
                }
            }
        });
        PostgresStore::read(section, reader, (is_postgres, url)).map_or(Self::Sqlite, Self::Postgres)
    }
}

/// The one store there is, or why another is none. Its URL is never shown: it may hold a password.
fn store<T>(item: &Item<'_>, (name, store): (&str, T), planned: &[&str]) -> Option<T> {
    let text = item.string(&quote(name))?;
    if text == name {
        return Some(store);
    }
    let is_planned = planned.iter().any(|scheme| text.starts_with(scheme));
    let message =
        if is_planned { "this store is not available in this version" } else { "this is not a store" };
    item.wrong(Flaw::new(message, format!("write {}", quote(name))));
    None
}

impl JournalLimits {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let segment_bytes = section.or("segment_bytes", SEGMENT_BYTES_DEFAULT, |item| {
            item.amount_in(Unit::Bytes, SEGMENT_BYTES_BOUNDS)
        });
        let bytes_max = section.or("bytes_max", BYTES_DEFAULT, |item| {
            let bytes = item.amount_in(Unit::Bytes, BYTES_BOUNDS)?;
            if bytes / 2 < segment_bytes {
                let message = "the journal needs room for two segments";
                let twice = i64::try_from(segment_bytes.saturating_mul(2)).unwrap_or(i64::MAX);
                item.wrong(Flaw::new(message, format!("write \"{}\" or more", show_bytes(twice))));
            }
            Some(bytes)
        });
        Self {
            bytes_max,
            segment_bytes,
            requests_in_flight_max: section.or("requests_in_flight_max", IN_FLIGHT_DEFAULT, |item| {
                item.amount_in(Unit::Count, IN_FLIGHT_BOUNDS)
            }),
            unanswered: section.or("unanswered", Unanswered::Charge, |item| {
                item.one_of(&[("charge", Unanswered::Charge), ("release", Unanswered::Release)])
            }),
        }
    }
}
