//! Meters of resources, as the plans have them.

use tollgate_core::{MeterIndex, Plans, Scope};
use tollgate_quota::Tracked;

use super::ResourceMeter;
use crate::{live::Live, meters::MeterIds};

/// Whether organisations own what their users have of a meter.
pub(crate) fn is_shared(plans: &Plans, meter: MeterIndex) -> bool {
    let mut limits = plans.tiers.iter().flat_map(|tier| tier.limits_of(meter));
    limits.any(|limit| limit.scope == Scope::Org)
}

impl Live {
    /// The meter called `name`; none where the plans have no such meter any more.
    pub(crate) fn resource_meter(&self, ids: &MeterIds, name: &str) -> Option<ResourceMeter<'_>> {
        let plans = self.plans();
        let position = plans.meters.iter().position(|meter| *meter.name == *name)?;
        let name = &*plans.meters[position].name;
        let is_shared = is_shared(plans, MeterIndex(position));
        Some(ResourceMeter { position: 0, id: ids.of(name), name, is_shared })
    }

    /// All that is counted of the meter called `name`, where gateways share their counters.
    pub(crate) fn tracked_of(&self, ids: &MeterIds, name: &str) -> Vec<Tracked> {
        let id = ids.of(name);
        self.counted.iter().filter(|tracked| tracked.meter == id).cloned().collect()
    }
}
