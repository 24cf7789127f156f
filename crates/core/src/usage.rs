//! What is used of a limit, and what still fits.

use crate::Max;

/// What counts against a limit at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Charged for finished work. Negative only when a level was given back more than it took.
    pub settled: i64,
    /// Set aside for requests in flight; never negative.
    pub held: i64,
}

impl Usage {
    /// Settled and held together.
    #[must_use]
    pub fn total(self) -> i64 {
        self.settled.saturating_add(self.held)
    }

    /// Whether `need` more stays within `max`. Work that needs nothing always fits.
    #[must_use]
    pub fn fits(self, need: i64, max: Max) -> bool {
        match max {
            Max::Unlimited => true,
            Max::AtMost(max) => need <= 0 || self.total().checked_add(need).is_some_and(|sum| sum <= max),
        }
    }

    /// What is left of `max`, never negative; `None` when there is no limit.
    #[must_use]
    pub fn remaining(self, max: Max) -> Option<i64> {
        match max {
            Max::Unlimited => None,
            Max::AtMost(max) => Some(max.saturating_sub(self.total()).clamp(0, max.max(0))),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_fits_never_passes_the_limit(
            settled in any::<i64>(), held in 0..=i64::MAX, need in 1..=i64::MAX, max in 0..=i64::MAX,
        ) {
            let usage = Usage { settled, held };
            let exact = i128::from(settled) + i128::from(held) + i128::from(need);
            if usage.fits(need, Max::AtMost(max)) {
                prop_assert!(exact <= i128::from(max));
            } else {
                // Saturation may refuse only sums that no limit could hold.
                prop_assert!(exact > i128::from(max) || i128::from(settled) + i128::from(held) < i128::from(i64::MIN));
            }
            let left = usage.remaining(Max::AtMost(max)).unwrap();
            prop_assert!((0..=max).contains(&left));
        }
    }
}
