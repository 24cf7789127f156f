//! From parts to meters, and to the meters that are made of these.

use tollgate_core::SETTLEMENT_CHARGES_MAX;

use super::Part;
use crate::{admission::Needs, live::RouteCharge};

/// What each meter comes to where each part comes to what `amount` says of it, which is told the charge's position and the
/// part's number. A meter that does not count comes to nothing.
pub(crate) fn per_meter(
    charges: &[RouteCharge],
    counts: impl Fn(&RouteCharge) -> bool,
    mut amount: impl FnMut((usize, &RouteCharge), (usize, &Part)) -> i64,
) -> Needs {
    let mut sums: Needs = Needs::new();
    for (position, charge) in charges.iter().take(SETTLEMENT_CHARGES_MAX).enumerate() {
        let mut sum = 0_i64;
        if counts(charge) {
            for (number, part) in (charge.first_part..).zip(&charge.parts) {
                sum = sum.saturating_add(amount((position, charge), (number, part)));
            }
        }
        sums.push(sum);
    }
    for (position, charge) in charges.iter().enumerate().filter(|(_, charge)| !charge.made_of.is_empty()) {
        let made =
            if counts(charge) { charge.made_from(|part| sums.get(part).copied().unwrap_or(0)) } else { 0 };
        if let Some(sum) = sums.get_mut(position) {
            *sum = sum.saturating_add(made);
        }
    }
    sums
}
