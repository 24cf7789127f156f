//! Exact factors.

use std::{fmt, str::FromStr};

use super::Decimal;

/// An exact factor that is not zero, such as 3, 0.001 or 1/60, in lowest terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ratio {
    numerator: i64,
    /// Above zero.
    denominator: i64,
}

/// Why a text is no factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RatioError {
    /// It reads as no number.
    #[error("is no factor")]
    NoNumber,
    /// Nothing would be left.
    #[error("is zero")]
    Zero,
    /// It has more digits than are counted with.
    #[error("has more than 14 digits")]
    TooLong,
}

impl Ratio {
    /// Leaves everything as it is.
    pub const ONE: Self = Self { numerator: 1, denominator: 1 };

    /// Numerator and denominator at most: a terabyte in bytes, a month in nanoseconds over a thousand.
    pub const PART_MAX: i64 = 10_i64.pow(14);

    /// `numerator` / `denominator`. `None` where either is zero, or beyond [`Ratio::PART_MAX`] in lowest terms.
    #[must_use]
    pub fn new(numerator: i64, denominator: i64) -> Option<Self> {
        Self::reduced(i128::from(numerator), i128::from(denominator))
    }

    fn reduced(numerator: i128, denominator: i128) -> Option<Self> {
        if numerator == 0 || denominator == 0 {
            return None;
        }
        let mut divisor = numerator.unsigned_abs();
        let mut rest = denominator.unsigned_abs();
        while rest != 0 {
            (divisor, rest) = (rest, divisor % rest);
        }
        let divisor = i128::try_from(divisor).ok()? * denominator.signum();
        let part = |part: i128| i64::try_from(part).ok().filter(|part| part.abs() <= Self::PART_MAX);
        Some(Self { numerator: part(numerator / divisor)?, denominator: part(denominator / divisor)? })
    }

    /// Both, one after the other. `None` where that is beyond [`Ratio::PART_MAX`].
    #[must_use]
    pub fn checked_mul(self, other: Self) -> Option<Self> {
        let product = |one: i64, other: i64| i128::from(one) * i128::from(other);
        Self::reduced(product(self.numerator, other.numerator), product(self.denominator, other.denominator))
    }

    /// One over it.
    #[must_use]
    pub fn inverse(self) -> Self {
        let sign = self.numerator.signum();
        Self { numerator: self.denominator * sign, denominator: self.numerator * sign }
    }

    /// Whether it turns amounts into their opposite.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.numerator < 0
    }

    /// `value` times it, as numerator and denominator, the latter above zero. Never beyond 128 bits: see [`Decimal`].
    #[must_use]
    pub(super) fn of(self, value: Decimal) -> (i128, u128) {
        let (mantissa, places) = value.parts();
        let denominator = 10_u128.pow(places) * u128::from(self.denominator.unsigned_abs());
        (mantissa * i128::from(self.numerator), denominator)
    }
}

/// Reads `3`, `-1`, `0.001` and `1/60`.
impl FromStr for Ratio {
    type Err = RatioError;

    fn from_str(text: &str) -> Result<Self, RatioError> {
        let part = |text: &str| {
            let (mantissa, places) = Decimal::parse(text.trim()).ok_or(RatioError::NoNumber)?.parts();
            if mantissa == 0 { Err(RatioError::Zero) } else { Ok((mantissa, places)) }
        };
        let (numerator, denominator) = match text.split_once('/') {
            Some((numerator, denominator)) => (part(numerator)?, part(denominator)?),
            None => (part(text)?, (1, 0)),
        };
        // Either side may have decimal places of its own.
        let scaled = |(mantissa, _): (i128, u32), (_, places): (i128, u32)| {
            mantissa.checked_mul(10_i128.pow(places)).ok_or(RatioError::TooLong)
        };
        Self::reduced(scaled(numerator, denominator)?, scaled(denominator, numerator)?)
            .ok_or(RatioError::TooLong)
    }
}

/// As it is read: `3`, or `1/60`.
impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.denominator {
            1 => write!(f, "{}", self.numerator),
            denominator => write!(f, "{}/{denominator}", self.numerator),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_whole_numbers_decimals_and_fractions() {
        for (text, shown) in [
            ("3", "3"),
            ("-1", "-1"),
            ("0.001", "1/1000"),
            ("1/60", "1/60"),
            ("6/4", "3/2"),
            ("2 / 8", "1/4"),
            ("0.5/1.5", "1/3"),
            ("1.5/-3", "-1/2"),
            ("1e3", "1000"),
        ] {
            assert_eq!(text.parse::<Ratio>().unwrap().to_string(), shown, "{text}");
        }
        for (text, error) in [
            ("", RatioError::NoNumber),
            ("1/", RatioError::NoNumber),
            ("1/2/3", RatioError::NoNumber),
            ("x", RatioError::NoNumber),
            ("0", RatioError::Zero),
            ("0.00", RatioError::Zero),
            ("1/0", RatioError::Zero),
            ("100000000000001", RatioError::TooLong),
            ("0.000000000000001", RatioError::TooLong),
        ] {
            assert_eq!(text.parse::<Ratio>(), Err(error), "{text}");
        }
        assert_eq!(Ratio::new(i64::MIN, i64::MIN), Some(Ratio::ONE));
        assert_eq!(Ratio::new(-3, 6).unwrap().inverse(), Ratio::new(-2, 1).unwrap());
    }

    proptest! {
        #[test]
        fn every_ratio_reads_back(numerator in -Ratio::PART_MAX..=Ratio::PART_MAX, denominator in 1..=Ratio::PART_MAX) {
            prop_assume!(numerator != 0);
            let ratio = Ratio::new(numerator, denominator).unwrap();
            prop_assert_eq!(ratio.to_string().parse::<Ratio>(), Ok(ratio));
            prop_assert_eq!(ratio.checked_mul(ratio.inverse()), Some(Ratio::ONE));
        }

        #[test]
        fn any_text_is_a_ratio_or_an_error(text in any::<String>(), near in "[-0-9./e ]{0,40}") {
            let _ = text.parse::<Ratio>();
            let _ = near.parse::<Ratio>();
        }
    }
}
