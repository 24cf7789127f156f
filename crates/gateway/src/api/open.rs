//! What is open by an id: holds and jobs, found in the ledger and claimed.

use futures_util::future::try_join_all;
use tollgate_core::{SETTLEMENT_CHARGES_MAX, UnixMillis};
use tollgate_ledger::{ResourceRequest, ResourceSum, Subject};

use super::{Request, asking::ask, served::ServedMeter};
use crate::{
    admission::not_claimed,
    identity::{Caller, text},
    refusal::Refusal,
    resources::{Kept, Owners, ResourceMeter, is_shared},
};

/// What of one meter is open, and since when.
pub(super) struct Found<'a> {
    pub(super) meter: &'a ServedMeter,
    pub(super) since: UnixMillis,
}

/// Something open, claimed: nobody else ends it meanwhile.
pub(super) struct Open<'a> {
    kept: Kept,
    /// The meters that it has something of, and how much.
    pub(super) held: Vec<(&'a ServedMeter, i64)>,
    positions: Vec<i64>,
    /// When it began.
    pub(super) at: UnixMillis,
}

/// The meters that the caller's `resource` has something of.
pub(super) async fn find<'a>(
    request: &Request<'a>,
    caller: &Caller,
    resource: &str,
) -> Result<Vec<Found<'a>>, Refusal> {
    let reached = request.worker.shared.journal.tail();
    let one = |meter: &'a ServedMeter| async move {
        let is_shared = is_shared(request.live.plans(), meter.index);
        let subject = match &caller.org {
            Some(org) if is_shared => Subject::Org(text(org).to_owned()),
            Some(_) | None => Subject::User(text(&caller.user).to_owned()),
        };
        let (name, resource) = (meter.name().to_owned(), resource.to_owned());
        let sum: ResourceSum = ask(request, |ledger, reply| {
            ledger.resource_sum(ResourceRequest { subject, meter: name, resource, reached, reply });
        })
        .await?;
        let first = sum.first.filter(|_| sum.amount > 0);
        Ok::<_, Refusal>(first.map(|first| Found { meter, since: first.at }))
    };
    let found = try_join_all(request.served.meters.iter().map(one)).await?;
    Ok(found.into_iter().flatten().collect())
}

impl<'a> Open<'a> {
    /// Claims what was `found`; none where that is nothing. Dropping the future gives it up.
    pub(super) async fn claim(
        request: &Request<'a>,
        caller: &Caller,
        (resource, found): (&str, Vec<Found<'a>>),
    ) -> Result<Option<Self>, Refusal> {
        let Some(at) = found.iter().map(|found| found.since).min() else { return Ok(None) };
        let meter = |(position, found): (usize, &Found<'a>)| {
            let meter = found.meter;
            let is_shared = is_shared(request.live.plans(), meter.index);
            Some(ResourceMeter { position, id: meter.id()?, name: meter.name(), is_shared })
        };
        let meters: Vec<_> =
            found.iter().take(SETTLEMENT_CHARGES_MAX).enumerate().filter_map(meter).collect();
        let owners = Owners { user: text(&caller.user), org: caller.org.as_ref().map(text) };
        let kept =
            Kept::claim(&request.worker.shared, owners, resource, &meters).await.map_err(not_claimed)?;
        let positions: Vec<i64> =
            (0..found.len()).map(|position| kept.had(position).unwrap_or(0).max(0)).collect();
        let held = found.iter().zip(&positions).filter(|(_, had)| **had > 0);
        let held = held.map(|(found, had)| (found.meter, *had)).collect();
        Ok(Some(Self { kept, held, positions, at }))
    }

    /// All that it had was taken back.
    pub(super) fn ended(self, request: &Request<'_>) {
        let Self { kept, positions, .. } = self;
        kept.settled(&request.worker.shared, |position| -positions.get(position).copied().unwrap_or(0));
    }
}
