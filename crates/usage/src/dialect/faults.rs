//! An error where an answer was expected: every dialect has an `error` at the top, or in the `response` of an event;
//! Bedrock's streams say it in the headers of a frame.

use crate::dialect::{Dialect, Field};
use crate::readings::{Part, Readings};

pub(super) const FIELDS: &[Field] = &[(&["error"], Part::Fault), (&["response", "error"], Part::Fault)];

/// Whether a document had an error that was not `null`.
pub(crate) fn is_there(readings: &Readings) -> bool {
    readings.of(Dialect::Faults).has(&[Part::Fault])
}

#[cfg(test)]
mod tests {
    use crate::{Framing, Scanner};

    #[test]
    fn errors_are_seen_where_they_mean_the_answer() {
        for (framing, body, is_error) in [
            (Framing::Json, r#"{"error":{"message":"no"}}"#, true),
            (Framing::Json, r#"{"error":"no","model":"m"}"#, true),
            (Framing::Json, r#"{"error":null,"output":[{"error":{"message":"of a tool"}}]}"#, false),
            (Framing::Json, r#"{"choices":[],"text":"\"error\":{}"}"#, false),
            (Framing::Lines, "{\"done\":false}\n{\"error\":\"gone\"}\n", true),
            (Framing::Sse, "data: {\"choices\":[]}\n\ndata: {\"error\":{\"code\":429}}\n\n", true),
            (Framing::Sse, "data: {\"response\":{\"error\":{\"code\":\"x\"}}}\n\n", true),
            (Framing::Sse, "data: {\"response\":{\"error\":null}}\n\n", false),
            (Framing::JsonArray, r#"[{"error":{"code":429}}]"#, true),
        ] {
            let mut scanner = Scanner::new(framing);
            body.as_bytes().chunks(3).for_each(|chunk| scanner.feed(chunk));
            assert_eq!(scanner.has_error(), is_error, "{body}");
        }
    }
}
