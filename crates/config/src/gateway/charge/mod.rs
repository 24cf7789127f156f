//! `charge = [ … ]` of a route: which meters, how much.

mod amount;
mod conditions;
mod conversion;
mod counted;
mod looked_at;
mod memory;
mod missing;
mod place;
mod reserved;
mod resource;
mod units;

pub use amount::{Amount, LlmMeasure, Measure, Measured};
pub use conditions::{Condition, Conditions};
pub(crate) use conversion::read_ratio;
pub use memory::MemorySize;
pub use missing::Missing;
pub use place::Place;
pub use resource::{IdPlace, Job};
use tollgate_core::{MeterIndex, MeterKind, Plans, Pointer, SETTLEMENT_CHARGES_MAX, Scope};

use self::{amount::Written, counted::Counted};
use super::Reader;
use crate::{item::Item, report::Flaw, section::Section};

const EXAMPLE: &str = "[{ meter = \"api_calls\" }]";

/// As many as a route has meters at most, each with several parts and conditions.
const CHARGES_MAX: usize = 32;

/// A part of what one request uses of one meter. What several say of the same meter adds up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteCharge {
    /// Which meter.
    pub meter: MeterIndex,
    /// How much.
    pub amount: Amount,
    /// What must be true of a request to be charged.
    pub only_if: Conditions,
    /// What is true of requests that are not charged; without conditions, of none.
    pub unless: Option<Conditions>,
    /// What takes the amount, so that what it has is set and not added.
    pub resource: Option<IdPlace>,
    /// The job that takes the slot.
    pub job: Option<Job>,
}

/// Whether a charge depends on a model: on its work, or on which one is asked for. One that has a mistake may.
pub(super) fn is_llm(written: Option<&Item<'_>>, read: Option<&[RouteCharge]>, reader: Reader<'_>) -> bool {
    let Some(plans) = reader.names.0 else { return true };
    let count = written.map_or(0, |item| item.value().as_array().map_or(1, |list| list.len()));
    let read = read.unwrap_or_default();
    let is_narrowed =
        |meter: MeterIndex| plans.meters.get(meter.0).is_some_and(|meter| !meter.models.is_empty());
    let is_measured =
        |amount: &Amount| matches!(amount, Amount::Measured(Measured { source: Measure::Llm(_), .. }));
    read.len() < count
        || read.iter().any(|charge| is_measured(&charge.amount))
        || charged_meters(read, plans).any(is_narrowed)
}

/// Each meter that the charges are on, and then each that is made of one of them; once each. What is made of others stands
/// behind them.
pub fn charged_meters(charges: &[RouteCharge], plans: &Plans) -> impl Iterator<Item = MeterIndex> {
    let is_made = |meter: MeterIndex| plans.meters.get(meter.0).is_some_and(|meter| !meter.parts.is_empty());
    let mut meters: Vec<MeterIndex> = Vec::new();
    for RouteCharge { meter, .. } in charges.iter().filter(|charge| !is_made(charge.meter)) {
        if !meters.contains(meter) {
            meters.push(*meter);
        }
    }
    for (index, meter) in plans.meters.iter().enumerate().filter(|(_, meter)| !meter.parts.is_empty()) {
        let is_part = |charge: &RouteCharge| meter.parts.iter().any(|part| part.meter == charge.meter);
        if charges.iter().any(|charge| charge.meter.0 == index || is_part(charge)) {
            meters.push(MeterIndex(index));
        }
    }
    meters.into_iter()
}

/// The whole list.
pub(super) fn read_all(item: &Item<'_>, reader: Reader<'_>) -> Option<Vec<RouteCharge>> {
    let mut charges: Vec<RouteCharge> = Vec::new();
    for item in item.list(CHARGES_MAX, EXAMPLE)? {
        let charge = item.table("{ meter = \"api_calls\" }", |section| RouteCharge::read(section, reader));
        let Some(charge) = charge.flatten() else { continue };
        if reader.names.0.is_some() {
            if charges.contains(&charge) {
                let message = "the route has the same charge twice";
                item.wrong(Flaw::new(message, "leave one, or write a larger amount"));
            }
            let has_id = |charge: &RouteCharge| charge.resource.is_some();
            let is_mixed =
                |other: &RouteCharge| other.meter == charge.meter && has_id(other) != has_id(&charge);
            if charges.iter().any(is_mixed) {
                let message = "some charges of this meter name a resource, and some do not";
                item.wrong(Flaw::new(message, "name it in all of them, or in none"));
            }
            if let Some((own, other)) = other_id(&charge, &charges) {
                let message = format!(
                    "its id is {own}, and that of another charge is {other}, but a request changes one thing"
                );
                item.wrong(Flaw::new(
                    message,
                    "write the same place in both, or only_if = { method = … } with other methods in each, or two routes",
                ));
            }
        }
        charges.push(charge);
    }
    if let Some(plans) = reader.names.0 {
        let meters = charged_meters(&charges, plans).count();
        if meters > SETTLEMENT_CHARGES_MAX {
            let message = format!("the route charges {meters} meters, with those that are made of others");
            item.wrong(Flaw::new(message, format!("charge at most {SETTLEMENT_CHARGES_MAX}")));
        }
    }
    for (body, is_of_request) in [("the request's body", true), ("the answer's body", false)] {
        let fields = looked_at::count(&charges, is_of_request);
        if fields > Pointer::FIELDS_MAX {
            let message = format!("the charges look at {fields} values of {body}");
            item.wrong(Flaw::new(message, format!("look at most at {}", Pointer::FIELDS_MAX)));
        }
    }
    Some(charges)
}

/// Where the charge's id stands, and where that of one of the `others` does, when they stand in different places and the
/// same request may be charged both.
fn other_id<'a>(charge: &'a RouteCharge, others: &'a [RouteCharge]) -> Option<(&'a IdPlace, &'a IdPlace)> {
    let own = charge.id()?;
    let mut other = others.iter().filter(|other| !charge.only_if.excludes(&other.only_if));
    other.find_map(|other| other.id().filter(|id| *id != own)).map(|id| (own, id))
}

impl RouteCharge {
    /// Where the id stands of what it is for.
    fn id(&self) -> Option<&IdPlace> {
        self.resource.as_ref().or_else(|| self.job.as_ref().map(Job::id))
    }

    fn read(section: &mut Section<'_>, reader: Reader<'_>) -> Option<Self> {
        let meter = section.need("meter", "meter = \"api_calls\"");
        let meter = meter.and_then(|item| reader.names.meter(&item));
        let counted = Counted::of(meter, reader);
        let only_if = section.or("only_if", Conditions::default(), Conditions::read);
        let unless = section.maybe("unless", Conditions::read);
        let resource = section.get("resource");
        if let Some(item) = resource.as_ref().filter(|_| !counted.is_level()) {
            let message = "only a level is what exists";
            item.wrong_key(Flaw::new(message, "remove resource, or give the meter kind = \"level\""));
        }
        let is_of_both = meter.is_some_and(|meter| is_of_both(meter, reader));
        refuse_both(resource.as_ref().filter(|_| is_of_both));
        let has_resource = resource.is_some();
        let resource = resource.and_then(|item| IdPlace::read(&item));
        let amount = read_amount(section, counted, has_resource);
        let job = section.get("job");
        if let Some(item) = job.as_ref().filter(|_| !counted.is_concurrent()) {
            let message = "only a meter of what runs now has jobs";
            item.wrong_key(Flaw::new(message, "remove job, or give the meter kind = \"concurrent\""));
        }
        refuse_both(job.as_ref().filter(|_| is_of_both));
        let job = job.and_then(|item| {
            if !matches!(amount, Some(Amount::Constant(1)) | None) {
                item.wrong_key(Flaw::new("a job takes one slot", "remove amount"));
            }
            Job::read(&item)
        });
        // Without its id it would be another charge, with mistakes that are none.
        if has_resource && resource.is_none() {
            return None;
        }
        Some(Self { meter: meter?, amount: amount?, only_if, unless, resource, job })
    }
}

/// Whether a meter has limits of users and limits of organisations, on whatever tiers.
fn is_of_both(meter: MeterIndex, reader: Reader<'_>) -> bool {
    let has = |scope| {
        let tiers = reader.names.0.map_or(&[][..], |plans| &plans.tiers);
        tiers.iter().flat_map(|tier| tier.limits_of(meter)).any(|limit| limit.scope == scope)
    };
    has(Scope::User) && has(Scope::Org)
}

/// What an organisation owns, another of its users than who began it may end: a count of each user's own would not be
/// true then.
fn refuse_both(item: Option<&Item<'_>>) {
    if let Some(item) = item {
        let message =
            "the meter has limits of users and limits of organisations, and what exists belongs to one";
        let suggestion =
            "give all its limits one scope, or charge two meters: one for users, one for organisations";
        item.wrong_key(Flaw::new(message, suggestion));
    }
}

/// `amount`, and all keys that say more of it.
fn read_amount(section: &mut Section<'_>, counted: Counted<'_>, has_resource: bool) -> Option<Amount> {
    let conversion = conversion::Written::of(section);
    let [amount, hold, missing, memory] = ["amount", "hold", "missing", "memory"].map(|key| section.get(key));
    let written = match &amount {
        None => {
            if let Some(currency) = counted.currency {
                let message = format!("the meter counts {currency}, and what a request costs is not said");
                let suggestion = "add amount = \"llm.cost\", or a sum as in amount = \"0.05\"";
                section.wrong(Flaw::new(message, suggestion));
            }
            Some(Written::Constant(1))
        }
        Some(item) => Written::read(item, memory.as_ref(), counted),
    };
    let refuse = |item: &Option<Item<'_>>, why: &str, what: &str| {
        if let Some(item) = item {
            item.wrong_key(Flaw::new(why, format!("remove {what}")));
        }
    };
    if !matches!(&written, Some(Written::Measure(Measure::MemorySize(_))) | None) {
        refuse(&memory, "only amount = \"memory.size\" looks at the parts of a memory", "memory");
    }
    match written? {
        Written::Constant(constant) => {
            conversion.refuse("a constant amount is what it is");
            refuse(&hold, "a constant amount is known beforehand: all of it is held", "hold");
            refuse(&missing, "a constant amount is always known", "missing");
            if let Some(item) = amount.filter(|_| constant == 0 && !has_resource) {
                let better = if counted.currency.is_some() { "a sum" } else { "1 or more" };
                item.wrong(Flaw::new("0 charges nothing", format!("remove this charge, or write {better}")));
            }
            if constant < 0 && has_resource {
                section.wrong(Flaw::new(
                    "what a resource has is 0 or more",
                    "write amount = 0 where it is deleted",
                ));
            }
            Some(Amount::Constant(constant))
        }
        Written::Measure(source) => {
            if let (Err(flaw), Some(item)) = (counted.check(&source, conversion.has_scale()), &amount) {
                item.wrong(flaw);
            }
            let missing = missing.and_then(|item| Missing::read(&item, &source, counted));
            Some(Amount::Measured(Measured {
                hold: amount::read_hold(hold.as_ref(), counted),
                conversion: conversion.read(&source, counted),
                missing: missing.unwrap_or_else(|| Missing::default_of(&source)),
                source,
            }))
        }
    }
}

impl Counted<'_> {
    fn is_level(self) -> bool {
        self.kind == MeterKind::Level
    }

    fn is_concurrent(self) -> bool {
        self.kind == MeterKind::Concurrent
    }
}
