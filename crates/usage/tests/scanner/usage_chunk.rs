//! The chunk that only has usage goes, all else passes as it came, in any chunks.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;
use tollgate_usage::{USAGE_CHUNK_BYTES_MAX, UsageChunkFilter};

use crate::bodies::cases;
use crate::chunking::split_at;

fn filter<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let (mut filter, mut passed) = (UsageChunkFilter::new(), Vec::new());
    for chunk in chunks {
        filter.feed(&Bytes::copy_from_slice(chunk), |bytes| {
            assert!(!bytes.is_empty());
            passed.extend_from_slice(&bytes);
        });
    }
    passed.extend(filter.finish().unwrap_or_default());
    passed
}

fn extra() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        r#"{"id":"c","choices":[],"usage":{"prompt_tokens":1}}"#,
        r#"{"usage":{"x":[1,{"choices":[1]}]}, "choices" : [ ] }"#,
        "{\"choices\":[\n],\n\"usage\":{}}",
        r#"{"\u0063hoices":[],"usage":{}}"#,
    ])
    .prop_map(str::to_owned)
}

fn kept() -> impl Strategy<Value = String> {
    let long = format!(r#"{{"choices":[],"usage":{{}},"pad":"{}"}}"#, "x".repeat(USAGE_CHUNK_BYTES_MAX));
    prop_oneof![
        8 => prop::sample::select(vec![
            r#"{"choices":[{"delta":{"content":"\"choices\":[],\"usage\":{}"}}],"usage":null}"#,
            r#"{"choices":[],"usage":null}"#,
            r#"{"choices":[],"prompt_filter_results":[{"usage":{}}]}"#,
            r#"{"choices":[{}],"usage":{"prompt_tokens":1}}"#,
            r#"{"choices":[null],"usage":{}}"#,
            r#"{"choices":null,"usage":{}}"#,
            r#"{"choices":"[]","usage":{}}"#,
            r#"{"choices":[],"usage":{"cut":"#,
            r#"{"usage":{}}"#,
            r#"{"error":{"message":"x"}}"#,
            "[DONE]",
            "",
            "not json",
        ]).prop_map(str::to_owned),
        1 => Just(long),
    ]
}

/// An event with other lines around its data.
fn event(data: &str, fields: bool, end: &str) -> String {
    let mut event = if fields { format!("event: e{end}id:7{end}") } else { String::new() };
    for line in data.split('\n') {
        event.extend(["data: ", line, end]);
    }
    if fields {
        event.extend([": comment within", end]);
    }
    event + end
}

proptest! {
    #[test]
    fn only_the_extra_chunk_goes(
        events in prop::collection::vec((prop_oneof![2 => kept().prop_map(|data| (data, true)), 1 => extra().prop_map(|data| (data, false))],
            any::<bool>(), any::<bool>()), 0..6),
        end in prop::sample::select(vec!["\n", "\r", "\r\n"]),
        cut in any::<bool>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let (mut stream, mut expected) = (String::new(), String::new());
        for ((data, stays), fields, comment) in &events {
            if *comment {
                for text in [&mut stream, &mut expected] {
                    text.extend([": alive", end]);
                }
            }
            let event = event(data, *fields, end);
            stream += &event;
            if *stays {
                expected += &event;
            }
        }
        if cut {
            let event = "data: {\"choices\":[],\"usage\":{\"a\"";
            stream += event;
            expected += event;
        }
        prop_assert_eq!(filter([stream.as_bytes()]), expected.as_bytes());
        prop_assert_eq!(filter(stream.as_bytes().chunks(1)), expected.as_bytes());
        prop_assert_eq!(filter(split_at(stream.as_bytes(), &cuts)), expected.as_bytes());
    }

    #[test]
    fn arbitrary_bytes_give_the_same_in_any_chunks(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"\r\n: data{}[]".to_vec())], 0..200),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        prop_assert_eq!(filter([&bytes[..]]), &bytes[..]);
        prop_assert_eq!(filter(bytes.chunks(1)), &bytes[..]);
        prop_assert_eq!(filter(split_at(&bytes, &cuts)), &bytes[..]);
    }
}

#[test]
fn what_passes_is_not_copied_and_leaves_at_once() {
    let mut filter = UsageChunkFilter::new();
    let mut seen = Vec::new();
    let whole = Bytes::from("data: {\"choices\":[{}],\"usage\":null}\n\ndata: {\"choices\":[{\"delta\":");
    filter.feed(&whole, |bytes| seen.push(bytes));
    // The second event has a choice, so that its beginning leaves too.
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].as_ptr(), seen[0].len()), (whole.as_ptr(), whole.len()));
    seen.clear();
    let undecided = Bytes::from("{}}]}\r\n\r\n: alive\r\nid: 7\r\ndata: {\"id\":\"c\",");
    filter.feed(&undecided, |bytes| seen.push(bytes));
    assert_eq!(seen.concat(), b"{}}]}\r\n\r\n: alive\r\n");
    seen.clear();
    filter.feed(&Bytes::from("\"choices\":[{"), |bytes| seen.push(bytes));
    assert_eq!(seen.concat(), b"id: 7\r\ndata: {\"id\":\"c\",\"choices\":[{");
}

#[test]
fn recorded_chats_lose_that_chunk_only() {
    for case in cases().iter().filter(|case| case.is_plain_stream() && case.json["framing"] == "sse") {
        let body = String::from_utf8(case.body.clone()).unwrap();
        let is_usage_chunk = |event: &str| {
            let data = event.strip_prefix("data: ").unwrap_or_default();
            let data: Value = serde_json::from_str(data).unwrap_or_default();
            data["choices"] == Value::Array(Vec::new()) && data["usage"].is_object()
        };
        let kept: String = body.split_inclusive("\n\n").filter(|event| !is_usage_chunk(event)).collect();
        assert_eq!(filter([body.as_bytes()]), kept.as_bytes(), "{}", case.id);
        assert_eq!(filter(body.as_bytes().chunks(7)), kept.as_bytes(), "{}", case.id);
        println!("{}: {} bytes less", case.id, body.len() - kept.len());
    }
}

#[test]
fn the_chunk_stays_out_when_the_stream_ends_with_it() {
    let usage = "data: {\"choices\":[],\"usage\":{\"total_tokens\":3}}";
    for end in ["", "\n", "\r", "\r\n", "\n\n"] {
        assert_eq!(filter([format!("data: x\n\n{usage}{end}").as_bytes()]), b"data: x\n\n", "{end:?}");
    }
}
