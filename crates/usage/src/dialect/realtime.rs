//! WebSockets: OpenAI Realtime and Responses, with `usage` in the `response` that a message carries, or beside a
//! transcription; and Gemini Live, with the names of Gemini but for the answer.

use crate::TokenUsage;
use crate::dialect::{Dialect, Field, Path, gemini};
use crate::paths::{Text, What};
use crate::readings::{Part, Readings};

/// Realtime has `input_token_details`, and Responses `input_tokens_details`.
pub(super) const FIELDS: &[Field] = &[
    (&["response", "usage", "input_tokens"], Part::Input),
    (&["response", "usage", "output_tokens"], Part::Output),
    (&["response", "usage", "total_tokens"], Part::Total),
    (&["response", "usage", "input_token_details", "cached_tokens"], Part::CachedRead),
    (&["response", "usage", "input_tokens_details", "cached_tokens"], Part::CachedReadElsewhere),
    (&["response", "usage", "output_token_details", "reasoning_tokens"], Part::Reasoning),
    (&["response", "usage", "output_tokens_details", "reasoning_tokens"], Part::ReasoningElsewhere),
    // A transcription.
    (&["usage", "input_tokens"], Part::Input),
    (&["usage", "output_tokens"], Part::Output),
    (&["usage", "total_tokens"], Part::Total),
];

pub(super) const LIVE_FIELDS: &[Field] = &[(&["usageMetadata", "responseTokenCount"], Part::Output)];

pub(super) const STREAM: &[(Path, What)] = &[
    (&["type"], What::Text(Text::Kind)),
    (&["session", "model"], What::Text(Text::Model)),
    (&["setup", "model"], What::Text(Text::Model)),
];

/// Cache reads are inside the input, reasoning is inside the output.
pub(super) fn read(readings: &Readings) -> TokenUsage {
    let parts = readings.of(Dialect::Realtime);
    if !parts.has(&[Part::Input, Part::Output, Part::Total]) {
        return gemini::read_live(readings);
    }
    TokenUsage {
        input: parts.amount(Part::Input),
        output: parts.amount(Part::Output),
        total_reported: parts.amount(Part::Total),
        cached_read: parts.first(&[Part::CachedRead, Part::CachedReadElsewhere]),
        reasoning: parts.first(&[Part::Reasoning, Part::ReasoningElsewhere]),
        ..TokenUsage::default()
    }
}
