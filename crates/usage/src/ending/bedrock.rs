//! Bedrock Converse, and Nova when it is invoked: the open block ends, the message stops, and its usage follows.

use super::{Ending, Event};
use crate::stream::Open;

pub(super) fn converse(ending: &Ending<'_>) -> Vec<Event> {
    let (input, output, total) = (ending.input, ending.output, ending.total());
    let block = ending.stream.open().map(|(Open::Content(index) | Open::Call(index))| {
        Event::named("contentBlockStop", format!(r#"{{"contentBlockIndex":{index}}}"#))
    });
    let stop = r#"{"stopReason":"max_tokens"}"#.to_owned();
    // How long the answer took is not known here, and the field may not be left out.
    let metadata = format!(
        r#"{{"metrics":{{"latencyMs":0}},"usage":{{"inputTokens":{input},"outputTokens":{output},"totalTokens":{total}}}}}"#
    );
    let last = [Event::named("messageStop", stop), Event::named("metadata", metadata)];
    block.into_iter().chain(last).collect()
}

/// Each event is a field of its name.
pub(super) fn nova(ending: &Ending<'_>) -> Vec<Event> {
    let wrap = |Event { name, data }| match name {
        Some(name) => Event::named(name, format!(r#"{{"{name}":{data}}}"#)),
        None => Event::unnamed(data),
    };
    converse(ending).into_iter().map(wrap).collect()
}
