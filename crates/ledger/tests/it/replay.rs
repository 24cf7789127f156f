//! What the journal still has, shipped or not, for those who rebuild from it.

use std::{sync::Arc, time::Duration};

use tollgate_ledger::{Journal, JournalOptions, Position};

use crate::common::{Data, FOREVER, flush, instances, settle, settlement, wait_until};

/// Keys of what is replayed from `from` on, with the position from which all are there.
fn replayed(journal: &Journal, from: Position) -> (Vec<u128>, Position) {
    let mut keys = Vec::new();
    let complete_from = journal
        .replay(from, &mut |position, settlement| {
            assert!(position >= from);
            keys.push(settlement.key.to_bits());
        })
        .unwrap();
    (keys, complete_from)
}

fn keys(numbers: std::ops::Range<u64>) -> Vec<u128> {
    numbers.map(|number| crate::common::key(number).to_bits()).collect()
}

/// Settles so many that several segments are full; returns where each is.
fn fill(journal: &Arc<Journal>, count: u64) -> Vec<Position> {
    (0..count).map(|number| settle(journal, &settlement(number, &[("calls", 1)]))).collect()
}

#[test]
fn shipped_segments_are_kept_for_as_long_as_they_are_young() {
    let data = Data::new();
    let options = JournalOptions { keep_shipped: FOREVER, ..data.options() };
    let (journal, _) = Journal::open(options.clone()).unwrap();
    let positions = fill(&journal, 1500);
    data.ship(&journal);
    assert!(journal.status().segments > 3);
    assert_eq!(replayed(&journal, Position::default()).0, keys(0..1500));
    assert_eq!(replayed(&journal, positions[700]), (keys(700..1500), positions[700]));
    assert_eq!(replayed(&journal, journal.tail()), (Vec::new(), journal.tail()));
    drop(journal);
    // An earlier process's count as well, and after their time they go, although nothing else happens.
    let (journal, _) = Journal::open(options.clone()).unwrap();
    assert_eq!(replayed(&journal, positions[1400]).0, keys(1400..1500));
    drop(journal);
    let (journal, _) =
        Journal::open(JournalOptions { keep_shipped: Duration::from_millis(300), ..options }).unwrap();
    data.ship(&journal);
    wait_until(|| replayed(&journal, Position::default()).0.is_empty());
}

#[test]
fn what_is_kept_gives_way_when_room_is_needed() {
    let data = Data::new();
    let options = JournalOptions { keep_shipped: FOREVER, bytes_max: 8 * 64 * 1024, ..data.options() };
    let (journal, _) = Journal::open(options).unwrap();
    let ledger = data.ledger(&journal);
    for number in 0..6000 {
        settle(&journal, &settlement(number, &[("calls", 1)]));
        assert!(journal.status().bytes_on_disk <= 8 * 64 * 1024);
    }
    flush(&ledger, &journal).unwrap();
    // While segments are being deleted, some before the position that is told may be given, too.
    wait_until(|| {
        let (left, complete_from) = replayed(&journal, Position::default());
        assert!(!left.is_empty() && left.len() < 6000, "{}", left.len());
        assert!(complete_from > Position::default());
        left == keys(6000 - left.len() as u64..6000)
    });
    ledger.shutdown(FOREVER).unwrap();
}

#[test]
fn a_flush_ships_at_once_and_is_answered_when_it_is_committed() {
    let data = Data::new();
    let (journal, _) = data.journal();
    let ledger = data.ledger(&journal);
    for number in 0..10 {
        settle(&journal, &settlement(number, &[("calls", 1)]));
        flush(&ledger, &journal).unwrap();
        assert_eq!((ledger.shipped(), data.events().len() as u64), (journal.tail(), number + 1));
    }
    assert_eq!(instances(&ledger, FOREVER).unwrap(), [journal.id()]);
    ledger.shutdown(FOREVER).unwrap();
    assert!(flush(&ledger, &journal).is_err());
}
