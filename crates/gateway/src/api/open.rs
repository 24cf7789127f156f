//! What is open by an id: holds and jobs, claimed and found in the ledger.

use tollgate_core::UnixMillis;

use super::{
    Request,
    served::{Served, ServedMeter},
};
use crate::{
    admission::not_claimed,
    identity::{Caller, text},
    refusal::Refusal,
    resources::{Began, Kept, Owners, ResourceMeter, is_shared},
};

/// Something that may be open, claimed: nobody else ends it meanwhile.
pub(super) struct Open<'a> {
    kept: Kept,
    /// The meters that it has something of, and how much; none where it is not open.
    pub(super) held: Vec<(&'a ServedMeter, i64)>,
    /// When it began.
    pub(super) at: UnixMillis,
    /// By position.
    amounts: Vec<(usize, i64)>,
}

impl<'a> Open<'a> {
    /// Claims the caller's `resource` of all `meters`, and then finds what it has of them: another gateway that has begun
    /// it lets go of it when the ledger knows. Dropping the future gives it up.
    pub(super) async fn claim(
        request: &Request<'a>,
        caller: &Caller,
        (resource, meters): (&str, &[&'a ServedMeter]),
    ) -> Result<Self, Refusal> {
        let of = resource_meters(request, meters);
        let claimed = Kept::claim_open(&request.worker.shared, owners(caller), resource, &of).await;
        let (kept, began) = claimed.map_err(not_claimed)?;
        let held = began.iter().filter_map(|began| Some((*meters.get(began.position)?, began.amount)));
        let at = began.iter().map(|began| began.since).min().unwrap_or(UnixMillis(0));
        let amounts = began.iter().map(|Began { position, amount, .. }| (*position, *amount)).collect();
        Ok(Self { held: held.collect(), at, amounts, kept })
    }

    /// All that it had was taken back.
    pub(super) fn ended(self, request: &Request<'_>) {
        let Self { kept, amounts, .. } = self;
        let had = |position| amounts.iter().find(|(of, _)| *of == position).map_or(0, |(_, amount)| *amount);
        kept.settled(&request.worker.shared, |position| -had(position));
    }
}

/// Those who own what the caller has.
pub(super) fn owners(caller: &Caller) -> Owners<'_> {
    Owners { user: text(&caller.user), org: caller.org.as_ref().map(text) }
}

/// The meters, by position, as resources have something of them.
pub(super) fn resource_meters<'a>(
    request: &Request<'_>,
    meters: &[&'a ServedMeter],
) -> Vec<ResourceMeter<'a>> {
    let meter = |(position, meter): (usize, &&'a ServedMeter)| {
        let is_shared = is_shared(request.live.plans(), meter.index);
        Some(ResourceMeter { position, id: meter.id()?, name: meter.name(), is_shared })
    };
    meters.iter().enumerate().filter_map(meter).collect()
}

/// All meters that something can be had of.
pub(super) fn all(served: &Served) -> Vec<&ServedMeter> {
    served.meters.iter().collect()
}
