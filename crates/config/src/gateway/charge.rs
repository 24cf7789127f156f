//! `charge = [ … ]` of a route: which meters, how much.

use tollgate_core::{MeterIndex, MeterKind, SETTLEMENT_CHARGES_MAX};
use toml::de::DeValue;

use super::{Reader, counted::Counted};
use crate::{
    item::Item,
    nearest::suggest,
    number::{self, Unit},
    report::Flaw,
    section::Section,
    text::quote,
};

const EXAMPLE: &str = "[{ meter = \"api_calls\" }]";

/// At least one of what is measured must be left for work to begin.
const HOLD_DEFAULT: i64 = 1;

const MEASURES: [(&str, Measure); 9] = [
    ("llm.total_tokens", Measure::LlmTotalTokens),
    ("llm.input_tokens", Measure::LlmInputTokens),
    ("llm.output_tokens", Measure::LlmOutputTokens),
    ("llm.cached_tokens", Measure::LlmCachedTokens),
    ("llm.reasoning_tokens", Measure::LlmReasoningTokens),
    ("llm.cost", Measure::LlmCost),
    ("request.bytes", Measure::RequestBytes),
    ("response.bytes", Measure::ResponseBytes),
    ("upstream", Measure::Upstream),
];

/// What one request uses of one meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteCharge {
    /// Which meter.
    pub meter: MeterIndex,
    /// How much.
    pub amount: Amount,
}

/// How much of a meter a request uses, of money in billionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// Always so much; negative only for a level that gives back, never zero.
    Constant(i64),
    /// What turns out to have been used.
    Measured {
        /// Where the measure comes from.
        source: Measure,
        /// What is set aside while the request runs; 0 only for a level.
        hold: i64,
    },
}

/// Where a measured amount comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Measure {
    /// `"llm.total_tokens"`: input and output tokens of the model's answer.
    LlmTotalTokens,
    /// `"llm.input_tokens"`: input tokens, those of caches included.
    LlmInputTokens,
    /// `"llm.output_tokens"`: output tokens, reasoning included.
    LlmOutputTokens,
    /// `"llm.cached_tokens"`: input tokens that were read from a cache.
    LlmCachedTokens,
    /// `"llm.reasoning_tokens"`: output tokens of reasoning.
    LlmReasoningTokens,
    /// `"llm.cost"`: what the tokens cost by `[prices]`, in billionths of its currency's unit.
    LlmCost,
    /// `"request.bytes"`: bytes of the request's body.
    RequestBytes,
    /// `"response.bytes"`: bytes of the response's body.
    ResponseBytes,
    /// `"upstream"`: what the upstream says in `X-Usage-<meter>`, for money in billionths.
    Upstream,
}

impl Measure {
    /// Whether it is taken from a model's answer.
    #[must_use]
    pub const fn is_llm(self) -> bool {
        match self {
            Self::LlmTotalTokens
            | Self::LlmInputTokens
            | Self::LlmOutputTokens
            | Self::LlmCachedTokens
            | Self::LlmReasoningTokens
            | Self::LlmCost => true,
            Self::RequestBytes | Self::ResponseBytes | Self::Upstream => false,
        }
    }
}

/// Whether a charge depends on a model: on its work, or on which one is asked for. One that has a mistake may.
pub(super) fn is_llm(written: Option<&Item<'_>>, read: Option<&[RouteCharge]>, reader: Reader<'_>) -> bool {
    let Some(plans) = reader.names.0 else { return true };
    let count = written.map_or(0, |item| item.value().as_array().map_or(1, |list| list.len()));
    let read = read.unwrap_or_default();
    let is_narrowed =
        |meter: MeterIndex| plans.meters.get(meter.0).is_some_and(|meter| !meter.models.is_empty());
    let is_measured = |amount| matches!(amount, Amount::Measured { source, .. } if source.is_llm());
    read.len() < count || read.iter().any(|charge| is_narrowed(charge.meter) || is_measured(charge.amount))
}

/// The whole list, each meter at most once.
pub(super) fn read_all(item: &Item<'_>, reader: Reader<'_>) -> Option<Vec<RouteCharge>> {
    let mut charges: Vec<RouteCharge> = Vec::new();
    for item in item.list(SETTLEMENT_CHARGES_MAX, EXAMPLE)? {
        let charge = item.table("{ meter = \"api_calls\" }", |section| RouteCharge::read(section, reader));
        let Some(charge) = charge.flatten() else { continue };
        let is_known = reader.names.0.is_some();
        if is_known && charges.iter().any(|other| other.meter == charge.meter) {
            item.wrong(Flaw::new("the route charges this meter twice", "leave one"));
        }
        charges.push(charge);
    }
    Some(charges)
}

impl RouteCharge {
    fn read(section: &mut Section<'_>, reader: Reader<'_>) -> Option<Self> {
        let meter = section.need("meter", "meter = \"api_calls\"");
        let meter = meter.and_then(|item| reader.names.meter(&item));
        let counted = Counted::of(meter, reader);
        let amount = section.get("amount");
        let hold = section.get("hold");
        let amount = match amount {
            None => {
                if let Some(currency) = counted.currency {
                    let message =
                        format!("the meter counts {currency}, and what a request costs is not said");
                    section.wrong(Flaw::new(
                        message,
                        "add amount = \"llm.cost\", or a sum as in amount = \"0.05\"",
                    ));
                }
                Some(Amount::Constant(1))
            }
            Some(item) => Amount::read(&item, counted),
        };
        let amount = match (amount, hold) {
            (Some(Amount::Measured { source, hold: default }), Some(hold)) => {
                let hold = read_hold(&hold, counted).unwrap_or(default);
                Some(Amount::Measured { source, hold })
            }
            (Some(Amount::Constant(_)), Some(hold)) => {
                let message = "a constant amount is known beforehand: all of it is held";
                hold.wrong_key(Flaw::new(message, "remove hold"));
                amount
            }
            (amount, _) => amount,
        };
        Some(Self { meter: meter?, amount: amount? })
    }
}

impl Amount {
    fn read(item: &Item<'_>, counted: Counted<'_>) -> Option<Self> {
        match item.value() {
            DeValue::String(text) if counted.is_sum(text) => {
                let amount = item.check(number::amount(text, Unit::Money))?;
                Some(Self::constant(item, amount, "a sum"))
            }
            DeValue::String(name) => {
                let measures = || MEASURES.iter().map(|(name, _)| *name);
                let Some((_, source)) = MEASURES.iter().find(|(known, _)| known == name) else {
                    let message = format!("{} is not measured", quote(name));
                    item.wrong(Flaw::new(message, suggest(name, measures())));
                    return None;
                };
                if let Err(flaw) = counted.check(*source) {
                    item.wrong(flaw);
                }
                Some(Self::Measured { source: *source, hold: HOLD_DEFAULT })
            }
            DeValue::Integer(integer) => {
                let digits = integer.as_str();
                let read = |digits| item.check(counted.unit().integer(digits, integer.radix()));
                let amount = match digits.strip_prefix('-') {
                    Some(digits) if counted.kind == MeterKind::Level => read(digits).map(|amount| -amount),
                    Some(_) => {
                        let message = format!("{digits} is negative, and only a level can be given back");
                        item.wrong(Flaw::new(message, "write 1 or more"));
                        None
                    }
                    None => read(digits),
                }?;
                Some(Self::constant(item, amount, "1 or more"))
            }
            DeValue::Float(float) => item.check(Err(counted.unit().float(float.as_str()))),
            DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                item.wrong_type("a whole number or what is measured", "1 or \"llm.total_tokens\"")
            }
        }
    }

    fn constant(item: &Item<'_>, amount: i64, better: &str) -> Self {
        if amount == 0 {
            item.wrong(Flaw::new("0 charges nothing", format!("remove this charge, or write {better}")));
        }
        Self::Constant(amount)
    }
}

fn read_hold(item: &Item<'_>, counted: Counted<'_>) -> Option<i64> {
    let is_sum = item.value().as_str().is_some_and(|text| counted.is_sum(text));
    let hold = item.amount(if is_sum { Unit::Money } else { counted.unit() })?;
    if hold == 0 && counted.kind != MeterKind::Level {
        let message = "holding 0 would admit requests when nothing is left";
        item.wrong(Flaw::new(message, "write what a request usually needs, 1 or more"));
    }
    Some(hold)
}
