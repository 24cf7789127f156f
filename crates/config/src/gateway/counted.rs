//! The meter of a charge: what its numbers are, and what can be counted in it.

use tollgate_core::{Currency, Meter, MeterIndex, MeterKind, Plans};

use super::{Measure, Reader};
use crate::{number::Unit, report::Flaw};

/// What the charged meter counts, and what is known of prices.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted<'p> {
    pub(super) kind: MeterKind,
    /// `None` where the meter is not known.
    unit: Option<Unit>,
    pub(super) currency: Option<Currency>,
    /// `None` where the tiers file could not be read: then anything may be right.
    plans: Option<&'p Plans>,
}

impl<'p> Counted<'p> {
    pub(super) fn of(meter: Option<MeterIndex>, reader: Reader<'p>) -> Self {
        let plans = reader.names.0;
        let meter = plans.and_then(|plans| plans.meters.get(meter?.0));
        // Levels allow everything.
        let unknown = if plans.is_some() { MeterKind::Count } else { MeterKind::Level };
        Self {
            kind: meter.map_or(unknown, |meter| meter.kind),
            unit: meter.map(|meter| Unit::of(&meter.unit)),
            currency: meter.and_then(Meter::currency),
            plans,
        }
    }

    /// Whether `text` is meant to be a sum of money.
    pub(super) fn is_sum(self, text: &str) -> bool {
        let is_number = text.trim_start().starts_with(|c: char| c.is_ascii_digit() || c == '-');
        match self.unit {
            Some(unit) => is_number && unit == Unit::Money,
            None => is_number && text.contains('.'),
        }
    }

    pub(super) fn unit(self) -> Unit {
        self.unit.unwrap_or(Unit::Count)
    }

    /// Whether what `source` measures can be counted in the meter's unit.
    pub(super) fn check(self, source: Measure) -> Result<(), Flaw> {
        if self.kind == MeterKind::Concurrent {
            let message = "how many run at once is known beforehand, not measured";
            return Err(Flaw::new(message, "write a whole number, or remove amount to count 1"));
        }
        let Some(plans) = self.plans else { return Ok(()) };
        let prices = plans.prices.as_ref().map(|prices| prices.currency);
        match (source, self.currency, prices) {
            (Measure::LlmCost, _, None) => {
                let suggestion = "add [prices] with a currency and the prices of models to the tiers file";
                Err(Flaw::new("tokens have no price", suggestion))
            }
            // A meter that is not known, and a currency that is none, are mistakes of their own.
            (Measure::LlmCost, _, Some(prices)) if self.unit.is_none() || prices == Currency::NONE => Ok(()),
            (Measure::LlmCost, currency, Some(prices)) if currency != Some(prices) => {
                let message = format!("costs are in {prices}, and the meter does not count it");
                Err(Flaw::new(message, format!("give the meter unit = \"{prices}\", or charge another")))
            }
            (Measure::LlmCost | Measure::Upstream, _, _) | (_, None, _) => Ok(()),
            (_, Some(currency), _) => {
                let message = format!("the meter counts {currency}, which this is not");
                Err(Flaw::new(message, "write \"llm.cost\" or \"upstream\", or charge another meter"))
            }
        }
    }
}
