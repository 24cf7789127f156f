//! `tier-limits.toml`: meters, tiers, and what tiers allow.

mod beyond;
mod inherit;
mod limit;
mod made_of;
mod meter;
mod overdraw;
mod prices;
mod tier;
mod window;

use std::ops::Range;

use http::Uri;
use tollgate_core::{Limit, Meter, Plans, TierIndex};
use toml::{Spanned, de::DeTable};

use crate::{
    item::Item,
    names::Names,
    report::{Flaw, Report},
    section::Section,
    text::quote,
};

/// Browsers and mail programs cut longer ones; it travels in every refusal.
const URL_BYTES_MAX: usize = 2048;

/// The plans, and where each tier stands in the file. What had a mistake is left out or at its default.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) plans: Plans,
    places: Vec<Place>,
}

/// Where a tier stands, and what it inherits.
#[derive(Debug)]
struct Place {
    path: String,
    span: Range<usize>,
    parent: Option<TierIndex>,
}

impl Draft {
    /// The tier that `tier` inherits from.
    pub(crate) fn parent(&self, tier: TierIndex) -> Option<TierIndex> {
        self.places.get(tier.0)?.parent
    }

    /// Records a mistake about `key` of a tier.
    pub(crate) fn wrong(&self, report: &Report<'_>, tier: TierIndex, key: &str, flaw: Flaw) {
        if let Some(Place { path, span, parent: _ }) = self.places.get(tier.0) {
            report.mistake(&format!("{path}.{key}"), span.clone(), flaw);
        }
    }
}

/// Reads all of the tiers file.
pub(crate) fn read<'a>(report: &'a Report<'a>, tree: &'a Spanned<DeTable<'a>>) -> Draft {
    Section::read_all(report, (String::new(), 0..0), Some(tree.get_ref()), read_root)
}

/// The limits of `meter` as a tier writes them; empty when it is unlimited.
pub(crate) fn read_limits(item: &Item<'_>, meter: &Meter) -> Option<Vec<Limit>> {
    limit::read_all(item, meter)
}

fn read_root(root: &mut Section<'_>) -> Draft {
    let upgrade_url =
        root.maybe("upgrade_url", |item| item.parsed("\"https://example.com/upgrade\"", check_url));
    let meters = root
        .need("meters", "the table [meters] with what is counted, as in api_calls = { unit = \"calls\" }");
    let meters = meters.map(|item| item.table_or_empty(meter::read_all)).unwrap_or_default();
    let prices = root.maybe("prices", |item| Some(item.table_or_empty(prices::read)));
    let tiers = root.need("tiers", "a table for each tier, as in [tiers.free_trial]");
    let written =
        tiers.map(|item| item.table_or_empty(|all| tier::read_all(all, &meters))).unwrap_or_default();
    let (tiers, places) = inherit::resolve(written);
    let mut plans = Plans { meters, tiers, default_tier: TierIndex(0), upgrade_url, prices };
    let default_tier = root.need("default_tier", "default_tier = \"free_trial\"");
    if let Some(tier) = default_tier.and_then(|item: Item<'_>| Names(Some(&plans)).tier(&item)) {
        plans.default_tier = tier;
    }
    Draft { plans, places }
}

fn check_url(text: &str) -> Result<Box<str>, Flaw> {
    let flaw = |why: &str| Flaw::new(why, "write it as in \"https://example.com/upgrade\"");
    if text.len() > URL_BYTES_MAX {
        return Err(flaw(&format!("the URL is longer than {URL_BYTES_MAX} bytes")));
    }
    let uri: Option<Uri> = text.parse().ok();
    let is_web = uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    });
    if is_web { Ok(text.into()) } else { Err(flaw(&format!("{} is not an http or https URL", quote(text)))) }
}
