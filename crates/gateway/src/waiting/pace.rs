//! One after the other: no faster than a rate.

use std::time::Duration;

use tokio::time::Instant;
use tollgate_core::Rate;

/// When the next one may go.
#[derive(Debug, Default)]
pub(super) struct Pace {
    next_at: Option<Instant>,
}

impl Pace {
    /// Goes now, or says when.
    pub(super) fn take(&mut self, now: Instant, rate: Rate) -> Result<(), Instant> {
        match self.next_at.filter(|next_at| *next_at > now) {
            Some(next_at) => Err(next_at),
            None => {
                self.next_at = Some(now + interval(rate));
                Ok(())
            }
        }
    }

    /// How long it takes until those who are `ahead` have gone and one more may.
    pub(super) fn wait(&self, now: Instant, rate: Rate, ahead: usize) -> Duration {
        let next = self.next_at.map_or(Duration::ZERO, |next_at| next_at.saturating_duration_since(now));
        let ahead = u32::try_from(ahead).unwrap_or(u32::MAX);
        next.saturating_add(interval(rate).saturating_mul(ahead))
    }

    /// Whether it says nothing any more.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.next_at.is_none_or(|next_at| next_at <= now)
    }
}

fn interval(rate: Rate) -> Duration {
    Duration::from_nanos(rate.interval_nanos())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn never_more_than_the_rate_and_one(
            requests in 1u32..1000, seconds in prop::sample::select(vec![1u32, 60, 3600]),
            steps in prop::collection::vec(0u64..5_000_000_000, 1..200),
        ) {
            let rate = Rate { requests, seconds };
            let (mut pace, start) = (Pace::default(), Instant::now());
            let mut now = start;
            let mut gone = Vec::new();
            for step in steps {
                now += Duration::from_nanos(step);
                match pace.take(now, rate) {
                    Ok(()) => gone.push(now),
                    // Who comes when it was said is let through.
                    Err(next_at) if step % 2 == 0 => {
                        now = next_at;
                        prop_assert!(pace.take(now, rate).is_ok());
                        gone.push(now);
                    }
                    Err(next_at) => prop_assert!(next_at > now),
                }
            }
            for (index, from) in gone.iter().enumerate() {
                for (count, to) in (1u128..).zip(&gone[index..]) {
                    let nanos = to.duration_since(*from).as_nanos();
                    let allowed = nanos * u128::from(requests) / (u128::from(seconds) * 1_000_000_000) + 1;
                    prop_assert!(count <= allowed, "{count} in {nanos} ns at {rate}");
                }
            }
        }
    }
}
