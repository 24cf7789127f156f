//! What a subject's windows are measured by: a time zone and an anchor.

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use crate::UnixMillis;

/// Monday 1970-01-05: without an anchor of its own, a subject's `7days` are calendar weeks. Its billing
/// months are then calendar months.
const DEFAULT_ANCHOR: Date = Date::constant(1970, 1, 5);

/// The time zone whose midnights a subject's days begin at, and the date its `Ndays` and billing
/// months are counted from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    zone: TimeZone,
    anchor: Date,
    /// Day of the month that billing months begin on.
    billing_day: i8,
}

impl Default for Calendar {
    fn default() -> Self {
        Self::new(TimeZone::UTC, None)
    }
}

impl Calendar {
    /// A calendar in `zone`, anchored at the civil date that `anchor` falls on there.
    #[must_use]
    pub fn new(zone: TimeZone, anchor: Option<UnixMillis>) -> Self {
        let anchor = anchor.map(|anchor| to_timestamp(anchor).to_zoned(zone.clone()).date());
        let billing_day = anchor.map_or(1, Date::day);
        Self { zone, anchor: anchor.unwrap_or(DEFAULT_ANCHOR), billing_day }
    }

    /// Tells it from all others, the same in every process: empty for the default one.
    #[must_use]
    pub fn name(&self) -> String {
        if *self == Self::default() {
            return String::new();
        }
        let zone = self.zone.iana_name().unwrap_or("UTC");
        format!("{zone}@{}/{}", self.anchor, self.billing_day)
    }

    pub(crate) fn anchor(&self) -> Date {
        self.anchor
    }

    pub(crate) fn billing_day(&self) -> i8 {
        self.billing_day
    }

    /// The civil date at `now`.
    pub(crate) fn date(&self, now: UnixMillis) -> Date {
        to_timestamp(now).to_zoned(self.zone.clone()).date()
    }

    /// The first instant of `date`, which is not midnight where a zone skips midnight.
    pub(crate) fn midnight(&self, date: Date) -> Option<UnixMillis> {
        let start = date.to_zoned(self.zone.clone()).ok()?.start_of_day().ok()?;
        Some(UnixMillis(start.timestamp().as_millisecond()))
    }
}

/// Clamped to years that every calendar calculation here can handle without overflow. Not to 1970: the first
/// windows of Unix time begin before it.
fn to_timestamp(at: UnixMillis) -> Timestamp {
    const YEAR_1000_MS: i64 = -30_610_224_000_000;
    const YEAR_9000_MS: i64 = 221_845_392_000_000;
    Timestamp::from_millisecond(at.0.clamp(YEAR_1000_MS, YEAR_9000_MS)).unwrap_or(Timestamp::UNIX_EPOCH)
}
