//! Windows as they stand behind the `/` of a limit.

use tollgate_core::Window;

use crate::{nearest::suggest, report::Flaw, text::quote};

/// Ten years; what is meant to last longer is a lifetime.
const DAYS_MAX: u16 = 3660;

const WORDS: [(&str, Window); 7] = [
    ("minute", Window::Minute),
    ("hour", Window::Hour),
    ("day", Window::Day),
    ("week", Window::Week),
    ("month", Window::Month),
    ("billing_month", Window::BillingMonth),
    ("lifetime", Window::Lifetime),
];

/// Other spellings of what there is. They are explained rather than accepted: one word for one thing.
const MEANT: [(&str, &str); 17] = [
    ("min", "minute"),
    ("m", "minute"),
    ("h", "hour"),
    ("hr", "hour"),
    ("d", "day"),
    ("daily", "day"),
    ("w", "week"),
    ("weekly", "week"),
    ("mo", "month"),
    ("monthly", "month"),
    ("year", "365days"),
    ("yearly", "365days"),
    ("total", "lifetime"),
    ("ever", "lifetime"),
    ("forever", "lifetime"),
    ("billing", "billing_month"),
    ("anniversary", "billing_month"),
];

/// `minute`, `hour`, `day`, `week`, `month`, `Ndays`, `billing_month` or `lifetime`.
pub(super) fn parse(text: &str) -> Result<Window, Flaw> {
    let text = text.trim();
    if let Some((_, window)) = WORDS.iter().find(|(word, _)| *word == text) {
        return Ok(*window);
    }
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, word) = text.split_at(digits);
    if number.is_empty() {
        return Err(unknown(text));
    }
    let days = number.parse::<u16>().ok().filter(|days| (1..=DAYS_MAX).contains(days));
    match (days, word.trim_start()) {
        (Some(1), "days") => Ok(Window::Day),
        (Some(days), "days") => Ok(Window::Days(days)),
        (None, "days") => {
            let suggestion = format!("write 1 to {DAYS_MAX} days, or \"lifetime\"");
            Err(Flaw::new(format!("{} is not a window", quote(text)), suggestion))
        }
        (days, word) => Err(not_days(text, days, word)),
    }
}

fn not_days(text: &str, number: Option<u16>, word: &str) -> Flaw {
    let days = match (number, word) {
        (Some(number), "d" | "day" | "Days") => Some(number),
        (Some(number), "w" | "week" | "weeks") => number.checked_mul(7),
        (_, _) => None,
    };
    let suggestion = match days {
        Some(1) => "write \"day\"".to_owned(),
        Some(days) => format!("write \"{days}days\""),
        None => "a number can only stand before days, as in \"7days\"".to_owned(),
    };
    Flaw::new(format!("{} is not a window", quote(text)), suggestion)
}

fn unknown(text: &str) -> Flaw {
    let folded = text.to_lowercase();
    let meant = MEANT.iter().find(|(word, _)| *word == folded);
    let suggestion = match meant {
        Some((_, meant)) => format!("did you mean {}?", quote(meant)),
        None if matches!(folded.as_str(), "s" | "sec" | "second" | "seconds") => {
            "the shortest window is \"minute\"".to_owned()
        }
        None => suggest(text, WORDS.iter().map(|(word, _)| *word).chain(["7days"])),
    };
    Flaw::new(format!("{} is not a window", quote(text)), suggestion)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_window_reads_as_it_prints() {
        let days = [Window::Days(2), Window::Days(7), Window::Days(DAYS_MAX)];
        for window in WORDS.iter().map(|(_, window)| *window).chain(days) {
            assert_eq!(parse(&window.to_string()), Ok(window));
        }
        assert_eq!(parse(" 7 days "), Ok(Window::Days(7)));
        assert_eq!(parse("1days"), Ok(Window::Day));
    }

    #[test]
    fn others_are_explained() {
        for (text, suggestion) in [
            ("dya", "did you mean \"day\"?"),
            ("Day", "did you mean \"day\"?"),
            ("hours", "did you mean \"hour\"?"),
            ("billing-month", "did you mean \"billing_month\"?"),
            ("monthly", "did you mean \"month\"?"),
            ("year", "did you mean \"365days\"?"),
            ("second", "the shortest window is \"minute\""),
            ("7day", "write \"7days\""),
            ("30d", "write \"30days\""),
            ("2weeks", "write \"14days\""),
            ("1day", "write \"day\""),
            ("5minutes", "a number can only stand before days, as in \"7days\""),
            ("0days", "write 1 to 3660 days, or \"lifetime\""),
            ("99999days", "write 1 to 3660 days, or \"lifetime\""),
            (
                "fortnight",
                "write one of \"minute\", \"hour\", \"day\", \"week\", \"month\", \"billing_month\", \
                 \"lifetime\", \"7days\"",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err().suggestion.as_deref(), Some(suggestion), "{text}");
        }
        assert!(parse("").is_err());
    }
}
