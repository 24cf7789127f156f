//! `overdraw` of a limit: how far requests that are already running may carry it.

use std::ops::RangeInclusive;

use tollgate_core::{Max, MeterKind};

use super::beyond::Way;
use crate::{item::Item, number::Unit, report::Flaw, text::quote};

/// Beyond the whole of a limit, it is another limit that is meant.
const PERCENT_BOUNDS: RangeInclusive<i64> = 1..=100;

/// The limit that is overdrawn.
#[derive(Clone, Copy)]
pub(super) struct Overdrawn {
    pub(super) kind: MeterKind,
    pub(super) unit: Unit,
    /// What use beyond it does.
    pub(super) way: Way,
    /// `None` where it has a mistake.
    pub(super) max: Option<Max>,
}

/// An amount of the meter, or whole percent of the limit, rounded down.
pub(super) fn read(item: &Item<'_>, limit: Overdrawn) -> Option<i64> {
    let Overdrawn { kind, unit, way, max } = limit;
    let wrong = |message: &str, suggestion: &str| item.wrong_key(Flaw::new(message, suggestion));
    if kind == MeterKind::Concurrent {
        wrong("how many run at once is known beforehand, and nothing carries it further", "remove overdraw");
    } else if let Some(why) = way.admits() {
        wrong(why, "remove overdraw, or over");
    } else if max == Some(Max::Unlimited) {
        wrong("nothing is beyond \"unlimited\"", "remove overdraw, or write a limit");
    }
    let max = match max {
        Some(Max::AtMost(max)) => Some(max),
        Some(Max::Unlimited) | None => None,
    };
    let overdraw = match item.value().as_str().and_then(|text| text.trim().strip_suffix('%')) {
        Some(percent) => item.check(of_percent(percent.trim_end(), max, "overdraw"))?,
        None => item.amount(unit)?,
    };
    if max.is_some_and(|max| max.checked_add(overdraw).is_none()) {
        item.wrong(Flaw::new("limit and overdraw together are more than can be counted", "write less"));
    }
    Some(overdraw)
}

/// So many whole percent of `max`, rounded down, for the key `key`; 0 where the limit has a mistake.
pub(super) fn of_percent(text: &str, max: Option<i64>, key: &str) -> Result<i64, Flaw> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let percent = text.parse::<i64>().ok().filter(|percent| is_number && PERCENT_BOUNDS.contains(percent));
    let Some(percent) = percent else {
        let message = format!("{} is not a whole percentage of the limit", quote(&format!("{text}%")));
        return Err(Flaw::new(message, "write \"1%\" to \"100%\", or an amount"));
    };
    let Some(max) = max else { return Ok(0) };
    let overdraw = i64::try_from(i128::from(max) * i128::from(percent) / 100).unwrap_or(max);
    if overdraw == 0 {
        let message = format!("{percent}% of the limit is less than one");
        return Err(Flaw::new(message, format!("write an amount, or remove {key}")));
    }
    Ok(overdraw)
}
