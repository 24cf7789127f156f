//! OpenAI Responses: `usage` at the top of the document, or in the `response` that an event carries.

use crate::TokenUsage;
use crate::dialect::Field;
use crate::readings::{Part, Parts};

pub(super) const FIELDS: &[Field] = &[
    (&["usage", "input_tokens"], Part::Input),
    (&["usage", "output_tokens"], Part::Output),
    (&["usage", "total_tokens"], Part::Total),
    (&["usage", "input_tokens_details", "cached_tokens"], Part::CachedRead),
    (&["usage", "output_tokens_details", "reasoning_tokens"], Part::Reasoning),
    (&["response", "usage", "input_tokens"], Part::Input),
    (&["response", "usage", "output_tokens"], Part::Output),
    (&["response", "usage", "total_tokens"], Part::Total),
    (&["response", "usage", "input_tokens_details", "cached_tokens"], Part::CachedRead),
    (&["response", "usage", "output_tokens_details", "reasoning_tokens"], Part::Reasoning),
];

/// Cache reads are inside the input, reasoning is inside the output.
pub(super) fn read(parts: &Parts) -> TokenUsage {
    let amount = |part| parts.get(part).amount();
    TokenUsage {
        input: amount(Part::Input),
        output: amount(Part::Output),
        total_reported: amount(Part::Total),
        cached_read: amount(Part::CachedRead),
        cache_write: None,
        reasoning: amount(Part::Reasoning),
    }
}
