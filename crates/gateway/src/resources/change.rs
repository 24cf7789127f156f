//! Changes of a resource that no proxied request makes: a job that is ended, a hold that is settled or has expired.

use std::sync::Arc;

use tollgate_core::{Charge, RequestKey, SETTLEMENT_CHARGES_MAX, Scope, SettledBy, Settlement, UnixMillis};
use tollgate_ledger::OpenError;
use tollgate_quota::{Admission, Mark, Mode, Parties, SubjectKey, Terms, Tracked};

use super::{Kept, Owners, ResourceMeter, Unclaimed};
use crate::shared::Shared;

/// What a resource is to have of its meters, and what its line says.
pub(crate) struct Change<'a> {
    pub(crate) owners: Owners<'a>,
    /// Its id.
    pub(crate) resource: &'a str,
    /// Which meters, and what it has of each afterwards; at most as many as a settlement has charges.
    pub(crate) meters: &'a [(ResourceMeter<'a>, To)],
    /// All counters of these meters; matters where gateways share them.
    pub(crate) tracked: &'a [Tracked],
    /// When it counts, and what its ids derive from.
    pub(crate) key: RequestKey,
    pub(crate) at: UnixMillis,
    pub(crate) line: Line<'a>,
}

/// What the line of a change says beside who and how much.
#[derive(Clone, Copy)]
pub(crate) struct Line<'a> {
    pub(crate) tier: &'a str,
    pub(crate) route: &'a str,
    pub(crate) method: &'a str,
    pub(crate) status: u16,
    pub(crate) request_id: &'a str,
    pub(crate) estimated: bool,
    /// One JSON object.
    pub(crate) metadata: Option<&'a str>,
}

/// What a resource has of a meter after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    /// So much, whatever it had.
    Be(i64),
    /// So much, if it had anything: what is gone is not settled again.
    BeIfThere(i64),
}

/// Why nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unchanged {
    /// The resource is not to be had.
    Unclaimed(Unclaimed),
    /// The journal takes nothing.
    NotJournalled(OpenError),
    /// More customers are active than there is room for.
    TooManySubjects,
}

impl To {
    /// What is charged where the resource `had` something.
    fn amount(self, had: i64) -> i64 {
        match self {
            Self::BeIfThere(_) if had == 0 => 0,
            Self::Be(amount) | Self::BeIfThere(amount) => amount.saturating_sub(had),
        }
    }
}

/// Makes the change; what was charged, in the order of the meters. There is no line where that is nothing. Limits are
/// not asked.
///
/// Cancel-safe: dropping the future before it is ready changes nothing.
pub(crate) async fn change(shared: &Arc<Shared>, change: Change<'_>) -> Result<Vec<i64>, Unchanged> {
    let Change { owners, resource, meters, tracked, key, at, line } = change;
    let of: Vec<ResourceMeter<'_>> = (meters.iter().take(SETTLEMENT_CHARGES_MAX).enumerate())
        .map(|(position, (meter, _))| ResourceMeter { position, ..*meter })
        .collect();
    let kept = Kept::claim(shared, owners, resource, &of).await.map_err(Unchanged::Unclaimed)?;
    let amounts: Vec<i64> = (meters.iter().zip(&of))
        .map(|((_, to), meter)| to.amount(kept.had(meter.position).unwrap_or(0)))
        .collect();
    if amounts.iter().all(|amount| *amount == 0) {
        return Ok(amounts);
    }
    let charge = |(meter, amount): (&ResourceMeter<'_>, &i64)| {
        (*amount != 0).then_some((meter.id, meter.position, *amount))
    };
    let changed: Vec<_> = of.iter().zip(&amounts).filter_map(charge).collect();
    let charges = changed.iter().filter_map(|(_, position, amount)| {
        let meter = of.get(*position)?.name;
        Some(Charge { meter, amount: *amount, estimated: line.estimated })
    });
    let id: Box<str> = kept.id().into();
    let settlement = Settlement {
        key,
        at,
        user_id: owners.user,
        org_id: owners.org,
        tier: line.tier,
        route: line.route,
        method: line.method,
        status: line.status,
        duration_ms: 0,
        request_id: line.request_id,
        resource: Some(&id),
        metadata: line.metadata,
        settled_by: SettledBy::Exchange,
        charges: charges.collect(),
    };
    let subject =
        |scope, id| shared.counters.subject(SubjectKey { scope, id }).map_err(|_| Unchanged::TooManySubjects);
    let user = subject(Scope::User, owners.user)?;
    let org = owners.org.map(|org| subject(Scope::Org, org)).transpose()?;
    let parties = Parties { user: &user, org: org.as_ref() };
    let terms = Terms { checks: &[], needs: &[], warn_at: &[], mode: Mode::Observe, tracked };
    // Without limits it is admitted, and holds nothing.
    let Admission::Admitted { hold, .. } = parties.admit(terms, at) else {
        return Err(Unchanged::TooManySubjects);
    };
    let open = shared.journal.open_request(&settlement).map_err(Unchanged::NotJournalled)?;
    let journal = || Mark(open.settle(&settlement).get());
    hold.settle(journal, changed.iter().map(|(id, _, amount)| (*id, *amount)));
    if let Some(observer) = &shared.on_settled {
        observer(&settlement);
    }
    kept.settled(shared, |position| amounts.get(position).copied().unwrap_or(0));
    Ok(amounts)
}
