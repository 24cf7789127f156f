//! Instants and half-open spans of wall-clock time, in milliseconds since the Unix epoch.

use std::fmt;

use jiff::{Timestamp, civil::Date, tz::TimeZone};

/// Bytes of a date as [`UnixMillis::parse`] reads it; years before 0 have more.
const DATE_BYTES: usize = "2026-01-31".len();

/// A wall-clock instant in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// Earlier than every instant that a clock can give.
    pub const MIN: Self = Self(i64::MIN);
    /// Later than every instant that a clock can give.
    pub const MAX: Self = Self(i64::MAX);

    /// The midnight in UTC of a date such as `2026-01-31`, or an instant as in RFC 3339; `None` for all else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_date = text.len() == DATE_BYTES;
        let timestamp = match is_date {
            true => text.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp(),
            false => text.parse::<Timestamp>().ok()?,
        };
        Some(Self(timestamp.as_millisecond()))
    }

    /// Whole seconds since the epoch, rounded up, as reset times are told to clients.
    #[must_use]
    pub const fn ceil_seconds(self) -> i64 {
        self.0.div_euclid(1000) + (self.0.rem_euclid(1000) != 0) as i64
    }

    /// Milliseconds from `earlier` to `self`; negative when `self` is the earlier one.
    #[must_use]
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// As [`UnixMillis::parse`] reads it: the date alone at midnight in UTC. Beyond the calendar, a number.
impl fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Timestamp::from_millisecond(self.0) {
            Ok(timestamp) => {
                let text = timestamp.to_string();
                let date = text.strip_suffix("T00:00:00Z").filter(|date| date.len() == DATE_BYTES);
                f.write_str(date.unwrap_or(&text))
            }
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

/// The half-open span `start <= t < end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// First instant inside.
    pub start: UnixMillis,
    /// First instant after.
    pub end: UnixMillis,
}

impl Span {
    /// All of time: the window of limits that never reset.
    pub const ALWAYS: Self = Self { start: UnixMillis::MIN, end: UnixMillis::MAX };

    /// Whether `at` lies inside.
    #[must_use]
    pub fn contains(self, at: UnixMillis) -> bool {
        self.start <= at && at < self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_instants_print_as_they_are_read() {
        for (text, millis) in [
            ("1970-01-01", 0),
            ("2026-01-31", 1_769_817_600_000),
            ("1969-12-31T23:59:59.999Z", -1),
            ("2026-01-31T12:00:00Z", 1_769_860_800_000),
            ("-000002-09-17T00:00:00Z", -62_207_913_600_000),
        ] {
            assert_eq!(UnixMillis::parse(text), Some(UnixMillis(millis)), "{text}");
            assert_eq!(UnixMillis(millis).to_string(), text);
        }
        assert_eq!(UnixMillis::parse("2026-01-31T13:00:00+01:00"), Some(UnixMillis(1_769_860_800_000)));
        for text in ["", "2026", "2026-02-30", "2026-01-31T12:00:00", "20260131", "01/31/2026", "31-01-2026"]
        {
            assert_eq!(UnixMillis::parse(text), None, "{text}");
        }
        assert_eq!(UnixMillis::MAX.to_string(), "9223372036854775807 ms");
    }
}
