//! OpenAI chat and completions: a chunk that ends the choices which go on, and usage for clients who asked for it.

use super::{Ending, Event};

pub(super) fn chat(ending: &Ending<'_>) -> Vec<Event> {
    let choices = choices(ending, r#""delta":{}"#);
    chunks(ending, "chat.completion.chunk", &choices)
}

pub(super) fn completions(ending: &Ending<'_>) -> Vec<Event> {
    let choices = choices(ending, r#""text":"""#);
    chunks(ending, "text_completion", &choices)
}

fn choices(ending: &Ending<'_>, nothing: &str) -> String {
    let choice = |index| format!(r#"{{"index":{index},{nothing},"logprobs":null,"finish_reason":"length"}}"#);
    ending.stream.open_choices().map(choice).collect::<Vec<_>>().join(",")
}

fn chunks(ending: &Ending<'_>, object: &str, choices: &str) -> Vec<Event> {
    let (id, created, model) = (ending.id(), ending.stream.created(), &ending.model);
    let chunk = |rest: &str| {
        Event::unnamed(format!(
            r#"{{"id":{id},"object":"{object}","created":{created},"model":{model},{rest}}}"#
        ))
    };
    if !ending.wants_usage {
        return vec![chunk(&format!(r#""choices":[{choices}]"#))];
    }
    let (input, output, total) = (ending.input, ending.output, ending.total());
    vec![
        chunk(&format!(r#""choices":[{choices}],"usage":null"#)),
        chunk(&format!(
            r#""choices":[],"usage":{{"prompt_tokens":{input},"completion_tokens":{output},"total_tokens":{total}}}"#
        )),
    ]
}
