//! OpenAI chat, completions and embeddings; streams have the same `usage` in a chunk near the end, or in each.

use crate::TokenUsage;
use crate::dialect::{Dialect, Field, Path};
use crate::paths::{EACH, Mark, Text, What};
use crate::readings::{Part, Parts, Readings};

pub(super) const FIELDS: &[Field] = &[
    (&["usage", "prompt_tokens"], Part::Input),
    (&["usage", "completion_tokens"], Part::Output),
    (&["usage", "total_tokens"], Part::Total),
    (&["usage", "prompt_tokens_details", "cached_tokens"], Part::CachedRead),
    (&["usage", "prompt_tokens_details", "cache_write_tokens"], Part::CacheWrite),
    (&["usage", "completion_tokens_details", "reasoning_tokens"], Part::Reasoning),
    // DeepSeek, Moonshot, and Mistral, in this order.
    (&["usage", "prompt_cache_hit_tokens"], Part::CachedReadElsewhere),
    (&["usage", "cached_tokens"], Part::CachedReadElsewhere),
    (&["usage", "num_cached_tokens"], Part::CachedReadElsewhere),
    // LiteLLM.
    (&["usage", "prompt_tokens_details", "cache_creation_tokens"], Part::CacheWriteElsewhere),
    // Perplexity.
    (&["usage", "reasoning_tokens"], Part::ReasoningElsewhere),
];

pub(super) const STREAM: &[(Path, What)] = &[
    (&["choices", EACH, "delta", "content"], What::Text(Text::Answer)),
    // Mistral.
    (&["choices", EACH, "delta", "content", EACH, "text"], What::Text(Text::Answer)),
    (&["choices", EACH, "delta", "content", EACH, "thinking", EACH, "text"], What::Text(Text::Reasoning)),
    (&["choices", EACH, "delta", "refusal"], What::Text(Text::Answer)),
    (&["choices", EACH, "delta", "reasoning"], What::Text(Text::Reasoning)),
    (&["choices", EACH, "delta", "reasoning_content"], What::Text(Text::ReasoningContent)),
    (&["choices", EACH, "delta", "tool_calls", EACH, "function", "name"], What::Text(Text::Call)),
    (&["choices", EACH, "delta", "tool_calls", EACH, "function", "arguments"], What::Text(Text::Answer)),
    (&["choices", EACH, "delta", "function_call", "name"], What::Text(Text::Call)),
    (&["choices", EACH, "delta", "function_call", "arguments"], What::Text(Text::Answer)),
    (&["choices", EACH, "text"], What::Text(Text::Answer)),
    (&["choices", EACH, "index"], What::Mark(Mark::ChoiceIndex)),
    (&["choices", EACH, "finish_reason"], What::Text(Text::Reason)),
    (&["object"], What::Text(Text::Kind)),
    (&["id"], What::Text(Text::Id)),
    (&["created"], What::Mark(Mark::Created)),
];

pub(super) const GROQ_FIELDS: &[Field] = &[
    (&["x_groq", "usage", "prompt_tokens"], Part::Input),
    (&["x_groq", "usage", "completion_tokens"], Part::Output),
    (&["x_groq", "usage", "total_tokens"], Part::Total),
    (&["x_groq", "usage", "prompt_tokens_details", "cached_tokens"], Part::CachedRead),
    (&["x_groq", "usage", "completion_tokens_details", "reasoning_tokens"], Part::Reasoning),
];

/// Cache reads and writes are inside the prompt. Reasoning is inside the completion, except where the total shows that
/// it was counted beside it (xAI).
pub(super) fn read(readings: &Readings) -> TokenUsage {
    let chat = readings.of(Dialect::Chat);
    let is_said = chat.has(&[Part::Input, Part::Output, Part::Total]);
    let parts = if is_said { chat } else { readings.of(Dialect::Groq) };
    let reasoning = parts.first(&[Part::Reasoning, Part::ReasoningElsewhere]);
    TokenUsage {
        input: parts.amount(Part::Input),
        output: output_all(parts, reasoning),
        total_reported: parts.amount(Part::Total),
        cached_read: parts.first(&[Part::CachedRead, Part::CachedReadElsewhere]),
        cache_write: parts.first(&[Part::CacheWrite, Part::CacheWriteElsewhere]),
        reasoning,
        input_only: false,
    }
}

/// An embedding or a ranking writes nothing: a total that is said alone is its input, and what no total leaves room
/// for is no output.
pub(super) fn read_embeddings(readings: &Readings) -> TokenUsage {
    let mut usage = read(readings);
    let parts = readings.of(Dialect::Chat);
    if !parts.has(&[Part::Input, Part::Output]) {
        usage.input = usage.total_reported;
    }
    if !parts.has(&[Part::Output]) {
        usage.output = usage.input.map(|_| 0);
    }
    usage
}

fn output_all(parts: &Parts, reasoning: Option<i64>) -> Option<i64> {
    let completion = parts.amount(Part::Output)?;
    let beside = || {
        let output = completion.checked_add(reasoning?)?;
        let total = parts.amount(Part::Input)?.checked_add(output)?;
        (parts.amount(Part::Total) == Some(total)).then_some(output)
    };
    Some(beside().unwrap_or(completion))
}

#[cfg(test)]
mod tests {
    use crate::testing;
    use crate::{Framing, Scanner, TokenUsage};

    fn scan(text: &str) -> Option<TokenUsage> {
        let mut scanner = Scanner::new(Framing::Json);
        scanner.feed(text.as_bytes());
        scanner.finish()
    }

    #[test]
    fn reasoning_beside_the_completion_is_output() {
        let body = |total: i64| {
            format!(
                r#"{{"usage":{{"prompt_tokens":10,"completion_tokens":20,"total_tokens":{total},
                "completion_tokens_details":{{"reasoning_tokens":5}}}}}}"#
            )
        };
        assert_eq!(scan(&body(30)).unwrap().output, Some(20));
        assert_eq!(scan(&body(35)).unwrap().output, Some(25));
        assert_eq!(scan(&body(35)).unwrap().total(), Some(35));
    }

    #[test]
    fn anthropic_names_beside_the_chat_names_are_not_added() {
        let usage = scan(
            r#"{"usage":{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12,"cache_read_input_tokens":8}}"#,
        );
        assert_eq!(usage.unwrap().total(), Some(12));
    }

    #[test]
    fn a_total_alone_is_enough() {
        assert_eq!(scan(r#"{"data":[],"usage":{"total_tokens":12}}"#).unwrap().total(), Some(12));
    }

    #[test]
    fn caches_are_inside_the_prompt_wherever_they_are_said() {
        for details in [
            r#""prompt_tokens_details":{"cached_tokens":8,"cache_write_tokens":1},"prompt_cache_hit_tokens":8"#,
            r#""prompt_cache_hit_tokens":8,"prompt_cache_miss_tokens":2,"prompt_tokens_details":{"cache_creation_tokens":1}"#,
            r#""cached_tokens":8,"prompt_tokens_details":{"cache_write_tokens":1}"#,
        ] {
            let body = format!(
                r#"{{"usage":{{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12,{details}}}}}"#
            );
            let usage = scan(&body).unwrap();
            assert_eq!((usage.input, usage.cached_read, usage.cache_write), (Some(10), Some(8), Some(1)));
            assert_eq!(usage.total(), Some(12));
        }
    }

    #[test]
    fn an_embedding_has_no_output() {
        for body in [r#"{"usage":{"prompt_tokens":8,"total_tokens":8}}"#, r#"{"usage":{"total_tokens":8}}"#] {
            for path in ["/v1/embeddings", "/v1/rerank"] {
                let usage = testing::scan(path, body).unwrap();
                assert_eq!((usage.input, usage.output, usage.total()), (Some(8), Some(0), Some(8)), "{body}");
            }
        }
    }

    #[test]
    fn cumulative_and_nested_usage_count_once() {
        let chunk = |key: &str, n: i64| {
            format!(
                "data: {{{key}{{\"prompt_tokens\":7,\"completion_tokens\":{n},\"total_tokens\":{}}}}}\n\n",
                7 + n
            )
        };
        let groq = "\"x_groq\":{\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3,\"total_tokens\":10}},\"usage\":";
        for stream in [
            chunk("\"usage\":", 1) + &chunk("\"usage\":", 2) + &chunk("\"usage\":", 3),
            chunk(groq, 3),
            format!("data: {{{groq}null}}\n\ndata: [DONE]\n\n"),
        ] {
            for path in ["/chat/completions", "/unknown"] {
                let usage = testing::scan_as("text/event-stream", path, &stream).unwrap();
                assert_eq!(
                    (usage.input, usage.output, usage.total()),
                    (Some(7), Some(3), Some(10)),
                    "{stream}"
                );
            }
        }
    }
}
