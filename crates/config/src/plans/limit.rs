//! Limits of one meter in one tier: a number, a text, a table, or a list of those.

use std::{ops::RangeInclusive, time::Duration};

use tollgate_core::{Limit, Max, Meter, MeterKind, OnStoreFailure, Over, Scope, Window};
use toml::de::DeValue;

use super::{
    beyond::{self, Beyond, Bounds, Way},
    overdraw::{self, Overdrawn},
    window,
};
use crate::{
    item::Item,
    number::{self, Unit},
    report::Flaw,
    section::Section,
    text::quote,
};

/// One for each kind of window; all of them are checked for every request.
const LIMITS_MAX: usize = 8;

/// Long enough for a store to restart, short enough that little goes unmetered.
const ALLOW_DEFAULT: Duration = Duration::from_secs(10);
/// Whole seconds, and not for longer than someone needs to notice.
const ALLOW_BOUNDS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

/// The limits of `meter`; empty when it is unlimited.
pub(super) fn read_all(item: &Item<'_>, meter: &Meter) -> Option<Vec<Limit>> {
    let example = Form::of(meter).example();
    let items = match item.value() {
        DeValue::Array(_) => item.list(LIMITS_MAX, example)?,
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Table(_) => vec![item.clone()],
    };
    if items.is_empty() {
        item.wrong(Flaw::new("there is no limit", format!("write {example}, \"unlimited\" or 0")));
    }
    let mut limits: Vec<Limit> = Vec::new();
    for item in &items {
        match read_one(item, meter) {
            Some(Written::Unlimited) if items.len() > 1 => {
                item.wrong(Flaw::new("\"unlimited\" contradicts the other limits", "remove it, or them"));
            }
            Some(Written::Limit(limit)) => {
                let same = |other: &Limit| other.window == limit.window && other.scope == limit.scope;
                if limits.iter().any(same) {
                    let message = match Form::of(meter) {
                        Form::Windowed(_) => format!("there are two limits per {}", limit.window),
                        Form::Plain(_) => "there are two limits".to_owned(),
                    };
                    item.wrong(Flaw::new(message, "leave one, or give one of them another scope"));
                }
                let is_priced = |limit: &Limit| matches!(limit.over, Over::Charge(Some(_)));
                if is_priced(&limit) && limits.iter().any(is_priced) {
                    let message = "two limits have a price, so use beyond both would be paid for twice";
                    item.wrong(Flaw::new(message, "leave one of the prices"));
                }
                limits.push(limit);
            }
            Some(Written::Unlimited) | None => {}
        }
    }
    Some(limits)
}

enum Written {
    Unlimited,
    Limit(Limit),
}

/// How the limits of a meter are written.
#[derive(Clone, Copy)]
enum Form {
    /// `"100/day"`: use adds up within a window.
    Windowed(Unit),
    /// `1` or `"1GiB"`: what exists or runs now.
    Plain(Unit),
}

impl Form {
    fn of(meter: &Meter) -> Self {
        let unit = Unit::of(&meter.unit);
        match meter.kind {
            MeterKind::Count => Self::Windowed(unit),
            MeterKind::Level | MeterKind::Concurrent => Self::Plain(unit),
        }
    }

    fn example(self) -> &'static str {
        match self {
            Self::Windowed(Unit::Count) => "\"100/day\"",
            Self::Windowed(Unit::Bytes) => "\"25MB/day\"",
            Self::Windowed(Unit::Money) => "\"5.00/day\"",
            Self::Plain(Unit::Count) => "10",
            Self::Plain(Unit::Bytes) => "\"1GiB\"",
            Self::Plain(Unit::Money) => "\"5.00\"",
        }
    }
}

fn read_one(item: &Item<'_>, meter: &Meter) -> Option<Written> {
    if item.value().is_table() {
        return item.table("a table", |section| read_table(section, meter))?;
    }
    let written = read_extent(item, Form::of(meter))?;
    Some(written.with(Terms::default()))
}

/// How much in which window; `None` is "unlimited" and no window.
struct Extent(Option<(Window, Max)>);

/// All of a limit but its extent.
struct Terms {
    scope: Scope,
    beyond: Beyond,
    overdraw: i64,
    on_store_failure: OnStoreFailure,
}

impl Default for Terms {
    fn default() -> Self {
        let beyond = Beyond::default();
        Self { scope: Scope::User, beyond, overdraw: 0, on_store_failure: OnStoreFailure::Lease }
    }
}

impl Extent {
    fn with(self, terms: Terms) -> Written {
        let Terms { scope, beyond, overdraw, on_store_failure } = terms;
        let Beyond { over, grace, burst, queue } = beyond;
        match self.0 {
            Some((window, max)) => {
                let limit =
                    Limit { window, max, scope, over, overdraw, grace, burst, queue, on_store_failure };
                Written::Limit(limit)
            }
            None => Written::Unlimited,
        }
    }
}

fn read_table(section: &mut Section<'_>, meter: &Meter) -> Option<Written> {
    let form = Form::of(meter);
    let extent = section.need("limit", &format!("limit = {}", form.example()));
    let extent = extent.and_then(|item| read_extent(&item, form));
    let way = Way::read(section);
    let max = extent.as_ref().map(|extent| extent.0.map_or(Max::Unlimited, |(_, max)| max));
    let window = extent.as_ref().and_then(|extent| extent.0).map(|(window, _)| window);
    let (kind, unit) = (meter.kind, Unit::of(&meter.unit));
    let beyond = beyond::read(section, way, Bounds { kind, unit, window, max });
    let overdrawn = Overdrawn { kind, unit, way, max };
    let overdraw = section.or("overdraw", 0, |item| overdraw::read(item, overdrawn));
    let scope =
        section.or("scope", Scope::User, |item| item.one_of(&[("user", Scope::User), ("org", Scope::Org)]));
    let on_store_failure = section.or("on_store_failure", OnStoreFailure::Lease, read_on_store_failure);
    Some(extent?.with(Terms { scope, beyond, overdraw, on_store_failure }))
}

fn read_extent(item: &Item<'_>, form: Form) -> Option<Extent> {
    match item.value() {
        DeValue::String(text) => item.check(parse_extent(text, form)),
        DeValue::Integer(integer) => {
            let (Form::Windowed(unit) | Form::Plain(unit)) = form;
            let amount = item.check(unit.integer(integer.as_str(), integer.radix()))?;
            item.check(without_window(amount, integer.as_str(), form))
        }
        DeValue::Float(float) => {
            let (Form::Windowed(unit) | Form::Plain(unit)) = form;
            item.check(Err(unit.float(float.as_str())))
        }
        DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            item.wrong_type("a limit", form.example())
        }
    }
}

fn parse_extent(text: &str, form: Form) -> Result<Extent, Flaw> {
    let (Form::Windowed(unit) | Form::Plain(unit)) = form;
    let Some((amount, window)) = text.split_once('/') else {
        if text.trim() == "unlimited" {
            return Ok(Extent(None));
        }
        if let Some((amount, window)) = text.split_once(" per ") {
            let suggestion = format!("write {}", quote(&format!("{}/{}", amount.trim(), window.trim())));
            return Err(Flaw::new(format!("{} is not a limit", quote(text)), suggestion));
        }
        return without_window(number::amount(text, unit).map_err(or_unlimited(text))?, text.trim(), form);
    };
    let amount = amount.trim();
    let max = match amount {
        "unlimited" => Max::Unlimited,
        _ => Max::AtMost(number::amount(amount, unit)?),
    };
    match form {
        Form::Windowed(_) => Ok(Extent(Some((window::parse(window)?, max)))),
        Form::Plain(_) => {
            let message = "this meter counts what there is now, so its limit has no window";
            Err(Flaw::new(message, format!("write {}", quote(amount))))
        }
    }
}

/// Suggests "unlimited" where that is what was misspelt.
fn or_unlimited(text: &str) -> impl Fn(Flaw) -> Flaw {
    let is_meant = crate::nearest::nearest(text.trim(), ["unlimited"].into_iter()).is_some();
    move |flaw| if is_meant { Flaw::new(flaw.message, "did you mean \"unlimited\"?") } else { flaw }
}

fn without_window(amount: i64, text: &str, form: Form) -> Result<Extent, Flaw> {
    match form {
        Form::Windowed(_) if amount != 0 => {
            let suggestion = format!("write \"{text}/day\", or \"{text}/lifetime\" for a limit in total");
            Err(Flaw::new(format!("{} has no window", quote(text)), suggestion))
        }
        Form::Windowed(_) | Form::Plain(_) => Ok(Extent(Some((Window::Lifetime, Max::AtMost(amount))))),
    }
}

fn read_on_store_failure(item: &Item<'_>) -> Option<OnStoreFailure> {
    if item.value().is_table() {
        let example = "allow = \"5s\"";
        return item.table("a table", |section| {
            let allow = section.need("allow", example)?;
            let span = allow.duration(ALLOW_BOUNDS)?;
            if span.subsec_nanos() != 0 {
                allow.wrong(Flaw::new("only whole seconds are counted", "write it in seconds, as in \"5s\""));
            }
            Some(allow_for(span))
        })?;
    }
    item.one_of(&[
        ("lease", OnStoreFailure::Lease),
        ("deny", OnStoreFailure::Deny),
        ("allow", allow_for(ALLOW_DEFAULT)),
    ])
}

fn allow_for(span: Duration) -> OnStoreFailure {
    OnStoreFailure::Allow { seconds_max: u32::try_from(span.as_secs()).unwrap_or(u32::MAX) }
}
