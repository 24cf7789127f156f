//! Windows at the edges of calendars: cases with the instants that they must have.

use jiff::{Timestamp, tz::TimeZone};
use proptest::prelude::*;

use super::*;

fn at(text: &str) -> UnixMillis {
    UnixMillis(text.parse::<Timestamp>().unwrap().as_millisecond())
}

fn calendar(zone: &str, anchor: &str) -> Calendar {
    Calendar::new(TimeZone::get(zone).unwrap(), (!anchor.is_empty()).then(|| at(anchor)))
}

const MONTH: Window = Window::BillingMonth;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Zone, anchor, window, an instant; start and end of the window that it lies in.
type Case = (&'static str, &'static str, Window, &'static str, &'static str, &'static str);

#[rustfmt::skip]
const CASES: [Case; 43] = [
    // The 31st of January: February's last day, and the 31st again.
    ("UTC", "2026-01-31T12:00:00Z", MONTH, "2026-01-31T00:00:00Z", "2026-01-31T00:00:00Z", "2026-02-28T00:00:00Z"),
    ("UTC", "2026-01-31T12:00:00Z", MONTH, "2026-02-27T23:59:59.999Z", "2026-01-31T00:00:00Z", "2026-02-28T00:00:00Z"),
    ("UTC", "2026-01-31T12:00:00Z", MONTH, "2026-02-28T00:00:00Z", "2026-02-28T00:00:00Z", "2026-03-31T00:00:00Z"),
    ("UTC", "2026-01-31T12:00:00Z", MONTH, "2026-03-30T23:59:59.999Z", "2026-02-28T00:00:00Z", "2026-03-31T00:00:00Z"),
    ("UTC", "2026-01-31T12:00:00Z", MONTH, "2026-04-30T00:00:00Z", "2026-04-30T00:00:00Z", "2026-05-31T00:00:00Z"),
    ("UTC", "2026-01-31T12:00:00Z", MONTH, "2026-12-31T23:59:59.999Z", "2026-12-31T00:00:00Z", "2027-01-31T00:00:00Z"),
    // In leap years.
    ("UTC", "2026-01-31T12:00:00Z", MONTH, "2028-02-28T23:59:59.999Z", "2028-01-31T00:00:00Z", "2028-02-29T00:00:00Z"),
    ("UTC", "2026-01-31T12:00:00Z", MONTH, "2028-02-29T00:00:00Z", "2028-02-29T00:00:00Z", "2028-03-31T00:00:00Z"),
    ("UTC", "2026-01-30T12:00:00Z", MONTH, "2026-02-28T00:00:00Z", "2026-02-28T00:00:00Z", "2026-03-30T00:00:00Z"),
    ("UTC", "2026-01-30T12:00:00Z", MONTH, "2028-02-28T23:59:59.999Z", "2028-01-30T00:00:00Z", "2028-02-29T00:00:00Z"),
    ("UTC", "2026-01-30T12:00:00Z", MONTH, "2028-02-29T23:59:59.999Z", "2028-02-29T00:00:00Z", "2028-03-30T00:00:00Z"),
    ("UTC", "2026-01-29T12:00:00Z", MONTH, "2026-02-28T00:00:00Z", "2026-02-28T00:00:00Z", "2026-03-29T00:00:00Z"),
    ("UTC", "2026-01-29T12:00:00Z", MONTH, "2028-02-28T23:59:59.999Z", "2028-01-29T00:00:00Z", "2028-02-29T00:00:00Z"),
    ("UTC", "2026-01-29T12:00:00Z", MONTH, "2028-02-29T00:00:00Z", "2028-02-29T00:00:00Z", "2028-03-29T00:00:00Z"),
    // A leap day, and a century without one.
    ("UTC", "2024-02-29T12:00:00Z", MONTH, "2025-02-28T00:00:00Z", "2025-02-28T00:00:00Z", "2025-03-29T00:00:00Z"),
    ("UTC", "2024-02-29T12:00:00Z", MONTH, "2100-02-28T12:00:00Z", "2100-02-28T00:00:00Z", "2100-03-29T00:00:00Z"),
    // Before the anchor.
    ("UTC", "2026-01-31T12:00:00Z", MONTH, "2025-12-15T00:00:00Z", "2025-11-30T00:00:00Z", "2025-12-31T00:00:00Z"),
    ("UTC", "2026-01-07T00:00:00Z", Window::Days(30), "2026-01-06T23:59:59.999Z", "2025-12-08T00:00:00Z", "2026-01-07T00:00:00Z"),
    // The anchor's date is that of the zone: the same instant is the 31st in one and the 1st in another.
    ("America/Los_Angeles", "2026-01-31T23:30:00Z", MONTH, "2026-03-15T00:00:00Z", "2026-02-28T08:00:00Z", "2026-03-31T07:00:00Z"),
    ("Europe/Berlin", "2026-01-31T23:30:00Z", MONTH, "2026-03-15T00:00:00Z", "2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z"),
    // The clocks change within the window, at its end, and at its beginning.
    ("Europe/Berlin", "2026-01-15T12:00:00Z", MONTH, "2026-03-29T01:00:00Z", "2026-03-14T23:00:00Z", "2026-04-14T22:00:00Z"),
    ("Europe/Berlin", "2026-01-29T12:00:00Z", MONTH, "2026-03-28T22:59:59.999Z", "2026-02-27T23:00:00Z", "2026-03-28T23:00:00Z"),
    ("Europe/Berlin", "2026-01-29T12:00:00Z", MONTH, "2026-03-28T23:00:00Z", "2026-03-28T23:00:00Z", "2026-04-28T22:00:00Z"),
    ("Europe/Berlin", "2026-01-25T12:00:00Z", MONTH, "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-11-24T23:00:00Z"),
    ("Europe/Berlin", "2026-01-31T12:00:00Z", MONTH, "2028-02-28T23:00:00Z", "2028-02-28T23:00:00Z", "2028-03-30T22:00:00Z"),
    ("America/New_York", "2026-01-31T12:00:00Z", MONTH, "2026-02-28T04:59:59.999Z", "2026-01-31T05:00:00Z", "2026-02-28T05:00:00Z"),
    ("America/New_York", "2026-01-31T12:00:00Z", MONTH, "2026-02-28T05:00:00Z", "2026-02-28T05:00:00Z", "2026-03-31T04:00:00Z"),
    ("America/New_York", "2026-01-30T12:00:00Z", MONTH, "2026-11-01T06:30:00Z", "2026-10-30T04:00:00Z", "2026-11-30T05:00:00Z"),
    // Days of 23 and of 25 hours, and a week and seven days with one of them.
    ("Europe/Berlin", "", Window::Day, "2026-03-29T01:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
    ("Europe/Berlin", "", Window::Day, "2026-10-25T01:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
    ("Europe/Berlin", "", Window::Week, "2026-03-29T21:59:59.999Z", "2026-03-22T23:00:00Z", "2026-03-29T22:00:00Z"),
    ("Europe/Berlin", "2026-03-24T12:00:00Z", Window::Days(7), "2026-03-29T12:00:00Z", "2026-03-23T23:00:00Z", "2026-03-30T22:00:00Z"),
    ("Europe/Berlin", "", Window::Month, "2026-03-29T12:00:00Z", "2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z"),
    // The hour that comes twice is two hours.
    ("Europe/Berlin", "", Window::Hour, "2026-10-25T00:30:00Z", "2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z"),
    ("Europe/Berlin", "", Window::Hour, "2026-10-25T01:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"),
    // A midnight that does not come, and one that comes twice.
    ("America/Sao_Paulo", "", Window::Day, "2018-11-04T12:00:00Z", "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"),
    ("America/Havana", "", Window::Day, "2026-11-01T05:30:00Z", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"),
    // A day that does not come, which is an anniversary.
    ("Pacific/Apia", "2011-11-30T12:00:00Z", MONTH, "2011-12-30T09:59:59.999Z", "2011-11-30T10:00:00Z", "2011-12-30T10:00:00Z"),
    ("Pacific/Apia", "2011-11-30T12:00:00Z", MONTH, "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z", "2012-01-29T10:00:00Z"),
    // Offsets of half and quarter hours, and the farthest ones.
    ("Australia/Lord_Howe", "", Window::Day, "2026-04-05T00:00:00Z", "2026-04-04T13:00:00Z", "2026-04-05T13:30:00Z"),
    ("Asia/Kathmandu", "", Window::Day, "2026-01-01T00:00:00Z", "2025-12-31T18:15:00Z", "2026-01-01T18:15:00Z"),
    ("Pacific/Kiritimati", "2026-01-31T12:00:00Z", MONTH, "2026-02-15T00:00:00Z", "2026-01-31T10:00:00Z", "2026-02-28T10:00:00Z"),
    ("Pacific/Pago_Pago", "2026-01-31T12:00:00Z", MONTH, "2026-02-15T00:00:00Z", "2026-01-31T11:00:00Z", "2026-02-28T11:00:00Z"),
];

#[test]
fn windows_have_the_instants_of_the_table() {
    for (zone, anchor, window, now, start, end) in CASES {
        let calendar = calendar(zone, anchor);
        let wanted = Span { start: at(start), end: at(end) };
        for now in [at(now), wanted.start, UnixMillis(wanted.end.0 - 1)] {
            assert_eq!(window.span(now, &calendar), wanted, "{window} of {anchor} in {zone} at {now:?}");
        }
        assert_eq!(window.span(wanted.end, &calendar).start, wanted.end, "{window} in {zone} from {end}");
    }
}

/// Zone, start and end of a window.
type Place = (&'static str, &'static str, &'static str);
type Move = (Window, &'static str, [Place; 2]);

/// A subject that moves: at an instant, the window by the zone that it leaves, and by the one that it comes to.
#[rustfmt::skip]
const MOVES: [Move; 6] = [
    // To the west: back into the window that was over.
    (MONTH, "2026-02-28T03:00:00Z", [
        ("Europe/Berlin", "2026-02-27T23:00:00Z", "2026-03-30T22:00:00Z"),
        ("America/Los_Angeles", "2026-01-31T08:00:00Z", "2026-02-28T08:00:00Z"),
    ]),
    // To the east: into the next one, which had not begun.
    (MONTH, "2026-02-27T20:00:00Z", [
        ("America/Los_Angeles", "2026-01-31T08:00:00Z", "2026-02-28T08:00:00Z"),
        ("Asia/Tokyo", "2026-02-27T15:00:00Z", "2026-03-30T15:00:00Z"),
    ]),
    // Within it: what of it was before the new one's beginning is in none.
    (MONTH, "2026-03-10T12:00:00Z", [
        ("Asia/Tokyo", "2026-02-27T15:00:00Z", "2026-03-30T15:00:00Z"),
        ("Europe/Berlin", "2026-02-27T23:00:00Z", "2026-03-30T22:00:00Z"),
    ]),
    (Window::Day, "2026-03-29T12:00:00Z", [
        ("Europe/Berlin", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
        ("Pacific/Kiritimati", "2026-03-29T10:00:00Z", "2026-03-30T10:00:00Z"),
    ]),
    (Window::Day, "2026-03-29T12:00:00Z", [
        ("Pacific/Kiritimati", "2026-03-29T10:00:00Z", "2026-03-30T10:00:00Z"),
        ("Pacific/Pago_Pago", "2026-03-29T11:00:00Z", "2026-03-30T11:00:00Z"),
    ]),
    // Those that are cut in UTC do not move.
    (Window::Hour, "2026-03-29T12:34:00Z", [
        ("Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-29T13:00:00Z"),
        ("Asia/Kathmandu", "2026-03-29T12:00:00Z", "2026-03-29T13:00:00Z"),
    ]),
];

#[test]
fn a_subject_that_moves_has_the_windows_of_where_it_is() {
    for (window, now, places) in MOVES {
        for (zone, start, end) in places {
            let span = window.span(at(now), &calendar(zone, "2026-01-31T12:00:00Z"));
            assert_eq!(span, Span { start: at(start), end: at(end) }, "{window} at {now} in {zone}");
        }
    }
}

const ZONES: [&str; 14] = [
    "UTC",
    "Europe/Berlin",
    "Europe/London",
    "America/New_York",
    "America/St_Johns",
    "America/Sao_Paulo",
    "America/Havana",
    "Africa/Casablanca",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Kiritimati",
    "Pacific/Pago_Pago",
    "Antarctica/Troll",
];

fn windows() -> impl Strategy<Value = Window> {
    prop_oneof![
        Just(Window::Minute),
        Just(Window::Hour),
        Just(Window::Day),
        Just(Window::Week),
        Just(Window::Month),
        (1..400u16).prop_map(Window::Days),
        Just(Window::BillingMonth),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// One window after the other, from any instant and for a year of them or more: each begins where the one
    /// before it ends, every instant in it has it, and it is about as long as its name says.
    #[test]
    fn windows_tile_time_wherever_one_begins(
        window in windows(),
        // From 1900 to 2100; anchors before and behind.
        now in -2_208_988_800_000i64..4_102_444_800_000,
        anchor in proptest::option::of(-4_000_000_000_000i64..5_000_000_000_000),
        zone in prop::sample::select(&ZONES[..]),
        inside in proptest::collection::vec(0..1000i64, 4),
    ) {
        let calendar = Calendar::new(TimeZone::get(zone).unwrap(), anchor.map(UnixMillis));
        let mut span = window.span(UnixMillis(now), &calendar);
        prop_assert!(span.contains(UnixMillis(now)));
        for _ in 0..14 {
            let length = span.end.since(span.start);
            prop_assert!(length > 0);
            let places = inside.iter().map(|part| span.start.0 + length / 1000 * part);
            for place in places.chain([span.start.0, span.end.0 - 1]) {
                prop_assert_eq!(window.span(UnixMillis(place), &calendar), span, "at {}", place);
            }
            // A zone may leave out a day, or change its offset by one; and its clocks by an hour in the same window, as
            // Samoa's in 2011.
            let (least, most) = match window {
                Window::Minute => (60_000, 60_000),
                Window::Hour => (HOUR_MS, HOUR_MS),
                Window::Day => (1, 50 * HOUR_MS),
                Window::Week => (6 * DAY_MS - HOUR_MS, 8 * DAY_MS + HOUR_MS),
                Window::Month | Window::BillingMonth => (27 * DAY_MS - HOUR_MS, 32 * DAY_MS + HOUR_MS),
                Window::Days(n) => {
                    ((i64::from(n) - 1) * DAY_MS - HOUR_MS, (i64::from(n) + 1) * DAY_MS + HOUR_MS)
                }
                Window::Lifetime => (i64::MAX, i64::MAX),
            };
            prop_assert!((least..=most).contains(&length), "{length} ms");
            let next = window.span(span.end, &calendar);
            prop_assert_eq!(next.start, span.end);
            prop_assert_eq!(window.span(UnixMillis(span.start.0 - 1), &calendar).end, span.start);
            span = next;
        }
    }
}

/// The clocks of Samoa went forward in September 2011, and Friday, the 30th of December, did not happen: a window of 155
/// days over both lacks 25 hours, and the next begins where it ends.
#[test]
fn a_window_may_lack_a_day_and_an_hour() {
    let samoa = Calendar::new(TimeZone::get("Pacific/Apia").unwrap(), None);
    let mut span = Window::Days(155).span(UnixMillis(1_141_210_800_000), &samoa);
    let mut lengths = Vec::new();
    for _ in 0..14 {
        let next = Window::Days(155).span(span.end, &samoa);
        assert_eq!(next.start, span.end);
        lengths.push(span.end.since(span.start));
        span = next;
    }
    assert_eq!(lengths.iter().min(), Some(&(154 * DAY_MS - HOUR_MS)));
}
