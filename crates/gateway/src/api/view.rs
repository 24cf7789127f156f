//! Limits as answers show them.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tollgate_core::{Max, Meter, Scope, Tier, UnixMillis};
use tollgate_quota::{Check, Standing};

use super::{amount, basket::Seen};
use crate::{exchange::Context, identity::Caller, live::Live, ratelimit};

/// From which percentage on a limit is approached, on tiers that do not say when to warn.
const APPROACHING_PERCENT: i64 = 80;

/// Where one limit stands.
#[derive(Debug, Serialize)]
pub(super) struct LimitView {
    meter: Box<str>,
    window: String,
    scope: &'static str,
    /// Settled.
    used: Value,
    /// Set aside for what is in flight.
    held: Value,
    limit: Value,
    remaining: Value,
    /// RFC 3339; null for what never resets.
    reset_at: Option<String>,
    /// Of the limit, used and held together, rounded down.
    percent: i64,
    status: Status,
}

/// How near a limit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    Ok,
    ApproachingLimit,
    OverLimit,
}

impl LimitView {
    fn new(meter: &Meter, tier: &Tier, check: &Check, standing: &Standing) -> Option<Self> {
        let Max::AtMost(max) = check.max else { return None };
        let total = standing.usage.total();
        let percent = percent(total, max);
        let approaching = tier.warn_at.first().map_or(APPROACHING_PERCENT, |percent| (*percent).into());
        Some(Self {
            meter: meter.name.clone(),
            window: check.counter.window.to_string(),
            scope: scope(check.scope),
            used: amount::shown(standing.usage.settled, meter),
            held: amount::shown(standing.usage.held, meter),
            limit: amount::shown(max, meter),
            remaining: amount::shown(ratelimit::remaining(check, standing), meter),
            reset_at: instant(standing.span.end),
            percent,
            status: match () {
                // Who may use nothing and uses nothing is where they should be.
                () if total >= max && total > 0 => Status::OverLimit,
                () if percent >= approaching && total > 0 => Status::ApproachingLimit,
                () => Status::Ok,
            },
        })
    }
}

/// Where all limits of what was looked at stand; those without a bound are left out.
pub(super) fn limits(live: &Live, caller: &Caller, seen: &[Seen<'_>]) -> Vec<LimitView> {
    let tier = live.tier(caller.tier);
    let of_meter = |seen: &Seen<'_>| {
        let meter = &live.plans().meters[seen.wanted.meter.index.0];
        let checks = seen.rights.checks().iter().zip(&seen.standings);
        checks
            .filter_map(|(check, standing)| LimitView::new(meter, tier, check, standing))
            .collect::<Vec<_>>()
    };
    seen.iter().flat_map(of_meter).collect()
}

/// The worst of them.
pub(super) fn status(limits: &[LimitView]) -> Status {
    limits.iter().map(|limit| limit.status).max().unwrap_or(Status::Ok)
}

/// Shows in the answer's headers where the meter stands of which the smallest part is left.
pub(super) fn show_closest(seen: &[Seen<'_>], caller: &Caller, context: &mut Context) {
    context.tier = Some(caller.tier);
    let left = |seen: &Seen<'_>| {
        let checks = seen.rights.checks().iter().zip(&seen.standings);
        let percents = checks.filter_map(|(check, standing)| match check.max {
            Max::AtMost(max) => Some(percent(standing.usage.total(), max)),
            Max::Unlimited => None,
        });
        percents.max().unwrap_or(i64::MIN)
    };
    if let Some(closest) = seen.iter().max_by_key(|seen| (seen.is_refused, left(seen))) {
        closest.show(caller, context);
    }
}

pub(super) fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::User => "user",
        Scope::Org => "org",
    }
}

/// RFC 3339; none for what never comes.
pub(super) fn instant(at: UnixMillis) -> Option<String> {
    let at = Some(at).filter(|at| *at != UnixMillis::MAX)?;
    Timestamp::from_millisecond(at.0).ok().map(|at| at.to_string())
}

/// Rounded down; of a limit of nothing, whatever is used is all.
fn percent(used: i64, max: i64) -> i64 {
    match max {
        ..=0 => {
            if used > 0 {
                100
            } else {
                0
            }
        }
        _ => i64::try_from(i128::from(used).max(0) * 100 / i128::from(max)).unwrap_or(i64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_whole_and_never_overflow() {
        for (used, max, wanted) in [
            (0, 10, 0),
            (9, 10, 90),
            (10, 10, 100),
            (15, 10, 150),
            (1, 3, 33),
            (-5, 10, 0),
            (0, 0, 0),
            (1, 0, 100),
        ] {
            assert_eq!(percent(used, max), wanted, "{used} of {max}");
        }
        assert_eq!(percent(i64::MAX, i64::MAX), 100);
        assert_eq!(percent(i64::MAX, 1), i64::MAX);
    }
}
