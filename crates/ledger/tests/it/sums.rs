//! Sums of spans are those of the lines, however the rollups are made up.

use std::sync::Arc;

use proptest::{prelude::*, test_runner::TestRunner};
use tollgate_core::{Charge, RequestKey, Settlement, Span, UnixMillis};
use tollgate_ledger::{EventFilter, Journal, Subject};

use crate::common::{Data, FOREVER, NOON, Store, flush, on_each_store, settle, settlement};

on_each_store!(
    sums_are_exact_however_late_lines_come_and_minutes_are_merged,
    sums_of_any_span_are_those_of_the_lines,
    minutes_that_are_over_are_merged_to_quarters_of_an_hour,
);

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// A line: when in milliseconds from noon, whose, how much.
type Line = (i64, &'static str, i64);

fn settle_line(journal: &Arc<Journal>, number: u64, (at, user_id, amount): Line) {
    let at = UnixMillis(NOON + at);
    let charges = [Charge { meter: "tokens", amount, estimated: false }].into_iter().collect();
    let key = RequestKey::new(at, u128::from(number) << 12);
    settle(journal, &Settlement { key, at, user_id, charges, ..settlement(number, &[]) });
}

fn span(start: i64, end: i64) -> Span {
    Span { start: UnixMillis(NOON + start), end: UnixMillis(NOON + end) }
}

/// Asserts the sums of all `spans`, for one user and for the organisation that all belong to.
fn check(data: &Data, lines: &[Line], spans: &[Span]) {
    let reader = data.reader();
    for span in spans {
        let inside = |(at, ..): &&Line| span.contains(UnixMillis(NOON + at));
        let of_all: i64 = lines.iter().filter(inside).map(|(.., amount)| amount).sum();
        let of_ada: i64 = lines
            .iter()
            .filter(inside)
            .filter(|(_, user, _)| *user == "ada")
            .map(|(.., amount)| amount)
            .sum();
        let sum = |subject| reader.sum(&subject, "tokens", *span).unwrap();
        assert_eq!(sum(Subject::User("ada".to_owned())), of_ada, "{span:?}");
        assert_eq!(sum(Subject::Org("analytical-engines".to_owned())), of_all, "{span:?}");
        assert_eq!(sum(Subject::User("eve".to_owned())), 0);
        let filter = EventFilter { span: Some(*span), ..EventFilter::default() };
        assert_eq!(reader.events(&filter).unwrap().len(), lines.iter().filter(inside).count());
    }
}

fn sums_of_any_span_are_those_of_the_lines(store: &Store) {
    let data = store.data();
    let (journal, _) = data.journal();
    // Every 37 minutes over ten days, which hits the edges of hours and days as well.
    let lines: Vec<Line> =
        (0..400).map(|number| (number * 37 * MINUTE, "ada", number * number % 1000)).collect();
    for (number, line) in (0..).zip(&lines) {
        settle_line(&journal, number, *line);
        if number % 50 == 0 {
            data.ship(&journal);
        }
    }
    data.ship(&journal);
    let edges = [0, 1, 59_999, HOUR, 14_400_000, 14_400_001, 86_400_000, 200_000_000, 700_000_123];
    let spans: Vec<_> = edges.iter().flat_map(|start| edges.map(|end| span(*start, end))).collect();
    check(&data, &lines, &spans);
    check(&data, &lines, &[Span::ALWAYS]);
}

fn users() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["ada", "bob"])
}

/// Mostly close to each other, some before and after all that is merged.
fn instants() -> impl Strategy<Value = i64> {
    let minutes = (-90..240i64).prop_map(|minute| minute * MINUTE);
    prop_oneof![4 => minutes, 2 => -2 * HOUR..5 * HOUR, 1 => -40 * HOUR..40 * HOUR]
}

fn sums_are_exact_however_late_lines_come_and_minutes_are_merged(store: &Store) {
    let batches =
        prop::collection::vec(prop::collection::vec((instants(), users(), 0..1000i64), 0..12), 1..8);
    let edges = prop::collection::vec((instants(), instants()), 1..40);
    let cases = store.cases(64);
    TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() })
        .run(&(batches, edges), |(batches, edges)| {
            let data = store.data();
            let (journal, _) = data.journal();
            let ledger = data.ledger(&journal);
            let mut lines = Vec::new();
            for batch in batches {
                for line in batch {
                    settle_line(&journal, lines.len() as u64, line);
                    lines.push(line);
                }
                flush(&ledger, &journal).unwrap();
            }
            let spans: Vec<_> = edges.iter().map(|(a, b)| span(*a.min(b), *a.max(b))).collect();
            check(&data, &lines, &spans);
            let report = data.audit();
            prop_assert!(report.is_clean(), "{:#?}", report.differences);
            Ok(())
        })
        .unwrap();
}

fn minutes_that_are_over_are_merged_to_quarters_of_an_hour(store: &Store) {
    let data = store.data();
    let (journal, _) = data.journal();
    let lines: Vec<Line> = (0..300).map(|minute| (minute * MINUTE, "ada", minute)).collect();
    let ledger = data.ledger(&journal);
    for (number, line) in (0..).zip(&lines) {
        settle_line(&journal, number, *line);
        flush(&ledger, &journal).unwrap();
    }
    ledger.shutdown(FOREVER).unwrap();
    let rows = data.count("usage_minutely");
    // Five hours: the last one in minutes, the others in quarters.
    assert!((60 + 16..=61 + 16).contains(&rows), "{rows}");
    // A month in a zone that is half an hour off, whose lines are gone from the table as minutes.
    data.sql("DELETE FROM usage_ledger");
    let sum = data.reader().sum(&Subject::User("ada".to_owned()), "tokens", span(30 * MINUTE, 150 * MINUTE));
    assert_eq!(sum.unwrap(), (30..150).sum::<i64>());
}
