//! Anthropic Messages: `usage` at the top; in streams first in `message_start`, then replaced by each `message_delta`.

use crate::TokenUsage;
use crate::dialect::{Dialect, Field, Path};
use crate::paths::{EACH, Mark, Text, What};
use crate::readings::{Part, Readings};

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

pub(super) const STREAM: &[(Path, What)] = &[
    (&["delta", "text"], What::Text(Text::Answer)),
    (&["delta", "partial_json"], What::Text(Text::Answer)),
    (&["delta", "thinking"], What::Text(Text::Reasoning)),
    (&["content_block", "name"], What::Text(Text::Call)),
    (&["delta", "stop_reason"], What::Text(Text::Reason)),
    (&["type"], What::Text(Text::Kind)),
    (&["index"], What::Mark(Mark::Index)),
];

pub(super) const ITERATION_FIELDS: &[Field] = &[
    (&["usage", "iterations", EACH, "input_tokens"], Part::Input),
    (&["usage", "iterations", EACH, "output_tokens"], Part::Output),
    (&["usage", "iterations", EACH, "cache_read_input_tokens"], Part::CachedRead),
    (&["usage", "iterations", EACH, "cache_creation_input_tokens"], Part::CacheWrite),
    (&["message", "usage", "iterations", EACH, "input_tokens"], Part::Input),
    (&["message", "usage", "iterations", EACH, "output_tokens"], Part::Output),
    (&["message", "usage", "iterations", EACH, "cache_read_input_tokens"], Part::CachedRead),
    (&["message", "usage", "iterations", EACH, "cache_creation_input_tokens"], Part::CacheWrite),
];

/// Cache reads and writes are beside `input_tokens`, so all three together are the input.
///
/// Where a message took several turns (compaction, advisors), the top leaves some out; the turns' sum is the whole.
pub(super) fn read(readings: &Readings) -> TokenUsage {
    let iterations = readings.of(Dialect::Iterations);
    let is_split = iterations.has(&[Part::Input]) && iterations.has(&[Part::Output]);
    let parts = if is_split { iterations } else { readings.of(Dialect::Anthropic) };
    TokenUsage {
        input: parts.sum(Part::Input, &[Part::CachedRead, Part::CacheWrite]),
        output: parts.amount(Part::Output),
        cached_read: parts.amount(Part::CachedRead),
        cache_write: parts.amount(Part::CacheWrite),
        ..TokenUsage::default()
    }
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

    #[test]
    fn iterations_are_added() {
        let turn = |input: i64, output: i64| {
            format!(
                r#"{{"type":"message","input_tokens":{input},"output_tokens":{output},"cache_read_input_tokens":1,"x":[[]]}}"#
            )
        };
        let usage =
            |turns: &str| format!(r#""usage":{{"input_tokens":3,"iterations":[{turns}],"output_tokens":4}}"#);
        let two = usage(&(turn(100, 20) + "," + &turn(3, 4)));
        for body in [format!("{{{two}}}"), format!("{{\"message\":{{{two}}}}}")] {
            let usage = scan(Framing::Json, &body).unwrap();
            assert_eq!(
                (usage.input, usage.output, usage.cached_read),
                (Some(105), Some(24), Some(2)),
                "{body}"
            );
        }
        // A later delta replaces all of an earlier one's turns.
        let stream = format!("data: {{{}}}\n\ndata: {{{two}}}\n\n", usage(&turn(50, 60)));
        assert_eq!(scan(Framing::Sse, &stream).unwrap().total(), Some(129));
        for (turns, total) in
            [("", Some(7)), ("null,{}", Some(7)), ("{\"input_tokens\":-1,\"output_tokens\":2}", None)]
        {
            assert_eq!(
                scan(Framing::Json, &format!("{{{}}}", usage(turns))).unwrap().total(),
                total,
                "{turns}"
            );
        }
    }
}
