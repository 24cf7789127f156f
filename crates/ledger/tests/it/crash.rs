//! What a process that died left, and what another one may not do.

use std::{fs, os::unix::fs::FileExt};

use tollgate_ledger::{Difference, Journal, JournalOpenError, JournalOptions};

use crate::common::{Data, open, settle, settlement};

#[test]
fn a_second_process_is_refused() {
    let data = Data::new();
    let (journal, _) = data.journal();
    let refused = Journal::open(data.options()).unwrap_err();
    assert!(matches!(refused, JournalOpenError::InUse { .. }), "{refused}");
    drop(journal);
    Journal::open(data.options()).unwrap();
}

#[test]
fn the_lock_outlives_a_shutdown_while_a_request_is_open() {
    let data = Data::new();
    let (journal, _) = data.journal();
    let request = open(&journal, &settlement(1, &[("calls", 1)]));
    journal.shutdown();
    drop(journal);
    assert!(Journal::open(data.options()).is_err());
    request.settle(&settlement(1, &[("calls", 1)]));
    let (_, recovered) = data.journal();
    assert_eq!((recovered.settlements_replayed, recovered.unanswered), (1, 0));
}

#[test]
fn a_death_between_record_and_slot_does_not_charge_twice() {
    let data = Data::new();
    let (journal, _) = data.journal();
    let request = open(&journal, &settlement(1, &[("calls", 7)]));
    let table_before = fs::read(data.journal_dir().join("in-flight")).unwrap();
    request.settle(&settlement(1, &[("calls", 3)]));
    let after = data.as_after_a_crash();
    fs::write(after.journal_dir().join("in-flight"), table_before).unwrap();
    let (journal, recovered) = after.journal();
    assert_eq!(recovered.unanswered, 0);
    after.ship(&journal);
    assert_eq!(after.events().iter().map(|event| event.amount).collect::<Vec<_>>(), [3]);
}

#[test]
fn a_death_during_recovery_repeats_it_without_harm() {
    let data = Data::new();
    let (journal, _) = data.journal();
    let request = open(&journal, &settlement(1, &[("calls", 7)]));
    let first = data.as_after_a_crash();
    let table = fs::read(first.journal_dir().join("in-flight")).unwrap();
    let (journal, recovered) = first.journal();
    assert_eq!(recovered.unanswered, 1);
    let second = first.as_after_a_crash();
    drop(journal);
    fs::write(second.journal_dir().join("in-flight"), table).unwrap();
    let (journal, recovered) = second.journal();
    assert_eq!(recovered.unanswered, 0);
    second.ship(&journal);
    assert_eq!(second.events().len(), 1);
    assert!(second.audit().is_clean());
    request.cancel();
}

#[test]
fn an_unfinished_append_is_no_damage() {
    let data = Data::new();
    let (journal, _) = data.journal();
    settle(&journal, &settlement(1, &[("calls", 1)]));
    let end = journal.tail().get();
    let after = data.as_after_a_crash();
    let file = fs::OpenOptions::new().write(true).open(after.first_segment()).unwrap();
    file.write_all_at(b"\0\0\0\0checksum and payload, but no length", end).unwrap();
    let (_, recovered) = after.journal();
    assert_eq!((recovered.settlements_replayed, recovered.corrupt), (1, 0));
}

#[test]
fn a_damaged_record_is_named_and_those_behind_it_are_shipped() {
    for damage in [&b"\xff"[..], b"\0\0\0\0"] {
        let data = Data::new();
        let (journal, _) = data.journal();
        let positions: Vec<_> =
            (1..=3).map(|number| settle(&journal, &settlement(number, &[("calls", 1)])).get()).collect();
        let after = data.as_after_a_crash();
        let segment = after.first_segment();
        let file = fs::OpenOptions::new().write(true).open(&segment).unwrap();
        let place = if damage.len() == 1 { positions[1] + 20 } else { positions[1] };
        file.write_all_at(damage, place).unwrap();

        drop(after.ledger(&Data::new().journal().0));
        let differences = after.audit().differences;
        assert!(
            matches!(&differences[..], [Difference::Damage { path, offset, .. }]
                if *path == segment && *offset == positions[1]),
            "{differences:#?}"
        );
        let (journal, recovered) = after.journal();
        assert_eq!((recovered.settlements_replayed, recovered.corrupt), (2, 1));
        after.ship(&journal);
        assert_eq!(after.events().len(), 2);
    }
}

#[test]
fn a_damaged_header_is_refused_by_name() {
    let data = Data::new();
    let (journal, _) = data.journal();
    settle(&journal, &settlement(1, &[("calls", 1)]));
    let after = data.as_after_a_crash();
    let segment = after.first_segment();
    fs::OpenOptions::new().write(true).open(&segment).unwrap().write_all_at(b"?", 40).unwrap();
    let refused = Journal::open(after.options()).unwrap_err().to_string();
    assert!(refused.contains(segment.to_str().unwrap()), "{refused}");
}

#[test]
fn options_can_change_between_starts() {
    let data = Data::new();
    let (journal, _) = data.journal();
    let first = settle(&journal, &settlement(1, &[("calls", 1)]));
    drop(journal);
    let options = JournalOptions { segment_bytes: 256 * 1024, requests_in_flight_max: 2, ..data.options() };
    let (journal, _) = Journal::open(options).unwrap();
    let second = settle(&journal, &settlement(2, &[("calls", 1)]));
    assert!(first < second);
    data.ship(&journal);
    assert_eq!(data.events().len(), 2);
}

#[test]
fn options_out_of_range_are_refused_by_name() {
    let data = Data::new();
    let options = data.options();
    let wrong = [
        (JournalOptions { segment_bytes: 1000, ..options.clone() }, "segment_bytes"),
        (JournalOptions { bytes_max: 100_000, ..options.clone() }, "bytes_max"),
        (JournalOptions { requests_in_flight_max: 0, ..options }, "requests_in_flight_max"),
    ];
    for (options, name) in wrong {
        let message = Journal::open(options).unwrap_err().to_string();
        assert!(message.contains(name), "{message}");
    }
}
