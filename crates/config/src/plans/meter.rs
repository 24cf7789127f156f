//! `[meters]`: what is counted.

use tollgate_core::{Meter, MeterIndex, MeterKind};

use super::made_of;
use crate::{item::Item, models, report::Flaw, section::Section, text};

/// Every tier has a place for each of them.
const METERS_MAX: usize = 256;

const KINDS: [(&str, MeterKind); 3] =
    [("count", MeterKind::Count), ("level", MeterKind::Level), ("concurrent", MeterKind::Concurrent)];

/// All meters, in the file's order.
pub(super) fn read_all(section: &mut Section<'_>) -> Vec<Meter> {
    let mut entries = section.entries();
    if entries.len() > METERS_MAX {
        let message = format!("there are {} meters", entries.len());
        section.wrong(Flaw::new(message, format!("use at most {METERS_MAX}")));
        entries.truncate(METERS_MAX);
    }
    let (mut meters, parts): (Vec<Meter>, Vec<_>) =
        entries.iter().map(|(name, item)| read(name, item)).unzip();
    for (index, item) in parts.iter().enumerate() {
        let Some(item) = item else { continue };
        let read = made_of::read(item, MeterIndex(index), &meters, &parts);
        if let Some(meter) = meters.get_mut(index) {
            meter.parts = read;
        }
    }
    meters
}

/// A meter, and what it says that it is made of.
fn read<'a>(name: &str, item: &Item<'a>) -> (Meter, Option<Item<'a>>) {
    if let Err(flaw) = text::check_meter_name(name) {
        item.wrong_key(flaw);
    }
    let example = "{ unit = \"calls\" }";
    let meter = item.table(example, |section| {
        let unit = section.need("unit", "unit = \"calls\"");
        let unit = unit.and_then(|item| item.parsed("\"calls\"", check_unit)).unwrap_or_default();
        let kind = section.or("kind", MeterKind::Count, |item| item.one_of(&KINDS));
        let models = section.or("models", Vec::new(), models::list);
        let parts = section.get("of");
        (Meter { name: name.into(), unit, kind, models, parts: Vec::new() }, parts)
    });
    meter.unwrap_or_else(|| {
        let (name, unit) = (name.into(), Box::default());
        (Meter { name, unit, kind: MeterKind::Count, models: Vec::new(), parts: Vec::new() }, None)
    })
}

fn check_unit(unit: &str) -> Result<Box<str>, Flaw> {
    if unit.trim().is_empty() || unit.chars().any(char::is_control) {
        return Err(Flaw::new("this is not the name of a unit", "write a word, such as \"calls\""));
    }
    text::check_length(unit)?;
    Ok(unit.into())
}
