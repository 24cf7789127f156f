//! What `gateway.toml` may refer to in the tiers file.

use tollgate_core::{Meter, MeterIndex, MeterKind, Plans, TierIndex};

use crate::{item::Item, nearest::suggest, report::Flaw, text::quote};

/// The meters and tiers of the tiers file; `None` when it could not be read, which is a mistake of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names<'p>(pub(crate) Option<&'p Plans>);

impl Names<'_> {
    /// The meter that `item` names, and its kind.
    pub(crate) fn meter(self, item: &Item<'_>) -> Option<(MeterIndex, MeterKind)> {
        let text = item.string("the name of a meter")?;
        let Some(plans) = self.0 else { return Some((MeterIndex(0), MeterKind::Count)) };
        let index = plans.meter(text);
        let meter = index.and_then(|index| Some((index, plans.meters.get(index.0)?.kind)));
        if meter.is_none() {
            let names = plans.meters.iter().map(|Meter { name, .. }| &**name);
            item.wrong(Flaw::new(format!("no meter is called {}", quote(text)), suggest(text, names)));
        }
        meter
    }

    /// The tier that `item` names.
    pub(crate) fn tier(self, item: &Item<'_>) -> Option<TierIndex> {
        let text = item.string("the name of a tier")?;
        let Some(plans) = self.0 else { return Some(TierIndex(0)) };
        let index = plans.tier(text);
        if index.is_none() {
            let names = plans.tiers.iter().map(|tier| &*tier.name);
            item.wrong(Flaw::new(format!("no tier is called {}", quote(text)), suggest(text, names)));
        }
        index
    }
}
