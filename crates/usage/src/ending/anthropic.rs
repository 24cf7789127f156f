//! Anthropic Messages: the open block ends, the message says why it stops, and it stops.

use super::{Ending, Event};
use crate::stream::Open;

pub(super) fn events(ending: &Ending<'_>) -> Vec<Event> {
    let output = ending.output;
    let block = ending.stream.open().map(|(Open::Content(index) | Open::Call(index))| {
        let data = format!(r#"{{"type":"content_block_stop","index":{index}}}"#);
        Event::named("content_block_stop", data)
    });
    let delta = format!(
        r#"{{"type":"message_delta","delta":{{"stop_reason":"max_tokens","stop_sequence":null}},"usage":{{"output_tokens":{output}}}}}"#
    );
    let stop = r#"{"type":"message_stop"}"#.to_owned();
    let last = [Event::named("message_delta", delta), Event::named("message_stop", stop)];
    block.into_iter().chain(last).collect()
}
