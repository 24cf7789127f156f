//! Whether the two files fit each other: every tier must say what holds for every meter that is charged.

use std::collections::BTreeMap;

use tollgate_core::{Grace, Limit, Max, MeterIndex, Nanos, TierIndex};

use crate::{
    Route,
    gateway::charged_meters,
    plans::Draft,
    report::{Flaw, Report},
    text::quote,
};

/// Most limits that one request can have, of all the meters that its route charges together: they are all
/// checked in one step while its subject waits.
pub const REQUEST_LIMITS_MAX: usize = 16;

/// Counters in Redis are exact up to 2^53: its scripts count in double precision.
const REDIS_LIMIT_MAX: i64 = 1 << 53;

/// Records limits that counters in Redis cannot count to.
pub(crate) fn check_size(report: &Report<'_>, draft: &Draft) {
    for tier in (0..draft.plans.tiers.len()).map(TierIndex) {
        let Some(limits) = draft.plans.tiers.get(tier.0).map(|tier| &tier.limits) else { continue };
        for (meter, limits) in draft.plans.meters.iter().zip(limits) {
            if limits.iter().flatten().any(too_large) {
                let message = match meter.currency() {
                    Some(currency) => {
                        format!("counters in Redis count to {} {currency}", Nanos(REDIS_LIMIT_MAX))
                    }
                    None => format!("counters in Redis count to {REDIS_LIMIT_MAX}"),
                };
                let suggestion = "write a smaller limit, or \"unlimited\"";
                draft.wrong(report, tier, &format!("limits.{}", meter.name), Flaw::new(message, suggestion));
            }
        }
    }
}

/// Whether more may be counted for it than counters in Redis can.
fn too_large(limit: &Limit) -> bool {
    let grace = match limit.grace {
        Grace::Units(units) => units,
        Grace::None | Grace::Millis(_) => 0,
    };
    let beyond = limit.overdraw.saturating_add(grace);
    let most = limit.parts().filter_map(|(_, max)| match max {
        Max::AtMost(max) => Some(max.saturating_add(beyond)),
        Max::Unlimited => None,
    });
    most.max().is_some_and(|most| most > REDIS_LIMIT_MAX)
}

/// Records what tiers do not say about the meters that routes charge, and which say too much.
pub(crate) fn check(report: &Report<'_>, draft: &Draft, routes: &[Route]) {
    let mut charged: BTreeMap<MeterIndex, &Route> = BTreeMap::new();
    for route in routes {
        for meter in charged_meters(&route.charges, &draft.plans) {
            charged.entry(meter).or_insert(route);
        }
    }
    for tier in (0..draft.plans.tiers.len()).map(TierIndex) {
        for (meter, route) in &charged {
            // A tier that only inherits the gap is cured together with its parent.
            let is_inherited = draft.parent(tier).is_some_and(|parent| lacks(draft, parent, *meter));
            if lacks(draft, tier, *meter) && !is_inherited {
                report_unnamed(report, draft, tier, (*meter, route));
            }
        }
        if let Some((route, count)) = routes.iter().find_map(|route| too_many(draft, tier, route)) {
            let message = format!("a request to route {} would have {count} limits", quote(&route.name));
            let suggestion = format!("use at most {REQUEST_LIMITS_MAX} for all the meters of one route");
            draft.wrong(report, tier, "limits", Flaw::new(message, suggestion));
        }
    }
}

fn lacks(draft: &Draft, tier: TierIndex, meter: MeterIndex) -> bool {
    draft.plans.tiers.get(tier.0).is_some_and(|tier| !tier.allows(meter))
}

fn too_many<'r>(draft: &Draft, tier: TierIndex, route: &'r Route) -> Option<(&'r Route, usize)> {
    let tier = draft.plans.tiers.get(tier.0)?;
    let meters = charged_meters(&route.charges, &draft.plans);
    let limits = meters.flat_map(|meter| tier.limits_of(meter));
    let count = limits.map(|limit| limit.parts().count()).sum();
    (count > REQUEST_LIMITS_MAX).then_some((route, count))
}

fn report_unnamed(report: &Report<'_>, draft: &Draft, tier: TierIndex, (meter, route): (MeterIndex, &Route)) {
    let Some(meter) = draft.plans.meters.get(meter.0) else { return };
    let Some(named) = draft.plans.tiers.get(tier.0) else { return };
    let message = format!(
        "route {} charges {}, which tier {} does not name",
        quote(&route.name),
        quote(&meter.name),
        quote(&named.name)
    );
    let suggestion = format!(
        "add {} = \"unlimited\", or 0 to forbid it, or a limit; or set other_meters = \"unlimited\" for the tier",
        meter.name
    );
    draft.wrong(report, tier, &format!("limits.{}", meter.name), Flaw::new(message, suggestion));
}
