//! What models say when Bedrock invokes them: their own dialect, and Bedrock's count in the last chunk of a stream.

use crate::TokenUsage;
use crate::dialect::{Dialect, Field, Path, anthropic, chat, converse};
use crate::paths::{EACH, Text, What};
use crate::readings::{Part, Readings};

const METRICS: &str = "amazon-bedrock-invocationMetrics";

pub(super) const METRIC_FIELDS: &[Field] = &[
    (&[METRICS, "inputTokenCount"], Part::Input),
    (&[METRICS, "outputTokenCount"], Part::Output),
    (&[METRICS, "cacheReadInputTokenCount"], Part::CachedRead),
    (&[METRICS, "cacheWriteInputTokenCount"], Part::CacheWrite),
];

pub(super) const TITAN_FIELDS: &[Field] = &[
    (&["inputTextTokenCount"], Part::Input),
    (&["results", EACH, "tokenCount"], Part::Output),
    (&["totalOutputTextTokenCount"], Part::Total),
];

pub(super) const LLAMA_FIELDS: &[Field] =
    &[(&["prompt_token_count"], Part::Input), (&["generation_token_count"], Part::Output)];

pub(super) const TITAN_STREAM: &[(Path, What)] = &[(&["outputText"], What::Text(Text::Answer))];

pub(super) const LLAMA_STREAM: &[(Path, What)] = &[(&["generation"], What::Text(Text::Answer))];

/// The model's own dialect says most; Bedrock's count is there for the others.
pub(super) fn read(readings: &Readings) -> TokenUsage {
    const BOTH: &[Part] = &[Part::Input, Part::Output];
    let has = |dialect, parts: &[Part]| readings.of(dialect).has(parts);
    if has(Dialect::Anthropic, BOTH) {
        anthropic::read(readings)
    } else if has(Dialect::Converse, BOTH) {
        converse::read(readings)
    } else if has(Dialect::Chat, &[Part::Input, Part::Output, Part::Total]) {
        chat::read(readings)
    } else if has(Dialect::BedrockMetrics, BOTH) {
        let parts = readings.of(Dialect::BedrockMetrics);
        TokenUsage {
            input: parts.sum(Part::Input, &[Part::CachedRead, Part::CacheWrite]),
            output: parts.amount(Part::Output),
            cached_read: parts.amount(Part::CachedRead),
            cache_write: parts.amount(Part::CacheWrite),
            ..TokenUsage::default()
        }
    } else if has(Dialect::Titan, &[Part::Input]) {
        titan(readings)
    } else {
        let parts = readings.of(Dialect::Llama);
        let (input, output) = (parts.amount(Part::Input), parts.amount(Part::Output));
        TokenUsage { input, output, ..TokenUsage::default() }
    }
}

/// Text models count each result, or in streams all that was written; an embedding has neither, and no output.
fn titan(readings: &Readings) -> TokenUsage {
    let parts = readings.of(Dialect::Titan);
    let writes = parts.has(&[Part::Output, Part::Total]);
    let output = if writes { parts.first(&[Part::Total, Part::Output]) } else { Some(0) };
    TokenUsage { input: parts.amount(Part::Input), output, ..TokenUsage::default() }
}

#[cfg(test)]
mod tests {
    use crate::testing::scan;

    fn both(body: &str) -> (Option<i64>, Option<i64>) {
        let usage = scan("/model/x/invoke", body).unwrap();
        (usage.input, usage.output)
    }

    #[test]
    fn each_model_has_its_own_names() {
        for (body, expected) in [
            (r#"{"embedding":[0.1],"inputTextTokenCount":3}"#, (Some(3), Some(0))),
            (
                r#"{"inputTextTokenCount":3,"results":[{"tokenCount":4,"outputText":"a"},{"tokenCount":5}]}"#,
                (Some(3), Some(9)),
            ),
            (r#"{"inputTextTokenCount":3,"results":[{"tokenCount":-4}]}"#, (Some(3), None)),
            (r#"{"generation":"a","prompt_token_count":6,"generation_token_count":7}"#, (Some(6), Some(7))),
            (
                r#"{"usage":{"inputTokens":1,"outputTokens":2,"cacheReadInputTokenCount":4}}"#,
                (Some(5), Some(2)),
            ),
            (r#"{"usage":{"input_tokens":1,"output_tokens":2}}"#, (Some(1), Some(2))),
            (r#"{"usage":{"prompt_tokens":1,"completion_tokens":2}}"#, (Some(1), Some(2))),
            (
                r#"{"amazon-bedrock-invocationMetrics":{"inputTokenCount":1,"outputTokenCount":2,"cacheReadInputTokenCount":3}}"#,
                (Some(4), Some(2)),
            ),
        ] {
            assert_eq!(both(body), expected, "{body}");
        }
    }
}
