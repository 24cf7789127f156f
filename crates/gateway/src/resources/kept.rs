//! What a resource has, for whoever may change it.

use std::{sync::Arc, time::Duration};

use arrayvec::ArrayVec;
use tokio::{sync::oneshot, time::timeout};
use tollgate_core::{SETTLEMENT_CHARGES_MAX, Scope};
use tollgate_ledger::{ResourceRequest, Subject};
use tollgate_quota::{ClaimName, MeterId};

use super::claim::{Claim, Unclaimed};
use crate::shared::Shared;

/// Longest time for the ledger to say what a resource has.
const SUM_WAIT_MAX: Duration = Duration::from_secs(2);

/// Who the resources of one request can belong to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owners<'a> {
    pub(crate) user: &'a str,
    pub(crate) org: Option<&'a str>,
}

/// A meter that a resource has something of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResourceMeter<'a> {
    /// Among the charges that it is about.
    pub(crate) position: usize,
    pub(crate) id: MeterId,
    pub(crate) name: &'a str,
    /// Whether organisations own what their users have of it, as some limit is theirs.
    pub(crate) is_shared: bool,
}

/// A resource that is claimed, and what it has: evidence that nobody else changes it.
///
/// Dropping it without [`Kept::settled`] says that nothing has changed.
pub(crate) struct Kept {
    /// The resource's id.
    id: Box<str>,
    had: ArrayVec<Had, SETTLEMENT_CHARGES_MAX>,
    /// Of the organisation and of the user, always in this order: so nobody waits for who waits for them.
    claims: ArrayVec<Claim, 2>,
}

struct Had {
    position: usize,
    meter: MeterId,
    scope: Scope,
    amount: i64,
}

impl<'a> Owners<'a> {
    /// Who owns what is had of a meter.
    fn of(self, meter: &ResourceMeter<'_>) -> (Scope, &'a str) {
        match self.org {
            Some(org) if meter.is_shared => (Scope::Org, org),
            Some(_) | None => (Scope::User, self.user),
        }
    }
}

impl Kept {
    /// Claims the resource `id` of `owners` and finds what it has of `meters`. Dropping the future gives it up.
    pub(crate) async fn claim(
        shared: &Arc<Shared>,
        owners: Owners<'_>,
        id: &str,
        meters: &[ResourceMeter<'_>],
    ) -> Result<Self, Unclaimed> {
        let mut kept = Self { id: id.into(), had: ArrayVec::new(), claims: ArrayVec::new() };
        for (name, of_owner) in by_owner(owners, id, meters) {
            let claim = Claim::wait(shared, &name).await?;
            for meter in of_owner {
                let amount = size(shared, &name, &meter).await?;
                kept.had.push(Had { position: meter.position, meter: meter.id, scope: name.scope, amount });
            }
            kept.claims.push(claim);
        }
        Ok(kept)
    }

    /// As [`Kept::claim`], if nobody else has it and what it has is known.
    pub(crate) fn claim_now(
        shared: &Arc<Shared>,
        owners: Owners<'_>,
        id: &str,
        meters: &[ResourceMeter<'_>],
    ) -> Option<Self> {
        let mut kept = Self { id: id.into(), had: ArrayVec::new(), claims: ArrayVec::new() };
        for (name, of_owner) in by_owner(owners, id, meters) {
            kept.claims.push(Claim::now(shared, &name)?);
            for meter in of_owner {
                let amount = shared.resources.sizes.get(&name, meter.id)?;
                kept.had.push(Had { position: meter.position, meter: meter.id, scope: name.scope, amount });
            }
        }
        Some(kept)
    }

    /// The resource's id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// What it has of the meter at `position`; none where it was not asked for.
    pub(crate) fn had(&self, position: usize) -> Option<i64> {
        self.had.iter().find(|had| had.position == position).map(|had| had.amount)
    }

    /// Lets others have it: it was changed by a settlement that is in the journal. `amount` is what was charged at a
    /// position.
    pub(crate) fn settled(self, shared: &Shared, amount: impl Fn(usize) -> i64) {
        for claim in &self.claims {
            let Some(name) = claim.name() else { continue };
            for had in self.had.iter().filter(|had| had.scope == name.scope) {
                let now = had.amount.saturating_add(amount(had.position));
                shared.resources.sizes.set(name, had.meter, now);
            }
        }
    }
}

/// What is claimed for `meters`, in the order in which it is, and the meters that are each owner's; as many as one
/// settlement has at most.
fn by_owner<'a>(
    owners: Owners<'_>,
    id: &str,
    meters: &[ResourceMeter<'a>],
) -> ArrayVec<(ClaimName, ArrayVec<ResourceMeter<'a>, SETTLEMENT_CHARGES_MAX>), 2> {
    let mut names = ArrayVec::new();
    for scope in [Scope::Org, Scope::User] {
        let of_scope = meters.iter().take(SETTLEMENT_CHARGES_MAX).filter(|meter| owners.of(meter).0 == scope);
        let of_scope: ArrayVec<_, SETTLEMENT_CHARGES_MAX> = of_scope.copied().collect();
        if let Some(first) = of_scope.first() {
            let owner = owners.of(first).1.into();
            names.push((ClaimName { scope, owner, id: id.into() }, of_scope));
        }
    }
    names
}

/// What a claimed resource has of a meter.
async fn size(shared: &Shared, name: &ClaimName, meter: &ResourceMeter<'_>) -> Result<i64, Unclaimed> {
    if let Some(size) = shared.resources.sizes.get(name, meter.id) {
        return Ok(size);
    }
    let subject = match name.scope {
        Scope::Org => Subject::Org(name.owner.to_string()),
        Scope::User => Subject::User(name.owner.to_string()),
    };
    let (reply, answer) = oneshot::channel();
    shared.ledger.resource_sum(ResourceRequest {
        subject,
        meter: meter.name.to_owned(),
        resource: name.id.to_string(),
        // All that changed it before it was claimed is before this.
        reached: shared.journal.tail(),
        reply: Box::new(move |sum| {
            // Nobody may wait for it any more.
            let _ = reply.send(sum);
        }),
    });
    let sum = timeout(SUM_WAIT_MAX, answer).await;
    let sum = sum.map_err(|_| Unclaimed::Away)?.map_err(|_| Unclaimed::Away)?;
    let size = sum.map_err(|_| Unclaimed::Away)?.amount;
    shared.resources.sizes.set(name, meter.id, size);
    Ok(size)
}
