//! Cohere: `meta` (v1) or `usage` (v2), each with the tokens that were processed beside the units that are billed.

use crate::TokenUsage;
use crate::dialect::{Dialect, Field, Path};
use crate::paths::{Mark, Text, What};
use crate::readings::{Part, Readings};

pub(super) const TOKEN_FIELDS: &[Field] = &[
    (&["meta", "tokens", "input_tokens"], Part::Input),
    (&["meta", "tokens", "output_tokens"], Part::Output),
    (&["meta", "cached_tokens"], Part::CachedRead),
    (&["response", "meta", "tokens", "input_tokens"], Part::Input),
    (&["response", "meta", "tokens", "output_tokens"], Part::Output),
    (&["response", "meta", "cached_tokens"], Part::CachedRead),
    (&["usage", "tokens", "input_tokens"], Part::Input),
    (&["usage", "tokens", "output_tokens"], Part::Output),
    (&["usage", "cached_tokens"], Part::CachedRead),
    (&["delta", "usage", "tokens", "input_tokens"], Part::Input),
    (&["delta", "usage", "tokens", "output_tokens"], Part::Output),
    (&["delta", "usage", "cached_tokens"], Part::CachedRead),
];

pub(super) const STREAM: &[(Path, What)] = &[
    (&["delta", "message", "content", "text"], What::Text(Text::Answer)),
    (&["delta", "message", "content", "thinking"], What::Text(Text::Reasoning)),
    (&["delta", "message", "tool_plan"], What::Text(Text::Answer)),
    (&["delta", "message", "tool_calls", "function", "name"], What::Text(Text::Call)),
    (&["delta", "message", "tool_calls", "function", "arguments"], What::Text(Text::Answer)),
    (&["type"], What::Text(Text::Kind)),
    (&["id"], What::Text(Text::Id)),
    (&["index"], What::Mark(Mark::Index)),
    // The first version.
    (&["text"], What::Text(Text::Answer)),
    (&["event_type"], What::Text(Text::Kind)),
    (&["generation_id"], What::Text(Text::Id)),
];

pub(super) const BILLED_FIELDS: &[Field] = &[
    (&["meta", "billed_units", "input_tokens"], Part::Input),
    (&["meta", "billed_units", "output_tokens"], Part::Output),
    (&["meta", "billed_units", "image_tokens"], Part::ImageInput),
    (&["response", "meta", "billed_units", "input_tokens"], Part::Input),
    (&["response", "meta", "billed_units", "output_tokens"], Part::Output),
    (&["usage", "billed_units", "input_tokens"], Part::Input),
    (&["usage", "billed_units", "output_tokens"], Part::Output),
    (&["delta", "usage", "billed_units", "input_tokens"], Part::Input),
    (&["delta", "usage", "billed_units", "output_tokens"], Part::Output),
];

/// The tokens processed, or the units billed where those are all that is said. Cache reads are inside the input.
pub(super) fn read(readings: &Readings) -> TokenUsage {
    const BOTH: &[Part] = &[Part::Input, Part::Output];
    let (tokens, billed) = (readings.of(Dialect::CohereTokens), readings.of(Dialect::CohereBilled));
    let parts = if tokens.has(BOTH) { tokens } else { billed };
    TokenUsage {
        input: parts.sum(Part::Input, &[Part::ImageInput]),
        output: parts.amount(Part::Output),
        cached_read: tokens.amount(Part::CachedRead),
        ..TokenUsage::default()
    }
}

/// An embedding or a ranking writes nothing, and says nothing of what it wrote.
pub(super) fn read_embeddings(readings: &Readings) -> TokenUsage {
    TokenUsage { input_only: true, ..read(readings) }
}

#[cfg(test)]
mod tests {
    use crate::testing::{scan, scan_lines};

    #[test]
    fn processed_tokens_are_preferred_to_billed_units() {
        let meta = r#""meta":{"billed_units":{"input_tokens":6,"output_tokens":33},"tokens":{"input_tokens":501,"output_tokens":35},"cached_tokens":448}"#;
        let v2 = meta.replace("\"meta\"", "\"usage\"");
        for (path, body) in [
            ("/v1/chat", format!("{{{meta}}}")),
            ("/v1/chat", format!("{{\"response\":{{{meta}}}}}")),
            ("/v2/chat", format!("{{{v2}}}")),
            ("/v2/chat", format!("{{\"delta\":{{{v2}}}}}")),
            ("/unknown", format!("{{\"delta\":{{{v2}}}}}")),
        ] {
            let usage = scan(path, &body).unwrap();
            assert_eq!(
                (usage.input, usage.output, usage.total()),
                (Some(501), Some(35), Some(536)),
                "{body}"
            );
            assert_eq!(usage.cached_read, Some(448));
            let lines = format!("{{\"event\":\"text\"}}\n{body}");
            assert_eq!(scan_lines(path, &lines), Some(usage));
        }
    }

    #[test]
    fn an_embedding_is_input_only() {
        let body = r#"{"meta":{"billed_units":{"input_tokens":3,"image_tokens":2}}}"#;
        let usage = scan("/v2/embed", body).unwrap();
        assert_eq!((usage.input, usage.output, usage.total()), (Some(5), None, Some(5)));
        assert_eq!(scan("/v1/rerank", r#"{"meta":{"billed_units":{"search_units":1}}}"#), None);
    }
}
