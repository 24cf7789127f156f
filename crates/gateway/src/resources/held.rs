//! What a request does to a resource, from its admission to its settlement.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use http::HeaderValue;
use tokio::time::timeout;
use tollgate_core::{Charges, Settlement, UnixMillis};

use super::{
    Expiry, JobLine, Kept, Owners, ResourceMeter, Unclaimed,
    uses::{Act, Said, Use, Uses, difference},
};
use crate::{
    identity::text,
    live::{Route, RouteCharge},
    shared::Shared,
};

/// Longest time that an answer's last byte waits for the resource that the answer names.
const LATE_CLAIM_MAX: Duration = Duration::from_secs(5);

/// A request's part in a resource.
pub(crate) struct Held {
    uses: Uses,
    /// The resource's id, as soon as it is known.
    id: Option<Box<str>>,
    /// What it has, once it is claimed.
    kept: Option<Kept>,
}

/// Whose resource it is, for as long as is waited for it.
#[derive(Clone)]
pub(crate) struct Parties {
    pub(crate) shared: Arc<Shared>,
    pub(crate) route: Arc<Route>,
    pub(crate) user: HeaderValue,
    pub(crate) org: Option<HeaderValue>,
}

/// The claim of a resource that only the answer names; none if it is not to be had in time.
pub(crate) type Claiming = Pin<Box<dyn Future<Output = Option<Kept>>>>;

impl Parties {
    fn owners(&self) -> Owners<'_> {
        Owners { user: text(&self.user), org: self.org.as_ref().map(text) }
    }

    async fn claim(&self, id: &str, uses: &Uses) -> Result<Kept, Unclaimed> {
        let meters: Vec<_> = meters(&self.route, uses).collect();
        Kept::claim(&self.shared, self.owners(), id, &meters).await
    }
}

fn meters<'a>(route: &'a Route, uses: &'a Uses) -> impl Iterator<Item = ResourceMeter<'a>> {
    uses.iter().filter_map(|of| {
        let RouteCharge { id, meter, is_shared, .. } = route.charges.get(of.position)?;
        Some(ResourceMeter { position: of.position, id: *id, name: meter, is_shared: *is_shared })
    })
}

impl Held {
    /// Claims the resource, if the request names it and changes it. Cancel-safe: dropping the future gives it up.
    pub(crate) async fn claim(
        parties: &Parties,
        uses: Uses,
        id: Option<Box<str>>,
    ) -> Result<Self, Unclaimed> {
        let mut held = Self { uses, id, kept: None };
        if let Some(id) = &held.id
            && held.uses.iter().any(|of| of.act.is_ordered())
        {
            held.kept = Some(parties.claim(id, &held.uses).await?);
        }
        Ok(held)
    }

    /// What has to be set aside where `need` is what the resource is to have of the meter at `position`.
    pub(crate) fn need(&self, position: usize, need: i64) -> i64 {
        let Some(of) = self.uses.iter().find(|of| of.position == position) else { return need };
        let had = self.kept.as_ref().and_then(|kept| kept.had(position)).unwrap_or(0);
        match of.act {
            Act::Set | Act::Start { .. } => need.saturating_sub(had.max(0)).max(0),
            Act::Delete | Act::Ask => 0,
        }
    }

    /// The resource's id.
    pub(crate) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// What it does to the meter at `position`.
    pub(crate) fn act(&self, position: usize) -> Option<Act> {
        self.uses.iter().find(|of| of.position == position).map(|of| of.act)
    }

    /// What it does, by meter.
    pub(crate) fn uses(&self) -> &Uses {
        &self.uses
    }

    /// The answer names the resource.
    pub(crate) fn find(&mut self, id: Option<Box<str>>) {
        self.id = self.id.take().or(id);
    }

    /// Claims what the answer names, or shows to have ended, if it changes anything and is not claimed yet. `said` is
    /// what the answer says of a use.
    pub(crate) fn claim_late(
        &self,
        parties: impl FnOnce() -> Parties,
        said: impl Fn(Use) -> Said,
    ) -> Option<Claiming> {
        let id = self.id.clone().filter(|_| self.kept.is_none())?;
        if self.uses.iter().all(|of| of.act.outcome(said(*of)).is_none()) {
            return None;
        }
        let (parties, uses) = (parties(), self.uses.clone());
        Some(Box::pin(async move {
            timeout(LATE_CLAIM_MAX, parties.claim(&id, &uses)).await.ok().and_then(Result::ok)
        }))
    }

    /// As [`Held::claim_late`] was answered.
    pub(crate) fn keep(&mut self, kept: Option<Kept>) {
        self.kept = self.kept.take().or(kept);
    }

    /// Claims it if that needs no waiting: the client has gone, and nobody waits.
    pub(crate) fn claim_now(&mut self, parties: impl FnOnce() -> Parties) {
        if let (None, Some(id)) = (&self.kept, &self.id) {
            let parties = parties();
            let meters: Vec<_> = meters(&parties.route, &self.uses).collect();
            self.kept = Kept::claim_now(&parties.shared, parties.owners(), id, &meters);
        }
    }

    /// Makes of what the resource is to have of each meter what is charged for it. `said` is what the answer says of
    /// a use. What is said of a job that began at `at`, or has ended, with the position of its meter.
    pub(crate) fn adjust(
        &self,
        charges: &mut Charges<'_>,
        said: impl Fn(Use, i64) -> Said,
        at: UnixMillis,
    ) -> Option<(usize, JobLine)> {
        let mut job = None;
        for of in &self.uses {
            let Some(charge) = charges.get_mut(of.position) else { continue };
            let now = of.act.outcome(said(*of, charge.amount));
            let had = self.kept.as_ref().and_then(|kept| kept.had(of.position));
            // Without an id nobody could give it back.
            charge.amount = if self.id.is_some() { difference(had.unwrap_or(0), now) } else { 0 };
            charge.estimated = charge.amount != 0 && (charge.estimated || had.is_none());
            let line = match of.act {
                Act::Start { time_limit } if charge.amount > 0 => {
                    let limit = i64::try_from(time_limit.as_millis()).unwrap_or(i64::MAX);
                    Some(JobLine::Started { expires_at: UnixMillis(at.0.saturating_add(limit)) })
                }
                Act::Ask if charge.amount < 0 => Some(JobLine::Finished),
                Act::Start { .. } | Act::Ask | Act::Set | Act::Delete => None,
            };
            job = job.or(line.map(|line| (of.position, line)));
        }
        job
    }

    /// When the job that a settlement began ends by itself.
    pub(crate) fn expiry(
        &self,
        (position, line): (usize, JobLine),
        settlement: &Settlement<'_>,
    ) -> Option<Expiry> {
        let JobLine::Started { expires_at } = line else { return None };
        Some(Expiry {
            at: expires_at,
            meter: settlement.charges.get(position)?.meter.into(),
            resource: self.id()?.into(),
            user: settlement.user_id.into(),
            org: settlement.org_id.map(Box::from),
            tier: settlement.tier.into(),
            route: settlement.route.into(),
        })
    }

    /// Its claim, which ends with the settlement.
    pub(crate) fn take_kept(&mut self) -> Option<Kept> {
        self.kept.take()
    }
}
