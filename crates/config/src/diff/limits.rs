//! What has changed in the limits of one meter in one tier.

use std::time::Duration;

use tollgate_core::{
    Grace, Limit, Max, Meter, MeterKind, Nanos, OnStoreFailure, Over, Plans, Price, Queue, Scope, Tier,
    Window,
};

use super::{Effect, Recorder};
use crate::{
    duration,
    number::{Unit, show_bytes},
};

/// The limits of a meter on one side of the comparison.
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    limits: &'a [Limit],
    /// What it means that there is no limit.
    absent: &'static str,
}

impl<'a> Side<'a> {
    pub(super) fn of((plans, tier): (&'a Plans, &'a Tier), meter: &Meter) -> Self {
        let Some(index) = plans.meter(&meter.name) else {
            return Self { limits: &[], absent: "not counted" };
        };
        let limits = tier.limits_of(index);
        let absent = match (tier.allows(index), limits.is_empty()) {
            (false, _) => "not named",
            (true, true) => "unlimited",
            (true, false) => "none",
        };
        Self { limits, absent }
    }

    fn find(self, (window, scope): (Window, Scope)) -> Option<&'a Limit> {
        self.limits.iter().find(|limit| (limit.window, limit.scope) == (window, scope))
    }
}

/// Records the differences, limit by limit: the same limit has the same window and scope.
pub(super) fn diff(meter: &Meter, old: Side<'_>, new: Side<'_>, recorder: &mut Recorder<'_>) {
    if old.limits.is_empty() && new.limits.is_empty() {
        let effect = Effect::of_more(&is_unlimited(old), &is_unlimited(new));
        let names = (old.absent.to_owned(), new.absent.to_owned());
        if old.absent != "not counted" && new.absent != "not counted" {
            recorder.record(&meter.name, names, effect);
        }
    }
    let key = |limit: &Limit| (limit.window, limit.scope);
    for limit in old.limits {
        diff_one(&name(meter, key(limit)), (meter, Some(limit), new.find(key(limit))), (old, new), recorder);
    }
    for limit in new.limits.iter().filter(|limit| old.find(key(limit)).is_none()) {
        diff_one(&name(meter, key(limit)), (meter, None, Some(limit)), (old, new), recorder);
    }
}

fn is_unlimited(side: Side<'_>) -> bool {
    side.absent == "unlimited"
}

fn diff_one(
    what: &str,
    (meter, old, new): (&Meter, Option<&Limit>, Option<&Limit>),
    sides: (Side<'_>, Side<'_>),
    recorder: &mut Recorder<'_>,
) {
    let max = |limit: Option<&Limit>| limit.map_or(Max::Unlimited, |limit| limit.max);
    let show = |limit: Option<&Limit>, side: Side<'_>| match limit {
        Some(limit) => show_max(limit.max, meter),
        None => side.absent.to_owned(),
    };
    // No route charges a meter that a tier does not name, so it is neither more nor less than a limit.
    let is_unnamed = |limit: Option<&Limit>, side: Side<'_>| limit.is_none() && side.absent == "not named";
    let effect = match is_unnamed(old, sides.0) || is_unnamed(new, sides.1) {
        true => Effect::Neutral,
        false => Effect::of_more(&max(old), &max(new)),
    };
    recorder.record(what, (show(old, sides.0), show(new, sides.1)), effect);
    let (Some(old), Some(new)) = (old, new) else { return };
    let Limit { window: _, max: _, scope: _, over, overdraw, grace, burst, queue, on_store_failure } = old;
    let amounts = (show_max(Max::AtMost(*overdraw), meter), show_max(Max::AtMost(new.overdraw), meter));
    recorder.record(&format!("{what}: overdraw"), amounts, Effect::of_more(overdraw, &new.overdraw));
    let graces = (show_grace(*grace, meter), show_grace(new.grace, meter));
    recorder.record(&format!("{what}: grace"), graces, grace_effect(*grace, new.grace));
    let bursts = (show_max(Max::AtMost(*burst), meter), show_max(Max::AtMost(new.burst), meter));
    recorder.record(&format!("{what}: burst"), bursts, burst_effect((*burst, new.burst), (old.max, new.max)));
    let queues = (show_queue(*queue), show_queue(new.queue));
    recorder.record(&format!("{what}: queue"), queues, queue_effect(*queue, new.queue));
    let overs = (show_over(over), show_over(&new.over));
    recorder.record(&format!("{what}: over"), overs, over_effect(over, &new.over));
    let failures = (show_failure(*on_store_failure), show_failure(new.on_store_failure));
    recorder.record(&format!("{what}: on_store_failure"), failures, Effect::Neutral);
}

/// `api_calls per day`, `jobs`, `mapping_profiles in total`, `llm_tokens per month of the organisation`.
fn name(meter: &Meter, (window, scope): (Window, Scope)) -> String {
    let window = match (meter.kind, window) {
        (MeterKind::Level | MeterKind::Concurrent, _) => String::new(),
        (MeterKind::Count, Window::Lifetime) => " in total".to_owned(),
        (MeterKind::Count, window) => format!(" per {window}"),
    };
    let scope = match scope {
        Scope::User => "",
        Scope::Org => " of the organisation",
    };
    format!("{}{window}{scope}", meter.name)
}

fn show_max(max: Max, meter: &Meter) -> String {
    match (max, Unit::of(&meter.unit)) {
        (Max::Unlimited, _) => "unlimited".to_owned(),
        (Max::AtMost(max), Unit::Bytes) => show_bytes(max),
        (Max::AtMost(max), Unit::Count) => max.to_string(),
        (Max::AtMost(max), Unit::Money) => format!("{} {}", Nanos(max), meter.unit),
    }
}

fn show_over(over: &Over) -> String {
    match over {
        Over::Refuse => "refuse".to_owned(),
        Over::Charge(None) => "charge".to_owned(),
        Over::Charge(Some(price)) => format!("charge {price}"),
        Over::Throttle(rate) => format!("throttle {rate}"),
    }
}

/// Paying beyond a limit is better than being refused, and a lower price better than a higher one.
fn over_effect(old: &Over, new: &Over) -> Effect {
    match (old, new) {
        (Over::Refuse, Over::Refuse) => Effect::Neutral,
        (Over::Refuse, Over::Charge(_) | Over::Throttle(_)) => Effect::Gains,
        (Over::Charge(_) | Over::Throttle(_), Over::Refuse) => Effect::Loses,
        (Over::Throttle(old), Over::Throttle(new)) => {
            Effect::of_more(&new.interval_nanos(), &old.interval_nanos())
        }
        // Faster, and not for nothing.
        (Over::Throttle(_), Over::Charge(_)) | (Over::Charge(_), Over::Throttle(_)) => Effect::Neutral,
        (Over::Charge(Some(old)), Over::Charge(Some(new))) if old.currency == new.currency => {
            let cost = |price: &Price, other: &Price| i128::from(price.nanos) * i128::from(other.per);
            Effect::of_more(&cost(new, old), &cost(old, new))
        }
        (Over::Charge(_), Over::Charge(_)) => Effect::Neutral,
    }
}

fn show_grace(grace: Grace, meter: &Meter) -> String {
    match grace {
        Grace::None => "none".to_owned(),
        Grace::Units(units) => show_max(Max::AtMost(units), meter),
        Grace::Millis(millis) => duration::show(Duration::from_millis(millis.unsigned_abs())),
    }
}

fn grace_effect(old: Grace, new: Grace) -> Effect {
    match (old, new) {
        (Grace::Units(old), Grace::Units(new)) | (Grace::Millis(old), Grace::Millis(new)) => {
            Effect::of_more(&old, &new)
        }
        (Grace::None, Grace::Units(_) | Grace::Millis(_)) => Effect::Gains,
        (Grace::Units(_) | Grace::Millis(_), Grace::None) => Effect::Loses,
        (Grace::None, Grace::None)
        | (Grace::Units(_), Grace::Millis(_))
        | (Grace::Millis(_), Grace::Units(_)) => Effect::Neutral,
    }
}

/// A first burst also says how much may be used in the next larger window: that is less as well as more.
fn burst_effect((old, new): (i64, i64), (old_max, new_max): (Max, Max)) -> Effect {
    if (old == 0) != (new == 0) || old_max != new_max { Effect::Neutral } else { Effect::of_more(&old, &new) }
}

fn show_queue(queue: Option<Queue>) -> String {
    let show = |Queue { length, wait_ms }: Queue| {
        format!("{length} for {}", duration::show(Duration::from_millis(wait_ms.into())))
    };
    queue.map_or("none".to_owned(), show)
}

fn queue_effect(old: Option<Queue>, new: Option<Queue>) -> Effect {
    let part = |queue: Option<Queue>| queue.map_or((0, 0), |Queue { length, wait_ms }| (length, wait_ms));
    let (old, new) = (part(old), part(new));
    match (Effect::of_more(&old.0, &new.0), Effect::of_more(&old.1, &new.1)) {
        (length, Effect::Neutral) => length,
        (Effect::Neutral, wait) => wait,
        (length, wait) if length == wait => length,
        (_, _) => Effect::Neutral,
    }
}

fn show_failure(on_store_failure: OnStoreFailure) -> String {
    match on_store_failure {
        OnStoreFailure::Lease => "lease".to_owned(),
        OnStoreFailure::Deny => "deny".to_owned(),
        OnStoreFailure::Allow { seconds_max } => format!("allow {seconds_max}s"),
    }
}
