//! What a resource has, for whoever may change it.

use std::{sync::Arc, time::Duration};

use arrayvec::ArrayVec;
use tokio::{sync::oneshot, time::timeout};
use tollgate_core::{Scope, UnixMillis};
use tollgate_ledger::{ResourceRequest, ResourceSum, Subject};
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
    had: Vec<Had>,
    /// Of the organisation and of the user, always in this order: so nobody waits for who waits for them.
    claims: ArrayVec<Claim, 2>,
}

/// What a resource has of one meter.
pub(crate) struct Began {
    pub(crate) position: usize,
    /// More than nothing.
    pub(crate) amount: i64,
    pub(crate) since: UnixMillis,
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
        let mut kept = Self::of(id);
        for (name, of_owner) in by_owner(owners, id, meters) {
            let claim = Claim::wait(shared, &name).await?;
            for (meter, amount) in of_owner.iter().zip(sizes(shared, &name, &of_owner).await?) {
                kept.had.push(Had { position: meter.position, meter: meter.id, scope: name.scope, amount });
            }
            kept.claims.push(claim);
        }
        Ok(kept)
    }

    /// As [`Kept::claim`], of a resource that may have something of any of `meters`: what that is, and since when, of
    /// those that it has something of.
    pub(crate) async fn claim_open(
        shared: &Arc<Shared>,
        owners: Owners<'_>,
        id: &str,
        meters: &[ResourceMeter<'_>],
    ) -> Result<(Self, Vec<Began>), Unclaimed> {
        let (mut kept, mut open) = (Self::of(id), Vec::new());
        for (name, of_owner) in by_owner(owners, id, meters) {
            let claim = Claim::wait(shared, &name).await?;
            for (meter, sum) in of_owner.iter().zip(sums(shared, &name, &of_owner).await?) {
                let (position, amount) = (meter.position, sum.amount);
                if let Some(first) = sum.first.filter(|_| amount > 0) {
                    kept.had.push(Had { position, meter: meter.id, scope: name.scope, amount });
                    open.push(Began { position, amount, since: first.at });
                }
            }
            kept.claims.push(claim);
        }
        Ok((kept, open))
    }

    /// As [`Kept::claim`], of a resource that is new: it has nothing.
    pub(crate) async fn claim_new(
        shared: &Arc<Shared>,
        owners: Owners<'_>,
        id: &str,
        meters: &[ResourceMeter<'_>],
    ) -> Result<Self, Unclaimed> {
        let mut kept = Self::of(id);
        for (name, of_owner) in by_owner(owners, id, meters) {
            kept.claims.push(Claim::wait(shared, &name).await?);
            kept.had.extend(of_owner.iter().map(|meter| Had {
                position: meter.position,
                meter: meter.id,
                scope: name.scope,
                amount: 0,
            }));
        }
        Ok(kept)
    }

    fn of(id: &str) -> Self {
        Self { id: id.into(), had: Vec::new(), claims: ArrayVec::new() }
    }

    /// As [`Kept::claim`], if nobody else has it and what it has is known.
    pub(crate) fn claim_now(
        shared: &Arc<Shared>,
        owners: Owners<'_>,
        id: &str,
        meters: &[ResourceMeter<'_>],
    ) -> Option<Self> {
        let mut kept = Self::of(id);
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

/// What is claimed for `meters`, in the order in which it is, and the meters that are each owner's.
fn by_owner<'a>(
    owners: Owners<'_>,
    id: &str,
    meters: &[ResourceMeter<'a>],
) -> ArrayVec<(ClaimName, Vec<ResourceMeter<'a>>), 2> {
    let mut names = ArrayVec::new();
    for scope in [Scope::Org, Scope::User] {
        let of_scope = meters.iter().filter(|meter| owners.of(meter).0 == scope);
        let of_scope: Vec<_> = of_scope.copied().collect();
        if let Some(first) = of_scope.first() {
            let owner = owners.of(first).1.into();
            names.push((ClaimName { scope, owner, id: id.into() }, of_scope));
        }
    }
    names
}

/// What a claimed resource has of each meter.
async fn sizes(
    shared: &Shared,
    name: &ClaimName,
    meters: &[ResourceMeter<'_>],
) -> Result<Vec<i64>, Unclaimed> {
    let known = meters.iter().map(|meter| shared.resources.sizes.get(name, meter.id));
    if let Some(known) = known.collect() {
        return Ok(known);
    }
    let sizes: Vec<_> = sums(shared, name, meters).await?.iter().map(|sum| sum.amount).collect();
    for (meter, size) in meters.iter().zip(&sizes) {
        shared.resources.sizes.set(name, meter.id, *size);
    }
    Ok(sizes)
}

/// The same, as the ledger knows it.
async fn sums(
    shared: &Shared,
    name: &ClaimName,
    meters: &[ResourceMeter<'_>],
) -> Result<Vec<ResourceSum>, Unclaimed> {
    let subject = match name.scope {
        Scope::Org => Subject::Org(name.owner.to_string()),
        Scope::User => Subject::User(name.owner.to_string()),
    };
    let (reply, answer) = oneshot::channel();
    shared.ledger.resource_sums(ResourceRequest {
        subject,
        meters: meters.iter().map(|meter| meter.name.to_owned()).collect(),
        resource: name.id.to_string(),
        // All that changed it before it was claimed is before this.
        reached: shared.journal.tail(),
        reply: Box::new(move |sums| {
            // Nobody may wait for it any more.
            let _ = reply.send(sums);
        }),
    });
    let sums = timeout(SUM_WAIT_MAX, answer).await;
    let sums = sums.map_err(|_| Unclaimed::Away)?.map_err(|_| Unclaimed::Away)?;
    sums.map_err(|_| Unclaimed::Away)
}
