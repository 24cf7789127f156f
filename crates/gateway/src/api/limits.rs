//! `GET limits` and `GET tier`: what may be used.

use serde_json::{Value, json};
use tollgate_core::{Grace, Limit, Max, Meter, MeterKind, OnStoreFailure, OtherMeters, Over};
use tollgate_quota::Check;

use super::{
    Request, amount,
    reply::Reply,
    rights::Rights,
    speaker::{Named, Speaker},
    view,
};
use crate::{exchange::Context, identity::text, refusal::Refusal};

/// Which tier the caller is on.
pub(super) async fn tier(
    request: &Request<'_>,
    speaker: &Speaker,
    context: &mut Context,
) -> Result<Reply, Refusal> {
    let named = Named::of_query(request.parts.target.query())?;
    let caller = speaker.caller(request, &named).await?;
    context.tier = Some(caller.tier);
    let tier = request.live.tier(caller.tier);
    Ok(Reply::ok(&json!({
        "user_id": text(&caller.user),
        "org_id": caller.org.as_ref().map(text),
        "tier": tier.name,
        "warn_at": tier.warn_at,
        "max_body_bytes": tier.max_body_bytes,
        "upgrade_url": request.live.plans().upgrade_url,
    })))
}

/// Every meter, and the limits that the caller's tier has of it.
pub(super) async fn limits(
    request: &Request<'_>,
    speaker: &Speaker,
    context: &mut Context,
) -> Result<Reply, Refusal> {
    let named = Named::of_query(request.parts.target.query())?;
    let caller = speaker.caller(request, &named).await?;
    context.tier = Some(caller.tier);
    let (tier, plans) = (request.live.tier(caller.tier), request.live.plans());
    let of_meter = |meter: &super::served::ServedMeter| {
        let declared = &plans.meters[meter.index.0];
        let limits = tier.limits_of(meter.index);
        let rights = Rights::of(request, &caller, meter);
        let is_bounded = !rights.checks().is_empty();
        let shown: Vec<Value> = match rights.own() {
            None => limits.iter().map(|limit| shown(limit, declared)).collect(),
            Some(_) => rights.checks().iter().map(|check| own(check, declared)).collect(),
        };
        json!({
            "meter": declared.name,
            "unit": declared.unit,
            "kind": kind(declared.kind),
            "available": tier.allows(meter.index),
            "unlimited": tier.allows(meter.index) && !is_bounded,
            "overridden": rights.own().is_some(),
            "limits": shown,
        })
    };
    Ok(Reply::ok(&json!({
        "user_id": text(&caller.user),
        "org_id": caller.org.as_ref().map(text),
        "tier": tier.name,
        "other_meters": match tier.other_meters {
            OtherMeters::Forbidden => "forbidden",
            OtherMeters::Unlimited => "unlimited",
        },
        "meters": request.served.meters.iter().map(of_meter).collect::<Vec<_>>(),
    })))
}

/// A limit of the subject's own, as far as it is counted.
fn own(check: &Check, meter: &Meter) -> Value {
    json!({
        "limit": match check.max {
            Max::AtMost(max) => amount::shown(max, meter),
            Max::Unlimited => Value::from("unlimited"),
        },
        "window": check.counter.window.to_string(),
        "scope": view::scope(check.scope),
        "over": if check.hard { "refuse" } else { "admit" },
    })
}

fn shown(limit: &Limit, meter: &Meter) -> Value {
    let (over, price) = match &limit.over {
        Over::Refuse => ("refuse", None),
        Over::Charge(price) => ("charge", price.as_ref()),
        Over::Throttle(_) => ("throttle", None),
    };
    let rate = match &limit.over {
        Over::Throttle(rate) => Some(rate.to_string()),
        Over::Refuse | Over::Charge(_) => None,
    };
    json!({
        "limit": match limit.max {
            Max::AtMost(max) => amount::shown(max, meter),
            Max::Unlimited => Value::from("unlimited"),
        },
        "window": limit.window.to_string(),
        "scope": view::scope(limit.scope),
        "over": over,
        "price": price.map(ToString::to_string),
        "rate": rate,
        "grace": match limit.grace {
            Grace::None => Value::Null,
            Grace::Units(units) => amount::shown(units, meter),
            Grace::Millis(millis) => Value::from(format!("{millis}ms")),
        },
        "burst": amount::shown(limit.burst, meter),
        "queue": limit.queue.map(|queue| json!({ "length": queue.length, "wait": format!("{}ms", queue.wait_ms) })),
        "overdraw": amount::shown(limit.overdraw, meter),
        "on_store_failure": match limit.on_store_failure {
            OnStoreFailure::Lease => json!("lease"),
            OnStoreFailure::Deny => json!("deny"),
            OnStoreFailure::Allow { seconds_max } => json!({ "allow": format!("{seconds_max}s") }),
        },
    })
}

fn kind(kind: MeterKind) -> &'static str {
    match kind {
        MeterKind::Count => "count",
        MeterKind::Level => "level",
        MeterKind::Concurrent => "concurrent",
    }
}
