//! Instants that suit a test: whatever the time is, they are not near the edge of a window.

use jiff::{
    Timestamp, ToSpan as _, Zoned,
    civil::Date,
    tz::{Offset, TimeZone},
};

/// Longer than a test takes.
const MARGIN_MINUTES: i64 = 5;

/// A time zone in which today is in the middle of everything: its day is neither about to end nor just begun, and it is
/// not the first of a month.
pub(super) struct Zone {
    /// In the database of time zones.
    pub(super) name: String,
    zone: TimeZone,
}

impl Zone {
    /// One such zone. There always is: offsets span more than a day.
    pub(super) fn pick() -> Self {
        let offsets = (0..=14).chain((-12..0).rev());
        let zones = offsets.map(|hours| TimeZone::fixed(Offset::constant(hours)));
        let suits = |zone: &TimeZone| {
            let (before, after) = (-MARGIN_MINUTES.minutes(), MARGIN_MINUTES.minutes());
            let now = Timestamp::now();
            let days = [now + before, now, now + after].map(|at| at.to_zoned(zone.clone()).date());
            days[0] == days[2] && days[1].day() > 1
        };
        let zone = zones.into_iter().find(suits).expect("a zone where it is the 2nd or later");
        let hours = Timestamp::now().to_zoned(zone.clone()).offset().seconds() / 3600;
        // The names count the other way round.
        let name = if hours >= 0 { format!("Etc/GMT-{hours}") } else { format!("Etc/GMT+{}", -hours) };
        Self { name, zone }
    }

    /// Today.
    pub(super) fn today(&self) -> Date {
        self.now().date()
    }

    /// Noon of the day that is `days` ago.
    pub(super) fn noon(&self, days_ago: i64) -> Timestamp {
        let day = self.today().checked_sub(days_ago.days()).unwrap();
        day.at(12, 0, 0, 0).to_zoned(self.zone.clone()).unwrap().timestamp()
    }

    /// The first instant of a day.
    pub(super) fn midnight(&self, day: Date) -> Timestamp {
        day.to_zoned(self.zone.clone()).unwrap().timestamp()
    }

    /// The first instant of tomorrow.
    pub(super) fn tomorrow(&self) -> Timestamp {
        self.midnight(self.today().tomorrow().unwrap())
    }

    /// The first instant of the next month.
    pub(super) fn next_month(&self) -> Timestamp {
        self.midnight(self.today().first_of_month().checked_add(1.month()).unwrap())
    }

    fn now(&self) -> Zoned {
        Timestamp::now().to_zoned(self.zone.clone())
    }
}
