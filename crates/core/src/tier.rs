//! Tiers: the plans that subjects are on.

use crate::{Limit, Meter, PriceTable};

/// Position of a meter in [`Plans::meters`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MeterIndex(pub usize);

/// Position of a tier in [`Plans::tiers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TierIndex(pub usize);

/// All of a validated `tier-limits.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plans {
    /// Every meter, in the file's order.
    pub meters: Vec<Meter>,
    /// Every tier, in the file's order.
    pub tiers: Vec<Tier>,
    /// The tier of a subject that names none.
    pub default_tier: TierIndex,
    /// Where refusals send a customer who wants more.
    pub upgrade_url: Option<Box<str>>,
    /// What the tokens of models cost.
    pub prices: Option<PriceTable>,
}

/// One plan, with everything it inherits already in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Its name in files and in `X-User-Tier`.
    pub name: Box<str>,
    /// The limits of each meter, by [`MeterIndex`]; `None` where the tier does not name the meter.
    pub limits: Vec<Option<Vec<Limit>>>,
    /// What holds for meters that the tier does not name.
    pub other_meters: OtherMeters,
    /// Percentages of a limit at which to warn, ascending.
    pub warn_at: Vec<u8>,
    /// Largest request body in bytes.
    pub max_body_bytes: Option<u64>,
}

/// What holds for a meter that a tier does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherMeters {
    /// The configuration is rejected if a route charges such a meter.
    Forbidden,
    /// Counted, never refused.
    Unlimited,
}

impl Plans {
    /// The meter called `name`.
    #[must_use]
    pub fn meter(&self, name: &str) -> Option<MeterIndex> {
        self.meters.iter().position(|meter| *meter.name == *name).map(MeterIndex)
    }

    /// The tier called `name`.
    #[must_use]
    pub fn tier(&self, name: &str) -> Option<TierIndex> {
        self.tiers.iter().position(|tier| *tier.name == *name).map(TierIndex)
    }
}

impl Tier {
    /// The limits that hold for `meter`; empty when it is unlimited.
    #[must_use]
    pub fn limits_of(&self, meter: MeterIndex) -> &[Limit] {
        self.limits.get(meter.0).and_then(Option::as_deref).unwrap_or_default()
    }

    /// Whether a route may charge `meter` to subjects of this tier.
    #[must_use]
    pub fn allows(&self, meter: MeterIndex) -> bool {
        self.other_meters == OtherMeters::Unlimited || self.limits.get(meter.0).is_some_and(Option::is_some)
    }
}
