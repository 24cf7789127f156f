//! Resources of reported events: what is reported of one is what it has now.

use std::time::Duration;

use tollgate_core::MeterIndex;

use super::{Request, event::Event, input::Place};
use crate::{
    admission::{not_claimed, overloaded},
    identity::{Caller, text},
    refusal::Refusal,
    resources::{Kept, Owners, ResourceMeter, is_shared},
};

/// Most resources of one request: each is asked of the ledger.
const RESOURCES_MAX: usize = 100;
/// Longest wait for all of them together.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// The resources of a request, claimed, and what they have.
#[derive(Default)]
pub(super) struct Levels<'a>(Vec<Level<'a>>);

struct Level<'a> {
    of: Named<'a>,
    kept: Kept,
    /// Its meters, what it had and what it has.
    meters: Vec<(MeterIndex, i64, i64)>,
}

/// Which resource.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Named<'a> {
    resource: &'a str,
    org: Option<&'a str>,
    user: &'a str,
}

impl<'a> Named<'a> {
    fn of(event: &'a Event, caller: &'a Caller) -> Option<Self> {
        let resource = event.resource.as_deref()?;
        Some(Self { resource, org: caller.org.as_ref().map(text), user: text(&caller.user) })
    }
}

impl<'a> Levels<'a> {
    /// Claims all that `events` name, in one order, so that two requests do not wait for each other. Dropping the
    /// future gives them up.
    pub(super) async fn claim(
        request: &Request<'_>,
        events: &'a [(&'a Event, &'a Caller)],
    ) -> Result<Self, Refusal> {
        let mut wanted: Vec<(Named<'a>, Vec<MeterIndex>, &Place)> = Vec::new();
        for (event, caller) in events {
            let Some(named) = Named::of(event, caller) else { continue };
            match wanted.iter_mut().find(|(known, ..)| *known == named) {
                Some((_, meters, _)) if meters.contains(&event.meter) => {}
                Some((_, meters, _)) => meters.push(event.meter),
                None => {
                    // In an organisation, it may be that both mean the same thing.
                    let is_same = |known: &Named<'_>| {
                        known.resource == named.resource && named.org.is_some() && known.org == named.org
                    };
                    if wanted.iter().any(|(known, ..)| is_same(known)) {
                        let message = "names a resource for a second user of the same organisation: report these one by one";
                        return Err(event.place.wrong(message));
                    }
                    if wanted.len() >= RESOURCES_MAX {
                        let message =
                            format!("is of one resource too many: at most {RESOURCES_MAX} at a time");
                        return Err(event.place.wrong(&message));
                    }
                    wanted.push((named, vec![event.meter], &event.place));
                }
            }
        }
        wanted.sort_by_key(|(named, ..)| *named);
        let claim_all = async {
            let mut levels = Vec::with_capacity(wanted.len());
            for (named, meters, place) in wanted {
                levels.push(Level::claim(request, named, &meters, place).await?);
            }
            Ok(Self(levels))
        };
        let claimed = tokio::time::timeout(WAIT_MAX, claim_all).await;
        claimed.map_err(|_| overloaded("the resources are changed by others; try again soon"))?
    }

    /// What is to be charged, so that the event's resource has what it says.
    pub(super) fn set(&mut self, event: &'a Event, caller: &'a Caller) -> i64 {
        let named = Named::of(event, caller);
        let level = self.0.iter_mut().find(|level| Some(level.of) == named);
        let meter = level.and_then(|level| level.meters.iter_mut().find(|(meter, ..)| *meter == event.meter));
        let Some((_, _, has)) = meter else { return event.amount };
        let more = event.amount.saturating_sub(*has);
        *has = event.amount;
        more
    }

    /// Lets others have them: what [`Levels::set`] said is charged.
    pub(super) fn settled(self, request: &Request<'_>) {
        for Level { kept, meters, .. } in self.0 {
            let more =
                |position: usize| meters.get(position).map_or(0, |(_, had, has)| has.saturating_sub(*had));
            kept.settled(&request.worker.shared, more);
        }
    }
}

impl<'a> Level<'a> {
    async fn claim(
        request: &Request<'_>,
        of: Named<'a>,
        meters: &[MeterIndex],
        place: &Place,
    ) -> Result<Self, Refusal> {
        let owners = Owners { user: of.user, org: of.org };
        let meter = |(position, index): (usize, &MeterIndex)| {
            let served = request.served.meter(*index)?;
            let is_shared = is_shared(request.live.plans(), *index);
            Some(ResourceMeter { position, id: served.id()?, name: served.name(), is_shared })
        };
        let named: Vec<ResourceMeter<'_>> = meters.iter().enumerate().filter_map(meter).collect();
        if named.len() > tollgate_core::SETTLEMENT_CHARGES_MAX {
            return Err(place.wrong("is of a resource with too many meters"));
        }
        let kept =
            Kept::claim(&request.worker.shared, owners, of.resource, &named).await.map_err(not_claimed)?;
        let had = |(position, meter): (usize, &MeterIndex)| {
            let had = kept.had(position).unwrap_or(0);
            (*meter, had, had)
        };
        let meters = meters.iter().enumerate().map(had).collect();
        Ok(Self { of, kept, meters })
    }
}
