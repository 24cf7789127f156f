//! Charges of what was reported: all of a request's events, or none.

use std::{cell::OnceCell, collections::HashSet, future::poll_fn, sync::Arc};

use arrayvec::ArrayVec;
use ring::digest::{SHA256, digest};
use tollgate_core::{Charge, Charges, RequestKey, SETTLEMENT_CHARGES_MAX, SettledBy, Settlement, UnixMillis};
use tollgate_ledger::{Position, Reserved};
use tollgate_quota::{Before, Mark, Parties, Subject, Tracked};
use uuid::Uuid;

use super::{
    Request,
    rights::Rights,
    served::{ROUTE, ServedMeter},
};
use crate::{
    admission, beyond,
    durable::Durable,
    identity::{Caller, text},
    live::Route,
    refusal::Refusal,
};

/// One event, and whose it is.
pub(super) struct Posting<'a> {
    /// Among those of its request; its id derives from it.
    pub(super) number: u32,
    pub(super) caller: &'a Caller,
    /// Its meter, and those that are made of it.
    pub(super) charges: ArrayVec<(&'a ServedMeter, i64), SETTLEMENT_CHARGES_MAX>,
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
        let settlement = |posting: &Posting<'a>| posting.settlement(request, key, request_id);
        let settlements = postings.iter().map(settlement).collect();
        Self { postings, settlements }
    }

    /// What is charged to `caller`, as the postings have them.
    pub(super) fn meters_of(&self, caller: &Caller) -> impl Iterator<Item = &'a ServedMeter> {
        let of_caller = self.postings.iter().filter(|posting| std::ptr::eq(posting.caller, caller));
        of_caller.flat_map(|posting| posting.charges.iter().map(|(meter, _)| *meter))
    }

    /// Charges all but what is nothing, and those whose ids are `known`.
    ///
    /// Room is set aside for all before anything is charged, so that nothing can fail then, and nothing is
    /// waited for. What to wait for, if the journal is to be synced before the answer.
    pub(super) fn charge(
        &self,
        request: &Request<'_>,
        known: &HashSet<Uuid>,
    ) -> Result<Option<Durable>, Refusal> {
        let is_new = |(_, settlement): &(&Posting<'_>, &Settlement<'_>)| {
            !settlement.charges.is_empty() && !known.contains(&id(settlement.key))
        };
        let new = || self.postings.iter().zip(&self.settlements).filter(is_new);
        let room = new().map(|(posting, _)| reserve(request, posting)).collect::<Result<Vec<Room>, _>>()?;
        let mut last = None;
        for ((posting, settlement), (user, org, reserved)) in new().zip(room) {
            let parties = Parties { user: &user, org: org.as_ref() };
            let mut position = Position::default();
            let (marks, rights) = (OnceCell::new(), posting.rights(request));
            let mut settlement = settlement.clone();
            let journal = |before: &Before<'_>| {
                if let Some((rights, route)) = &rights {
                    beyond::mark(&mut settlement, &marks, (&**rights, &*route.charges), 0, before);
                }
                position = reserved.settle(&settlement);
                Mark(position.get())
            };
            let charges = posting.some().filter_map(|(meter, amount)| Some((meter.id()?, amount)));
            let tracked: Vec<Tracked> =
                posting.some().flat_map(|(meter, _)| meter.tracked().cloned()).collect();
            let checks = rights.as_ref().map_or(&[][..], |(rights, _)| &*rights.checks);
            parties.record((posting.at, checks, &tracked), journal, charges);
            tell(request, &settlement);
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
    /// What is charged, as far as that is something.
    fn some(&self) -> impl Iterator<Item = (&'a ServedMeter, i64)> + Clone {
        self.charges.iter().copied().filter(|(_, amount)| *amount != 0)
    }

    /// The limits of what is charged, and the route that they are of, if use beyond them is told of in its lines.
    fn rights(&self, request: &Request<'_>) -> Option<(Rights<'a>, &'a Route)> {
        let (meter, _) = self.charges.first()?;
        let rights = Rights::of(request, self.caller, meter);
        rights.beyond.is_some().then_some((rights, &*meter.route))
    }

    fn settlement(&self, request: &Request<'a>, key: RequestKey, request_id: &'a str) -> Settlement<'a> {
        let charge = |(meter, amount): (&'a ServedMeter, i64)| Charge {
            meter: meter.name(),
            amount,
            estimated: self.estimated,
        };
        let charges: Charges<'_> = self.some().map(charge).collect();
        Settlement {
            key: event_key(key, self.number, self.at),
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
}

/// Tells those who want to know of settlements.
pub(super) fn tell(request: &Request<'_>, settlement: &Settlement<'_>) {
    if let Some(meter) = request.served.meters.first() {
        let is_estimated = settlement.charges.iter().any(|charge| charge.estimated);
        meter.route.metrics.settled(is_estimated);
    }
    if request.live.gateway().log.requests {
        let Settlement { user_id, tier, route, method, status, request_id, .. } = *settlement;
        tracing::info!(user_id, tier, route, method, status, request_id, "usage recorded");
    }
    if let Some(observer) = &request.worker.shared.on_settled {
        observer(settlement);
    }
}

/// The ids of the events with these numbers and times, in their order.
pub(super) fn ids(key: RequestKey, events: impl Iterator<Item = (u32, UnixMillis)>) -> Vec<Uuid> {
    events.map(|(number, at)| id(event_key(key, number, at))).collect()
}

/// The id of the first line of a report's event.
fn id(event: RequestKey) -> Uuid {
    Uuid::from_u128(event.event(0).to_bits())
}

/// What names event number `number` of a report: the time of what happened, and what `key` says.
pub(super) fn event_key(key: RequestKey, number: u32, at: UnixMillis) -> RequestKey {
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
