//! The audit finds each kind of difference, and none where there is none.

use std::{
    fs,
    os::unix::fs::FileExt,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use tollgate_core::{RequestKey, Settlement, UnixMillis};
use tollgate_ledger::{AuditReport, Difference};

use crate::common::{Data, FOREVER, NOON, Store, on_each_store, open, settle, settlement};

on_each_store!(
    a_clean_directory_is_clean,
    what_is_pending_or_open_is_counted_and_no_difference,
    a_running_directory_under_load_is_clean,
    a_missing_line_is_found_in_ledger_and_rollups,
    every_changed_column_is_named,
    every_wrong_rollup_is_named,
    minutes_that_are_not_merged_as_far_as_is_said_are_named,
    every_wrong_sum_of_a_resource_is_named,
    a_line_that_nobody_settled_is_found_in_the_rollups,
    a_watermark_that_can_not_be_is_named,
    a_request_settled_twice_in_two_ways_is_named,
    damage_in_journal_and_table_is_named,
    differences_read_as_sentences,
);

/// A stopped directory with ten settlements shipped.
fn shipped(store: &Store) -> Data {
    let data = store.data();
    let (journal, _) = data.journal();
    for number in 0..10 {
        settle(&journal, &settlement(number, &[("calls", 1), ("tokens", 10)]));
    }
    data.ship(&journal);
    data
}

fn audited(data: &Data) -> AuditReport {
    data.audit()
}

fn a_clean_directory_is_clean(store: &Store) {
    let report = audited(&shipped(store));
    assert!(report.is_clean(), "{:#?}", report.differences);
    let AuditReport { running, events, settlements, pending, in_flight, rollup_rows, differences: _ } =
        report;
    assert_eq!((running, events, settlements, pending, in_flight.len()), (false, 20, 10, 0, 0));
    assert_eq!(rollup_rows, 6);
}

fn what_is_pending_or_open_is_counted_and_no_difference(store: &Store) {
    let data = store.data();
    let (journal, _) = data.journal();
    data.ship(&journal);
    settle(&journal, &settlement(1, &[("calls", 1)]));
    let _open = open(&journal, &settlement(2, &[("calls", 1)]));
    let report = audited(&data);
    assert!(report.is_clean() && report.running, "{report:#?}");
    assert_eq!((report.settlements, report.pending, report.in_flight.len()), (1, 1, 1));
    assert_eq!(report.in_flight[0].key, settlement(2, &[]).key);
}

fn a_running_directory_under_load_is_clean(store: &Store) {
    let data = store.data();
    let (journal, _) = data.journal();
    let ledger = data.ledger(&journal);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..20_000 {
                settle(&journal, &settlement(number, &[("calls", 1), ("tokens", 3)]));
            }
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            let report = audited(&data);
            assert!(report.running && report.is_clean(), "{:#?}", report.differences);
        }
    });
    ledger.shutdown(FOREVER).unwrap();
}

fn a_missing_line_is_found_in_ledger_and_rollups(store: &Store) {
    let data = shipped(store);
    data.sql("DELETE FROM usage_ledger WHERE id = (SELECT id FROM usage_ledger ORDER BY id LIMIT 1)");
    let differences = audited(&data).differences;
    let id = settlement(0, &[]).key.event(0);
    assert!(matches!(differences[0], Difference::Missing { id: missing, .. } if missing == id));
    let tables = differences[1..].iter().map(|difference| match difference {
        Difference::Rollup { table, .. } => *table,
        other => panic!("{other}"),
    });
    assert_eq!(tables.collect::<Vec<_>>(), ["usage_minutely", "usage_hourly", "usage_daily"]);
}

fn every_changed_column_is_named(store: &Store) {
    let changes = [
        ("at", &*store.instant(NOON + 1)),
        ("user_id", "'eve'"),
        ("org_id", "NULL"),
        ("tier", "'enterprise'"),
        ("meter", "'other'"),
        ("amount", "amount - 1"),
        ("estimated", "NOT estimated"),
        ("route", "'/'"),
        ("method", "'GET'"),
        ("status", "500"),
        ("duration_ms", "0"),
        ("request_id", "''"),
        ("resource", "'x'"),
        ("metadata", "'{}'"),
    ];
    for (name, value) in changes {
        let data = shipped(store);
        data.sql(&format!(
            "UPDATE usage_ledger SET {name} = {value} WHERE id = (SELECT id FROM usage_ledger ORDER BY id LIMIT 1)"
        ));
        let differences = audited(&data).differences;
        let named = |d: &Difference| matches!(d, Difference::Column { column, .. } if *column == name);
        assert_eq!(differences.iter().filter(|d| named(d)).count(), 1, "{name}: {differences:#?}");
    }
}

fn every_wrong_rollup_is_named(store: &Store) {
    let plants = [
        "UPDATE usage_minutely SET amount = amount + 1 WHERE meter = 'tokens'",
        "DELETE FROM usage_minutely WHERE meter = 'calls'",
        "UPDATE usage_hourly SET amount = amount + 1 WHERE meter = 'tokens'",
        "UPDATE usage_daily SET events = 0 WHERE meter = 'calls'",
        "DELETE FROM usage_daily WHERE meter = 'calls'",
        &format!("INSERT INTO usage_hourly VALUES ('eve', 'calls', {}, '', '/', 0, 0)", store.instant(0)),
    ];
    for plant in plants {
        let data = shipped(store);
        data.sql(plant);
        let differences = audited(&data).differences;
        assert!(matches!(&differences[..], [Difference::Rollup { .. }]), "{plant}: {differences:#?}");
    }
}

fn every_wrong_sum_of_a_resource_is_named(store: &Store) {
    let plants = [
        ("UPDATE usage_resources SET amount = amount - 1", (6, 7)),
        ("DELETE FROM usage_resources", (0, 7)),
        ("UPDATE usage_resources SET amount = 3, resource = 'b'", (0, 7)),
        ("UPDATE usage_ledger SET resource = NULL", (7, 0)),
    ];
    for (plant, expected) in plants {
        let data = store.data();
        let (journal, _) = data.journal();
        settle(&journal, &Settlement { resource: Some("a"), ..settlement(1, &[("bytes", 7)]) });
        data.ship(&journal);
        data.sql(plant);
        let differences = audited(&data).differences;
        let named = |difference: &Difference| match difference {
            Difference::Resource { resource, kept, lines, .. } if resource == "a" => Some((*kept, *lines)),
            _ => None,
        };
        assert_eq!(differences.iter().find_map(named), Some(expected), "{plant}: {differences:#?}");
    }
}

fn minutes_that_are_not_merged_as_far_as_is_said_are_named(store: &Store) {
    let data = store.data();
    let (journal, _) = data.journal();
    let at = UnixMillis(NOON + 7 * 60_000);
    settle(&journal, &Settlement { at, key: RequestKey::new(at, 1), ..settlement(1, &[("calls", 1)]) });
    data.ship(&journal);
    assert!(audited(&data).is_clean());
    data.sql(&format!("UPDATE minutes_merged SET until = {}", store.instant(NOON + 3_600_000)));
    let differences = audited(&data).differences;
    let named = |d: &Difference| matches!(d, Difference::Rollup { table: "usage_minutely", .. });
    assert!(differences.len() == 2 && differences.iter().all(named), "{differences:#?}");
}

fn a_line_that_nobody_settled_is_found_in_the_rollups(store: &Store) {
    let data = shipped(store);
    let id = settlement(77, &[]).key;
    data.sql(&format!(
        "INSERT INTO usage_ledger SELECT '{id}', at, user_id, org_id, tier, meter, amount, estimated, route, \
         method, status, duration_ms, request_id, resource, metadata FROM usage_ledger LIMIT 1"
    ));
    assert_eq!(audited(&data).differences.len(), 3);
}

fn a_watermark_that_can_not_be_is_named(store: &Store) {
    for (plant, count) in [("position - 3", 1), ("position + 1000000", 1)] {
        let data = store.data();
        let (journal, _) = data.journal();
        settle(&journal, &settlement(1, &[("calls", 1)]));
        data.ship(&journal);
        data.sql(&format!("UPDATE journal_watermark SET position = {plant}"));
        let differences = audited(&data).differences;
        let named = differences.iter().filter(|d| matches!(d, Difference::Watermark { .. })).count();
        assert_eq!(named, count, "{plant}: {differences:#?}");
    }
}

fn a_request_settled_twice_in_two_ways_is_named(store: &Store) {
    let data = store.data();
    let (journal, _) = data.journal();
    let first = settle(&journal, &settlement(1, &[("calls", 1)]));
    let second = settle(&journal, &settlement(1, &[("calls", 2)]));
    data.ship(&journal);
    let differences = audited(&data).differences;
    let expected =
        Difference::Twice { key: settlement(1, &[]).key, first: first.get(), second: second.get() };
    assert_eq!(differences, [expected]);
    assert_eq!(data.events().len(), 1);
}

fn damage_in_journal_and_table_is_named(store: &Store) {
    let data = store.data();
    let (journal, _) = data.journal();
    let position = settle(&journal, &settlement(1, &[("calls", 1)]));
    let request = open(&journal, &settlement(2, &[("calls", 1)]));
    data.ship(&journal);
    let after = data.as_after_a_crash();
    request.cancel();
    let patch = |path, at| {
        fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(b"\xff", at).unwrap();
    };
    patch(after.first_segment(), position.get() + 30);
    patch(after.journal_dir().join("in-flight"), 2048 + 30);
    let differences = audited(&after).differences;
    assert!(
        matches!(&differences[..], [Difference::Slot { .. }, Difference::Damage { .. }]),
        "{differences:#?}"
    );
}

fn differences_read_as_sentences(store: &Store) {
    let data = shipped(store);
    data.sql(
        "UPDATE usage_ledger SET amount = 77 WHERE id = (SELECT id FROM usage_ledger ORDER BY id LIMIT 1)",
    );
    let texts: Vec<_> = audited(&data).differences.iter().map(ToString::to_string).collect();
    let id = settlement(0, &[]).key.event(0);
    assert!(texts[0].starts_with(&format!("event {id}: amount is 77 in the ledger, 1 in the journal")));
    assert!(texts[1].contains("10 in 10 events, but the lines are 86 in 10 events"), "{}", texts[1]);
}
