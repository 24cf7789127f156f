//! What lies beyond a limit: grace, bursts, queues, rates that slow down instead of refusing.

use std::fmt;

/// How far beyond a limit requests are admitted before they are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grace {
    /// Not at all.
    #[default]
    None,
    /// By this many units, more than zero.
    Units(i64),
    /// For this many milliseconds, more than zero, from when a request did not fit for the first time.
    Millis(i64),
}

/// How many requests may wait for a slot of what runs at once, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// At most so many at a time, one or more.
    pub length: u32,
    /// Longest wait in milliseconds, more than zero.
    pub wait_ms: u32,
}

/// How many requests are let through in which time; both more than zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// So many requests,
    pub requests: u32,
    /// in so many seconds.
    pub seconds: u32,
}

impl Rate {
    /// Seconds of a rate, as it is written.
    pub const SPANS: [(&str, u32); 3] = [("second", 1), ("minute", 60), ("hour", 3600)];

    /// Nanoseconds from one request to the next, rounded up so that the rate is never passed.
    #[must_use]
    pub fn interval_nanos(self) -> u64 {
        (u64::from(self.seconds) * 1_000_000_000).div_ceil(u64::from(self.requests.max(1)))
    }
}

/// As it is written: `5/minute`.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Self::SPANS.iter().find(|(_, seconds)| *seconds == self.seconds);
        match named {
            Some((name, _)) => write!(f, "{}/{name}", self.requests),
            None => write!(f, "{} in {} s", self.requests, self.seconds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_rate_fit_into_its_time() {
        for (requests, seconds) in [(1, 1), (3, 1), (5, 60), (7, 60), (7, 3600), (u32::MAX, 1)] {
            let rate = Rate { requests, seconds };
            let all = u128::from(rate.interval_nanos()) * u128::from(requests);
            assert!(all >= u128::from(seconds) * 1_000_000_000, "{rate}");
        }
        assert_eq!(Rate { requests: 5, seconds: 60 }.to_string(), "5/minute");
    }
}
