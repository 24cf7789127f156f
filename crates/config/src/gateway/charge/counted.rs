//! The meter of a charge: what its numbers are, and what can be counted in it.

use tollgate_core::{Currency, Meter, MeterIndex, MeterKind, Plans};

use super::{super::Reader, LlmMeasure, Measure, units::SourceUnit};
use crate::{number::Unit, report::Flaw};

/// What the charged meter counts, and what is known of prices.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted<'p> {
    pub(super) kind: MeterKind,
    /// `None` where the meter is not known.
    unit: Option<Unit>,
    /// As the meter writes it.
    meter_unit: Option<&'p str>,
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
            meter_unit: meter.map(|meter| &*meter.unit),
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

    /// What the meter calls one of it; `None` where the meter is not known.
    pub(super) fn meter_unit(self) -> Option<&'p str> {
        self.meter_unit
    }

    /// What the meter counts, if it is time or size.
    pub(super) fn source_unit(self) -> Option<SourceUnit> {
        self.meter_unit.and_then(SourceUnit::of_meter)
    }

    /// Whether what `source` measures can be counted in the meter's unit; with a scale, which says what one of it is,
    /// everything can.
    pub(super) fn check(self, source: &Measure, has_scale: bool) -> Result<(), Flaw> {
        if self.kind == MeterKind::Concurrent {
            let message = "how many run at once is known beforehand, not measured";
            return Err(Flaw::new(message, "write a whole number, or remove amount to count 1"));
        }
        let Some(plans) = self.plans else { return Ok(()) };
        let prices = plans.prices.as_ref().map(|prices| prices.currency);
        match (source, self.currency, prices) {
            (Measure::Llm(LlmMeasure::Cost), _, None) => {
                let suggestion = "add [prices] with a currency and the prices of models to the tiers file";
                Err(Flaw::new("tokens have no price", suggestion))
            }
            // A meter that is not known, and a currency that is none, are mistakes of their own.
            (Measure::Llm(LlmMeasure::Cost), _, Some(prices))
                if self.unit.is_none() || prices == Currency::NONE =>
            {
                Ok(())
            }
            (Measure::Llm(LlmMeasure::Cost), currency, Some(prices)) if currency != Some(prices) => {
                let message = format!("costs are in {prices}, and the meter does not count it");
                Err(Flaw::new(message, format!("give the meter unit = \"{prices}\", or charge another")))
            }
            (Measure::Llm(LlmMeasure::Cost) | Measure::Upstream | Measure::At(_), _, _) | (_, None, _) => {
                Ok(())
            }
            (_, Some(_), _) if has_scale => Ok(()),
            (_, Some(currency), _) => {
                let message = format!("the meter counts {currency}, which this is not");
                let suggestion =
                    "write \"llm.cost\" or \"upstream\", or what one costs as in scale = \"0.002\"";
                Err(Flaw::new(message, suggestion))
            }
        }
    }
}
