//! `missing` of a charge: what a value does that is not there, or makes no sense.

use toml::de::DeValue;

use super::{Measure, counted::Counted};
use crate::{item::Item, nearest::suggest, report::Flaw, text::quote};

/// What a missing or wrong value does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The request is refused before it is forwarded. Only for what a request says itself.
    Refuse,
    /// So much is charged in its place, in the meter's unit.
    Instead(i64),
    /// Nothing is charged, and it is counted in a metric.
    Nothing,
    /// What was held is charged as an estimate, and it is counted in a metric.
    Hold,
}

const WORDS: [(&str, Missing); 3] =
    [("refuse", Missing::Refuse), ("nothing", Missing::Nothing), ("hold", Missing::Hold)];

impl Missing {
    /// Where nothing is written.
    pub(super) fn default_of(source: &Measure) -> Self {
        if source.is_of_request() { Self::Refuse } else { Self::Hold }
    }

    pub(super) fn read(item: &Item<'_>, source: &Measure, counted: Counted<'_>) -> Option<Self> {
        match source {
            Measure::At(_) | Measure::MemorySize(_) | Measure::Upstream => {}
            Measure::Llm(_) => {
                let message = "what a model does not say is estimated";
                item.wrong_key(Flaw::new(message, "remove missing"));
                return None;
            }
            Measure::RequestBytes | Measure::ResponseBytes | Measure::Duration => {
                item.wrong_key(Flaw::new("this is always known", "remove missing"));
                return None;
            }
        }
        match item.value() {
            DeValue::String(text) if !counted.is_sum(text) => {
                let words = || WORDS.iter().map(|(word, _)| *word);
                let found = WORDS.iter().find(|(word, _)| word == text).map(|(_, missing)| *missing);
                match found {
                    Some(Self::Refuse) if !source.is_of_request() => {
                        let message = "an answer is there after the work is done, and cannot be refused";
                        item.wrong(Flaw::new(message, "write \"hold\", \"nothing\" or a number"));
                    }
                    Some(_) => {}
                    None => item
                        .wrong(Flaw::new(format!("unknown value {}", quote(text)), suggest(text, words()))),
                }
                found
            }
            DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) => {
                item.amount(counted.unit()).map(Self::Instead)
            }
            DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                item.wrong_type("a rule or a number", "\"nothing\"")
            }
        }
    }
}
