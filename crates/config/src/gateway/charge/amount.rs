//! `amount` of a charge: how much, or where that is said.

use tollgate_core::{Conversion, MeterKind};
use toml::de::DeValue;

use super::{MemorySize, Missing, Place, counted::Counted};
use crate::{
    item::Item,
    nearest::{nearest, suggest},
    number::{self, Unit},
    report::Flaw,
    text::quote,
};

/// At least one of what is measured must be left for work to begin.
const HOLD_DEFAULT: i64 = 1;

/// What a charge calls the size of a memory.
const MEMORY_SIZE: &str = "memory.size";

const MEASURES: [(&str, Measure); 10] = [
    ("llm.total_tokens", Measure::Llm(LlmMeasure::TotalTokens)),
    ("llm.input_tokens", Measure::Llm(LlmMeasure::InputTokens)),
    ("llm.output_tokens", Measure::Llm(LlmMeasure::OutputTokens)),
    ("llm.cached_tokens", Measure::Llm(LlmMeasure::CachedTokens)),
    ("llm.reasoning_tokens", Measure::Llm(LlmMeasure::ReasoningTokens)),
    ("llm.cost", Measure::Llm(LlmMeasure::Cost)),
    ("request.bytes", Measure::RequestBytes),
    ("response.bytes", Measure::ResponseBytes),
    ("duration", Measure::Duration),
    ("upstream", Measure::Upstream),
];

/// How much of a meter a request uses, of money in billionths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Amount {
    /// Always so much; negative only for a level that gives back, zero only for a resource that is gone.
    Constant(i64),
    /// What turns out to have been used.
    Measured(Measured),
}

/// An amount that turns out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Where it comes from.
    pub source: Measure,
    /// What is set aside while the request runs and does not say itself what it needs; 0 only for a level.
    pub hold: i64,
    /// How it becomes an amount of the meter.
    pub conversion: Conversion,
    /// What a missing or wrong value does.
    pub missing: Missing,
}

/// Where a measured amount comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Measure {
    /// `"llm.…"`: what a model's answer says.
    Llm(LlmMeasure),
    /// `"request.bytes"`: bytes of the request's body.
    RequestBytes,
    /// `"response.bytes"`: bytes of the response's body.
    ResponseBytes,
    /// `"duration"`: milliseconds from admission to settlement.
    Duration,
    /// `"upstream"`: what the upstream says in `X-Usage-<meter>`, for money in billionths.
    Upstream,
    /// A number in a header or a body.
    At(Place),
    /// `"memory.size"`: bytes of the memory that the request stores.
    MemorySize(Box<MemorySize>),
}

/// What is measured of a model's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LlmMeasure {
    /// `"llm.total_tokens"`: input and output tokens.
    TotalTokens,
    /// `"llm.input_tokens"`: input tokens, those of caches included.
    InputTokens,
    /// `"llm.output_tokens"`: output tokens, reasoning included.
    OutputTokens,
    /// `"llm.cached_tokens"`: input tokens that were read from a cache.
    CachedTokens,
    /// `"llm.reasoning_tokens"`: output tokens of reasoning.
    ReasoningTokens,
    /// `"llm.cost"`: what the tokens cost by `[prices]`, in billionths of its currency's unit.
    Cost,
}

impl Measure {
    /// Whether the request says it, before it is forwarded.
    #[must_use]
    pub fn is_of_request(&self) -> bool {
        match self {
            Self::At(place) => place.is_of_request(),
            Self::MemorySize(_) => true,
            Self::Llm(_) | Self::RequestBytes | Self::ResponseBytes | Self::Duration | Self::Upstream => {
                false
            }
        }
    }
}

/// An amount as it is written, before it is known what else the charge says of it.
pub(super) enum Written {
    Constant(i64),
    Measure(Measure),
}

impl Written {
    pub(super) fn read(item: &Item<'_>, memory: Option<&Item<'_>>, counted: Counted<'_>) -> Option<Self> {
        match item.value() {
            DeValue::String(text) if counted.is_sum(text) => {
                item.check(number::amount(text, Unit::Money)).map(Self::Constant)
            }
            DeValue::String(name) => read_measure(item, name, memory).map(Self::Measure),
            DeValue::Integer(integer) => {
                let digits = integer.as_str();
                let read = |digits| item.check(counted.unit().integer(digits, integer.radix()));
                match digits.strip_prefix('-') {
                    Some(digits) if counted.kind == MeterKind::Level => read(digits).map(|amount| -amount),
                    Some(_) => {
                        let message = format!("{digits} is negative, and only a level can be given back");
                        item.wrong(Flaw::new(message, "write 1 or more"));
                        None
                    }
                    None => read(digits),
                }
                .map(Self::Constant)
            }
            DeValue::Float(float) => item.check(Err(counted.unit().float(float.as_str()))),
            DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                item.wrong_type("a whole number or what is measured", "1 or \"llm.total_tokens\"")
            }
        }
    }
}

fn read_measure(item: &Item<'_>, name: &str, memory: Option<&Item<'_>>) -> Option<Measure> {
    if name == MEMORY_SIZE {
        return MemorySize::read(memory).map(Box::new).map(Measure::MemorySize);
    }
    if let Some((_, measure)) = MEASURES.iter().find(|(known, _)| *known == name) {
        return Some(measure.clone());
    }
    if let Some(place) = Place::parse(name) {
        return item.check(place).map(Measure::At);
    }
    let names = || MEASURES.iter().map(|(name, _)| *name).chain([MEMORY_SIZE]);
    let suggestion = match nearest(name, names()) {
        Some(_) => suggest(name, names()),
        None => format!("{}, or a place, as in \"response.json:/items/*/pages\"", suggest(name, names())),
    };
    item.wrong(Flaw::new(format!("{} is not measured", quote(name)), suggestion));
    None
}

/// What is held where `hold` says it, or else the least.
pub(super) fn read_hold(item: Option<&Item<'_>>, counted: Counted<'_>) -> i64 {
    let Some(item) = item else { return HOLD_DEFAULT };
    let is_sum = item.value().as_str().is_some_and(|text| counted.is_sum(text));
    let Some(hold) = item.amount(if is_sum { Unit::Money } else { counted.unit() }) else {
        return HOLD_DEFAULT;
    };
    if hold == 0 && counted.kind != MeterKind::Level {
        let message = "holding 0 would admit requests when nothing is left";
        item.wrong(Flaw::new(message, "write what a request usually needs, 1 or more"));
    }
    hold
}
