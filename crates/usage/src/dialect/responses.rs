//! OpenAI Responses: `usage` at the top of the document, or in the `response` that an event carries.

use crate::TokenUsage;
use crate::dialect::{Dialect, Field, Path};
use crate::paths::{Mark, Text, What};
use crate::readings::{Part, Readings};

pub(super) const FIELDS: &[Field] = &[
    (&["usage", "input_tokens"], Part::Input),
    (&["usage", "output_tokens"], Part::Output),
    (&["usage", "total_tokens"], Part::Total),
    (&["usage", "input_tokens_details", "cached_tokens"], Part::CachedRead),
    (&["usage", "input_tokens_details", "cache_write_tokens"], Part::CacheWrite),
    (&["usage", "output_tokens_details", "reasoning_tokens"], Part::Reasoning),
    (&["response", "usage", "input_tokens"], Part::Input),
    (&["response", "usage", "output_tokens"], Part::Output),
    (&["response", "usage", "total_tokens"], Part::Total),
    (&["response", "usage", "input_tokens_details", "cached_tokens"], Part::CachedRead),
    (&["response", "usage", "input_tokens_details", "cache_write_tokens"], Part::CacheWrite),
    (&["response", "usage", "output_tokens_details", "reasoning_tokens"], Part::Reasoning),
];

pub(super) const STREAM: &[(Path, What)] = &[
    // Of text, refusals, summaries, arguments and code alike.
    (&["delta"], What::Text(Text::Answer)),
    (&["type"], What::Text(Text::Kind)),
    (&["sequence_number"], What::Mark(Mark::Sequence)),
    (&["response", "id"], What::Text(Text::Id)),
    (&["response", "created_at"], What::Mark(Mark::Created)),
];

/// Cache reads are inside the input, reasoning is inside the output.
pub(super) fn read(readings: &Readings) -> TokenUsage {
    let parts = readings.of(Dialect::Responses);
    TokenUsage {
        input: parts.amount(Part::Input),
        output: parts.amount(Part::Output),
        total_reported: parts.amount(Part::Total),
        cached_read: parts.amount(Part::CachedRead),
        cache_write: parts.amount(Part::CacheWrite),
        reasoning: parts.amount(Part::Reasoning),
        input_only: false,
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{scan, scan_as};

    const USAGE: &str = r#""usage":{"input_tokens":37,"input_tokens_details":{"cached_tokens":30},"output_tokens":9,
        "output_tokens_details":{"reasoning_tokens":4},"total_tokens":46}"#;

    #[test]
    fn documents_and_events_say_the_same() {
        let usage = scan("/v1/responses", &format!("{{{USAGE}}}")).unwrap();
        assert_eq!((usage.input, usage.output, usage.total()), (Some(37), Some(9), Some(46)));
        assert_eq!((usage.cached_read, usage.cache_write, usage.reasoning), (Some(30), None, Some(4)));
        let flat = USAGE.replace('\n', "");
        let stream = format!(
            "event: response.created\ndata: {{\"response\":{{\"usage\":null}}}}\n\n\
             event: response.completed\ndata: {{\"response\":{{{flat}}}}}\n\n"
        );
        assert_eq!(scan_as("text/event-stream", "/v1/responses", &stream), Some(usage));
    }

    #[test]
    fn images_and_seconds() {
        let tokens = r#"{"data":[{"b64_json":"x"}],"usage":{"total_tokens":100,"input_tokens":50,"output_tokens":50,
            "input_tokens_details":{"text_tokens":10,"image_tokens":40}}}"#;
        assert_eq!(scan("/v1/images/generations", tokens).unwrap().total(), Some(100));
        let seconds = r#"{"text":"a","usage":{"type":"duration","seconds":3}}"#;
        assert_eq!(scan("/v1/audio/transcriptions", seconds), None);
    }
}
