//! Anthropic Messages: `usage` at the top; in streams first in `message_start`, then replaced by each `message_delta`.

use crate::TokenUsage;
use crate::dialect::Field;
use crate::readings::{Part, Parts};
use crate::scalar::Reading;

pub(super) const FIELDS: &[Field] = &[
    (&["usage", "input_tokens"], Part::Input),
    (&["usage", "output_tokens"], Part::Output),
    (&["usage", "cache_read_input_tokens"], Part::CachedRead),
    (&["usage", "cache_creation_input_tokens"], Part::CacheWrite),
    (&["message", "usage", "input_tokens"], Part::Input),
    (&["message", "usage", "output_tokens"], Part::Output),
    (&["message", "usage", "cache_read_input_tokens"], Part::CachedRead),
    (&["message", "usage", "cache_creation_input_tokens"], Part::CacheWrite),
];

/// Cache reads and writes are beside `input_tokens`, so all three together are the input.
pub(super) fn read(parts: &Parts) -> TokenUsage {
    let amount = |part| parts.get(part).amount();
    TokenUsage {
        input: input_all(parts),
        output: amount(Part::Output),
        total_reported: None,
        cached_read: amount(Part::CachedRead),
        cache_write: amount(Part::CacheWrite),
        reasoning: None,
    }
}

/// Unknown when one of the three is unreadable: a sum without it would be silently too small.
fn input_all(parts: &Parts) -> Option<i64> {
    let input = parts.get(Part::Input).amount()?;
    [Part::CachedRead, Part::CacheWrite].into_iter().try_fold(input, |sum, part| match parts.get(part) {
        Reading::Missing => Some(sum),
        Reading::Amount(amount) => sum.checked_add(amount),
        Reading::Unreadable => None,
    })
}

#[cfg(test)]
mod tests {
    use crate::{Framing, Scanner, TokenUsage};

    fn scan(framing: Framing, text: &str) -> Option<TokenUsage> {
        let mut scanner = Scanner::new(framing);
        scanner.feed(text.as_bytes());
        scanner.finish()
    }

    const START: &str = r#"data: {"type":"message_start","message":{"usage":{"input_tokens":21,"cache_read_input_tokens":1733,"cache_creation_input_tokens":2,"output_tokens":1}}}"#;

    #[test]
    fn deltas_replace_what_the_start_said() {
        let stream = format!(
            "{START}\n\ndata: {{\"type\":\"message_delta\",\"usage\":{{\"output_tokens\":40}}}}\n\n\
             data: {{\"type\":\"message_delta\",\"usage\":{{\"output_tokens\":568}}}}\n\n"
        );
        let usage = scan(Framing::Sse, &stream).unwrap();
        assert_eq!((usage.input, usage.output, usage.total()), (Some(1756), Some(568), Some(2324)));
        assert_eq!((usage.cached_read, usage.cache_write), (Some(1733), Some(2)));
    }

    #[test]
    fn a_stream_cut_after_its_start_gives_what_the_start_said() {
        assert_eq!(scan(Framing::Sse, START).unwrap().total(), Some(1757));
    }

    #[test]
    fn an_unreadable_cache_field_makes_the_input_unknown() {
        for bad in ["-5", "\"12\"", "1.5", "1e309", "[1]", "9223372036854775807"] {
            let body = format!(
                r#"{{"usage":{{"input_tokens":3,"cache_read_input_tokens":{bad},"output_tokens":4}}}}"#
            );
            let usage = scan(Framing::Json, &body).unwrap();
            assert_eq!((usage.input, usage.output, usage.total()), (None, Some(4), None), "{bad}");
        }
    }
}
