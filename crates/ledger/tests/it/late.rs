//! Lines that come long after what they are about, up to a month.

use tollgate_core::{RequestKey, Settlement, Span, UnixMillis};
use tollgate_ledger::{EventFilter, Subject};

use crate::common::{Data, FOREVER, NOON, Store, flush, load, on_each_store, settle, settlement};

on_each_store!(
    late_lines_are_in_their_own_minutes_hours_days_and_months,
    late_lines_that_are_repeated_count_once
);

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// How long before [`NOON`] each late line was: in the minute that is written now, in one that is merged and one
/// whose quarter is, in another hour, on another day, in another month, and as late as can be.
const LATE: [i64; 9] =
    [0, MINUTE, 61 * MINUTE, 75 * MINUTE + 1, 2 * HOUR, 26 * HOUR, 9 * DAY, 22 * DAY, 31 * DAY];

fn at(number: u64, at: i64, amount: i64) -> Settlement<'static> {
    let key = RequestKey::new(UnixMillis(at), u128::from(number) << 20);
    Settlement { key, at: UnixMillis(at), resource: Some("a"), ..settlement(number, &[("tokens", amount)]) }
}

/// Three hours of traffic, shipped as it came: what is older than one of them is merged.
fn lately(data: &Data) -> u64 {
    let (journal, _) = data.journal();
    let ledger = data.ledger(&journal);
    for minute in 0..180u64 {
        let ago = i64::try_from(180 - minute).unwrap() * MINUTE;
        settle(&journal, &at(minute, NOON - ago, 1));
        flush(&ledger, &journal).unwrap();
    }
    ledger.shutdown(FOREVER).unwrap();
    180
}

fn late_lines_are_in_their_own_minutes_hours_days_and_months(store: &Store) {
    let data = store.data();
    let first = lately(&data);
    let (journal, _) = data.journal();
    let ledger = data.ledger(&journal);
    for (number, ago) in (first..).zip(LATE) {
        settle(&journal, &at(number, NOON - ago, 1000));
    }
    flush(&ledger, &journal).unwrap();
    let lines = data.events();
    let reader = data.reader();
    let ada = Subject::User("ada".to_owned());
    let org = Subject::Org("analytical-engines".to_owned());
    for ago in LATE {
        for (before, behind) in
            [(0, 1), (0, MINUTE), (HOUR, HOUR), (DAY, DAY), (7 * DAY, 7 * DAY), (31 * DAY, DAY)]
        {
            let floor = |at: i64, to: i64| at - at.rem_euclid(to.max(1));
            let unit = if behind >= HOUR { HOUR } else { behind };
            let start = floor(NOON - ago - before, unit);
            let span = Span { start: UnixMillis(start), end: UnixMillis(floor(NOON - ago, unit) + behind) };
            let wanted: i64 =
                lines.iter().filter(|line| span.contains(line.at)).map(|line| line.amount).sum();
            for subject in [&ada, &org] {
                assert_eq!(reader.sum(subject, "tokens", span).unwrap(), wanted, "{ago} ms ago, {span:?}");
            }
            let loaded = load(&ledger, "ada", &[("tokens", span)], journal.tail()).unwrap();
            assert_eq!(loaded.sums, [wanted]);
            let found = reader.events(&EventFilter { span: Some(span), ..EventFilter::default() }).unwrap();
            assert_eq!(found.iter().map(|line| line.amount).sum::<i64>(), wanted);
        }
    }
    if matches!(store, Store::Postgres(_)) {
        assert_eq!(data.count("usage_ledger_2026_10"), 2, "those of 22 and 31 days ago");
    }
    ledger.shutdown(FOREVER).unwrap();
    let report = data.audit();
    assert!(report.is_clean(), "{:#?}", report.differences);
}

fn late_lines_that_are_repeated_count_once(store: &Store) {
    let data = store.data();
    let first = lately(&data);
    let (journal, _) = data.journal();
    for (number, ago) in (first..).zip(LATE) {
        settle(&journal, &at(number, NOON - ago, 1000));
    }
    data.ship(&journal);
    data.sql("UPDATE journal_watermark SET position = 0");
    data.ship(&journal);
    let ada = Subject::User("ada".to_owned());
    let wanted = 180 + 1000 * i64::try_from(LATE.len()).unwrap();
    assert_eq!(data.reader().sum(&ada, "tokens", Span::ALWAYS).unwrap(), wanted);
    let report = data.audit();
    assert!(report.is_clean(), "{:#?}", report.differences);
}
