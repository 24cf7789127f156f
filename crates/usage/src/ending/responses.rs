//! OpenAI Responses: one event with the response as far as it is known. Its output is left empty: it has left already.

use super::{Ending, Event};

pub(super) fn events(ending: &Ending<'_>) -> Vec<Event> {
    const NAME: &str = "response.incomplete";
    let Ending { stream, model, input, output, reported, .. } = ending;
    let (id, created, sequence) = (ending.id(), stream.created(), stream.next_sequence());
    let (cached, cache_write) = (reported.cached_read.unwrap_or(0), reported.cache_write.unwrap_or(0));
    let reasoning = reported.reasoning.unwrap_or(0);
    let total = ending.total();
    let usage = format!(
        r#"{{"input_tokens":{input},"input_tokens_details":{{"cached_tokens":{cached},"cache_write_tokens":{cache_write}}},"output_tokens":{output},"output_tokens_details":{{"reasoning_tokens":{reasoning}}},"total_tokens":{total}}}"#
    );
    let response = format!(
        r#"{{"id":{id},"object":"response","created_at":{created},"status":"incomplete","error":null,"incomplete_details":{{"reason":"max_output_tokens"}},"instructions":null,"max_output_tokens":null,"metadata":{{}},"model":{model},"output":[],"parallel_tool_calls":true,"previous_response_id":null,"temperature":null,"tool_choice":"auto","tools":[],"top_p":null,"usage":{usage}}}"#
    );
    let data = format!(r#"{{"type":"{NAME}","sequence_number":{sequence},"response":{response}}}"#);
    vec![Event::named(NAME, data)]
}
