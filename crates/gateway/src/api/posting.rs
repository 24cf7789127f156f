//! Charges of what was reported: all of a request's events, or none.

use std::{future::poll_fn, sync::Arc};

use ring::digest::{SHA256, digest};
use tollgate_core::{Charge, Charges, EventId, RequestKey, SettledBy, Settlement, UnixMillis};
use tollgate_ledger::{OpenRequest, Position};
use tollgate_quota::{Mark, Parties, Subject};

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

/// The user and the organisation that are charged, and room for it in the journal.
type Reserved = (Arc<Subject>, Option<Arc<Subject>>, OpenRequest);

/// Charges all `postings`; the ids of their events, in their order. The same `key` gives the same ids.
///
/// Room is set aside for all before anything is charged, so that nothing can fail then. Between the first
/// charge and the last nothing is waited for. Cancelling it, before, charges nothing.
pub(super) async fn post(
    request: &Request<'_>,
    key: RequestKey,
    request_id: &str,
    postings: &[Posting<'_>],
) -> Result<Vec<EventId>, Refusal> {
    let settlements: Vec<_> = (0u32..)
        .zip(postings)
        .map(|(number, posting)| posting.settlement(request, (key, number), request_id))
        .collect();
    let reserved = reserve(request, postings, &settlements)?;
    let mut last = Position::default();
    for ((posting, settlement), (user, org, open)) in postings.iter().zip(&settlements).zip(reserved) {
        let parties = Parties { user: &user, org: org.as_ref() };
        let journal = || {
            last = open.settle(settlement);
            Mark(last.get())
        };
        let charges = posting.charge().into_iter().zip(&settlement.charges);
        let charges = charges.map(|(charge, charged)| (charge.id, charged.amount));
        parties.record((posting.at, &posting.meter.route.tracked), journal, charges);
        posting.tell(request, settlement);
    }
    let shared = &request.worker.shared;
    if shared.sync_before_answer && !settlements.is_empty() {
        let durable = Durable::new(&shared.journal, last);
        poll_fn(|cx| durable.poll(cx)).await.map_err(|error| admission::not_synced(&error))?;
    }
    Ok(settlements.iter().map(|settlement| settlement.key.event(0)).collect())
}

/// Room for all of it, or for none.
fn reserve(
    request: &Request<'_>,
    postings: &[Posting<'_>],
    settlements: &[Settlement<'_>],
) -> Result<Vec<Reserved>, Refusal> {
    let mut reserved: Vec<Reserved> = Vec::with_capacity(postings.len());
    for (posting, settlement) in postings.iter().zip(settlements) {
        let one = admission::subjects(request.worker, posting.caller).and_then(|(user, org)| {
            let open = request.worker.shared.journal.open_request(settlement);
            Ok((user, org, open.map_err(admission::not_journalled)?))
        });
        match one {
            Ok(one) => reserved.push(one),
            Err(refusal) => {
                reserved.into_iter().for_each(|(_, _, open)| open.cancel());
                return Err(refusal);
            }
        }
    }
    Ok(reserved)
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
