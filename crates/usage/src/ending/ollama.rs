//! Ollama: a last line that is done, with the counts it would have.

use super::{Ending, Event};

pub(super) fn chat(ending: &Ending<'_>) -> Vec<Event> {
    line(ending, r#""message":{"role":"assistant","content":""}"#)
}

pub(super) fn generate(ending: &Ending<'_>) -> Vec<Event> {
    line(ending, r#""response":"""#)
}

fn line(ending: &Ending<'_>, nothing: &str) -> Vec<Event> {
    let Ending { model, input, output, .. } = ending;
    // The first line's time: an empty one is no time.
    let created = ending.stream.id().map(|time| format!(r#""created_at":{time},"#)).unwrap_or_default();
    vec![Event::unnamed(format!(
        r#"{{"model":{model},{created}{nothing},"done":true,"done_reason":"length","prompt_eval_count":{input},"eval_count":{output}}}"#
    ))]
}
