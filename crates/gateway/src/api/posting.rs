//! Charges of what was reported: all of a request's events, or none.

use std::{collections::HashSet, future::poll_fn, sync::Arc};

use ring::digest::{SHA256, digest};
use tollgate_core::{Charge, Charges, RequestKey, SettledBy, Settlement, UnixMillis};
use tollgate_ledger::{Position, Reserved};
use tollgate_quota::{Mark, Parties, Subject};
use uuid::Uuid;

use super::{
    Request,
    served::{ROUTE, ServedMeter},
};
use crate::{
    admission,
    durable::Durable,
    identity::{Caller, text},
    live::RouteCharge,
    refusal::Refusal,
};

/// One event, and whose it is.
pub(super) struct Posting<'a> {
    pub(super) caller: &'a Caller,
    pub(super) meter: &'a ServedMeter,
    pub(super) amount: i64,
    pub(super) at: UnixMillis,
    pub(super) resource: Option<&'a str>,
    pub(super) metadata: Option<&'a str>,
    pub(super) estimated: bool,
}

/// What a request charges, ready to be charged.
pub(super) struct Report<'a> {
    postings: Vec<Posting<'a>>,
    /// In their order.
    settlements: Vec<Settlement<'a>>,
}

/// The user and the organisation that are charged, and room for it in the journal.
type Room = (Arc<Subject>, Option<Arc<Subject>>, Reserved);

impl<'a> Report<'a> {
    /// The events of `postings`. The same `key` gives the same ids.
    pub(super) fn new(
        request: &Request<'a>,
        (key, request_id): (RequestKey, &'a str),
        postings: Vec<Posting<'a>>,
    ) -> Self {
        let numbered = (0u32..).zip(&postings);
        let settlements = numbered
            .map(|(number, posting)| posting.settlement(request, (key, number), request_id))
            .collect();
        Self { postings, settlements }
    }

    /// The events' ids, in their order.
    pub(super) fn ids(&self) -> Vec<Uuid> {
        let id = |settlement: &Settlement<'_>| Uuid::from_u128(settlement.key.event(0).to_bits());
        self.settlements.iter().map(id).collect()
    }

    /// What is charged to `caller`, as the postings have them.
    pub(super) fn meters_of(&self, caller: &Caller) -> impl Iterator<Item = &'a ServedMeter> {
        self.postings
            .iter()
            .filter(|posting| std::ptr::eq(posting.caller, caller))
            .map(|posting| posting.meter)
    }

    /// Charges all but those whose ids are `known`.
    ///
    /// Room is set aside for all before anything is charged, so that nothing can fail then, and nothing is
    /// waited for. What to wait for, if the journal is to be synced before the answer.
    pub(super) fn charge(
        &self,
        request: &Request<'_>,
        known: &HashSet<Uuid>,
    ) -> Result<Option<Durable>, Refusal> {
        let is_new = |id: &Uuid| !known.contains(id);
        let ids = self.ids();
        let new = || self.postings.iter().zip(&self.settlements).zip(&ids).filter(|(_, id)| is_new(id));
        let room =
            new().map(|((posting, _), _)| reserve(request, posting)).collect::<Result<Vec<Room>, _>>()?;
        let mut last = None;
        for (((posting, settlement), _), (user, org, reserved)) in new().zip(room) {
            let parties = Parties { user: &user, org: org.as_ref() };
            let mut position = Position::default();
            let journal = || {
                position = reserved.settle(settlement);
                Mark(position.get())
            };
            let charges = posting.charge().into_iter().zip(&settlement.charges);
            let charges = charges.map(|(charge, charged)| (charge.id, charged.amount));
            parties.record((posting.at, &posting.meter.route.tracked), journal, charges);
            posting.tell(request, settlement);
            last = Some(position);
        }
        let shared = &request.worker.shared;
        Ok(last.filter(|_| shared.sync_before_answer).map(|last| Durable::new(&shared.journal, last)))
    }
}

/// Waits for what [`Report::charge`] says is to be waited for.
pub(super) async fn synced(durable: Option<Durable>) -> Result<(), Refusal> {
    let Some(durable) = durable else { return Ok(()) };
    poll_fn(|cx| durable.poll(cx)).await.map_err(|error| admission::not_synced(&error))
}

/// Dropping it gives the room back.
fn reserve(request: &Request<'_>, posting: &Posting<'_>) -> Result<Room, Refusal> {
    let (user, org) = admission::subjects(request.worker, posting.caller)?;
    let reserved = request.worker.shared.journal.reserve().map_err(admission::not_journalled)?;
    Ok((user, org, reserved))
}

impl<'a> Posting<'a> {
    fn charge(&self) -> Option<&'a RouteCharge> {
        self.meter.route.charges.first()
    }

    fn settlement(
        &self,
        request: &Request<'a>,
        (key, number): (RequestKey, u32),
        request_id: &'a str,
    ) -> Settlement<'a> {
        let charge = |charge: &'a RouteCharge| Charge {
            meter: &charge.meter,
            amount: self.amount,
            estimated: self.estimated,
        };
        let charges: Charges<'_> = self.charge().into_iter().map(charge).collect();
        Settlement {
            key: event_key(key, number, self.at),
            at: self.at,
            user_id: text(&self.caller.user),
            org_id: self.caller.org.as_ref().map(text),
            tier: &request.live.tier(self.caller.tier).name,
            route: ROUTE,
            method: request.parts.method.as_str(),
            status: 200,
            duration_ms: 0,
            request_id,
            resource: self.resource,
            metadata: self.metadata,
            settled_by: SettledBy::Exchange,
            charges,
        }
    }

    fn tell(&self, request: &Request<'_>, settlement: &Settlement<'_>) {
        self.meter.route.metrics.settled(self.estimated);
        if request.live.gateway().log.requests {
            let Settlement { user_id, tier, route, method, status, request_id, .. } = *settlement;
            tracing::info!(user_id, tier, route, method, status, request_id, "usage recorded");
        }
        if let Some(observer) = &request.worker.shared.on_settled {
            observer(settlement);
        }
    }
}

/// What names event number `number` of a report: the time of what happened, and what `key` says.
fn event_key(key: RequestKey, number: u32, at: UnixMillis) -> RequestKey {
    let mut named = [0; 20];
    named[..16].copy_from_slice(&key.to_bits().to_be_bytes());
    named[16..].copy_from_slice(&number.to_be_bytes());
    let hash = digest(&SHA256, &named);
    let random = hash.as_ref().first_chunk().map_or(0, |bytes| u128::from_be_bytes(*bytes));
    RequestKey::new(at, random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_a_report_have_ids_of_their_own_time() {
        let key = RequestKey::new(UnixMillis(1_795_000_000_000), 7);
        let at = UnixMillis(1_794_000_000_000);
        let ids: std::collections::BTreeSet<_> =
            (0..1000).map(|number| event_key(key, number, at).to_bits()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id >> 80 == 1_794_000_000_000));
        assert_eq!(event_key(key, 3, at), event_key(key, 3, at));
    }
}
