//! What an exchange is charged, meter by meter, once it is over.

use std::time::Duration;

use arrayvec::ArrayVec;
use tollgate_config::Missing;
use tollgate_core::{Decimal, MeterKind, SETTLEMENT_CHARGES_MAX};
use tollgate_usage::{FieldReader, Said};

use super::{
    Heard, Measured, Part, PartAmount, Source, Stated,
    ask::StatedAmount,
    condition::{Outcome, Test},
    header,
    part::{At, IdAt, Job},
};
use crate::{
    admission::Needs,
    end::End,
    live::{Route, RouteCharge},
    llm::CallUsed,
    measures::{Measures, Model},
    resources,
};

/// What is gone is not there: its resource has nothing, and its job has ended. Of what organisations own, a service may
/// say so of what only is not the caller's own: that frees nothing.
const GONE: [u16; 2] = [404, 410];

/// What is charged of one meter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Charged<'a> {
    pub(crate) amount: i64,
    pub(crate) estimated: bool,
    /// The resource that has the amount from now on.
    pub(crate) resource: Option<Id<'a>>,
    /// What becomes of a job.
    pub(crate) job: Option<JobChange<'a>>,
    /// Whether it may not have happened: then nothing is given back.
    pub(crate) is_uncertain: bool,
}

/// What is charged of each meter.
pub(crate) type Charges<'a> = ArrayVec<Charged<'a>, SETTLEMENT_CHARGES_MAX>;

/// The id of a resource or a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Id<'a> {
    Named(&'a str),
    /// It should have been said, and was not.
    Unnamed,
}

/// What an exchange says of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobChange<'a> {
    Started { id: Id<'a>, time_limit: Duration },
    Ended { id: Id<'a> },
}

/// An exchange that is over, and all that is known of it.
pub(crate) struct Settling<'a> {
    pub(crate) route: &'a Route,
    pub(crate) end: End,
    /// Whether the route charges for this end.
    pub(crate) is_charged: bool,
    pub(crate) took: Duration,
    pub(crate) measures: &'a Measures<'a>,
    /// How long the request's body was, as far as it went.
    pub(crate) request_bytes: u64,
    /// What the request said.
    pub(crate) stated: Option<&'a Stated>,
    /// What the answer's head said.
    pub(crate) heard: Option<&'a Heard>,
    /// What the upstream reported, by position of the charge.
    pub(crate) reported: &'a [(usize, i64)],
    /// What a model used.
    pub(crate) call: Option<&'a CallUsed<'a>>,
    /// What was held when the request was admitted, by position of the charge.
    pub(crate) first: &'a Needs,
    /// What is held.
    pub(crate) needs: &'a Needs,
    /// Whether a limit can refuse more of the charge at a position.
    pub(crate) is_limited: &'a dyn Fn(usize) -> bool,
    /// Whether what nobody said is counted: once for each exchange.
    pub(crate) counts_missing: bool,
}

/// What is charged of each meter of the route, in its order; `charged` is empty before.
pub(crate) fn charge<'a>(settling: &Settling<'a>, charged: &mut Charges<'a>) {
    let charges = &settling.route.charges;
    for (position, charge) in charges.iter().take(SETTLEMENT_CHARGES_MAX).enumerate() {
        charged.push(settling.meter(position, charge));
    }
    for (position, charge) in charges.iter().enumerate().filter(|(_, charge)| !charge.made_of.is_empty()) {
        if settling.is_decided(position, charge).is_some() {
            continue;
        }
        let made = charge.made_from(|part| charged.get(part).map_or(0, |part| part.amount));
        let mut parts = charge.made_of.iter().filter_map(|(part, _)| charged.get(*part));
        let estimated = parts.any(|part| part.estimated);
        if let Some(whole) = charged.get_mut(position) {
            whole.amount = whole.amount.saturating_add(made);
            whole.estimated |= estimated;
        }
    }
}

impl<'a> Settling<'a> {
    /// What is charged of a meter whatever its parts come to; `None` where they are added up.
    fn is_decided(&self, position: usize, charge: &RouteCharge) -> Option<(i64, bool)> {
        let of = |amounts: &Needs| amounts.get(position).copied().unwrap_or(0);
        let report = self.reported.iter().find(|(at, _)| *at == position).map(|(_, amount)| *amount);
        match (report, self.measures.model) {
            (_, Model::Said { amounts, .. }) => Some((of(amounts), false)),
            _ if !self.is_charged => Some((0, false)),
            (None, Model::Owed(owed)) if charge.is_of_model => {
                let owes = of(&owed.amounts);
                Some(if owed.has_unread { (owes.max(of(self.needs)), true) } else { (owes, false) })
            }
            _ if self.call.is_some_and(|used| !charge.counts_model(used.asked.or(used.model))) => {
                Some((0, false))
            }
            (report, _) => report.map(|amount| (amount, false)),
        }
    }

    /// What is charged of a meter but for what it is made of.
    fn meter(&self, position: usize, charge: &'a RouteCharge) -> Charged<'a> {
        if let Some((amount, estimated)) = self.is_decided(position, charge) {
            return Charged { amount, estimated, ..Charged::default() };
        }
        match charge.constant {
            Some(amount) => {
                let constant = Charged { amount, ..Charged::default() };
                debug_assert_eq!(constant, self.sum(position, charge));
                constant
            }
            None => self.sum(position, charge),
        }
    }

    /// The sum of a meter's own parts.
    fn sum(&self, position: usize, charge: &'a RouteCharge) -> Charged<'a> {
        let mut sum = Charged::default();
        let mut is_unsaid = false;
        for (number, part) in (charge.first_part..).zip(&charge.parts) {
            let Some(one) = self.part((position, charge), (number, part)) else { continue };
            sum.amount = sum.amount.saturating_add(one.amount);
            sum.estimated |= one.estimated;
            sum.resource = sum.resource.or(one.resource);
            sum.job = sum.job.or(one.job);
            sum.is_uncertain |= one.is_uncertain;
            is_unsaid |= self.call.is_some_and(|used| {
                part.of_model().is_some_and(|(measure, _)| used.amount(measure).is_none())
            });
        }
        // Where the answer does not say it, what was held for it, or what was written where that is more; not what was
        // set aside ahead of it.
        if is_unsaid {
            sum.amount = sum.amount.max(self.first.get(position).copied().unwrap_or(0));
        }
        // What nobody counted is not said to have passed a limit.
        let is_held = matches!(self.end, End::Limited { .. } | End::Untold { .. })
            || (sum.estimated && (self.is_limited)(position));
        if self.call.is_some() && charge.has_model_parts() && is_held {
            sum.amount = sum.amount.min(self.needs.get(position).copied().unwrap_or(i64::MAX));
        }
        sum
    }

    /// What a part comes to; `None` where it is not charged.
    fn part(
        &self,
        (position, charge): (usize, &'a RouteCharge),
        (number, part): (usize, &'a Part),
    ) -> Option<Charged<'a>> {
        let stated = self.stated.and_then(|stated| stated.part(number));
        if stated.is_some_and(|stated| stated.is_off)
            || self.is_exempt(part, stated.is_some_and(|stated| stated.may_be_exempt))
        {
            return None;
        }
        let stated_id = stated.and_then(|stated| stated.id.as_deref());
        let success = (200..300).contains(&self.end.answered_with());
        // The service may have done it, and nobody will know: else who hangs up would have it for nothing.
        let is_uncertain = matches!(self.end, End::ClientGone { status: None });
        let is_done = success || is_uncertain;
        let is_gone = !charge.is_shared && GONE.contains(&self.end.answered_with());
        let has_ended = match &part.job {
            Some(Job::Status { ended, .. }) => is_gone || (success && self.are_all_true(ended)),
            Some(Job::Start { .. }) | None => false,
        };
        let job = match &part.job {
            Some(Job::Start { id, time_limit }) if is_done => {
                Some(JobChange::Started { id: self.id(id, stated_id), time_limit: *time_limit })
            }
            Some(Job::Status { id, .. }) if has_ended => {
                Some(JobChange::Ended { id: self.id(id, stated_id) })
            }
            Some(_) | None => None,
        };
        if let Some(Job::Status { .. }) = &part.job {
            return Some(Charged { job, ..Charged::default() });
        }
        // What was not stored takes no room, and what was not deleted gives none back.
        let frees = part.resource.is_some() && matches!(part.amount, PartAmount::Constant(0)) && is_gone;
        if charge.kind == MeterKind::Level && !is_done && !frees {
            return None;
        }
        let resource = part.resource.as_ref().map(|id| self.id(id, stated_id));
        let (amount, estimated) = match &part.amount {
            PartAmount::Constant(amount) => (*amount, false),
            PartAmount::Measured(measured) => {
                self.amount((position, charge), measured, stated.and_then(|stated| stated.amount))
            }
        };
        let is_uncertain = is_uncertain && (charge.kind == MeterKind::Level || job.is_some());
        if is_uncertain && amount <= 0 {
            return None;
        }
        Some(Charged { amount, estimated: estimated || is_uncertain, resource, job, is_uncertain })
    }

    /// Whether the answer shows that the part is not for this exchange.
    fn is_exempt(&self, part: &Part, may_be_exempt: bool) -> bool {
        if part.only_if.is_empty() && part.unless.is_empty() {
            return false;
        }
        let has_all = || {
            part.unless
                .iter()
                .filter(|test| !test.is_of_request())
                .all(|test| self.is_true(test) == Some(true))
        };
        part.only_if.iter().any(|test| self.is_true(test) == Some(false)) || (may_be_exempt && has_all())
    }

    fn missed(&self, charge: &RouteCharge) {
        if self.counts_missing {
            charge.missed();
        }
    }

    fn are_all_true(&self, tests: &[Test]) -> bool {
        tests.iter().all(|test| self.is_true(test) == Some(true))
    }

    fn is_true(&self, test: &Test) -> Option<bool> {
        let outcome = match self.end {
            _ if self.call.is_some_and(|used| used.has_failed) => Outcome::Status(502),
            End::ClientGone { status: None } => Outcome::Unknown,
            End::NoAnswer { .. } => Outcome::NoAnswer,
            end => Outcome::Status(end.answered_with()),
        };
        test.of_answer(outcome, self.heard, self.measures.fields)
    }

    /// How much a measured part is, and whether that is an estimate.
    fn amount(
        &self,
        (position, charge): (usize, &RouteCharge),
        measured: &Measured,
        stated: Option<StatedAmount>,
    ) -> (i64, bool) {
        let bytes = |bytes: u64| {
            let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
            (measured.conversion.apply_whole(bytes), false)
        };
        // Where it is the only part, more may be held by now.
        let only = self.needs.get(position).filter(|_| charge.parts.len() == 1 && charge.made_of.is_empty());
        let held = only.copied().unwrap_or(measured.hold);
        let said = match &measured.source {
            Source::Llm(measure) => {
                let Some(used) = self.call else { return (held, held != 0) };
                let converted = |amount| measured.conversion.apply_whole(amount);
                return match used.amount(*measure) {
                    Some(amount) => (converted(amount), used.is_estimated()),
                    None => (converted(used.written(*measure)), true),
                };
            }
            Source::RequestBytes => return bytes(self.request_bytes),
            Source::ResponseBytes => return bytes(self.measures.response_bytes),
            Source::Duration => milliseconds(self.took).map_or(Said::Wrong, Said::Value),
            Source::Upstream => Said::Missing,
            Source::At(At::ResponseHeader(number)) => {
                self.heard.map_or(Said::Missing, |heard| header::number(heard.all(*number)))
            }
            Source::At(At::ResponseField(number)) => {
                self.measures.fields.map_or(Said::Wrong, |fields| fields.amount(*number))
            }
            Source::At(At::RequestHeader(_) | At::RequestField(_)) | Source::Memory(_) => {
                let Some(StatedAmount { amount, is_estimated, is_missing }) = stated else {
                    return (held, held != 0);
                };
                if is_missing {
                    self.missed(charge);
                }
                return (amount, is_estimated);
            }
        };
        let sensible = |value: &Decimal| !value.is_negative() || charge.kind == MeterKind::Level;
        let amount = match said {
            Said::Value(value) => {
                Some(value).filter(sensible).and_then(|value| measured.conversion.apply(value))
            }
            Said::Missing | Said::Wrong => None,
        };
        match (amount, measured.missing) {
            (Some(amount), _) => (amount, false),
            // An answer that says that the work was not done need not say how much of it.
            (None, _) if !matches!(measured.source, Source::Upstream) && self.end.answered_with() >= 400 => {
                (0, false)
            }
            (None, Missing::Instead(amount)) => (amount, false),
            (None, Missing::Nothing) => {
                self.missed(charge);
                (0, false)
            }
            (None, Missing::Hold | Missing::Refuse) => {
                self.missed(charge);
                (held, held != 0)
            }
        }
    }

    fn id(&self, at: &'a IdAt, stated: Option<&'a str>) -> Id<'a> {
        let heard = match at {
            IdAt::At(At::ResponseHeader(number)) => {
                self.heard.and_then(|heard| header::id(heard.all(*number)))
            }
            IdAt::At(At::ResponseField(number)) => {
                match self.measures.fields.map(|fields: &'a FieldReader| fields.id(*number)) {
                    Some(Said::Value(id)) => Some(id),
                    Some(Said::Missing | Said::Wrong) | None => None,
                }
            }
            IdAt::Path | IdAt::At(At::RequestHeader(_) | At::RequestField(_)) => stated,
        };
        heard.and_then(resources::named).map_or(Id::Unnamed, Id::Named)
    }
}

/// Exactly, since what is begun may count whole.
fn milliseconds(took: Duration) -> Option<Decimal> {
    const PLACES: u32 = 6;
    Decimal::with_places(i64::try_from(took.as_nanos()).ok()?, PLACES)
}
