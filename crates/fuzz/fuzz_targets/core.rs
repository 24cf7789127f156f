//! The texts that the core reads: what is read is written as it was meant, and means what it says.
#![no_main]

use std::ops::Range;

use jiff::tz::TimeZone;
use libfuzzer_sys::{Corpus, fuzz_target};
use tollgate_core::{Calendar, ModelPattern, Nanos, Pointer, Price, UnixMillis, Window};

fuzz_target!(|input: &str| -> Corpus {
    let mut lines = input.splitn(3, '\n');
    let (Some(kind), Some(one)) = (lines.next(), lines.next()) else { return Corpus::Reject };
    let two = lines.next().unwrap_or_default();
    match kind {
        "price" => price(one),
        "pointer" => pointer(one),
        "pattern" => pattern(one, two),
        "time" => time(one, two),
        _ => return Corpus::Reject,
    }
    Corpus::Keep
});

fn price(text: &str) {
    if let Some(nanos) = Nanos::parse(text) {
        assert!(nanos >= Nanos(0));
        assert_eq!(Nanos::parse(&nanos.to_string()), Some(nanos));
    }
    match text.parse::<Price>() {
        Ok(price) => {
            assert!(price.nanos >= 0 && price.per > 0);
            assert_eq!(price.to_string().parse(), Ok(price));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn pointer(text: &str) {
    match text.parse::<Pointer>() {
        Ok(pointer) => {
            assert!((1..=Pointer::TOKENS_MAX).contains(&pointer.tokens().len()));
            assert!(pointer.tokens().all(|token| token.len() <= Pointer::TOKEN_BYTES_MAX));
            let escaped = |token: &str| format!("/{}", token.replace('~', "~0").replace('/', "~1"));
            assert_eq!(pointer.tokens().map(escaped).collect::<String>(), text);
            for (token, index) in pointer.tokens().filter_map(|token| Some((token, Pointer::index(token)?))) {
                assert_eq!(index.to_string(), token);
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn pattern(text: &str, model: &str) {
    let Ok(pattern) = text.parse::<ModelPattern>() else { return };
    assert_eq!(pattern.as_str().parse::<ModelPattern>().as_ref(), Ok(&pattern));
    assert!(pattern.matches(&text.replace('*', "")) && pattern.matches(text), "it does not match itself");
    assert_eq!(pattern.literal_bytes(), text.replace('*', "").len());
    assert_eq!(pattern.matches(model), matches_by_definition(text.as_bytes(), model.as_bytes()));
}

/// Row by row: whether the beginnings of the model match the pattern so far.
fn matches_by_definition(pattern: &[u8], model: &[u8]) -> bool {
    let mut row = vec![false; model.len() + 1];
    row[0] = true;
    for byte in pattern {
        let before = row.clone();
        for end in 0..row.len() {
            row[end] = match (byte, end.checked_sub(1)) {
                (b'*', None) => before[end],
                (b'*', Some(shorter)) => before[end] || row[shorter],
                (_, None) => false,
                (_, Some(shorter)) => before[shorter] && byte.eq_ignore_ascii_case(&model[shorter]),
            };
        }
    }
    row[model.len()]
}

/// From the year 1019 up to 8973.
const YEARS: Range<i64> = -30_000_000_000_000..221_000_000_000_000;

fn time(now: &str, anchor: &str) {
    const ZONES: [&str; 5] =
        ["UTC", "Europe/Berlin", "America/Sao_Paulo", "Pacific/Apia", "Australia/Lord_Howe"];
    let instant = |text: &str| UnixMillis::parse(text).or_else(|| text.parse().ok().map(UnixMillis));
    let Some(now) = instant(now) else { return };
    if let Some(parsed) = UnixMillis::parse(&now.to_string()) {
        assert_eq!(parsed, now);
    } else {
        assert!(now.to_string().ends_with(" ms"), "{now} is not read again");
    }
    assert!(i128::from(now.ceil_seconds()) * 1000 >= i128::from(now.0));
    // Beyond these years all instants have the windows of the first or the last of them.
    if !YEARS.contains(&now.0) {
        return;
    }
    let anchor = instant(anchor);
    for zone in ZONES {
        let calendar = Calendar::new(TimeZone::get(zone).expect("the zone is bundled"), anchor);
        let days = Window::Days(u16::try_from(now.0.rem_euclid(400)).unwrap_or(0).max(1));
        for window in [
            Window::Minute,
            Window::Hour,
            Window::Day,
            Window::Week,
            Window::Month,
            days,
            Window::BillingMonth,
            Window::Lifetime,
        ] {
            let span = window.span(now, &calendar);
            assert!(span.contains(now), "{now} is not in {span:?} of {window:?}, {zone}");
            for at in [span.start, UnixMillis(span.end.0.saturating_sub(1))] {
                assert_eq!(
                    window.span(at, &calendar),
                    span,
                    "{at} has another {window:?}, {zone}, {anchor:?}"
                );
            }
        }
    }
}
