//! `[tiers.NAME]` as written, before inheritance.

use tollgate_core::{Limit, Meter, OtherMeters};
use toml::de::DeValue;

use super::limit;
use crate::{
    item::Item,
    nearest::{nearest, suggest},
    number::Unit,
    report::Flaw,
    section::Section,
    text::{self, quote},
};

/// Far more plans than any business sells; each has a place for every meter.
const TIERS_MAX: usize = 1024;

/// More warnings than these on the way to a limit are no warnings any more.
const WARN_AT_MAX: usize = 16;

/// A tier as written: `None` is what it does not say and may inherit.
#[derive(Debug)]
pub(super) struct Written<'a> {
    pub(super) name: &'a str,
    pub(super) item: Item<'a>,
    pub(super) inherits: Option<Item<'a>>,
    pub(super) limits: Vec<Option<Vec<Limit>>>,
    pub(super) other_meters: Option<OtherMeters>,
    pub(super) warn_at: Option<Vec<u8>>,
    /// `Some(None)` is "unlimited".
    pub(super) max_body_bytes: Option<Option<u64>>,
}

/// All tiers, in the file's order.
pub(super) fn read_all<'a>(section: &mut Section<'a>, meters: &[Meter]) -> Vec<Written<'a>> {
    let mut entries = section.entries();
    if entries.len() > TIERS_MAX {
        let message = format!("there are {} tiers", entries.len());
        section.wrong(Flaw::new(message, format!("use at most {TIERS_MAX}")));
        entries.truncate(TIERS_MAX);
    }
    entries.into_iter().map(|(name, item)| read(name, item, meters)).collect()
}

fn read<'a>(name: &'a str, item: Item<'a>, meters: &[Meter]) -> Written<'a> {
    if let Err(flaw) = text::check_name(name) {
        item.wrong_key(flaw);
    }
    item.table_or_empty(|section| Written {
        name,
        inherits: section.get("inherits"),
        limits: section.table("limits", |limits| read_limits(limits, meters)),
        other_meters: section.maybe("other_meters", |item| {
            item.one_of(&[("unlimited", OtherMeters::Unlimited), ("forbidden", OtherMeters::Forbidden)])
        }),
        warn_at: section.maybe("warn_at", read_warn_at),
        max_body_bytes: section.maybe("max_body", read_max_body),
        item: item.clone(),
    })
}

/// The limits of each meter. One with a mistake counts as named: there is no second mistake to report.
fn read_limits(section: &mut Section<'_>, meters: &[Meter]) -> Vec<Option<Vec<Limit>>> {
    let mut limits = vec![None; meters.len()];
    for (name, item) in section.entries() {
        let mut named = meters.iter().zip(&mut limits).filter(|(meter, _)| *meter.name == *name);
        match named.next() {
            Some((meter, place)) => *place = Some(limit::read_all(&item, meter).unwrap_or_default()),
            None => {
                let names = || meters.iter().map(|meter| &*meter.name);
                let flaw = Flaw::new(format!("no meter is called {}", quote(name)), suggest(name, names()));
                item.wrong_key(flaw);
                // The misspelt meter is not also one that the tier does not name.
                let meant = nearest(name, names()).and_then(|meant| names().position(|known| known == meant));
                if let Some(place) = meant.and_then(|meant| limits.get_mut(meant)) {
                    place.get_or_insert_default();
                }
            }
        }
    }
    limits
}

/// Percentages, brought into ascending order.
fn read_warn_at(item: &Item<'_>) -> Option<Vec<u8>> {
    let mut percentages = Vec::new();
    for item in item.list(WARN_AT_MAX, "[80, 95]")? {
        let Some(percentage) = item.amount_in(Unit::Count, 1..=100u8) else { continue };
        if percentages.contains(&percentage) {
            item.wrong(Flaw::new(format!("{percentage} stands here twice"), "remove one"));
        }
        percentages.push(percentage);
    }
    percentages.sort_unstable();
    Some(percentages)
}

fn read_max_body(item: &Item<'_>) -> Option<Option<u64>> {
    match item.value() {
        DeValue::String(text) if text == "unlimited" => Some(None),
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => u64::try_from(item.amount(Unit::Bytes)?).ok().map(Some),
    }
}
