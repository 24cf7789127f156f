//! Durations as people write them: `"500ms"`, `"30s"`, `"5m"`, `"1h"`, `"7d"`.

use std::time::Duration;

use crate::{report::Flaw, text::quote};

/// A day is 24 hours.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads a whole number and a unit, with or without a space between.
pub(crate) fn parse(text: &str) -> Result<Duration, Flaw> {
    let flaw = || {
        let message = format!("{} is not a duration", quote(text));
        Flaw::new(message, "write a whole number with ms, s, m, h or d, such as \"30s\"")
    };
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at_checked(digits).ok_or_else(flaw)?;
    let number: u64 = number.parse().map_err(|_| flaw())?;
    let unit = UNITS.iter().find(|(name, _)| *name == unit.trim_start());
    let Some((_, millis)) = unit else {
        let suggestion = match unit_meant(trimmed.split_at(digits).1.trim_start()) {
            Some(unit) => format!("write \"{number}{unit}\""),
            None => "write a whole number with ms, s, m, h or d, such as \"30s\"".to_owned(),
        };
        return Err(Flaw::new(format!("{} is not a duration", quote(text)), suggestion));
    };
    number.checked_mul(*millis).map(Duration::from_millis).ok_or_else(flaw)
}

/// The unit that another spelling means.
fn unit_meant(unit: &str) -> Option<&'static str> {
    match unit.to_ascii_lowercase().as_str() {
        "" | "s" | "sec" | "secs" | "second" | "seconds" => Some("s"),
        "ms" | "msec" | "milliseconds" | "millisecond" => Some("ms"),
        "min" | "mins" | "minute" | "minutes" => Some("m"),
        "h" | "hr" | "hour" | "hours" => Some("h"),
        "d" | "day" | "days" => Some("d"),
        _ => None,
    }
}

/// As [`parse`] reads it, with the largest unit that leaves a whole number.
pub(crate) fn show(duration: Duration) -> String {
    let millis = duration.as_millis();
    let fits = |(_, unit): &&(&str, u64)| millis != 0 && millis.is_multiple_of(u128::from(*unit));
    match UNITS.iter().rev().find(fits) {
        Some((name, unit)) => format!("{}{name}", millis / u128::from(*unit)),
        None => format!("{}s", duration.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_shows() {
        for text in ["0s", "1ms", "500ms", "1s", "90s", "2m", "1h", "25h", "7d"] {
            assert_eq!(show(parse(text).unwrap()), text);
        }
        assert_eq!(parse(" 30 s ").unwrap(), Duration::from_secs(30));
    }

    #[test]
    fn explains_what_it_cannot_read() {
        let usual = "write a whole number with ms, s, m, h or d, such as \"30s\"";
        for (text, suggestion) in [
            ("30", "write \"30s\""),
            ("30sec", "write \"30s\""),
            ("5 Minutes", "write \"5m\""),
            ("", usual),
            ("s", usual),
            ("-5s", usual),
            ("1.5s", usual),
            ("30 parsecs", usual),
            ("99999999999999999999s", usual),
            ("9999999999999999h", usual),
        ] {
            let flaw = parse(text).unwrap_err();
            assert_eq!(flaw.suggestion.as_deref(), Some(suggestion), "{text}");
        }
    }
}
