//! OpenAI chat, completions and embeddings; streams have the same `usage` in a chunk near the end, or in each.

use crate::TokenUsage;
use crate::dialect::Field;
use crate::readings::{Part, Parts};

pub(super) const FIELDS: &[Field] = &[
    (&["usage", "prompt_tokens"], Part::Input),
    (&["usage", "completion_tokens"], Part::Output),
    (&["usage", "total_tokens"], Part::Total),
    (&["usage", "prompt_tokens_details", "cached_tokens"], Part::CachedRead),
    (&["usage", "completion_tokens_details", "reasoning_tokens"], Part::Reasoning),
];

/// Cache reads are inside the prompt. Reasoning is inside the completion, except where the total shows that it was
/// counted beside it (xAI).
pub(super) fn read(parts: &Parts) -> TokenUsage {
    let amount = |part| parts.get(part).amount();
    let (input, total_reported, reasoning) =
        (amount(Part::Input), amount(Part::Total), amount(Part::Reasoning));
    let mut output = amount(Part::Output);
    if let (Some(prompt), Some(completion), Some(reasoning)) = (input, output, reasoning) {
        let with_reasoning = completion.checked_add(reasoning);
        if with_reasoning.and_then(|all| all.checked_add(prompt)) == total_reported
            && total_reported.is_some()
        {
            output = with_reasoning;
        }
    }
    TokenUsage {
        input,
        output,
        total_reported,
        cached_read: amount(Part::CachedRead),
        cache_write: None,
        reasoning,
    }
}

#[cfg(test)]
mod tests {
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
}
