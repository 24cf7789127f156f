//! `of = { … }` of a meter: the meters that it is made of.

use tollgate_core::{Meter, MeterIndex, MeterKind, MeterPart, Ratio};

use crate::{gateway::read_ratio, item::Item, money::NANOS, nearest::suggest, report::Flaw, text::quote};

const EXAMPLE: &str = "{ audio_seconds = \"1/60\", document_pages = 2 }";

/// As many as a route can charge.
const PARTS_MAX: usize = 8;

/// The parts of the meter at `index`; `made` are the parts that each meter says it has.
pub(super) fn read(
    item: &Item<'_>,
    index: MeterIndex,
    meters: &[Meter],
    made: &[Option<Item<'_>>],
) -> Vec<MeterPart> {
    let parts = item.table(EXAMPLE, |section| {
        let mut entries = section.entries();
        if entries.is_empty() {
            item.wrong(Flaw::new("there is no part", format!("write as in {EXAMPLE}, or remove of")));
        }
        if entries.len() > PARTS_MAX {
            let message = format!("there are {} parts", entries.len());
            item.wrong(Flaw::new(message, format!("use at most {PARTS_MAX}")));
            entries.truncate(PARTS_MAX);
        }
        let whole = meters.get(index.0);
        if whole.is_some_and(|meter| meter.kind != MeterKind::Count) {
            let message = "only what adds up can be made of others";
            item.wrong_key(Flaw::new(message, "remove of, or kind"));
        }
        let read = |(name, item): &(&str, Item<'_>)| read_part((name, item), (whole?, index), meters, made);
        entries.iter().filter_map(read).collect()
    });
    parts.unwrap_or_default()
}

fn read_part(
    (name, item): (&str, &Item<'_>),
    (whole, index): (&Meter, MeterIndex),
    meters: &[Meter],
    made: &[Option<Item<'_>>],
) -> Option<MeterPart> {
    let Some(position) = meters.iter().position(|meter| *meter.name == *name) else {
        let names = meters.iter().map(|meter| &*meter.name);
        item.wrong_key(Flaw::new(format!("no meter is called {}", quote(name)), suggest(name, names)));
        return None;
    };
    let part = meters.get(position)?;
    let flaw = if position == index.0 {
        Some(("a meter is not made of itself", "remove it"))
    } else if made.get(position).is_some_and(Option::is_some) {
        Some(("it is made of others itself", "name what it is made of instead"))
    } else if part.kind != MeterKind::Count {
        Some(("it does not add up, and so nothing can be made of it", "remove it"))
    } else {
        None
    };
    if let Some((message, suggestion)) = flaw {
        item.wrong_key(Flaw::new(message, suggestion));
    }
    let ratio = read_ratio(item)?;
    if ratio.is_negative() {
        item.wrong(Flaw::new(format!("{ratio} is negative"), "write more than 0"));
    }
    // Money is counted in billionths.
    let billionths =
        |meter: &Meter| meter.currency().and_then(|_| Ratio::new(NANOS, 1)).unwrap_or(Ratio::ONE);
    let scaled = ratio.checked_mul(billionths(whole)).and_then(|r| r.checked_mul(billionths(part).inverse()));
    if scaled.is_none() {
        item.wrong(Flaw::new("in billionths, it has more than 14 digits", "write a shorter one"));
    }
    Some(MeterPart { meter: MeterIndex(position), ratio: scaled? })
}
