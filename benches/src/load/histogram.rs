//! Latencies in buckets about 1.5 % wide, so that recording one costs a few instructions.

use std::time::Duration;

/// Buckets per doubling, as a power of two.
const SUB_BITS: u32 = 6;
const SUB_COUNT: u64 = 1 << SUB_BITS;
/// Up to 2^40 ns, 18 minutes; anything slower counts as that.
const BUCKETS: usize = 36 << SUB_BITS;

/// Counts of nanoseconds, log-linear.
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0 }
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos).min(BUCKETS - 1)] += 1;
        self.total += 1;
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    pub(crate) fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
    }

    /// The latency that `permille` of the requests did not exceed.
    pub(crate) fn quantile(&self, permille: u64) -> Duration {
        let rank = (self.total * permille).div_ceil(1000).max(1);
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        Duration::from_nanos(found.map_or(0, lower_bound))
    }
}

fn bucket(nanos: u64) -> usize {
    if nanos < SUB_COUNT {
        return usize::try_from(nanos).unwrap_or(BUCKETS);
    }
    let shift = nanos.ilog2() - SUB_BITS;
    let index = (u64::from(shift) << SUB_BITS) + (nanos >> shift);
    usize::try_from(index).unwrap_or(BUCKETS)
}

fn lower_bound(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * SUB_COUNT {
        return bucket;
    }
    let shift = (bucket >> SUB_BITS) - 1;
    (SUB_COUNT + (bucket & (SUB_COUNT - 1))) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_monotonic_and_narrow() {
        let mut last = 0;
        for nanos in (0..200_000).chain((200_000..4_000_000_000).step_by(999_983)) {
            let index = bucket(nanos);
            assert!(index >= last, "{nanos}");
            last = index;
            let low = lower_bound(index);
            assert!(low <= nanos && (nanos - low) * 64 <= nanos, "{nanos} in a bucket from {low}");
        }
    }

    #[test]
    fn quantiles_of_a_ramp() {
        let mut histogram = Histogram::new();
        for micros in 1..=1000 {
            histogram.record(Duration::from_micros(micros));
        }
        let median = histogram.quantile(500).as_micros();
        assert!((490..=500).contains(&median), "{median}");
        let high = histogram.quantile(990).as_micros();
        assert!((970..=990).contains(&high), "{high}");
    }
}
