//! Google Gemini interactions: `usage` at the top, in streams of the `interaction` that the last event carries.

use crate::TokenUsage;
use crate::dialect::{Dialect, Field, Path};
use crate::paths::{Text, What};
use crate::readings::{Part, Readings};

pub(super) const FIELDS: &[Field] = &[
    (&["usage", "total_input_tokens"], Part::Input),
    (&["usage", "total_output_tokens"], Part::Output),
    (&["usage", "total_tokens"], Part::Total),
    (&["usage", "total_cached_tokens"], Part::CachedRead),
    (&["usage", "total_thought_tokens"], Part::Reasoning),
    (&["usage", "total_tool_use_tokens"], Part::ToolInput),
    (&["interaction", "usage", "total_input_tokens"], Part::Input),
    (&["interaction", "usage", "total_output_tokens"], Part::Output),
    (&["interaction", "usage", "total_tokens"], Part::Total),
    (&["interaction", "usage", "total_cached_tokens"], Part::CachedRead),
    (&["interaction", "usage", "total_thought_tokens"], Part::Reasoning),
    (&["interaction", "usage", "total_tool_use_tokens"], Part::ToolInput),
];

pub(super) const STREAM: &[(Path, What)] = &[(&["delta", "text"], What::Text(Text::Answer))];

/// Thoughts are beside the output, and what tools put into the prompt is beside the input.
pub(super) fn read(readings: &Readings) -> TokenUsage {
    let parts = readings.of(Dialect::Interactions);
    TokenUsage {
        input: parts.sum(Part::Input, &[Part::ToolInput]),
        output: parts.sum(Part::Output, &[Part::Reasoning]),
        total_reported: parts.amount(Part::Total),
        cached_read: parts.amount(Part::CachedRead),
        reasoning: parts.amount(Part::Reasoning),
        ..TokenUsage::default()
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::scan;

    #[test]
    fn thoughts_and_tools_are_beside_the_totals() {
        let body = r#"{"usage":{"total_tokens":26,"total_input_tokens":7,"total_cached_tokens":1,"total_output_tokens":9,
            "total_tool_use_tokens":2,"total_thought_tokens":8,"input_tokens_by_modality":[{"tokens":7}]}}"#;
        for path in ["/v1beta/interactions", "/unknown"] {
            let usage = scan(path, body).unwrap();
            assert_eq!((usage.input, usage.output, usage.total()), (Some(9), Some(17), Some(26)));
            assert_eq!((usage.cached_read, usage.reasoning), (Some(1), Some(8)));
        }
    }
}
