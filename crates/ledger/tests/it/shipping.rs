//! From the journal to the ledger.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use tollgate_core::{RequestKey, Settlement, Span, UnixMillis};
use tollgate_ledger::{Journal, JournalOptions, LedgerError, LedgerEvent, OpenError, Position, Subject};

use crate::common::{Data, FOREVER, NOON, Store, on_each_store, open, settle, settlement, wait_until};

on_each_store!(
    all_columns_arrive,
    every_line_keeps_its_own_columns,
    a_batch_shipped_again_changes_nothing,
    of_a_batch_that_is_there_in_part_only_the_rest_counts,
    a_line_that_is_there_is_found_wherever_in_a_batch_it_is,
    amounts_at_the_bound_neither_wrap_nor_stop_shipping,
    shipping_frees_a_full_journal,
    a_journal_that_was_full_when_its_process_died_opens_again,
    a_ledger_ahead_of_its_journal_is_refused,
    a_lost_journal_begins_anew_beside_its_ledger,
);

fn all_columns_arrive(store: &Store) {
    let data = store.data();
    let (journal, _) = data.journal();
    let settled = Settlement {
        org_id: None,
        status: 207,
        resource: Some("mem/42"),
        metadata: Some(r#"{"bytes":3}"#),
        ..settlement(1, &[("calls", 1), ("memory", -5)])
    };
    settle(&journal, &settled);
    data.ship(&journal);
    let events = data.events();
    let [calls, memory] = &events[..] else { panic!("{events:?}") };
    assert_eq!((calls.meter.as_str(), calls.amount, memory.amount), ("calls", 1, -5));
    assert_eq!(memory.id.as_u128(), settled.key.event(1).to_bits());
    assert_eq!((calls.at, calls.duration_ms, calls.status), (UnixMillis(NOON), 12, 207));
    assert_eq!((calls.user_id.as_str(), calls.org_id.as_deref()), ("ada", None));
    assert_eq!((calls.tier.as_str(), calls.route.as_str()), ("professional", "/api/v1/llm/"));
    assert_eq!((calls.method.as_str(), calls.request_id.as_str()), ("POST", settled.request_id));
    assert_eq!(calls.resource.as_deref(), Some("mem/42"));
    assert_eq!(calls.metadata.as_deref(), Some(r#"{"bytes":3}"#));
}

fn a_batch_shipped_again_changes_nothing(store: &Store) {
    let data = store.data();
    let (journal, _) = data.journal();
    for number in 0..50 {
        settle(&journal, &settlement(number, &[("calls", 1), ("tokens", 10)]));
    }
    data.ship(&journal);
    let before = (data.events(), data.reader().sum(&ada(), "tokens", Span::ALWAYS).unwrap());
    data.sql("UPDATE journal_watermark SET position = 0");
    data.ship(&journal);
    assert_eq!((data.events(), data.reader().sum(&ada(), "tokens", Span::ALWAYS).unwrap()), before);
    assert_eq!(before.1, 500);
    assert!(data.audit().is_clean());
}

/// Lines are inserted many at a time, in another order than the journal's.
fn every_line_keeps_its_own_columns(store: &Store) {
    let data = store.data();
    let (journal, _) = data.journal();
    let of = |number: u64, of: &[&'static str]| of[usize::try_from(number % of.len() as u64).unwrap()];
    let mut expected = BTreeMap::new();
    for number in 0..150u64 {
        let scattered = u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 12;
        let mut settled = Settlement {
            key: RequestKey::new(UnixMillis(NOON), scattered),
            at: UnixMillis(NOON + i64::try_from(number / 3).unwrap()),
            user_id: of(number, &["ada", "bob", "", "dan"]),
            org_id: (number % 3 > 0).then(|| of(number, &["", "a", "b"])),
            tier: of(number / 2, &["free", "professional"]),
            route: of(number / 5, &["/a", "/b"]),
            method: of(number / 7, &["GET", "POST"]),
            status: 200 + u16::try_from(number % 2).unwrap(),
            duration_ms: number / 4,
            request_id: of(number, &["x", "y", "z", "x"]),
            resource: (number % 5 == 0).then(|| of(number, &["mem/1", "", "mem/2"])),
            metadata: (number % 7 == 0).then(|| of(number, &["{\"a\":1}", "{}"])),
            ..settlement(number, &[("calls", 1), ("tokens", 5), ("bytes", i64::MIN)])
        };
        settled.charges.truncate(usize::try_from(number % 4).unwrap());
        settled.charges.iter_mut().for_each(|charge| charge.estimated = number % 2 == 0);
        for event in settled.events() {
            expected.insert(
                event.id.to_bits(),
                LedgerEvent {
                    id: uuid::Uuid::from_u128(event.id.to_bits()),
                    at: settled.at,
                    user_id: settled.user_id.to_owned(),
                    org_id: settled.org_id.map(str::to_owned),
                    tier: settled.tier.to_owned(),
                    meter: event.charge.meter.to_owned(),
                    amount: event.charge.amount,
                    estimated: event.charge.estimated,
                    route: settled.route.to_owned(),
                    method: settled.method.to_owned(),
                    status: settled.status,
                    duration_ms: settled.duration_ms,
                    request_id: settled.request_id.to_owned(),
                    resource: settled.resource.map(str::to_owned),
                    metadata: settled.metadata.map(str::to_owned),
                },
            );
        }
        settle(&journal, &settled);
    }
    data.ship(&journal);
    assert_eq!(data.events(), expected.into_values().collect::<Vec<_>>());
    assert!(data.audit().is_clean());
}

fn of_a_batch_that_is_there_in_part_only_the_rest_counts(store: &Store) {
    let data = store.data();
    let (journal, _) = data.journal();
    let settle = |numbers: Range<u64>| -> Vec<Position> {
        numbers.map(|number| settle(&journal, &settlement(number, &[("calls", 1), ("tokens", 10)]))).collect()
    };
    let positions = settle(0..40);
    data.ship(&journal);
    settle(40..90);
    data.sql(&format!("UPDATE journal_watermark SET position = {}", positions[13].get()));
    let ledger = data.ledger(&journal);
    crate::common::flush(&ledger, &journal).unwrap();
    // The batches after it are new again.
    for numbers in [90..120, 120..150] {
        settle(numbers);
        crate::common::flush(&ledger, &journal).unwrap();
    }
    ledger.shutdown(FOREVER).unwrap();
    assert_eq!(data.events().len(), 300);
    for (meter, sum) in [("calls", 150), ("tokens", 1500)] {
        assert_eq!(data.reader().sum(&ada(), meter, Span::ALWAYS).unwrap(), sum);
    }
    let report = data.audit();
    assert!(report.is_clean(), "{:#?}", report.differences);
}

fn ada() -> Subject {
    Subject::User("ada".to_owned())
}

/// A batch of many settlements is inserted in pieces, and none of them stays when a later one is there already.
fn a_line_that_is_there_is_found_wherever_in_a_batch_it_is(store: &Store) {
    let data = store.data();
    let (journal, _) = data.journal();
    let of = |number| settlement(number, &[("calls", 1), ("tokens", 10)]);
    settle(&journal, &of(1500));
    data.ship(&journal);
    for number in 0..1700 {
        settle(&journal, &of(number));
    }
    data.ship(&journal);
    assert_eq!(data.events().len(), 3400);
    for (meter, sum) in [("calls", 1700), ("tokens", 17_000)] {
        assert_eq!(data.reader().sum(&ada(), meter, Span::ALWAYS).unwrap(), sum);
    }
    let report = data.audit();
    assert!(report.is_clean(), "{:#?}", report.differences);
}

fn amounts_at_the_bound_neither_wrap_nor_stop_shipping(store: &Store) {
    let data = store.data();
    let (journal, _) = data.journal();
    for (number, amount) in [(1, i64::MAX), (2, i64::MAX), (3, 5)] {
        settle(&journal, &settlement(number, &[("tokens", amount)]));
        data.ship(&journal);
    }
    let hour = Span { start: UnixMillis(NOON), end: UnixMillis(NOON + 1) };
    for span in [Span::ALWAYS, hour] {
        assert_eq!(data.reader().sum(&ada(), "tokens", span).unwrap(), i64::MAX);
    }
    assert!(data.audit().is_clean());
}

fn shipping_frees_a_full_journal(store: &Store) {
    let data = store.data();
    let options = JournalOptions { bytes_max: 128 * 1024, ..data.options() };
    let (journal, _) = Journal::open(options).unwrap();
    wait_until(|| journal.status().segments == 2);
    let mut settled = 0;
    loop {
        let settlement = settlement(settled, &[("calls", 1)]);
        match journal.open_request(&settlement) {
            Ok(request) => request.settle(&settlement),
            Err(error) => break assert_eq!(error, OpenError::Full),
        };
        settled += 1;
    }
    let status = journal.status();
    assert!(status.full && status.bytes_on_disk <= 128 * 1024, "{status:?}");
    let ledger = data.ledger(&journal);
    for number in settled..2000 {
        settle(&journal, &settlement(number, &[("calls", 1)]));
        assert!(journal.status().bytes_on_disk <= 128 * 1024);
    }
    ledger.shutdown(FOREVER).unwrap();
    assert_eq!(data.events().len(), 2000);
}

fn a_journal_that_was_full_when_its_process_died_opens_again(store: &Store) {
    let data = store.data();
    let options = |data: &Data| JournalOptions { bytes_max: 128 * 1024, ..data.options() };
    let (journal, _) = Journal::open(options(&data)).unwrap();
    wait_until(|| journal.status().segments == 2);
    let mut requests = Vec::new();
    while let Ok(request) = journal.open_request(&settlement(requests.len() as u64, &[("calls", 1)])) {
        requests.push(request);
    }
    let after = data.as_after_a_crash();
    let (journal, recovered) = Journal::open(options(&after)).unwrap();
    assert_eq!(recovered.unanswered, requests.len() as u64);
    after.ship(&journal);
    assert_eq!(after.events().len(), requests.len());
    settle(&journal, &settlement(1000, &[("calls", 1)]));
}

#[test]
fn as_many_requests_as_there_are_slots() {
    let data = Data::new();
    let (journal, _) = data.journal();
    let mut requests: Vec<_> =
        (0..64).map(|number| open(&journal, &settlement(number, &[("calls", 1)]))).collect();
    let one_more = || journal.open_request(&settlement(64, &[("calls", 1)]));
    wait_until(|| matches!(one_more(), Err(OpenError::TooManyInFlight)));
    assert_eq!(journal.status().in_flight, 64);
    requests.pop().unwrap().cancel();
    one_more().unwrap().cancel();
    drop(requests);
    assert_eq!(journal.status().in_flight, 0);
}

fn a_ledger_ahead_of_its_journal_is_refused(store: &Store) {
    let data = store.data();
    let (journal, _) = data.journal();
    data.ship(&journal);
    data.sql("UPDATE journal_watermark SET position = 1000000000000");
    let options = data.ledger_options();
    let refused = tollgate_ledger::Ledger::start(Arc::clone(&journal), options).unwrap_err();
    assert!(matches!(refused, LedgerError::AheadOfJournal { .. }), "{refused}");
}

fn a_lost_journal_begins_anew_beside_its_ledger(store: &Store) {
    let data = store.data();
    let (journal, _) = data.journal();
    for number in 0..10 {
        settle(&journal, &settlement(number, &[("calls", 1)]));
    }
    data.ship(&journal);
    drop(journal);
    std::fs::remove_file(data.first_segment()).unwrap();
    while let Some(path) = std::fs::read_dir(data.journal_dir())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_str().unwrap().contains("segment-"))
    {
        std::fs::remove_file(path).unwrap();
    }
    let (journal, _) = data.journal();
    settle(&journal, &settlement(100, &[("calls", 1)]));
    data.ship(&journal);
    assert_eq!(data.events().len(), 11);
    assert_eq!(data.reader().watermark(journal.id()).unwrap(), Some(journal.tail()));
}

#[test]
fn failing_shipping_shows_and_ends() {
    let data = Data::new();
    let (journal, _) = data.journal();
    let ledger = data.ledger(&journal);
    let blocker = rusqlite::Connection::open(data.ledger_path()).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    settle(&journal, &settlement(1, &[("calls", 1)]));
    wait_until(|| ledger.status().failing_since.is_some());
    let status = ledger.status();
    assert_eq!(status.oldest_unshipped, Some(UnixMillis(NOON)));
    assert!(status.pending_bytes > 0 && status.last_error.is_some(), "{status:?}");
    let unavailable = crate::common::load(&ledger, "ada", &[("calls", Span::ALWAYS)], journal.tail());
    assert_eq!(unavailable, Err(tollgate_ledger::LoadError::Unavailable));
    blocker.execute_batch("COMMIT").unwrap();
    wait_until(|| ledger.status().failing_since.is_none());
    assert_eq!(ledger.shipped(), journal.tail());
    assert_eq!(ledger.status().last_error, None);
}

/// Batches go on across segments; one that cannot be read holds back what is behind it, and nothing before it.
#[test]
fn what_is_before_a_segment_that_cannot_be_read_arrives() {
    const SETTLEMENTS: i64 = 2000;
    let data = Data::new();
    let (journal, _) = data.journal();
    for number in 0..SETTLEMENTS {
        settle(&journal, &settlement(number.unsigned_abs(), &[("calls", 1)]));
    }
    let third = data.segments().remove(2);
    let aside = data.path().join("aside");
    std::fs::rename(&third, &aside).unwrap();
    let ledger = data.ledger(&journal);
    wait_until(|| ledger.status().failing_since.is_some());
    wait_until(|| data.count("usage_ledger") > 0);
    assert!(data.count("usage_ledger") < SETTLEMENTS && ledger.shipped() < journal.tail());
    std::fs::rename(&aside, &third).unwrap();
    wait_until(|| ledger.shipped() == journal.tail());
    ledger.shutdown(FOREVER).unwrap();
    assert_eq!(data.count("usage_ledger"), SETTLEMENTS);
    assert!(data.audit().is_clean());
}

#[test]
fn a_shutdown_in_vain_says_what_stays() {
    let data = Data::new();
    let (journal, _) = data.journal();
    let ledger = data.ledger(&journal);
    let blocker = rusqlite::Connection::open(data.ledger_path()).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    settle(&journal, &settlement(1, &[("calls", 1)]));
    let unshipped = ledger.shutdown(std::time::Duration::ZERO).unwrap_err();
    assert!(unshipped.pending_bytes > 0);
    drop(ledger);
    drop(blocker);
    data.ship(&journal);
    assert_eq!(data.events().len(), 1);
    assert!(journal.tail() > Position::default());
}
