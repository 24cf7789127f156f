//! Cohere: the open content or call ends, and the message; the first version ends its stream with a whole response.

use super::{Ending, Event};
use crate::stream::Open;

pub(super) fn chat(ending: &Ending<'_>) -> Vec<Event> {
    let (id, input, output) = (ending.id(), ending.input, ending.output);
    let part = ending.stream.open().map(|open| {
        let (name, index) = match open {
            Open::Content(index) => ("content-end", index),
            Open::Call(index) => ("tool-call-end", index),
        };
        Event::named(name, format!(r#"{{"type":"{name}","index":{index}}}"#))
    });
    let end = format!(
        r#"{{"id":{id},"type":"message-end","delta":{{"finish_reason":"MAX_TOKENS","usage":{{"tokens":{{"input_tokens":{input},"output_tokens":{output}}}}}}}}}"#
    );
    part.into_iter().chain([Event::named("message-end", end)]).collect()
}

/// The text has left already.
pub(super) fn generations(ending: &Ending<'_>) -> Vec<Event> {
    let (id, input, output) = (ending.id(), ending.input, ending.output);
    let meta = format!(r#"{{"tokens":{{"input_tokens":{input},"output_tokens":{output}}}}}"#);
    vec![Event::unnamed(format!(
        r#"{{"is_finished":true,"event_type":"stream-end","finish_reason":"MAX_TOKENS","response":{{"generation_id":{id},"text":"","finish_reason":"MAX_TOKENS","meta":{meta}}}}}"#
    ))]
}
