//! `[models]`: what models can take and write at most.

use tollgate_core::ModelPattern;

use super::{Gateway, llm::TOKENS_BOUNDS};
use crate::{item::Item, models, number::Unit, report::Flaw, section::Section};

/// What the models that a pattern means can take and write at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelLimits {
    /// Which models.
    pub pattern: ModelPattern,
    /// Most tokens of input and output together.
    pub context: Option<i64>,
    /// Most tokens of output.
    pub max_output: Option<i64>,
}

/// All of `[models]`, most specific first.
pub(super) fn read_all(section: &mut Section<'_>) -> Vec<ModelLimits> {
    let entries = section.entries();
    let entries = models::entries(section, entries);
    let mut limits: Vec<ModelLimits> =
        entries.iter().filter_map(|(pattern, item)| read(pattern, item)).collect();
    limits.sort_by(|one, other| one.pattern.rank().cmp(&other.pattern.rank()));
    limits
}

fn read(pattern: &ModelPattern, item: &Item<'_>) -> Option<ModelLimits> {
    let example = "{ context = 128_000, max_output = 16_384 }";
    item.table(example, |section| {
        let mut tokens =
            |key| section.maybe(key, |item: &Item<'_>| item.amount_in(Unit::Count, TOKENS_BOUNDS));
        let (context, max_output) = (tokens("context"), tokens("max_output"));
        if section.is_empty() {
            item.wrong(Flaw::new("there is no limit", format!("write {example}")));
        }
        if let (Some(context), Some(max_output)) = (context, max_output)
            && max_output > context
        {
            let message = "max_output is more than context, of which it is a part";
            item.wrong(Flaw::new(message, format!("write at most {context}")));
        }
        ModelLimits { pattern: pattern.clone(), context, max_output }
    })
}

impl Gateway {
    /// The limits of the most specific pattern in `[models]` that `model` matches.
    #[must_use]
    pub fn model_limits(&self, model: &str) -> Option<&ModelLimits> {
        self.models.iter().find(|limits| limits.pattern.matches(model))
    }
}
