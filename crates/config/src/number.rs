//! Whole numbers as people write them.
//!
//! Counts: `1000`, `"1_000"`, `"10k"`, `"5M"`, `"2G"` (10^3, 10^6, 10^9). Bytes: a plain number, or one
//! with a unit, `"25MB"` (decimal: B, kB, MB, GB, TB) or `"1GiB"` (binary: KiB, MiB, GiB, TiB). A bare
//! `k` is not accepted for bytes, since it could be either. Money: a plain decimal, see [`money`]. All are
//! checked `i64`, zero or more.

use tollgate_core::{Currency, Nanos};

use crate::{money, nearest::nearest, report::Flaw, text::quote};

const COUNT_SUFFIXES: [(&str, i64); 3] = [("k", 1000), ("M", 1_000_000), ("G", 1_000_000_000)];

const SIZE_SUFFIXES: [(&str, i64); 9] = [
    ("B", 1),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Things.
    Count,
    /// Bytes.
    Bytes,
    /// Billionths of a currency's unit, written in that unit.
    Money,
}

impl Unit {
    /// What a meter's unit means for its numbers.
    pub(crate) fn of(unit: &str) -> Self {
        match unit {
            "bytes" | "byte" | "B" => Self::Bytes,
            _ if Currency::parse(unit).is_some() => Self::Money,
            _ => Self::Count,
        }
    }

    /// How such a number looks.
    pub(crate) fn example(self) -> &'static str {
        match self {
            Self::Count => "1000",
            Self::Bytes => "\"25MB\"",
            Self::Money => "\"5.00\"",
        }
    }

    /// A number as it can be written.
    pub(crate) fn show(self, number: i64) -> String {
        match self {
            Self::Count => number.to_string(),
            Self::Bytes => format!("\"{}\"", show_bytes(number)),
            Self::Money => format!("\"{}\"", Nanos(number)),
        }
    }

    fn suffixes(self) -> &'static [(&'static str, i64)] {
        match self {
            Self::Count => &COUNT_SUFFIXES,
            Self::Bytes => &SIZE_SUFFIXES,
            Self::Money => &[],
        }
    }

    /// A number that TOML already knows to be an integer.
    pub(crate) fn integer(self, digits: &str, radix: u32) -> Result<i64, Flaw> {
        let number = integer(digits, radix)?;
        match self {
            Self::Count | Self::Bytes => Ok(number),
            Self::Money => money::whole(number),
        }
    }

    /// The flaw of a TOML float.
    pub(crate) fn float(self, text: &str) -> Flaw {
        match self {
            Self::Count | Self::Bytes => not_whole(text),
            Self::Money => money::float(text),
        }
    }
}

/// A number in a string.
pub(crate) fn amount(text: &str, unit: Unit) -> Result<i64, Flaw> {
    if unit == Unit::Money {
        return money::parse(text);
    }
    let trimmed = text.trim();
    if trimmed.starts_with('-') {
        return Err(negative(trimmed));
    }
    let end = trimmed.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(trimmed.len());
    let (digits, suffix) = trimmed.split_at(end);
    let digits_flaw = || Flaw::new(format!("{} is not a whole number", quote(text)), write(unit.example()));
    if is_decimal(trimmed) || trimmed.get(end..).is_some_and(|rest| rest.starts_with('.')) {
        return Err(not_whole(trimmed));
    }
    if digits.is_empty() || digits.starts_with('_') || digits.ends_with('_') || digits.contains("__") {
        return Err(digits_flaw());
    }
    let number = integer(&digits.replace('_', ""), 10)?;
    let suffix = suffix.trim_start();
    if suffix.is_empty() {
        return Ok(number);
    }
    match unit.suffixes().iter().find(|(name, _)| *name == suffix) {
        Some((_, factor)) => number.checked_mul(*factor).ok_or_else(|| beyond(trimmed)),
        None => Err(unknown_suffix(text, (digits, suffix), unit)),
    }
}

/// A whole number as TOML writes it.
pub(crate) fn integer(digits: &str, radix: u32) -> Result<i64, Flaw> {
    if digits.starts_with('-') {
        return Err(negative(digits));
    }
    i64::from_str_radix(digits, radix).map_err(|_| beyond(digits))
}

/// The flaw of `1e3` and `1000.0`, with what was probably meant.
pub(crate) fn not_whole(text: &str) -> Flaw {
    let suggestion = match exact(text) {
        Some(whole) => format!("write {whole}"),
        None => "write a whole number, in a smaller unit if need be".to_owned(),
    };
    Flaw::new(format!("{} is not a whole number", shown(text)), suggestion)
}

/// `bytes` in the largest unit that leaves a whole number.
#[must_use]
pub fn show_bytes(bytes: i64) -> String {
    let fits = |(_, factor): &&(&str, i64)| bytes != 0 && bytes % factor == 0;
    match SIZE_SUFFIXES.iter().filter(fits).max_by_key(|(_, factor)| *factor) {
        Some((name, factor)) => format!("{}{name}", bytes / factor),
        None => format!("{bytes}B"),
    }
}

fn unknown_suffix(text: &str, (digits, suffix): (&str, &str), unit: Unit) -> Flaw {
    let in_list = |list: &[(&str, i64)]| list.iter().any(|(name, _)| *name == suffix);
    match unit {
        Unit::Bytes if in_list(&COUNT_SUFFIXES) => {
            let upper = suffix.to_ascii_uppercase();
            let message = format!("{} could be decimal or binary", quote(text));
            Flaw::new(message, format!("write \"{digits}{suffix}B\" or \"{digits}{upper}iB\""))
        }
        Unit::Count if in_list(&SIZE_SUFFIXES) => {
            let message = format!("{} is a size, but this meter does not count bytes", quote(text));
            Flaw::new(message, "write a plain number, or give the meter unit = \"bytes\"")
        }
        Unit::Bytes | Unit::Count | Unit::Money => {
            let names = unit.suffixes().iter().map(|(name, _)| *name);
            let suggestion = match nearest(suffix, names) {
                Some(best) => format!("did you mean \"{digits}{best}\"?"),
                None => write(unit.example()),
            };
            Flaw::new(format!("{} is not a whole number", quote(text)), suggestion)
        }
    }
}

/// The flaw of what is less than nothing.
pub(crate) fn negative(text: &str) -> Flaw {
    Flaw::new(format!("{} is negative", shown(text)), "write 0 or more")
}

fn beyond(text: &str) -> Flaw {
    let message = format!("{} is more than can be counted", shown(text));
    Flaw::new(message, format!("write at most {}", i64::MAX))
}

fn write(example: &str) -> String {
    format!("write it as in {example}")
}

/// A number in a message needs no quotes, unless it is long.
pub(crate) fn shown(text: &str) -> String {
    if text.len() <= 40 && text.is_ascii() { text.to_owned() } else { quote(text) }
}

/// Whether `text` is a number, but written with a point or an exponent.
fn is_decimal(text: &str) -> bool {
    text.contains(['.', 'e', 'E']) && split_decimal(text).is_some()
}

/// Whole part, fraction and exponent of a decimal.
fn split_decimal(text: &str) -> Option<(&str, &str, i32)> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    let first = whole.bytes().next().is_some_and(|b| b.is_ascii_digit());
    (first && digits(whole) && digits(fraction)).then_some((whole, fraction, exponent.parse().ok()?))
}

/// The whole number that a decimal is, if it is one: `1e3`, `1.5e3`, `1000.0`.
fn exact(text: &str) -> Option<i64> {
    let (whole, fraction, exponent) = split_decimal(text)?;
    let fraction = fraction.trim_end_matches('0');
    let digits = format!("{whole}{fraction}").replace('_', "");
    let shift = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let factor = 10i64.checked_pow(u32::try_from(shift).ok()?)?;
    digits.parse::<i64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_counts_and_sizes() {
        for (text, unit, value) in [
            ("0", Unit::Count, 0),
            ("1_000", Unit::Count, 1000),
            ("10k", Unit::Count, 10_000),
            ("5 M", Unit::Count, 5_000_000),
            ("9223372036854775807", Unit::Count, i64::MAX),
            ("25MB", Unit::Bytes, 25_000_000),
            ("1 GiB", Unit::Bytes, 1 << 30),
            ("7B", Unit::Bytes, 7),
            ("7", Unit::Bytes, 7),
        ] {
            assert_eq!(amount(text, unit), Ok(value), "{text}");
        }
    }

    #[test]
    fn explains_what_it_cannot_read() {
        let (count, bytes) = (Unit::Count, Unit::Bytes);
        for (text, unit, message, suggestion) in [
            ("-1", count, "-1 is negative", "write 0 or more"),
            ("1e3", count, "1e3 is not a whole number", "write 1000"),
            ("1.5e3", count, "1.5e3 is not a whole number", "write 1500"),
            (
                "12.50",
                count,
                "12.50 is not a whole number",
                "write a whole number, in a smaller unit if need be",
            ),
            (
                "9223372036854775808",
                count,
                "9223372036854775808 is more than can be counted",
                "write at most 9223372036854775807",
            ),
            ("9G_", count, "\"9G_\" is not a whole number", "did you mean \"9G\"?"),
            (
                "8388608TiB",
                bytes,
                "8388608TiB is more than can be counted",
                "write at most 9223372036854775807",
            ),
            ("", count, "\"\" is not a whole number", "write it as in 1000"),
            ("_1", count, "\"_1\" is not a whole number", "write it as in 1000"),
            ("1,000", count, "\"1,000\" is not a whole number", "write it as in 1000"),
            ("ten", count, "\"ten\" is not a whole number", "write it as in 1000"),
            (
                "1.5GiB",
                bytes,
                "1.5GiB is not a whole number",
                "write a whole number, in a smaller unit if need be",
            ),
            ("25mb", bytes, "\"25mb\" is not a whole number", "did you mean \"25MB\"?"),
            ("10k", bytes, "\"10k\" could be decimal or binary", "write \"10kB\" or \"10KiB\""),
            (
                "1GiB",
                count,
                "\"1GiB\" is a size, but this meter does not count bytes",
                "write a plain number, or give the meter unit = \"bytes\"",
            ),
        ] {
            let flaw = Flaw::new(message, suggestion);
            assert_eq!(amount(text, unit), Err(flaw), "{text}");
        }
    }

    #[test]
    fn shows_sizes_in_whole_units() {
        for (bytes, text) in [(0, "0B"), (1, "1B"), (1 << 30, "1GiB"), (25_000_000, "25MB"), (1500, "1500B")]
        {
            assert_eq!(show_bytes(bytes), text);
            assert_eq!(amount(text, Unit::Bytes), Ok(bytes));
        }
    }
}
