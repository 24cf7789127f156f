//! Exact decimals, as JSON writes numbers.

use std::fmt;

/// An exact decimal of at most 24 significant digits and 24 decimal places; with each value in one form only.
///
/// All that is counted in an `i64` is one, and so is every number that a program prints from a double between
/// 10^-7 and 10^24. With a [`Ratio`](crate::Ratio) it stays within 128 bits, so that scaling never overflows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Decimal {
    /// Below [`Decimal::MANTISSA_MAX`], and no multiple of ten where there are places.
    mantissa: i128,
    places: u32,
}

impl Decimal {
    /// Nothing.
    pub const ZERO: Self = Self { mantissa: 0, places: 0 };

    /// Decimal places at most.
    pub const PLACES_MAX: u32 = 24;

    /// What the digits alone are below, as a whole number.
    const MANTISSA_MAX: i128 = 10_i128.pow(24);

    /// Exponents as far as they make a difference: every other one is beyond all that is counted, or of zero.
    const EXPONENT_MAX: i64 = 1 << 32;

    /// A number in the grammar of JSON (RFC 8259, section 6), such as `12`, `-0.5` or `1.5e3`. `None` for any other
    /// text, and for a number that is no [`Decimal`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (is_negative, unsigned) = match text.strip_prefix('-') {
            Some(unsigned) => (true, unsigned),
            None => (false, text),
        };
        let (number, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((number, exponent)) => (number, parse_exponent(exponent)?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = match number.split_once('.') {
            Some((whole, fraction)) => (digits(whole)?, digits(fraction)?),
            None => (digits(number)?, ""),
        };
        if whole.len() > 1 && whole.starts_with('0') {
            return None;
        }
        let fraction = fraction.trim_end_matches('0');
        let exponent = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?;
        let magnitude = whole.bytes().chain(fraction.bytes()).try_fold(0_i128, |sum, digit| {
            let sum = sum.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
            Some(sum)
        })?;
        Self::new(if is_negative { -magnitude } else { magnitude }, exponent)
    }

    /// `mantissa` with so many decimal places; `None` with more than there are.
    #[must_use]
    pub fn with_places(mantissa: i64, places: u32) -> Option<Self> {
        Self::new(i128::from(mantissa), -i64::from(places))
    }

    /// `mantissa` × 10^`exponent`.
    fn new(mut mantissa: i128, mut exponent: i64) -> Option<Self> {
        if mantissa == 0 {
            return Some(Self::ZERO);
        }
        while exponent < 0 && mantissa % 10 == 0 {
            (mantissa, exponent) = (mantissa / 10, exponent + 1);
        }
        if exponent > 0 {
            let factor = 10_i128.checked_pow(u32::try_from(exponent).ok()?)?;
            (mantissa, exponent) = (mantissa.checked_mul(factor)?, 0);
        }
        let places = u32::try_from(-exponent).ok().filter(|places| *places <= Self::PLACES_MAX)?;
        let is_short = mantissa.unsigned_abs() < Self::MANTISSA_MAX.unsigned_abs();
        is_short.then_some(Self { mantissa, places })
    }

    /// The sum of both. `None` where that is no [`Decimal`].
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let places = self.places.max(other.places);
        let aligned = |one: Self| one.mantissa.checked_mul(10_i128.pow(places - one.places));
        Self::new(aligned(self)?.checked_add(aligned(other)?)?, -i64::from(places))
    }

    /// Whether it is below zero.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.mantissa < 0
    }

    /// Its digits as a whole number, and how many of them are decimal places.
    #[must_use]
    pub(super) const fn parts(self) -> (i128, u32) {
        (self.mantissa, self.places)
    }
}

impl From<i64> for Decimal {
    fn from(whole: i64) -> Self {
        Self { mantissa: i128::from(whole), places: 0 }
    }
}

/// As [`Decimal::parse`] reads it, without an exponent.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = usize::try_from(self.places).unwrap_or_default();
        let digits = format!("{:0width$}", self.mantissa.unsigned_abs(), width = places + 1);
        let (whole, fraction) = digits.split_at(digits.len() - places);
        let (sign, point) = (if self.mantissa < 0 { "-" } else { "" }, if places == 0 { "" } else { "." });
        write!(f, "{sign}{whole}{point}{fraction}")
    }
}

/// At least one digit, and nothing else.
fn digits(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
}

fn parse_exponent(text: &str) -> Option<i64> {
    let (sign, text) = match text.as_bytes().first() {
        Some(b'-') => (-1, &text[1..]),
        Some(b'+') => (1, &text[1..]),
        _ => (1, text),
    };
    let magnitude = digits(text)?
        .bytes()
        .fold(0_i64, |sum, digit| (sum * 10 + i64::from(digit - b'0')).min(Decimal::EXPONENT_MAX));
    Some(sign * magnitude)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_json_writes() {
        for (text, shown) in [
            ("0", "0"),
            ("-0", "0"),
            ("-0.000e7", "0"),
            ("0e999999999999999999999", "0"),
            ("12", "12"),
            ("-12.50", "-12.5"),
            ("1.5e3", "1500"),
            ("1E+2", "100"),
            ("15e-1", "1.5"),
            ("0.001", "0.001"),
            ("1.2345678901234567e-05", "0.000012345678901234567"),
            ("9223372036854775807", "9223372036854775807"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("100000000000000000000000000000e-20", "1000000000"),
            ("0.10000000000000000000000000000000", "0.1"),
        ] {
            assert_eq!(Decimal::parse(text).unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn nothing_else_is_a_number() {
        for text in [
            "", " 1", "1 ", "+1", ".5", "5.", "1.e1", "01", "-", "--1", "1e", "1e+", "1e1.5", "NaN",
            "Infinity", "0x10", "1_000", "1,5", "٣", "1e1e1", "-.5", "1.-5", "e5",
        ] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_not_exact_is_none() {
        for text in [
            "1e309",
            "1e24",
            "1e-25",
            "1e999999999999999999999",
            "1e-999999999999999999999",
            "1234567890123456789012345",
            "0.1234567890123456789012345",
        ] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
        assert!(Decimal::parse(&"9".repeat(100_000)).is_none());
    }

    proptest! {
        #[test]
        fn every_decimal_reads_back(mantissa in -(10_i128.pow(24) - 1)..10_i128.pow(24), places in 0_i64..=24) {
            let decimal = Decimal::new(mantissa, -places).unwrap();
            prop_assert_eq!(Decimal::parse(&decimal.to_string()), Some(decimal));
            let written = format!("{mantissa}e-{places}");
            prop_assert_eq!(Decimal::parse(&written), Some(decimal));
        }

        #[test]
        fn sums_are_exact(a in -1_000_000_000_i64..1_000_000_000, b in -1_000_000_000_i64..1_000_000_000,
                          places in 0_i64..=9, fewer in 0_i64..=9) {
            let fewer = fewer.min(places);
            let one = Decimal::new(i128::from(a), -places).unwrap();
            let other = Decimal::new(i128::from(b), -fewer).unwrap();
            let factor = 10_i128.pow(u32::try_from(places - fewer).unwrap());
            let sum = Decimal::new(i128::from(a) + i128::from(b) * factor, -places);
            prop_assert_eq!(one.checked_add(other), sum);
            prop_assert_eq!(other.checked_add(one), sum);
        }

        #[test]
        fn any_text_is_a_number_or_none(text in any::<String>(), near in "[-+]?[0-9]{0,30}[.]?[0-9]{0,30}([eE][-+]?[0-9]{0,22})?") {
            let _ = Decimal::parse(&text);
            if let Some(decimal) = Decimal::parse(&near) {
                prop_assert_eq!(Decimal::parse(&decimal.to_string()), Some(decimal));
            }
        }
    }
}
