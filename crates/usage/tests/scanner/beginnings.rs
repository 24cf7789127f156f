//! Events that begin alike are read from where they differ: it makes no difference to what they say.
//!
//! Only lines that come whole are read so; the same stream byte by byte is read in full.

use bytes::Bytes;
use proptest::prelude::*;
use tollgate_usage::{Framing, Request, Response, Scanner, UsageChunkFilter};

/// Fields that a reader notes, changes its mind about, or adds up, and values of which one begins the other.
const FIELDS: &[&str] = &[
    r#""id":"chatcmpl-1""#,
    r#""id":"chatcmpl-12""#,
    r#""id":"""#,
    r#""object":"chat.completion.chunk""#,
    r#""object":"text_completion""#,
    r#""type":"content_block_delta""#,
    r#""type":"content_block_stop""#,
    r#""type":"message_start""#,
    r#""type":"response.created""#,
    r#""type":"response.function_call_arguments.done""#,
    r#""type":"error""#,
    r#""created":1"#,
    r#""created":12"#,
    r#""created" : 0"#,
    r#""model":"gpt""#,
    r#""model":"gpt-4""#,
    r#""sequence_number":1"#,
    r#""sequence_number":12"#,
    r#""index":1"#,
    r#""index":0"#,
    r#""delta":{"type":"text_delta","text":"a\n"}"#,
    r#""delta":{"type":"text_delta","text":"ab"}"#,
    r#""delta":{"stop_reason":"end_turn"}"#,
    r#""delta":"abc""#,
    r#""contentBlockStart":{"contentBlockIndex":1}"#,
    r#""contentBlockStop":{"contentBlockIndex":1}"#,
    r#""choices":[{"index":0,"delta":{"content":"ab"},"finish_reason":null}]"#,
    r#""choices":[{"index":0,"delta":{"content":"abc"}},{"index":1,"delta":{"content":"d"}}]"#,
    r#""choices":[{"index":1,"delta":{},"finish_reason":"stop"}]"#,
    r#""choices":[{"delta":{"tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}}]"#,
    r#""choices":[]"#,
    r#""usage":null"#,
    r#""usage":{"prompt_tokens":1,"completion_tokens":2}"#,
    r#""usage":{"prompt_tokens":12,"completion_tokens":2,"total_tokens":14}"#,
    r#""usage":{"input_tokens":1,"output_tokens":3}"#,
    r#""message":{"usage":{"input_tokens":1,"output_tokens":1},"model":"claude"}"#,
    r#""response":{"id":"resp_1","model":"gpt","usage":{"input_tokens":1,"output_tokens":2}}"#,
    r#""error":{"message":"no"}"#,
    r#""padding":"as long as the shortest beginning""#,
    r#""broken":}"#,
];

/// Streams of a few documents that begin alike, up to one of two fields next to each other above; each of them comes
/// again and again.
fn stream() -> impl Strategy<Value = String> {
    let field = || prop::sample::select(FIELDS);
    let beginning = prop::collection::vec(field(), 0..4);
    let next = (0..FIELDS.len() - 1).prop_map(|at| [FIELDS[at], FIELDS[at + 1]]);
    let ends = prop::collection::vec((any::<bool>(), prop::collection::vec(field(), 0..4)), 1..4);
    let order = prop::collection::vec(any::<prop::sample::Index>(), 1..16);
    (beginning, next, ends, order).prop_map(|(beginning, next, ends, order)| {
        let document = |(is_second, end): &(bool, Vec<&str>)| {
            let fields = [&beginning[..], &[next[usize::from(*is_second)]], end].concat();
            format!("{{{}}}", fields.join(","))
        };
        let documents: Vec<String> = ends.iter().map(document).collect();
        order.iter().map(|at| format!("data: {}\n\n", at.get(&documents))).collect()
    })
}

fn scanners() -> Vec<Scanner> {
    let response = Response { content_type: Some("text/event-stream"), content_encoding: None };
    let of = |path| Scanner::of(Request { method: "POST", path }, response).unwrap();
    let paths =
        ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/model/x/invoke-with-response-stream"];
    paths.map(of).into_iter().chain([Scanner::new(Framing::Sse)]).collect()
}

fn said(scanner: &Scanner) -> String {
    let events =
        scanner.final_events(scanner.progress(), true).map(|events| String::from_utf8(events).unwrap());
    let (usage, progress) = (scanner.usage(), scanner.progress());
    format!("{usage:?} {progress:?} {:?} {} {events:?}", scanner.model(), scanner.has_error())
}

fn filtered(chunks: &[&[u8]]) -> Vec<u8> {
    let (mut filter, mut passed) = (UsageChunkFilter::new(), Vec::new());
    chunks.iter().for_each(|chunk| filter.feed(&Bytes::copy_from_slice(chunk), |bytes| passed.extend(bytes)));
    passed.extend(filter.finish().unwrap_or_default());
    passed
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn what_begins_alike_is_read_as_if_it_did_not(stream in stream()) {
        for (mut by_lines, mut by_bytes) in scanners().into_iter().zip(scanners()) {
            for event in stream.split_inclusive("\n\n") {
                by_lines.feed(event.as_bytes());
                event.as_bytes().chunks(1).for_each(|byte| by_bytes.feed(byte));
                prop_assert_eq!(said(&by_lines), said(&by_bytes), "after {}", event);
            }
        }
        let events: Vec<&[u8]> = stream.split_inclusive("\n\n").map(str::as_bytes).collect();
        let bytes: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
        prop_assert_eq!(filtered(&events), filtered(&bytes));
        prop_assert_eq!(filtered(&[stream.as_bytes()]), filtered(&bytes));
    }
}
