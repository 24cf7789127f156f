//! Google Gemini: a chunk without text that says why the candidate ends.

use super::{Ending, Event};

pub(super) fn events(ending: &Ending<'_>) -> Vec<Event> {
    let Ending { model, input, output, reported, .. } = ending;
    let (id, total) = (ending.id(), ending.total());
    let thoughts = reported.reasoning.unwrap_or(0).min(*output);
    let candidates = output - thoughts;
    let usage = format!(
        r#"{{"promptTokenCount":{input},"candidatesTokenCount":{candidates},"thoughtsTokenCount":{thoughts},"totalTokenCount":{total}}}"#
    );
    let candidate =
        r#"{"content":{"parts":[{"text":""}],"role":"model"},"finishReason":"MAX_TOKENS","index":0}"#;
    vec![Event::unnamed(format!(
        r#"{{"candidates":[{candidate}],"usageMetadata":{usage},"modelVersion":{model},"responseId":{id}}}"#
    ))]
}
