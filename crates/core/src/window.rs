//! Windows: over which span a limit counts.

use std::fmt;

use jiff::{ToSpan as _, civil::Date};

use crate::{Calendar, Span, UnixMillis};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// The span over which a limit counts before it starts again.
///
/// Minutes and hours are cut in UTC; days and longer windows begin at midnights of the subject's
/// [`Calendar`]. For every calendar the windows tile time without gap or overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Window {
    /// 60 seconds from a full minute.
    Minute,
    /// 60 minutes from a full hour.
    Hour,
    /// A civil day.
    Day,
    /// An ISO week: from Monday.
    Week,
    /// A calendar month.
    Month,
    /// N civil days (1 or more), counted from the anchor.
    Days(u16),
    /// From the anchor's day of the month to the next; a day that a month lacks is its last.
    BillingMonth,
    /// Never resets.
    Lifetime,
}

impl Window {
    /// The window of this kind that `now` lies in.
    #[must_use]
    pub fn span(self, now: UnixMillis, calendar: &Calendar) -> Span {
        match self {
            Self::Minute => fixed(now, MINUTE_MS),
            Self::Hour => fixed(now, HOUR_MS),
            Self::Lifetime => Span::ALWAYS,
            Self::Day | Self::Week | Self::Month | Self::Days(_) | Self::BillingMonth => {
                self.civil_span(now, calendar).unwrap_or(Span::ALWAYS)
            }
        }
    }

    /// Nominal length in seconds, for headers that describe the policy and not one instance of it;
    /// `None` for a lifetime. A month counts as 30 days.
    #[must_use]
    pub const fn nominal_seconds(self) -> Option<u32> {
        const DAY: u32 = 86_400;
        match self {
            Self::Minute => Some(60),
            Self::Hour => Some(3600),
            Self::Day => Some(DAY),
            Self::Week => Some(7 * DAY),
            Self::Month | Self::BillingMonth => Some(30 * DAY),
            Self::Days(n) => Some(n as u32 * DAY),
            Self::Lifetime => None,
        }
    }

    /// Whether the window is no longer than an hour: running out of it is being too fast, not being
    /// out of quota.
    #[must_use]
    pub const fn is_rate(self) -> bool {
        matches!(self, Self::Minute | Self::Hour)
    }

    /// `None` only at the ends of the calendar, where dates overflow.
    fn civil_span(self, now: UnixMillis, calendar: &Calendar) -> Option<Span> {
        let today = calendar.date(now);
        let (first, next) = self.civil_dates(today, calendar)?;
        Some(Span { start: calendar.midnight(first)?, end: calendar.midnight(next)? })
    }

    /// First date inside and first date after.
    fn civil_dates(self, today: Date, calendar: &Calendar) -> Option<(Date, Date)> {
        let ahead = |date: Date, days: i64| date.checked_add(days.days()).ok();
        match self {
            Self::Day => Some((today, ahead(today, 1)?)),
            Self::Week => {
                let monday = ahead(today, -i64::from(today.weekday().to_monday_zero_offset()))?;
                Some((monday, ahead(monday, 7)?))
            }
            Self::Month => {
                let first = today.first_of_month();
                Some((first, first.checked_add(1.month()).ok()?))
            }
            Self::Days(n) => {
                let n = i64::from(n.max(1));
                let since_anchor = i64::from(calendar.anchor().until(today).ok()?.get_days());
                let first = ahead(today, -since_anchor.rem_euclid(n))?;
                Some((first, ahead(first, n)?))
            }
            Self::BillingMonth => {
                let this = anniversary(today.first_of_month(), calendar.billing_day())?;
                let first_of = |months: i64| today.first_of_month().checked_add(months.months()).ok();
                if this <= today {
                    Some((this, anniversary(first_of(1)?, calendar.billing_day())?))
                } else {
                    Some((anniversary(first_of(-1)?, calendar.billing_day())?, this))
                }
            }
            Self::Minute | Self::Hour | Self::Lifetime => None,
        }
    }
}

/// Day `day` of the month that begins at `first`, or that month's last day.
fn anniversary(first: Date, day: i8) -> Option<Date> {
    Date::new(first.year(), first.month(), day.min(first.days_in_month())).ok()
}

fn fixed(now: UnixMillis, length_ms: i64) -> Span {
    let start = now.0.saturating_sub(now.0.rem_euclid(length_ms));
    Span { start: UnixMillis(start), end: UnixMillis(start.saturating_add(length_ms)) }
}

/// As written in `tier-limits.toml`.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Minute => f.write_str("minute"),
            Self::Hour => f.write_str("hour"),
            Self::Day => f.write_str("day"),
            Self::Week => f.write_str("week"),
            Self::Month => f.write_str("month"),
            Self::Days(n) => write!(f, "{n}days"),
            Self::BillingMonth => f.write_str("billing_month"),
            Self::Lifetime => f.write_str("lifetime"),
        }
    }
}

#[cfg(test)]
mod cases;

#[cfg(test)]
mod tests {
    use jiff::{Timestamp, tz::TimeZone};
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> UnixMillis {
        UnixMillis(text.parse::<Timestamp>().unwrap().as_millisecond())
    }

    fn zoned(zone: &str, anchor: &str) -> Calendar {
        Calendar::new(TimeZone::get(zone).unwrap(), Some(at(anchor)))
    }

    #[test]
    fn spans_of_known_instants() {
        let utc = Calendar::default();
        let berlin_31st = zoned("Europe/Berlin", "2024-01-31T12:00:00Z");
        let cases = [
            (Window::Minute, &utc, "2026-11-22T20:17:42Z", "2026-11-22T20:17:00Z", "2026-11-22T20:18:00Z"),
            (Window::Hour, &utc, "2026-11-22T20:17:42Z", "2026-11-22T20:00:00Z", "2026-11-22T21:00:00Z"),
            (Window::Day, &utc, "2026-11-22T00:00:00Z", "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z"),
            (Window::Week, &utc, "2026-11-22T23:59:59Z", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z"),
            (Window::Month, &utc, "2024-02-29T12:00:00Z", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"),
            (
                Window::BillingMonth,
                &utc,
                "2026-11-22T23:59:59Z",
                "2026-11-01T00:00:00Z",
                "2026-12-01T00:00:00Z",
            ),
            (Window::Days(7), &utc, "2026-11-22T23:59:59Z", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z"),
            // Berlin is an hour ahead of UTC in winter; the spring day of the change has 23 hours.
            (
                Window::Day,
                &berlin_31st,
                "2026-03-29T10:00:00Z",
                "2026-03-28T23:00:00Z",
                "2026-03-29T22:00:00Z",
            ),
            // An anchor on the 31st falls on the last day of shorter months.
            (
                Window::BillingMonth,
                &berlin_31st,
                "2025-02-28T00:00:00Z",
                "2025-02-27T23:00:00Z",
                "2025-03-30T22:00:00Z",
            ),
            (
                Window::BillingMonth,
                &berlin_31st,
                "2025-02-27T22:59:59Z",
                "2025-01-30T23:00:00Z",
                "2025-02-27T23:00:00Z",
            ),
        ];
        for (window, calendar, now, start, end) in cases {
            let span = window.span(at(now), calendar);
            assert_eq!(span, Span { start: at(start), end: at(end) }, "{window} at {now}");
        }
    }

    /// On which days the billing months of a year begin, from January on.
    fn billing_days(zone: &str, anchor: &str, year: i16) -> Vec<i8> {
        let calendar = zoned(zone, anchor);
        let mut now = at(&format!("{}-12-01T12:00:00Z", year - 1));
        let mut starts = Vec::new();
        while starts.len() < 12 {
            now = Window::BillingMonth.span(now, &calendar).end;
            let start = calendar.date(now);
            assert_eq!(calendar.midnight(start), Some(now), "a billing month begins at midnight");
            if start.year() == year {
                assert_eq!(usize::from(start.month().unsigned_abs()), starts.len() + 1, "one in each month");
                starts.push(start.day());
            }
        }
        starts
    }

    /// The day of the month comes back after every shorter month: it is counted from the anchor, not from
    /// the month before.
    #[test]
    fn anniversaries_of_the_last_days_of_a_month() {
        const LAST_DAYS: [i8; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        for (anchor, year, day, in_february) in [
            ("2026-01-31T12:00:00Z", 2026, 31, 28),
            ("2026-01-31T12:00:00Z", 2028, 31, 29),
            ("2026-01-30T12:00:00Z", 2026, 30, 28),
            ("2026-01-30T12:00:00Z", 2028, 30, 29),
            ("2026-01-29T12:00:00Z", 2026, 29, 28),
            ("2026-01-29T12:00:00Z", 2028, 29, 29),
            ("2026-01-28T12:00:00Z", 2027, 28, 28),
            // The anniversaries of a leap day, also in a century that is no leap year.
            ("2024-02-29T12:00:00Z", 2025, 29, 28),
            ("2024-02-29T12:00:00Z", 2000, 29, 29),
            ("2024-02-29T12:00:00Z", 2100, 29, 28),
        ] {
            let mut wanted: Vec<i8> = LAST_DAYS.iter().map(|last| day.min(*last)).collect();
            wanted[1] = in_february;
            for zone in ["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Pago_Pago"] {
                assert_eq!(billing_days(zone, anchor, year), wanted, "{anchor} in {year}, {zone}");
            }
        }
    }

    /// Days of 23, 24 and 25 hours, and one that the calendar of Samoa left out.
    #[test]
    fn days_are_as_long_as_the_clocks_make_them() {
        const HOURS: i64 = 3_600_000;
        let hours = |zone: &str, now: &str| {
            let Span { start, end } =
                Window::Day.span(at(now), &Calendar::new(TimeZone::get(zone).unwrap(), None));
            end.since(start) / HOURS
        };
        assert_eq!(hours("Europe/Berlin", "2026-03-29T12:00:00Z"), 23);
        assert_eq!(hours("Europe/Berlin", "2026-10-25T12:00:00Z"), 25);
        assert_eq!(hours("Europe/Berlin", "2026-10-26T12:00:00Z"), 24);
        // The clocks go forward at midnight: the day begins at one o'clock.
        assert_eq!(hours("America/Sao_Paulo", "2018-11-04T12:00:00Z"), 23);
        // Friday 2011-12-30 did not happen.
        let samoa = Calendar::new(TimeZone::get("Pacific/Apia").unwrap(), None);
        let thursday = Window::Day.span(at("2011-12-30T00:00:00Z"), &samoa);
        assert_eq!(thursday.end.since(thursday.start) / HOURS, 24);
        assert_eq!(calendar_day(&samoa, thursday.end), (2011, 12, 31));
    }

    fn calendar_day(calendar: &Calendar, at: UnixMillis) -> (i16, i8, i8) {
        let date = calendar.date(at);
        (date.year(), date.month(), date.day())
    }

    fn any_window() -> impl Strategy<Value = Window> {
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
        /// Windows tile time: each instant lies in its own span, and the span's neighbours begin and
        /// end exactly where it ends and begins.
        #[test]
        fn windows_tile_time(
            window in any_window(),
            now in -4_000_000_000_000i64..4_000_000_000_000,
            anchor in -4_000_000_000_000i64..4_000_000_000_000,
            zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu",
                "America/Sao_Paulo", "Australia/Lord_Howe"]),
        ) {
            let calendar = Calendar::new(TimeZone::get(zone).unwrap(), Some(UnixMillis(anchor)));
            let now = UnixMillis(now);
            let span = window.span(now, &calendar);
            prop_assert!(span.contains(now), "{now:?} not in {span:?}");
            let next = window.span(span.end, &calendar);
            prop_assert_eq!(next.start, span.end);
            let before = window.span(UnixMillis(span.start.0 - 1), &calendar);
            prop_assert_eq!(before.end, span.start);
        }
    }
}
