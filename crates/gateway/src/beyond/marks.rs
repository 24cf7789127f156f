//! What events say about use beyond limits.

use std::{cell::OnceCell, fmt::Write as _};

use tollgate_core::{Charge, Over, Overage, Price, Settlement, metadata};
use tollgate_ledger::METADATA_BYTES_MAX;
use tollgate_quota::Before;

use crate::live::{Grant, RouteCharge};

/// Adds to the metadata of a settlement what of it lies beyond limits: `"grace": true` for the limits in `graces`, and
/// what is charged for as overage, by what was settled `before`. The text is kept in `text`.
pub(crate) fn mark<'s>(
    settlement: &mut Settlement<'s>,
    text: &'s OnceCell<String>,
    (grant, charges): (&Grant, &[RouteCharge]),
    graces: u32,
    before: &Before<'_>,
) {
    if grant.beyond.is_none() {
        return;
    }
    let mut own = String::new();
    for charged in &settlement.charges {
        let object = one(grant, charges, charged, graces, before);
        if let Some(object) = object {
            metadata::add_for_meter(&mut own, charged.meter, &object);
        }
    }
    if own.is_empty() {
        return;
    }
    // Of what is too long to be kept, what costs money is.
    let shared = settlement.metadata.filter(|shared| shared.len() + own.len() <= METADATA_BYTES_MAX);
    let all = text.get_or_init(|| shared.unwrap_or_default().to_owned() + &own);
    settlement.metadata = Some(all);
}

/// One JSON object with what is beyond the limits of one meter, if anything is.
fn one(
    grant: &Grant,
    charges: &[RouteCharge],
    charged: &Charge<'_>,
    graces: u32,
    before: &Before<'_>,
) -> Option<String> {
    let beyond = grant.beyond.as_ref()?;
    let mut object = String::new();
    let mut priced: Option<(usize, Option<Price>)> = None;
    for (check, (limit, way)) in grant.limits.iter().zip(&beyond.ways).enumerate() {
        if charges.get(limit.charge).is_none_or(|charge| *charge.meter != *charged.meter) {
            continue;
        }
        if graces & 1 << check != 0 && object.is_empty() {
            object.push_str("\"grace\":true");
        }
        // At most one of them has a price.
        if let Over::Charge(price) = way.over
            && (priced.is_none() || price.is_some())
        {
            priced = Some((check, price));
        }
    }
    if let Some((check, price)) = priced {
        let included = &beyond.ways[check].included;
        let included_units = match grant.checks[check].max {
            tollgate_core::Max::AtMost(max) => max,
            tollgate_core::Max::Unlimited => i64::MAX,
        };
        let before = before.settled(check);
        let overage = before.map(|before| Overage::of(price, included_units, before, charged.amount));
        let comma = if object.is_empty() { "" } else { "," };
        match overage {
            Some(overage) if overage.is_none() => {}
            Some(Overage { units, cost }) => {
                let _ = write!(object, "{comma}\"overage\":{{\"limit\":\"{included}\",\"units\":{units}");
                if let (Some(price), Some(cost)) = (price, cost) {
                    let currency = price.currency;
                    let _ = write!(
                        object,
                        ",\"price\":\"{price}\",\"cost\":\"{cost}\",\"currency\":\"{currency}\""
                    );
                }
                object.push('}');
            }
            // Its window ended so long ago that how much was used in it is not known here any more.
            None if charged.amount != 0 => {
                let _ = write!(object, "{comma}\"overage\":{{\"limit\":\"{included}\",\"unknown\":true}}");
            }
            None => {}
        }
    }
    (!object.is_empty()).then(|| format!("{{{object}}}"))
}
