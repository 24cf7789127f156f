//! Google Gemini: `usageMetadata` at the top, in streams of every document, counting from the beginning.

use crate::TokenUsage;
use crate::dialect::{Dialect, Field, Path};
use crate::paths::{EACH, Text, What};
use crate::readings::{Part, Parts, Readings};
use crate::scalar::Reading;

pub(super) const FIELDS: &[Field] = &[
    (&["usageMetadata", "promptTokenCount"], Part::Input),
    (&["usageMetadata", "candidatesTokenCount"], Part::Output),
    (&["usageMetadata", "totalTokenCount"], Part::Total),
    (&["usageMetadata", "cachedContentTokenCount"], Part::CachedRead),
    (&["usageMetadata", "thoughtsTokenCount"], Part::Reasoning),
    (&["usageMetadata", "toolUsePromptTokenCount"], Part::ToolInput),
];

pub(super) const STREAM: &[(Path, What)] = &[
    (&["candidates", EACH, "content", "parts", EACH, "text"], What::Text(Text::Answer)),
    (&["responseId"], What::Text(Text::Id)),
];

pub(super) const PREDICTION_FIELDS: &[Field] =
    &[(&["predictions", EACH, "embeddings", "statistics", "token_count"], Part::Input)];

/// Thoughts are beside the candidates, what tools put into the prompt is beside the prompt, cache reads are inside it.
///
/// Protocol buffers leave zeros out: beside a prompt's count, no count of candidates or thoughts means none.
pub(super) fn read(readings: &Readings) -> TokenUsage {
    let parts = readings.of(Dialect::Gemini);
    if !parts.has(&[Part::Input, Part::Output, Part::Total]) {
        return predictions(readings);
    }
    usage(parts, parts.get(Part::Output))
}

/// A turn of Gemini Live, whose answer has another name.
pub(super) fn read_live(readings: &Readings) -> TokenUsage {
    let (parts, live) = (readings.of(Dialect::Gemini), readings.of(Dialect::Live));
    let named = if live.has(&[Part::Output]) { live } else { parts };
    usage(parts, named.get(Part::Output))
}

fn usage(parts: &Parts, answer: Reading) -> TokenUsage {
    let output = match (answer, parts.get(Part::Reasoning)) {
        (Reading::Missing, Reading::Missing) => parts.has(&[Part::Input]).then_some(0),
        (Reading::Missing, thoughts) => thoughts.amount(),
        (answer, Reading::Missing) => answer.amount(),
        (answer, thoughts) => answer.plus(thoughts).amount(),
    };
    TokenUsage {
        input: parts.sum(Part::Input, &[Part::ToolInput]),
        output,
        total_reported: parts.amount(Part::Total),
        cached_read: parts.amount(Part::CachedRead),
        reasoning: parts.amount(Part::Reasoning),
        ..TokenUsage::default()
    }
}

/// Vertex AI's text embeddings count each text.
fn predictions(readings: &Readings) -> TokenUsage {
    let input = readings.of(Dialect::Predictions).amount(Part::Input);
    TokenUsage { input, output: input.map(|_| 0), ..TokenUsage::default() }
}

#[cfg(test)]
mod tests {
    use crate::testing::scan;

    const GENERATE: &str = "/v1beta/models/g:generateContent";

    #[test]
    fn thoughts_and_tool_prompts_are_beside_what_they_belong_to() {
        let usage = scan(
            GENERATE,
            r#"{"candidates":[],"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":3,"totalTokenCount":27,
            "cachedContentTokenCount":4,"thoughtsTokenCount":5,"toolUsePromptTokenCount":9}}"#,
        )
        .unwrap();
        assert_eq!((usage.input, usage.output, usage.total()), (Some(19), Some(8), Some(27)));
        assert_eq!((usage.cached_read, usage.reasoning, usage.cache_write), (Some(4), Some(5), None));
    }

    #[test]
    fn zeros_are_left_out() {
        for (fields, output) in [
            (r#""promptTokenCount":8"#, Some(0)),
            (r#""promptTokenCount":8,"thoughtsTokenCount":5"#, Some(5)),
            (r#""promptTokenCount":8,"candidatesTokenCount":-1,"thoughtsTokenCount":5"#, None),
        ] {
            let usage = scan(GENERATE, &format!("{{\"usageMetadata\":{{{fields}}}}}")).unwrap();
            assert_eq!((usage.input, usage.output), (Some(8), output), "{fields}");
        }
        assert_eq!(scan(GENERATE, r#"{"usageMetadata":{"trafficType":"ON_DEMAND"}}"#), None);
    }

    #[test]
    fn an_array_grows_document_by_document() {
        let body = r#"[{"usageMetadata":{"promptTokenCount":8,"candidatesTokenCount":1}},
            {"candidates":[{"x":"]"}]}, {"usageMetadata":{"promptTokenCount":8,"candidatesTokenCount":6}}]"#;
        let usage = scan("/v1/models/g:streamGenerateContent", body).unwrap();
        assert_eq!(usage.total(), Some(14));
        assert_eq!(scan(GENERATE, body), None);
        let cut = &body[..90];
        assert_eq!(scan("/v1/models/g:streamGenerateContent", cut).unwrap().total(), Some(9));
    }

    #[test]
    fn predictions_count_each_text() {
        let body = r#"{"predictions":[{"embeddings":{"statistics":{"token_count":5.0},"values":[1]}},
            {"embeddings":{"statistics":{"token_count":6}}}]}"#;
        assert_eq!(scan("/v1/models/e:predict", body).unwrap().total(), Some(11));
    }
}
