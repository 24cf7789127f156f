//! What `gateway.toml` may refer to in the tiers file.

use tollgate_core::{MeterIndex, Plans, TierIndex};

use crate::{item::Item, nearest::suggest, report::Flaw, text::quote};

/// The meters and tiers of the tiers file; `None` when it could not be read, which is a mistake of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names<'p>(pub(crate) Option<&'p Plans>);

impl Names<'_> {
    /// The meter that `item` names.
    pub(crate) fn meter(self, item: &Item<'_>) -> Option<MeterIndex> {
        let text = item.string("the name of a meter")?;
        let Some(plans) = self.0 else { return Some(MeterIndex(0)) };
        let index = plans.meter(text);
        if index.is_none() {
            let names = plans.meters.iter().map(|meter| &*meter.name);
            item.wrong(Flaw::new(format!("no meter is called {}", quote(text)), suggest(text, names)));
        }
        index
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
