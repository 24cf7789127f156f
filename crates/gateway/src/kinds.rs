//! What is counted of every subject, whatever its tier: so another tier finds what was used.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU32, Ordering},
};

use tollgate_core::{Meter, MeterIndex, MeterKind, Plans, Scope, Window};
use tollgate_quota::{CounterKey, Kind, Kinds, Tracked};

use crate::meters::MeterIds;

/// Numbers the sets of plans of this process.
static PLANS: AtomicU32 = AtomicU32::new(1);

/// By meter, the counters that some tier limits.
pub(crate) fn tracked(plans: &Plans, ids: &MeterIds) -> Vec<Tracked> {
    let plan = PLANS.fetch_add(1, Ordering::Relaxed);
    let one = |(index, meter): (usize, &Meter)| {
        let key = |window| CounterKey { meter: ids.of(&meter.name), window };
        let keys = |windows: BTreeSet<Window>| windows.into_iter().map(key).collect();
        Tracked {
            meter: ids.of(&meter.name),
            plan,
            concurrent: meter.kind == MeterKind::Concurrent,
            // Without an organisation, its limits are the user's own.
            user: keys(windows(plans, MeterIndex(index), |_| true)),
            org: keys(windows(plans, MeterIndex(index), |scope| scope == Scope::Org)),
        }
    };
    plans.meters.iter().enumerate().map(one).collect()
}

/// The same, for the shared store.
pub(crate) fn kinds(plans: &Plans, ids: &MeterIds) -> Kinds {
    let of_meter = |(index, meter): (usize, &Meter)| {
        let windows = windows(plans, MeterIndex(index), |_| true);
        let (name, id, concurrent) =
            (meter.name.clone(), ids.of(&meter.name), meter.kind == MeterKind::Concurrent);
        windows.into_iter().map(move |window| Kind {
            meter: name.clone(),
            key: CounterKey { meter: id, window },
            concurrent,
        })
    };
    plans.meters.iter().enumerate().flat_map(of_meter).collect()
}

/// Whether some tier counts a meter in a window, for users or for organisations.
pub(crate) fn counts(plans: &Plans, meter: MeterIndex, scope: Scope, window: Window) -> bool {
    // As `tracked` has it: what an organisation shares is counted for users, too.
    windows(plans, meter, |of| scope == Scope::User || of == Scope::Org).contains(&window)
}

fn windows(plans: &Plans, meter: MeterIndex, wanted: impl Fn(Scope) -> bool) -> BTreeSet<Window> {
    let limits = plans.tiers.iter().flat_map(|tier| tier.limits_of(meter));
    let limits = limits.filter(|limit| wanted(limit.scope));
    limits.flat_map(|limit| limit.parts().map(|(window, _)| window)).collect()
}
