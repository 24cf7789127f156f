//! From what is said to what is charged.

use super::{Decimal, Ratio};

/// Where a fraction goes. Alike for what is taken and what is given back, so that both are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// Away from zero: what is begun counts whole.
    #[default]
    Up,
    /// To zero: only what is whole counts.
    Down,
    /// To the nearest whole number, from the middle to the even one: sums stay true.
    HalfEven,
}

/// How an amount becomes one of a meter: scaled, rounded once, and then kept within bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conversion {
    /// What one of the source is of the meter.
    pub ratio: Ratio,
    /// Where a fraction of the meter's unit goes.
    pub rounding: Rounding,
    /// No less is charged, in the meter's unit.
    pub min: Option<i64>,
    /// No more is charged, in the meter's unit.
    pub max: Option<i64>,
}

impl Conversion {
    /// Leaves whole numbers as they are.
    pub const NONE: Self = Self { ratio: Ratio::ONE, rounding: Rounding::Up, min: None, max: None };

    /// The amount that `value` is. `None` where that is beyond an `i64`.
    #[must_use]
    pub fn apply(&self, value: Decimal) -> Option<i64> {
        let (numerator, denominator) = self.ratio.of(value);
        let magnitude = numerator.unsigned_abs();
        let (whole, rest) = (magnitude / denominator, magnitude % denominator);
        let is_up = match self.rounding {
            Rounding::Up => rest > 0,
            Rounding::Down => false,
            // The rest is below the denominator, which is at most 10^38: no overflow.
            Rounding::HalfEven => rest * 2 > denominator || (rest * 2 == denominator && whole % 2 == 1),
        };
        let rounded = i128::try_from(whole).ok()?.checked_add(i128::from(is_up))?;
        let amount = i64::try_from(if numerator < 0 { -rounded } else { rounded }).ok()?;
        Some(self.clamp(amount))
    }

    /// The amount that so many are; the most, or the least, that there can be where that is beyond an `i64`.
    #[must_use]
    pub fn apply_whole(&self, whole: i64) -> i64 {
        if *self == Self::NONE {
            return whole;
        }
        let beyond = if (whole < 0) == self.ratio.is_negative() { i64::MAX } else { i64::MIN };
        self.apply(Decimal::from(whole)).unwrap_or_else(|| self.clamp(beyond))
    }

    fn clamp(&self, amount: i64) -> i64 {
        let amount = self.min.map_or(amount, |min| amount.max(min));
        self.max.map_or(amount, |max| amount.min(max))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn convert(value: &str, ratio: &str, rounding: Rounding) -> Option<i64> {
        let ratio = ratio.parse().unwrap();
        Conversion { ratio, rounding, ..Conversion::NONE }.apply(Decimal::parse(value).unwrap())
    }

    #[test]
    fn rounds_as_it_says() {
        use Rounding::{Down, HalfEven, Up};
        for (value, ratio, up, down, half_even) in [
            ("60", "1/60", 1, 1, 1),
            ("61", "1/60", 2, 1, 1),
            ("90", "1/60", 2, 1, 2),
            ("150", "1/60", 3, 2, 2),
            ("0", "1/60", 0, 0, 0),
            ("0.000000000000000000000001", "1/60", 1, 0, 0),
            ("-1.5", "1", -2, -1, -2),
            ("-2.5", "1", -3, -2, -2),
            ("2.5", "-1", -3, -2, -2),
            ("9223372036854775807", "1", i64::MAX, i64::MAX, i64::MAX),
            ("-9223372036854775808", "1", i64::MIN, i64::MIN, i64::MIN),
            // As a float it would be 9223372036854775808.
            ("9223372036854775806.5", "1", i64::MAX, i64::MAX - 1, i64::MAX - 1),
        ] {
            for (rounding, expected) in [(Up, up), (Down, down), (HalfEven, half_even)] {
                assert_eq!(convert(value, ratio, rounding), Some(expected), "{value} × {ratio} {rounding:?}");
            }
        }
        assert_eq!(convert("9223372036854775808", "1", Up), None);
        assert_eq!(convert("9223372036854775807.1", "1", Up), None);
        assert_eq!(convert("9223372036854775807.1", "1", Down), Some(i64::MAX));
        assert_eq!(convert("999999999999999999999999", "100000000000000", Up), None);
        assert_eq!(convert("0.999999999999999999999999", "1/100000000000000", Up), Some(1));
    }

    #[test]
    fn bounds_hold_for_what_is_rounded() {
        let conversion = Conversion { min: Some(2), max: Some(5), ..Conversion::NONE };
        for (value, amount) in [("0", 2), ("1.5", 2), ("2.1", 3), ("4.9", 5), ("7", 5), ("-3", 2)] {
            assert_eq!(conversion.apply(Decimal::parse(value).unwrap()), Some(amount), "{value}");
        }
        assert_eq!(conversion.apply_whole(i64::MAX), 5);
        let tripled = Conversion { ratio: "3".parse().unwrap(), ..Conversion::NONE };
        assert_eq!((tripled.apply_whole(i64::MAX), tripled.apply_whole(i64::MIN)), (i64::MAX, i64::MIN));
        let undone = Conversion { ratio: "-3".parse().unwrap(), ..Conversion::NONE };
        assert_eq!((undone.apply_whole(i64::MAX), undone.apply_whole(-2)), (i64::MIN, 6));
    }

    proptest! {
        /// The definition: no other whole number within the direction of rounding is nearer.
        #[test]
        fn rounding_keeps_its_distance(
            mantissa in -1_000_000_000_000_i64..1_000_000_000_000,
            numerator in 1_i64..100_000,
            denominator in 1_i64..100_000,
        ) {
            let ratio = Ratio::new(numerator, denominator).unwrap();
            let exact = i128::from(mantissa) * i128::from(numerator);
            let parts = i128::from(denominator);
            let of = |rounding| {
                let conversion = Conversion { ratio, rounding, ..Conversion::NONE };
                i128::from(conversion.apply(Decimal::from(mantissa)).unwrap())
            };
            let (up, down, half_even) = (of(Rounding::Up), of(Rounding::Down), of(Rounding::HalfEven));
            prop_assert!((up * parts).abs() >= exact.abs() && (up * parts - exact).abs() < parts);
            prop_assert!((down * parts).abs() <= exact.abs() && (down * parts - exact).abs() < parts);
            prop_assert!((half_even * parts - exact).abs() * 2 <= parts);
            prop_assert!(half_even == up || half_even == down);
            if (half_even * parts - exact).abs() * 2 == parts {
                prop_assert_eq!(half_even % 2, 0);
            }
        }

        #[test]
        fn what_is_taken_can_be_given_back(value in any::<i64>(), numerator in 1_i64..1000, denominator in 1_i64..1000) {
            for rounding in [Rounding::Up, Rounding::Down, Rounding::HalfEven] {
                let taken = Conversion { ratio: Ratio::new(numerator, denominator).unwrap(), rounding, ..Conversion::NONE };
                let given = Conversion { ratio: Ratio::new(-numerator, denominator).unwrap(), ..taken };
                let (taken, given) = (taken.apply(Decimal::from(value)), given.apply(Decimal::from(value)));
                if let (Some(taken), Some(given)) = (taken, given) {
                    prop_assert_eq!(i128::from(taken) + i128::from(given), 0);
                }
            }
        }
    }
}
