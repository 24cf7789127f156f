//! What counters are rebuilt from.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

use tollgate_core::{Span, UnixMillis};
use tollgate_ledger::{LoadError, LoadRequest, Position, Subject};

use crate::common::{FOREVER, NOON, Store, load, on_each_store, settle, settlement, wait_until};

on_each_store!(
    a_load_covers_exactly_what_is_before_its_watermark,
    a_load_waits_for_all_that_was_settled_before_it,
    a_subject_without_use_has_zeros,
    what_was_not_shipped_before_a_crash_is_loaded_after_it,
    every_load_is_answered_once_whatever_happens,
);

fn a_load_covers_exactly_what_is_before_its_watermark(store: &Store) {
    let data = store.data();
    let (journal, _) = data.journal();
    let ledger = data.ledger(&journal);
    let settled = Mutex::new(Vec::<(Position, i64)>::new());
    let (number, writing) = (AtomicU64::new(0), AtomicU64::new(2));
    let mut loads = Vec::new();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..10_000 {
                    let number = number.fetch_add(1, Ordering::Relaxed);
                    let amount = i64::try_from(number % 97).unwrap();
                    let position = settle(&journal, &settlement(number, &[("tokens", amount)]));
                    settled.lock().unwrap().push((position, amount));
                    // Not faster than a ledger without optimisation can follow.
                    wait_until(|| position.get() < ledger.shipped().get() + 100_000);
                }
                writing.fetch_sub(1, Ordering::Relaxed);
            });
        }
        let hour = Span { start: UnixMillis(NOON), end: UnixMillis(NOON + 3_600_000) };
        let minute = Span { start: UnixMillis(NOON), end: UnixMillis(NOON + 60_000) };
        while writing.load(Ordering::Relaxed) > 0 {
            let reached = journal.tail();
            let sums = [("tokens", Span::ALWAYS), ("tokens", hour), ("tokens", minute)];
            let loaded = load(&ledger, "ada", &sums, reached).unwrap();
            assert!(loaded.watermark >= reached);
            loads.push(loaded);
        }
    });
    assert!(loads.len() > 2);
    let settled = settled.into_inner().unwrap();
    for loaded in loads {
        let before = settled.iter().filter(|(position, _)| *position < loaded.watermark);
        let expected: i64 = before.map(|(_, amount)| amount).sum();
        assert_eq!(loaded.sums, [expected; 3]);
    }
    ledger.shutdown(FOREVER).unwrap();
}

fn a_load_waits_for_all_that_was_settled_before_it(store: &Store) {
    let data = store.data();
    let (journal, _) = data.journal();
    for number in 0..20_000 {
        settle(&journal, &settlement(number, &[("tokens", 1)]));
    }
    let ledger = data.ledger(&journal);
    let loaded = load(&ledger, "ada", &[("tokens", Span::ALWAYS)], journal.tail()).unwrap();
    assert_eq!((loaded.sums, loaded.watermark), (vec![20_000], journal.tail()));
}

fn a_subject_without_use_has_zeros(store: &Store) {
    let data = store.data();
    let (journal, _) = data.journal();
    let ledger = data.ledger(&journal);
    let loaded = load(&ledger, "nobody", &[("tokens", Span::ALWAYS)], journal.tail()).unwrap();
    assert_eq!((loaded.sums, loaded.watermark), (vec![0], journal.tail()));
}

fn what_was_not_shipped_before_a_crash_is_loaded_after_it(store: &Store) {
    let data = store.data();
    let (journal, _) = data.journal();
    for number in 0..20 {
        settle(&journal, &settlement(number, &[("tokens", 5)]));
    }
    let _open = crate::common::open(&journal, &settlement(100, &[("tokens", 1000)]));
    let after = data.as_after_a_crash();
    let (journal, _) = after.journal();
    let ledger = after.ledger(&journal);
    let loaded = load(&ledger, "ada", &[("tokens", Span::ALWAYS)], journal.tail()).unwrap();
    assert_eq!(loaded.sums, [1100]);
}

fn every_load_is_answered_once_whatever_happens(store: &Store) {
    let data = store.data();
    let (journal, _) = data.journal();
    let ledger = data.ledger(&journal);
    let (sender, receiver) = mpsc::channel();
    let ask = |count: usize| {
        for _ in 0..count {
            let sender = sender.clone();
            ledger.load(LoadRequest {
                subject: Subject::User("ada".to_owned()),
                sums: Vec::new(),
                reached: Position::new(u64::MAX),
                reply: Box::new(move |loaded| sender.send(loaded).unwrap()),
            });
        }
    };
    ask(20_000);
    ledger.shutdown(FOREVER).unwrap();
    ask(5);
    drop(ledger);
    drop(sender);
    let answers: Vec<_> = receiver.iter().collect();
    assert_eq!(answers.len(), 20_005);
    assert!(answers[20_000..].iter().all(|answer| *answer == Err(LoadError::Unavailable)));
    assert_eq!(Arc::strong_count(&journal), 1);
}
