//! Ollama: counts at the top of the answer, in streams of its last line.

use crate::TokenUsage;
use crate::dialect::{Dialect, Field, Path};
use crate::paths::{Text, What};
use crate::readings::{Part, Readings};

pub(super) const FIELDS: &[Field] = &[(&["prompt_eval_count"], Part::Input), (&["eval_count"], Part::Output)];

pub(super) const STREAM: &[(Path, What)] = &[
    (&["message", "content"], What::Text(Text::Answer)),
    (&["message", "thinking"], What::Text(Text::Reasoning)),
    (&["response"], What::Text(Text::Generated)),
    (&["thinking"], What::Text(Text::Reasoning)),
    // There is no other identifier.
    (&["created_at"], What::Text(Text::Id)),
    (&["done_reason"], What::Text(Text::Reason)),
];

/// An embedding has a prompt only, so no output is then said.
pub(super) fn read(readings: &Readings) -> TokenUsage {
    let parts = readings.of(Dialect::Ollama);
    TokenUsage {
        input: parts.amount(Part::Input),
        output: parts.amount(Part::Output),
        input_only: !parts.has(&[Part::Output]),
        ..TokenUsage::default()
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{scan, scan_lines};

    #[test]
    fn the_last_line_says_it() {
        let stream = "{\"done\":false,\"message\":{\"content\":\"a\"}}\nnot json\n{\"done\":true,\"prompt_eval_count\":17,\"eval_count\":63}";
        let usage = scan_lines("/api/chat", stream).unwrap();
        assert_eq!((usage.input, usage.output, usage.total()), (Some(17), Some(63), Some(80)));
        // Some call the lines one JSON document.
        let lines = "{\"done\":false}\n{\"done\":true,\"prompt_eval_count\":17,\"eval_count\":63}\n";
        assert_eq!(scan("/api/chat", lines), Some(usage));
    }

    #[test]
    fn an_embedding_is_input_only() {
        let usage = scan("/api/embed", r#"{"embeddings":[[1.0]],"prompt_eval_count":8}"#).unwrap();
        assert_eq!((usage.output, usage.total()), (None, Some(8)));
    }
}
