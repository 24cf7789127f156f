//! What ends by itself: jobs past their time limit, and holds that nobody settled.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use tokio::{
    sync::oneshot,
    time::{self, Instant},
};
use tollgate_core::{MeterIndex, MeterKind, RequestKey, UnixMillis};
use tollgate_ledger::{OpenResource, OpenResources, OpenResourcesRequest, ResourcePlace};

use super::{
    Change, Line, Owners, Resources, To, change,
    expiries::{Expiry, Why},
    is_shared, metadata,
};
use crate::{shared::Shared, worker::wall_clock};

/// How often is looked for what ends.
const PERIOD: Duration = Duration::from_secs(1);
/// How often the ledger is looked through for what other gateways began, which may have died.
const SCAN_PERIOD: Duration = Duration::from_secs(60);
/// When that is tried again after the ledger gave no answer.
const SCAN_AGAIN: Duration = Duration::from_secs(5);
/// Ended after one look; the next one comes in [`PERIOD`].
const DUE_MAX: usize = 1000;
/// Ended at once: each waits for the ledger.
const AT_ONCE_MAX: usize = 16;
/// When ending one is tried again.
const RETRY_MILLIS: i64 = 5000;
/// Longest time for the ledger to give a page.
const PAGE_WAIT_MAX: Duration = Duration::from_secs(5);
/// Pages of one meter that are looked through at once.
const PAGES_MAX: usize = 1000;

/// What resources of holds begin with, whatever their meter.
pub(crate) const HOLD: &str = "hold:";

/// Ends what has to end, for as long as it is polled.
pub(crate) async fn sweep(shared: Arc<Shared>) {
    let mut tick = time::interval(PERIOD);
    tick.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    let (mut next_scan, mut reached) = (Instant::now(), HashMap::new());
    loop {
        tick.tick().await;
        Resources::release_unflushed(&shared);
        if Instant::now() >= next_scan {
            let scanned = scan(&shared, &mut reached).await;
            next_scan = Instant::now() + if scanned.is_some() { SCAN_PERIOD } else { SCAN_AGAIN };
        }
        let due = shared.resources.expiries.take_due(now(&shared), DUE_MAX);
        stream::iter(due).for_each_concurrent(AT_ONCE_MAX, |expiry| expire(&shared, expiry)).await;
    }
}

/// Watches all that is open in the ledger; none when that gives no answer. Where that is more than is looked through at
/// once, `reached` says by meter where the next look begins.
async fn scan(shared: &Shared, reached: &mut HashMap<Box<str>, ResourcePlace>) -> Option<()> {
    let live = shared.live();
    for (index, meter) in live.plans().meters.iter().enumerate() {
        let is_shared = is_shared(live.plans(), MeterIndex(index));
        let prefix = if meter.kind == MeterKind::Concurrent { "" } else { HOLD };
        let mut after = reached.remove(&meter.name);
        for _ in 0..PAGES_MAX {
            let page = page(shared, (&meter.name, is_shared), prefix, after.take()).await?;
            let expiries = page.resources.into_iter().filter_map(|open| expiry(&meter.name, open));
            expiries.for_each(|expiry| shared.resources.expiries.add(expiry));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        if let Some(after) = after {
            reached.insert(meter.name.clone(), after);
        }
    }
    Some(())
}

async fn page(
    shared: &Shared,
    (meter, is_shared): (&str, bool),
    prefix: &str,
    after: Option<ResourcePlace>,
) -> Option<OpenResources> {
    let (reply, answer) = oneshot::channel();
    shared.ledger.open_resources(OpenResourcesRequest {
        meter: meter.to_owned(),
        is_shared,
        prefix: prefix.to_owned(),
        after,
        reached: shared.journal.tail(),
        reply: Box::new(move |page| {
            // Nobody may wait for it any more.
            let _ = reply.send(page);
        }),
    });
    time::timeout(PAGE_WAIT_MAX, answer).await.ok()?.ok()?.ok()
}

/// When an open resource ends by itself; never where its first line does not say.
fn expiry(meter: &str, open: OpenResource) -> Option<Expiry> {
    let OpenResource { place: ResourcePlace { resource, user_id, org_id }, amount: _, first } = open;
    Some(Expiry {
        at: metadata::expires_at(first.metadata.as_deref()?)?,
        since: first.at,
        why: Why::Expired,
        meter: meter.into(),
        resource: resource.into(),
        user: user_id.into(),
        org: (!org_id.is_empty()).then(|| org_id.into()),
        tier: first.tier.into(),
        route: first.route.into(),
    })
}

/// The time of what is settled: that of the store that gateways share, where there is one.
fn now(shared: &Shared) -> UnixMillis {
    UnixMillis(wall_clock().0.saturating_add(shared.clock_ahead()))
}

/// Ends it, or tries again later.
async fn expire(shared: &Arc<Shared>, expiry: Expiry) {
    let live = shared.live();
    let Expiry { at: _, since, why, meter, resource, user, org, tier, route } = &expiry;
    let is_hold = resource.starts_with(HOLD);
    let now = now(shared);
    let at = if is_hold { *since } else { now };
    let key = RequestKey::new(at, fastrand::u128(..));
    let Some(of) = live.resource_meter(&shared.meters, meter) else { return };
    let line = Line {
        tier,
        route,
        // No request: it ends by itself.
        method: "-",
        status: 0,
        request_id: &key.to_string(),
        estimated: false,
        metadata: Some(match why {
            Why::Expired if is_hold => r#"{"hold":"expired"}"#,
            Why::Expired => r#"{"job":"expired"}"#,
            Why::Finished => r#"{"job":"finished"}"#,
        }),
    };
    let ended = Change {
        owners: Owners { user, org: org.as_deref() },
        resource,
        meters: &[(of, To::BeIfThere(0))],
        tracked: &live.tracked_of(&shared.meters, meter),
        key,
        at,
        line,
    };
    match change(shared, ended).await {
        Ok(amounts) if amounts.iter().all(|amount| *amount == 0) => {}
        Ok(_) if is_hold => {
            tracing::info!(user = &**user, meter = &**meter, resource = &**resource, "a hold has expired");
        }
        Ok(_) if *why == Why::Finished => {}
        Ok(_) => {
            shared.metrics.jobs_expired.increment(1);
            tracing::warn!(
                user = &**user,
                meter = &**meter,
                job = &**resource,
                route = &**route,
                "a job has not ended within its time limit: its slot is free again"
            );
        }
        Err(error) => {
            tracing::debug!(?error, resource = &**resource, "not ended yet");
            let at = UnixMillis(now.0.saturating_add(RETRY_MILLIS));
            shared.resources.expiries.add(Expiry { at, ..expiry });
        }
    }
}
