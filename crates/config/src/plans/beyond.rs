//! What happens beyond a limit: `over`, `price`, `rate`, `grace`, `burst` and `queue`.

use std::{ops::RangeInclusive, time::Duration};

use tollgate_core::{Grace, Max, MeterKind, Over, Price, Queue, Rate, Window};

use super::overdraw::of_percent;
use crate::{
    duration,
    item::Item,
    nearest::suggest,
    number::{self, Unit},
    report::Flaw,
    section::Section,
    text::quote,
};

/// Longest price that makes sense; longer texts are not repeated in messages.
const PRICE_BYTES_MAX: usize = 64;

/// More who wait for one customer's slots are not served in any time that a client waits for.
const QUEUE_LENGTHS: RangeInclusive<u32> = 1..=1000;
/// Clients and proxies give up on requests that take longer.
const QUEUE_WAITS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);
/// A month; who is beyond a limit for longer needs another limit.
const GRACE_TIMES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(31 * 24 * 3600);

const GRACE_EXAMPLE: &str = "write \"10%\" of the limit, an amount, or a time, such as \"3h\"";

/// What is said about use beyond a limit.
pub(super) struct Beyond {
    pub(super) over: Over,
    pub(super) grace: Grace,
    pub(super) burst: i64,
    pub(super) queue: Option<Queue>,
}

/// The limit that it is beyond of; none of what has a mistake.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub(super) kind: MeterKind,
    pub(super) unit: Unit,
    pub(super) window: Option<Window>,
    pub(super) max: Option<Max>,
}

/// What use beyond does, in one word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Refuse,
    Charge,
    Throttle,
}

impl Default for Beyond {
    fn default() -> Self {
        Self { over: Over::Refuse, grace: Grace::None, burst: 0, queue: None }
    }
}

impl Way {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let words = [("refuse", Self::Refuse), ("charge", Self::Charge), ("throttle", Self::Throttle)];
        section.or("over", Self::Refuse, |item| item.one_of(&words))
    }

    /// Why nothing has to be admitted beyond: all is.
    pub(super) fn admits(self) -> Option<&'static str> {
        match self {
            Self::Refuse => None,
            Self::Charge => Some("use beyond the limit is charged, however much it is"),
            Self::Throttle => Some("use beyond the limit is let through, only slower"),
        }
    }
}

/// Reads all keys about use beyond the limit.
pub(super) fn read(section: &mut Section<'_>, way: Way, bounds: Bounds) -> Beyond {
    let price = section.maybe("price", |item| read_price(item, way, bounds.unit));
    let rate = read_rate(section, way);
    if let (Some(_), Some(Max::Unlimited)) = (way.admits(), bounds.max) {
        let message = match way {
            Way::Throttle => "nothing is beyond \"unlimited\", so nothing would be slowed down",
            Way::Refuse | Way::Charge => "nothing is beyond \"unlimited\", so nothing would be charged",
        };
        section.wrong(Flaw::new(message, "write how much is included, or remove over"));
    }
    if way == Way::Throttle && bounds.kind == MeterKind::Concurrent {
        let message = "what runs at once is not let through slower, as it is not over";
        section.wrong(Flaw::new(message, "write queue = { length = 10, wait = \"30s\" } instead of over"));
    }
    let mut grace_item = None;
    let grace = section.or("grace", Grace::None, |item| {
        grace_item = Some(item.clone());
        read_grace(item, way, bounds)
    });
    let burst = section.or("burst", 0, |item| {
        if let Some(grace) = &grace_item {
            grace.wrong_key(Flaw::new(
                "burst says already how far beyond requests are admitted",
                "remove grace, or burst",
            ));
        }
        read_burst(item, way, bounds)
    });
    let queue = section.maybe("queue", |item| read_queue(item, bounds.kind));
    let over = match (way, rate) {
        (Way::Refuse, _) => Over::Refuse,
        (Way::Charge, _) => Over::Charge(price),
        (Way::Throttle, rate) => rate.map_or(Over::Refuse, Over::Throttle),
    };
    Beyond { over, grace, burst, queue }
}

fn read_price(item: &Item<'_>, way: Way, unit: Unit) -> Option<Price> {
    match way {
        Way::Charge => {}
        Way::Refuse => item.wrong_key(Flaw::new(
            "use beyond the limit is refused, so it has no price",
            "add over = \"charge\", or remove price",
        )),
        Way::Throttle => item.wrong_key(Flaw::new(
            "use beyond the limit is slowed down, so it has no price",
            "write over = \"charge\" and no rate, or remove price",
        )),
    }
    let example = match unit {
        Unit::Bytes => "\"2.00 EUR per GB\"",
        Unit::Count | Unit::Money => "\"0.008 EUR per 10\"",
    };
    let price = item.parsed(example, parse_price)?;
    if price.is_of_size && unit != Unit::Bytes {
        let message = format!(
            "{} is a price of a size, but this meter does not count bytes",
            quote(&price.to_string())
        );
        item.wrong(Flaw::new(
            message,
            "write a plain number behind \"per\", or give the meter unit = \"bytes\"",
        ));
    }
    Some(price)
}

fn parse_price(text: &str) -> Result<Price, Flaw> {
    if text.len() > PRICE_BYTES_MAX {
        return Err(Flaw::new("this is not a price", "write it as in \"0.008 EUR per 10\""));
    }
    text.parse().map_err(|error: tollgate_core::PriceError| Flaw::with(error.to_string(), None))
}

fn read_rate(section: &mut Section<'_>, way: Way) -> Option<Rate> {
    let example = "rate = \"5/minute\"";
    let item = match way {
        Way::Throttle => section.need("rate", example),
        Way::Refuse | Way::Charge => section.get("rate"),
    }?;
    if way != Way::Throttle {
        item.wrong_key(Flaw::new(
            "only what is slowed down has a rate",
            "add over = \"throttle\", or remove rate",
        ));
    }
    item.parsed("\"5/minute\"", parse_rate)
}

fn parse_rate(text: &str) -> Result<Rate, Flaw> {
    let flaw = || {
        Flaw::new(
            format!("{} is not a rate", quote(text)),
            "write how many requests in which time, as in \"5/minute\"",
        )
    };
    let (requests, span) = text.split_once('/').ok_or_else(flaw)?;
    let requests = number::amount(requests, Unit::Count)?;
    let span = span.trim();
    let Some((_, seconds)) = Rate::SPANS.iter().find(|(name, _)| *name == span) else {
        let names = Rate::SPANS.iter().map(|(name, _)| *name);
        return Err(Flaw::new(format!("{} is no time of a rate", quote(span)), suggest(span, names)));
    };
    let requests = u32::try_from(requests).ok().filter(|requests| *requests > 0);
    let requests = requests.ok_or_else(|| {
        Flaw::new(format!("{} is out of bounds", quote(text)), format!("write 1 to {} requests", u32::MAX))
    })?;
    Ok(Rate { requests, seconds: *seconds })
}

fn read_grace(item: &Item<'_>, way: Way, bounds: Bounds) -> Option<Grace> {
    let wrong = |message: &str, suggestion: &str| item.wrong_key(Flaw::new(message, suggestion));
    if bounds.kind == MeterKind::Concurrent {
        wrong(
            "how many run at once is known beforehand: the limit can be as high as it may be",
            "remove grace",
        );
    } else if let Some(why) = way.admits() {
        wrong(why, "remove grace, or over");
    } else if bounds.max == Some(Max::Unlimited) {
        wrong("nothing is beyond \"unlimited\"", "remove grace, or write a limit");
    }
    let max = match bounds.max {
        Some(Max::AtMost(max)) => Some(max),
        Some(Max::Unlimited) | None => None,
    };
    let text = item.value().as_str().map(str::trim);
    if let Some(percent) = text.and_then(|text| text.strip_suffix('%')) {
        let units = item.check(of_percent(percent.trim_end(), max, "grace"))?;
        return Some(if units > 0 { Grace::Units(units) } else { Grace::None });
    }
    if text.is_some_and(|text| duration::parse(text).is_ok()) {
        return read_grace_time(item, bounds.window);
    }
    // Where it is no amount either, all that it could be is said.
    if let Some(text) = text
        && let Err(flaw) = number::amount(text, bounds.unit)
    {
        item.wrong(Flaw::new(flaw.message, GRACE_EXAMPLE));
        return None;
    }
    let units = item.amount(bounds.unit)?;
    if units == 0 {
        item.wrong(Flaw::new(
            "nothing is admitted beyond the limit",
            format!("{GRACE_EXAMPLE}; or remove grace"),
        ));
    } else if max.is_some_and(|max| max.checked_add(units).is_none()) {
        item.wrong(Flaw::new("limit and grace together are more than can be counted", "write less"));
    }
    Some(Grace::Units(units))
}

fn read_grace_time(item: &Item<'_>, window: Option<Window>) -> Option<Grace> {
    let time = item.duration(GRACE_TIMES)?;
    let nominal = window.and_then(Window::nominal_seconds);
    if let Some((window, _)) =
        window.zip(nominal).filter(|(_, seconds)| time.as_secs() >= u64::from(*seconds))
    {
        let message = format!("the window ({window}) ends before that, so nothing would ever be refused");
        item.wrong(Flaw::new(message, "write less, or a percentage, or remove the limit"));
    }
    Some(Grace::Millis(i64::try_from(time.as_millis()).unwrap_or(i64::MAX)))
}

fn read_burst(item: &Item<'_>, way: Way, bounds: Bounds) -> Option<i64> {
    let wrong = |message: &str, suggestion: &str| item.wrong_key(Flaw::new(message, suggestion));
    if bounds.kind != MeterKind::Count {
        wrong("this meter counts what there is now, so nothing is saved up for a burst", "remove burst");
    } else if bounds.window.is_some_and(|window| !window.is_rate()) {
        wrong("only limits per minute and per hour have bursts", "remove burst, or write a larger limit");
    } else if let Some(why) = way.admits() {
        wrong(why, "remove burst, or over");
    } else if bounds.max == Some(Max::Unlimited) {
        wrong("nothing is beyond \"unlimited\"", "remove burst, or write a limit");
    }
    let burst = item.amount(bounds.unit)?;
    if burst == 0 {
        item.wrong(Flaw::new("nothing is admitted beyond the limit", "write more, or remove burst"));
    } else if let Some(Max::AtMost(max)) = bounds.max
        && (max.checked_add(burst).is_none() || max.checked_mul(60).is_none())
    {
        item.wrong(Flaw::new("this is more than can be counted", "write a smaller limit"));
    }
    Some(burst)
}

fn read_queue(item: &Item<'_>, kind: MeterKind) -> Option<Queue> {
    if kind != MeterKind::Concurrent {
        let message = "only for what runs at once a slot is worth waiting for";
        item.wrong_key(Flaw::new(message, "give the meter kind = \"concurrent\", or remove queue"));
    }
    item.table("{ length = 10, wait = \"30s\" }", |section| {
        let length =
            section.need("length", "length = 10").and_then(|item| item.amount_in(Unit::Count, QUEUE_LENGTHS));
        let wait = section.need("wait", "wait = \"30s\"").and_then(|item| item.duration(QUEUE_WAITS));
        let (length, wait) = (length?, wait?);
        Some(Queue { length, wait_ms: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX) })
    })?
}
