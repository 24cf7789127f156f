//! Sums of money as exact decimals: `5`, `"5.00"`, `"0.000000001"`. In billionths, zero or more.

use tollgate_core::Nanos;

use crate::{
    number::{self, Unit},
    report::Flaw,
    text::quote,
};

pub(crate) const NANOS: i64 = 1_000_000_000;
const PLACES_MAX: usize = 9;

/// A sum in a string.
pub(crate) fn parse(text: &str) -> Result<i64, Flaw> {
    let trimmed = text.trim();
    let (whole, fraction) = trimmed.split_once('.').unwrap_or((trimmed, ""));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let is_whole = whole.split('_').all(is_digits);
    if !is_whole || !(fraction.is_empty() || is_digits(fraction)) {
        return Err(explain(text, trimmed));
    }
    if fraction.len() > PLACES_MAX {
        let message = format!("{} has more than {PLACES_MAX} decimal places", quote(text));
        return Err(Flaw::new(message, format!("write at most {PLACES_MAX}")));
    }
    Nanos::parse(&trimmed.replace('_', "")).map(|nanos| nanos.0).ok_or_else(|| beyond(trimmed))
}

/// `whole` of the currency's unit.
pub(crate) fn whole(whole: i64) -> Result<i64, Flaw> {
    whole.checked_mul(NANOS).ok_or_else(|| beyond(&whole.to_string()))
}

/// The flaw of a TOML float: what it stands for is not exactly what is written.
pub(crate) fn float(text: &str) -> Flaw {
    let suggestion = match parse(text) {
        Ok(_) => format!("write it as text: {}", quote(text)),
        Err(_) => format!("write it as text, as in {}", Unit::Money.example()),
    };
    Flaw::new(format!("{} is a float, which is not exact enough for money", number::shown(text)), suggestion)
}

fn explain(text: &str, trimmed: &str) -> Flaw {
    if trimmed.starts_with('-') {
        return number::negative(trimmed);
    }
    let suggestion = match number::amount(trimmed, Unit::Count) {
        Ok(whole) => format!("write \"{whole}\""),
        Err(_) if trimmed.starts_with('.') && parse(&format!("0{trimmed}")).is_ok() => {
            format!("write \"0{trimmed}\"")
        }
        Err(_) if trimmed.contains(',') => {
            "write a point before the decimals and nothing between thousands, as in \"1000.50\"".to_owned()
        }
        Err(_) => format!("write the number alone, as in {}", Unit::Money.example()),
    };
    Flaw::new(format!("{} is not a sum of money", quote(text)), suggestion)
}

fn beyond(text: &str) -> Flaw {
    let message = format!("{} is more than can be counted", quote(text));
    Flaw::new(message, format!("write at most \"{}\"", Nanos(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_exactly() {
        for (text, nanos) in [
            ("5", 5_000_000_000),
            (" 5.00 ", 5_000_000_000),
            ("1_000.5", 1_000_500_000_000),
            ("0.000000001", 1),
            ("0", 0),
            ("9223372036.854775807", i64::MAX),
        ] {
            assert_eq!(parse(text), Ok(nanos), "{text}");
        }
        assert_eq!(whole(3), Ok(3_000_000_000));
    }

    #[test]
    fn explains_what_it_cannot_read() {
        let alone = "write the number alone, as in \"5.00\"";
        let comma = "write a point before the decimals and nothing between thousands, as in \"1000.50\"";
        for (text, suggestion) in [
            ("", alone),
            ("$5", alone),
            ("5 USD", alone),
            ("1.2.3", alone),
            ("1__0", alone),
            ("12,50", comma),
            ("1,000.00", comma),
            (".5", "write \"0.5\""),
            ("10k", "write \"10000\""),
            ("-1", "write 0 or more"),
            ("0.0000000001", "write at most 9"),
            ("9223372036.854775808", "write at most \"9223372036.854775807\""),
        ] {
            assert_eq!(parse(text).unwrap_err().suggestion.as_deref(), Some(suggestion), "{text}");
        }
        assert_eq!(float("2.5").suggestion.as_deref(), Some("write it as text: \"2.5\""));
        assert_eq!(float("1e3").suggestion.as_deref(), Some("write it as text, as in \"5.00\""));
        assert!(whole(i64::MAX).is_err());
    }
}
