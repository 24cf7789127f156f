//! Prices as exact decimals.

use std::{fmt, str::FromStr};

/// Decimal places kept of a price.
const SCALE_DIGITS: usize = 9;
const NANOS: i64 = 1_000_000_000;
/// Units of sizes that a price can be for, the largest first.
const SIZES: [(&str, i64); 8] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1000),
];

/// An ISO 4217 alphabetic currency code, such as `EUR`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Currency([u8; 3]);

/// A price such as `0.008 EUR per 10` or `2.00 EUR per GB`: so many billionths of a currency unit for so many meter units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// Price of `per` units in billionths of the currency's unit; not negative.
    pub nanos: i64,
    /// What currency.
    pub currency: Currency,
    /// How many meter units that buys; positive.
    pub per: i64,
    /// Whether `per` is a size, written with its unit: only what counts bytes can have such a price.
    pub is_of_size: bool,
}

/// Why a text is not a price.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a price: {why}; write it as in \"0.008 EUR per 10\"")]
pub struct PriceError {
    text: String,
    why: &'static str,
}

/// Billionths of a whole, such as of a currency's unit, written as a plain decimal: `0.008`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nanos(pub i64);

impl Nanos {
    /// A decimal of at most 9 places, zero or more; `None` for all else, and for what does not fit.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > SCALE_DIGITS {
            return None;
        }
        let fraction = format!("{fraction:0<SCALE_DIGITS$}").parse::<i64>().ok()?;
        Some(Self(whole.parse::<i64>().ok()?.checked_mul(NANOS)?.checked_add(fraction)?))
    }
}

impl Currency {
    /// What ISO 4217 calls no currency: `XXX`.
    pub const NONE: Self = Self(*b"XXX");

    /// The currency that three capital letters stand for.
    #[must_use]
    pub fn parse(code: &str) -> Option<Self> {
        match *code.as_bytes() {
            [a, b, c] if code.bytes().all(|x| x.is_ascii_uppercase()) => Some(Self([a, b, c])),
            _ => None,
        }
    }
}

impl FromStr for Price {
    type Err = PriceError;

    fn from_str(text: &str) -> Result<Self, PriceError> {
        let error = |why| PriceError { text: text.to_owned(), why };
        let words: Vec<&str> = text.split_whitespace().collect();
        let (amount, currency, per) = match &words[..] {
            [amount, currency] => (amount, currency, "1".to_owned()),
            [amount, currency, "per", per @ ..] if !per.is_empty() => (amount, currency, per.concat()),
            _ => return Err(error("it needs an amount and a currency")),
        };
        let Nanos(nanos) = Nanos::parse(amount)
            .ok_or_else(|| error("the amount must be a plain decimal of at most 9 places, zero or more"))?;
        let currency =
            Currency::parse(currency).ok_or_else(|| error("the currency must be three capital letters"))?;
        let (per, is_of_size) = units(&per).ok_or_else(|| {
            error("\"per\" must be followed by a positive whole number or by a size, such as GB")
        })?;
        Ok(Self { nanos, currency, per, is_of_size })
    }
}

/// How many units a price is for, and whether that is a size.
fn units(text: &str) -> Option<(i64, bool)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = match unit {
        "" => None,
        _ => Some(SIZES.iter().find(|(name, _)| *name == unit)?.1),
    };
    let number = match (number, factor) {
        ("", Some(_)) => 1,
        (number, _) => number.replace('_', "").parse::<i64>().ok().filter(|number| *number > 0)?,
    };
    Some((number.checked_mul(factor.unwrap_or(1))?, factor.is_some()))
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{}", char::from(*byte)))
    }
}

/// As [`Nanos::parse`] reads it, with a sign where it is negative.
impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.unsigned_abs();
        let scale = NANOS.unsigned_abs();
        let fraction = format!("{:09}", nanos % scale);
        let fraction = fraction.trim_end_matches('0');
        let (sign, point) = (if self.0 < 0 { "-" } else { "" }, if fraction.is_empty() { "" } else { "." });
        write!(f, "{sign}{}{point}{fraction}", nanos / scale)
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} per ", Nanos(self.nanos), self.currency)?;
        let size = SIZES.iter().find(|(_, size)| self.is_of_size && self.per % size == 0);
        match size {
            Some((name, size)) if self.per == *size => f.write_str(name),
            Some((name, size)) => write!(f, "{} {name}", self.per / size),
            None => write!(f, "{}", self.per),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints_exactly() {
        for text in [
            "0.008 EUR per 10",
            "2 EUR per 1",
            "0.000000001 USD per 1000",
            "2 EUR per GB",
            "2 EUR per 10 GiB",
            "1 EUR per 1500 kB",
        ] {
            assert_eq!(text.parse::<Price>().unwrap().to_string(), text);
        }
        assert_eq!("5 EUR".parse::<Price>().unwrap().per, 1);
        for (text, per) in
            [("1 EUR per 1GB", 1_000_000_000), ("1 EUR per 1_000", 1000), ("1 EUR per kB", 1000)]
        {
            assert_eq!(text.parse::<Price>().unwrap().per, per, "{text}");
        }
    }

    #[test]
    fn billionths_print_as_they_are_read() {
        for (text, nanos) in
            [("0", 0), ("5", 5_000_000_000), ("0.000000001", 1), ("9223372036.854775807", i64::MAX)]
        {
            assert_eq!(Nanos::parse(text), Some(Nanos(nanos)));
            assert_eq!(Nanos(nanos).to_string(), text);
        }
        assert_eq!(Nanos(-1_500_000_000).to_string(), "-1.5");
        assert_eq!(Nanos(i64::MIN).to_string(), "-9223372036.854775808");
        for text in ["-1", "+1", ".5", "1e3", "9223372036.854775808", "0.0000000001", "1,5", ""] {
            assert_eq!(Nanos::parse(text), None, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_exact() {
        for text in [
            "",
            "EUR",
            "1e3 EUR",
            "-1 EUR",
            "0.0000000001 EUR",
            "1 eur",
            "1 EUR per 0",
            ".5 EUR",
            "1 EUR for 2",
            "1 EUR per",
            "1 EUR per gb",
            "1 EUR per 0 GB",
            "1 EUR per GB 2",
            "1 EUR per 99999999999 GB",
        ] {
            assert!(text.parse::<Price>().is_err(), "{text}");
        }
    }
}
