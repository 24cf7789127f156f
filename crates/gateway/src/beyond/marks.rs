//! What events say about use beyond limits.

use std::{cell::OnceCell, fmt::Write as _};

use tollgate_core::{Charge, Max, Over, Overage, Price, Settlement, metadata};
use tollgate_ledger::METADATA_BYTES_MAX;
use tollgate_quota::Before;

use crate::live::{Grant, RouteCharge};

/// What is known of a settlement when it is made.
#[derive(Clone, Copy)]
struct Known<'a> {
    grant: &'a Grant,
    charges: &'a [RouteCharge],
    /// The limits that it was admitted beyond, one bit each.
    graces: u32,
    before: &'a Before<'a>,
}

/// Adds to the metadata of a settlement what [`marked`] adds.
pub(crate) fn mark<'s>(
    settlement: &mut Settlement<'s>,
    text: &'s OnceCell<String>,
    limits: (&Grant, &[RouteCharge]),
    graces: u32,
    before: &Before<'_>,
) {
    let charged = (&*settlement.charges, settlement.metadata);
    settlement.metadata = marked(charged, text, limits, graces, before);
}

/// The metadata of what is charged, with what of it lies beyond limits: `"grace": true` for the limits in `graces`, and
/// what is charged for as overage, by what was settled `before`. The text is kept in `text`.
pub(crate) fn marked<'s>(
    (charged, metadata): (&[Charge<'_>], Option<&'s str>),
    text: &'s OnceCell<String>,
    (grant, charges): (&Grant, &[RouteCharge]),
    graces: u32,
    before: &Before<'_>,
) -> Option<&'s str> {
    if grant.beyond.is_none() {
        return metadata;
    }
    let known = Known { grant, charges, graces, before };
    let mut own = String::new();
    for charged in charged {
        if let Some(object) = known.object(charged) {
            metadata::add_for_meter(&mut own, charged.meter, &object);
        }
    }
    if own.is_empty() {
        return metadata;
    }
    // Of what is too long to be kept, what costs money is.
    let shared = metadata.filter(|shared| shared.len() + own.len() <= METADATA_BYTES_MAX);
    Some(text.get_or_init(|| shared.unwrap_or_default().to_owned() + &own))
}

impl Known<'_> {
    /// One JSON object with what is beyond the limits of one meter, if anything is.
    fn object(self, charged: &Charge<'_>) -> Option<String> {
        let grace = self.is_in_grace(charged).then(|| "\"grace\":true".to_owned());
        let members: Vec<String> = grace.into_iter().chain(self.overage(charged)).collect();
        (!members.is_empty()).then(|| format!("{{{}}}", members.join(",")))
    }

    fn is_in_grace(self, charged: &Charge<'_>) -> bool {
        self.graces != 0 && self.limits_of(charged).any(|check| self.graces & 1 << check != 0)
    }

    /// By the limit that has a price, of which there is one at most, or else by any that charges.
    fn overage(self, charged: &Charge<'_>) -> Option<String> {
        let ways = &self.grant.beyond.as_ref()?.ways;
        let price = |check: usize| match ways.get(check).map(|way| &way.over) {
            Some(Over::Charge(price)) => Some((check, *price)),
            Some(Over::Refuse | Over::Throttle(_)) | None => None,
        };
        let charging = || self.limits_of(charged).filter_map(price);
        let (check, price) = charging().find(|(_, price)| price.is_some()).or_else(|| charging().next())?;
        let Max::AtMost(max) = self.grant.checks.get(check)?.max else { return None };
        let included = &ways.get(check)?.included;
        match self.before.settled(check) {
            Some(before) => written(included, price, Overage::of(price, max, before, charged.amount)),
            // Its window ended so long ago that how much was used in it is not known here any more.
            None if charged.amount != 0 => {
                Some(format!("\"overage\":{{\"limit\":\"{included}\",\"unknown\":true}}"))
            }
            None => None,
        }
    }

    /// The limits of a meter, by their number.
    fn limits_of(self, charged: &Charge<'_>) -> impl Iterator<Item = usize> {
        let Self { grant, charges, .. } = self;
        let is_meant = move |charge: usize| charges.get(charge).is_some_and(|c| *c.meter == *charged.meter);
        let limits = grant.limits.iter().enumerate();
        limits.filter(move |(_, limit)| is_meant(limit.charge)).map(|(check, _)| check)
    }
}

fn written(included: &str, price: Option<Price>, overage: Overage) -> Option<String> {
    if overage.is_none() {
        return None;
    }
    let Overage { units, cost } = overage;
    let mut text = format!("\"overage\":{{\"limit\":\"{included}\",\"units\":{units}");
    if let (Some(price), Some(cost)) = (price, cost) {
        let currency = price.currency;
        let _ = write!(text, ",\"price\":\"{price}\",\"cost\":\"{cost}\",\"currency\":\"{currency}\"");
    }
    text.push('}');
    Some(text)
}
