//! Running streams: what they have written so far, where they can end, and how.

use proptest::prelude::*;
use serde_json::{Value, json};
use tollgate_usage::{Progress, Request, Response, Scanner};

use crate::bodies::{Case, cases};
use crate::chunking::split_at;

const SSE: &str = "text/event-stream";
const FRAMES: &str = "application/vnd.amazon.eventstream";

fn scanner(path: &str, content_type: &str) -> Scanner {
    let response = Response { content_type: Some(content_type), content_encoding: None };
    Scanner::of(Request { method: "POST", path }, response).unwrap()
}

fn read(path: &str, content_type: &str, body: &[u8]) -> Scanner {
    let mut scanner = scanner(path, content_type);
    scanner.feed(body);
    scanner
}

/// What is added to `body`, in text.
fn ending(path: &str, content_type: &str, body: &str) -> Option<String> {
    let scanner = read(path, content_type, body.as_bytes());
    let progress = Progress { input: Some(5), output: 7 };
    scanner.final_events(progress, false).map(|bytes| String::from_utf8(bytes).unwrap())
}

/// The documents of an event stream.
fn events(stream: &str) -> Vec<Value> {
    let data = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
}

/// The names and payloads of frames whose checksums are right.
fn frames(mut bytes: &[u8]) -> Vec<(String, Value)> {
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes[..4].try_into().unwrap());
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let (frame, rest) = bytes.split_at(number(bytes) as usize);
        let (sum_at, headers) = (frame.len() - 4, number(&frame[4..]) as usize);
        assert_eq!(crc32fast::hash(&frame[..8]), number(&frame[8..]));
        assert_eq!(crc32fast::hash(&frame[..sum_at]), number(&frame[sum_at..]));
        let name = &frame[12 + 15..12 + 15 + usize::from(frame[12 + 14])];
        assert_eq!(&frame[12..12 + 12], b"\x0b:event-type");
        frames.push((
            String::from_utf8(name.to_vec()).unwrap(),
            serde_json::from_slice(&frame[12 + headers..sum_at]).unwrap(),
        ));
        bytes = rest;
    }
    frames
}

#[test]
fn chats_end_their_open_choices() {
    let chunk = |index: u32, rest: &str| {
        format!(
            "data: {{\"id\":\"c-1\",\"object\":\"chat.completion.chunk\",\"created\":9,\"model\":\"m\\/1\",\"choices\":[{{\"index\":{index},{rest}}}]}}\r\n\r\n"
        )
    };
    let body = chunk(0, r#""delta":{"content":"a"},"finish_reason":null"#)
        + &chunk(2, r#""delta":{"content":"b"},"finish_reason":null"#)
        + &chunk(0, r#""delta":{},"finish_reason":"stop""#);
    let end = ending("/v1/chat/completions", SSE, &body).unwrap();
    assert_eq!(
        end,
        "data: {\"id\":\"c-1\",\"object\":\"chat.completion.chunk\",\"created\":9,\"model\":\"m/1\",\"choices\":[{\"index\":2,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"length\"}]}\r\n\r\ndata: [DONE]\r\n\r\n"
    );
    let told = read("/v1/chat/completions", SSE, body.as_bytes());
    let told = told.final_events(Progress { input: Some(5), output: 7 }, true).unwrap();
    let told = events(std::str::from_utf8(&told).unwrap());
    assert_eq!(told[0]["usage"], Value::Null);
    assert_eq!(told[1]["choices"], json!([]));
    assert_eq!(told[1]["usage"], json!({"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}));
    // Nothing is left to end.
    let over = body + &chunk(2, r#""delta":{},"finish_reason":"stop""#);
    assert_eq!(ending("/v1/chat/completions", SSE, &over).as_deref(), Some(""));
    let text =
        "data: {\"object\":\"text_completion\",\"choices\":[{\"text\":\"a\",\"finish_reason\":\"\"}]}\n\n";
    let end = events(&ending("/v1/completions", SSE, text).unwrap());
    assert_eq!(
        end[0]["choices"][0],
        json!({"index": 0, "text": "", "logprobs": null, "finish_reason": "length"})
    );
}

#[test]
fn responses_are_incomplete() {
    let body = "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"resp_1\",\"created_at\":9,\"model\":\"m\"}}\n\n\
        data: {\"type\":\"response.output_text.delta\",\"delta\":\"a\",\"sequence_number\":4}\n\n";
    let end = ending("/v1/responses", SSE, body).unwrap();
    assert!(end.starts_with("event: response.incomplete\n"));
    let event = &events(&end)[0];
    assert_eq!((&event["type"], &event["sequence_number"]), (&json!("response.incomplete"), &json!(5)));
    let response = &event["response"];
    assert_eq!(response["incomplete_details"], json!({"reason": "max_output_tokens"}));
    assert_eq!((&response["id"], &response["usage"]["total_tokens"]), (&json!("resp_1"), &json!(12)));
    assert_eq!(ending("/v1/responses", SSE, "data: {\"type\":\"x\"}\n\n"), None);
}

#[test]
fn anthropic_blocks_are_closed() {
    let start = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":3}}}\n\n\
        data: {\"type\":\"content_block_start\",\"index\":2,\"content_block\":{}}\n\ndata: {\"type\":\"ping\"}\n\n";
    let kinds = |body: &str| -> Vec<Value> {
        events(&ending("/v1/messages", SSE, body).unwrap())
            .into_iter()
            .map(|event| event["type"].clone())
            .collect()
    };
    assert_eq!(kinds(start), ["content_block_stop", "message_delta", "message_stop"]);
    let end = events(&ending("/v1/messages", SSE, start).unwrap());
    assert_eq!(end[0]["index"], 2);
    assert_eq!(end[1]["delta"]["stop_reason"], "max_tokens");
    assert_eq!(end[1]["usage"]["output_tokens"], 7);
    let stopped = format!("{start}data: {{\"type\":\"content_block_stop\",\"index\":2}}\n\n");
    assert_eq!(kinds(&stopped), ["message_delta", "message_stop"]);
    let over = format!(
        "{stopped}data: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"end_turn\"}}}}\n\n"
    );
    assert_eq!(ending("/v1/messages", SSE, &over).as_deref(), Some(""));
    // The message has not begun.
    assert_eq!(ending("/v1/messages", SSE, "data: {\"type\":\"ping\"}\n\n"), None);
}

#[test]
fn gemini_ends_in_events_and_in_arrays() {
    const PATH: &str = "/v1beta/models/g:streamGenerateContent";
    let chunk =
        r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}}],"modelVersion":"g","responseId":"r"}"#;
    let end = events(&ending(PATH, SSE, &format!("data: {chunk}\n\n")).unwrap());
    assert_eq!(end[0]["candidates"][0]["finishReason"], "MAX_TOKENS");
    assert_eq!(
        (&end[0]["responseId"], &end[0]["usageMetadata"]["totalTokenCount"]),
        (&json!("r"), &json!(12))
    );
    for body in [format!("[{chunk}"), format!("[{chunk}\n,\n{chunk}\r\n,\r\n"), format!("[{chunk},{chunk} ")]
    {
        let whole = body.clone() + &ending(PATH, "application/json", &body).unwrap();
        let documents: Vec<Value> = serde_json::from_str(&whole).unwrap();
        assert_eq!(documents.last().unwrap()["candidates"][0]["finishReason"], "MAX_TOKENS");
    }
    for body in [String::new(), format!("[{}", &chunk[..30]), format!("[{chunk}]")] {
        assert_eq!(ending(PATH, "application/json", &body), None);
    }
}

#[test]
fn cohere_and_ollama_end_their_own_way() {
    let chat = "data: {\"id\":\"i\",\"type\":\"message-start\"}\n\ndata: {\"type\":\"tool-call-start\",\"index\":1,\"delta\":{}}\n\n";
    let end = events(&ending("/v2/chat", SSE, chat).unwrap());
    assert_eq!(end[0], json!({"type": "tool-call-end", "index": 1}));
    assert_eq!((&end[1]["id"], &end[1]["delta"]["finish_reason"]), (&json!("i"), &json!("MAX_TOKENS")));
    let lines = "{\"is_finished\":false,\"event_type\":\"stream-start\",\"generation_id\":\"g\"}\n";
    let end: Value =
        serde_json::from_str(&ending("/v1/chat", "application/stream+json", lines).unwrap()).unwrap();
    assert_eq!((&end["event_type"], &end["response"]["generation_id"]), (&json!("stream-end"), &json!("g")));
    for (path, line) in [
        ("/api/chat", r#"{"model":"m","created_at":"t","message":{"content":"a"},"done":false}"#),
        ("/api/generate", r#"{"model":"m","created_at":"t","response":"a","done":false}"#),
    ] {
        for content_type in ["application/x-ndjson", "application/json"] {
            let end = ending(path, content_type, &format!("{line}\n")).unwrap();
            assert!(end.ends_with("}\n"));
            let end: Value = serde_json::from_str(&end).unwrap();
            assert_eq!((&end["done"], &end["done_reason"]), (&json!(true), &json!("length")));
            assert_eq!((&end["created_at"], &end["eval_count"]), (&json!("t"), &json!(7)));
            assert_eq!(end.get("response").is_some(), path == "/api/generate");
            assert_eq!(ending(path, content_type, line), None);
        }
    }
}

#[test]
fn what_cannot_be_ended_is_left() {
    let chat = "data: {\"object\":\"chat.completion.chunk\",\"choices\":[]}\n\n";
    for (path, content_type, body) in [
        ("/v1/chat/completions", "application/json", "{\"choices\":[]}"),
        ("/v1beta/interactions", SSE, "data: {\"event_type\":\"step.start\"}\n\n"),
        ("/unknown", SSE, "data: {\"text\":\"a\"}\n\n"),
        ("/v1/chat/completions", SSE, &chat[..20]),
        ("/v1/chat/completions", SSE, &chat[..chat.len() - 1]),
    ] {
        assert_eq!(ending(path, content_type, body), None, "{path}");
    }
    // The gateway does not know how the rest is compressed.
    let request = Request { method: "POST", path: "/v1/chat/completions" };
    let mut scanner =
        Scanner::of(request, Response { content_type: Some(SSE), content_encoding: Some("gzip") }).unwrap();
    assert!(!scanner.is_at_boundary());
    assert_eq!(scanner.feed_to_boundary(b"abc"), None);
    assert_eq!(scanner.final_events(Progress::default(), false), None);
}

/// Where `case` can end, by reading it byte by byte.
fn boundaries(case: &Case) -> Vec<usize> {
    let mut scanner = case.scanner().unwrap();
    let mut boundaries = Vec::new();
    for at in 0..=case.body.len() {
        if scanner.is_at_boundary() {
            boundaries.push(at);
        }
        scanner.feed(case.body.get(at..=at).unwrap_or_default());
    }
    boundaries
}

#[test]
fn recorded_streams_end_at_every_boundary() {
    let mut ended = 0;
    for case in cases().iter().filter(|case| case.is_plain_stream()) {
        let boundaries = boundaries(case);
        for &boundary in boundaries.iter().step_by(1 + boundaries.len() / 100) {
            let mut scanner = case.scanner().unwrap();
            scanner.feed(&case.body[..boundary]);
            let progress = scanner.progress();
            let Some(end) = scanner.final_events(progress, true) else { continue };
            ended += 1;
            let mut whole = case.scanner().unwrap();
            whole.feed(&case.body[..boundary]);
            whole.feed(&end);
            assert!(whole.is_at_boundary() || end.ends_with(b"]"), "{}", case.id);
            assert_eq!(whole.has_error(), scanner.has_error(), "{}", case.id);
            if case.json["framing"] == "aws-eventstream" {
                frames(&end);
            }
            // The stream then says what it was at.
            assert_eq!(whole.progress().output, progress.output, "{} at {boundary}", case.id);
            // Gemini has said a reason in each chunk, so that none is known to be the last.
            if whole.is_at_boundary() && case.json["api_shape"] != "gemini.streamGenerateContent" {
                assert_eq!(whole.final_events(progress, true).as_deref(), Some(&b""[..]), "{}", case.id);
            }
        }
    }
    println!("{ended} ends");
}

#[test]
fn the_next_boundary_does_not_depend_on_chunks() {
    for case in cases().iter().filter(|case| case.is_plain_stream() && case.body.len() < 20_000) {
        let boundaries = boundaries(case);
        for cut in (0..case.body.len()).step_by(1 + case.body.len() / 200) {
            let mut scanner = case.scanner().unwrap();
            scanner.feed(&case.body[..cut]);
            let next = boundaries.iter().copied().find(|&boundary| boundary >= cut);
            let read = scanner.feed_to_boundary(&case.body[cut..]);
            assert_eq!(read.map(|read| cut + read), next, "{} at {cut}", case.id);
        }
    }
}

#[test]
fn estimates_are_near_what_was_reported() {
    for case in cases().iter().filter(|case| case.is_plain_stream()) {
        let Some(output) = case.json["expected"]["output_all"].as_i64() else { continue };
        // Without the events that report usage, the estimate is all there is.
        let estimate = case.estimate();
        let hidden = case.json["expected"]["reasoning"].as_i64().unwrap_or(0);
        assert!(estimate <= output * 3 / 2 + 32, "{}: {estimate} of {output}", case.id);
        println!("{}: {estimate} of {output}, of which {hidden} are reasoning", case.id);
    }
}

/// What streams are made of, to be put together at random.
const PIECES: [&str; 24] = [
    "data: ",
    "\r",
    "\n",
    "\n\n",
    ": x\n",
    "{",
    "}",
    "[",
    "]",
    ",",
    "\"",
    "\\",
    "\\u00e9",
    "{\"delta\":{\"text\":\"a",
    "7",
    "\"type\":\"content_block_start\",",
    "\"type\":\"message_start\"",
    "\"index\":3",
    "{\"choices\":[{\"index\":",
    "\"done\":true}",
    "{\"response\":\"",
    "\"id\":\"i\"",
    "{\"type\":\"response.created\",\"response\":{\"id\":\"r\"}}",
    "\"finish_reason\":\"stop\"",
];

proptest! {
    #[test]
    fn nothing_panics_and_chunks_change_nothing(
        pieces in prop::collection::vec(prop::sample::select(PIECES.to_vec()), 0..60),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let body = pieces.concat().into_bytes();
        for path in ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/api/chat", "/v2/chat", "/m:streamGenerateContent"] {
            for content_type in [SSE, FRAMES, "application/json", "application/x-ndjson"] {
                let whole = read(path, content_type, &body);
                for chunks in [split_at(&body, &cuts), body.chunks(1).collect()] {
                    let mut scanner = scanner(path, content_type);
                    chunks.into_iter().for_each(|chunk| scanner.feed(chunk));
                    prop_assert_eq!(scanner.progress(), whole.progress());
                    prop_assert_eq!(scanner.final_events(Progress::default(), true), whole.final_events(Progress::default(), true));
                }
            }
        }
    }

    #[test]
    fn reading_to_the_next_boundary_is_reading_byte_by_byte(
        begun in prop::sample::select(vec!["", "\u{feff}", " \t"]),
        alike in 0..8_usize,
        pieces in prop::collection::vec(prop::sample::select(PIECES.to_vec()), 0..60),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        // What several events begin with is remembered; good frames cannot be put together at random.
        let chat = r#"{"id":"i","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"a"}}]}"#;
        let whole = |content_type| match content_type {
            SSE => format!("data: {chat}\n\n").into_bytes(),
            FRAMES => crate::frames::event("contentBlockDelta", br#"{"contentBlockIndex":1,"delta":{"text":"a"}}"#),
            _ => format!("{chat}\n").into_bytes(),
        };
        for path in ["/v1/chat/completions", "/v1/messages", "/api/chat", "/m:streamGenerateContent"] {
            for content_type in [SSE, FRAMES, "application/json", "application/x-ndjson"] {
                let begun = if content_type == FRAMES { "" } else { begun };
                let body = [begun.as_bytes(), &whole(content_type).repeat(alike), pieces.concat().as_bytes()].concat();
                let mut by_bytes = scanner(path, content_type);
                let mut expected = Vec::new();
                for (at, byte) in body.iter().enumerate() {
                    by_bytes.feed(&[*byte]);
                    if by_bytes.is_at_boundary() {
                        expected.push(at + 1);
                    }
                }
                let mut to_boundaries = scanner(path, content_type);
                let (mut at, mut found) = (0, Vec::new());
                for mut chunk in split_at(&body, &cuts) {
                    while !chunk.is_empty() {
                        // From one boundary to the next there is one byte at least.
                        let begun = usize::from(to_boundaries.is_at_boundary());
                        to_boundaries.feed(&chunk[..begun]);
                        let read = to_boundaries.feed_to_boundary(&chunk[begun..]).map(|read| begun + read);
                        at += read.unwrap_or(chunk.len());
                        found.extend(read.map(|_| at));
                        chunk = &chunk[read.unwrap_or(chunk.len())..];
                    }
                }
                prop_assert_eq!(found, expected);
                prop_assert_eq!(to_boundaries.progress(), by_bytes.progress());
                prop_assert_eq!(to_boundaries.usage(), by_bytes.usage());
            }
        }
    }

    #[test]
    fn progress_and_endings_do_not_depend_on_chunks(
        deltas in prop::collection::vec((prop::sample::select(vec!["a", "\\u65e5", "\\\"", "\\\\", "日本", "word "]), 0..9_usize), 1..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let texts: Vec<String> = deltas.iter().map(|(text, times)| text.repeat(*times)).collect();
        for (path, content_type, documents) in [
            ("/v1/chat/completions", SSE, texts.iter().map(|text| format!("data: {{\"id\":\"i\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\",\"tool_calls\":[{{\"function\":{{\"name\":\"{text}\"}}}}]}}}}]}}\r\n\r\n")).collect::<Vec<_>>()),
            ("/v1/messages", SSE, texts.iter().map(|text| format!("data: {{\"type\":\"content_block_delta\",\"delta\":{{\"thinking\":\"{text}\"}}}}\r\r")).collect()),
            ("/api/generate", "application/json", texts.iter().map(|text| format!("{{\"response\":\"{text}\"}}\n")).collect()),
            ("/v1/models/g:streamGenerateContent", "application/json", texts.iter().map(|text| format!("{{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"{text}\"}}]}}}}]}},")).collect()),
        ] {
            let mut body = documents.concat();
            if body.ends_with(',') {
                body.insert(0, '[');
            }
            let body = &body.as_bytes()[..cut.index(body.len() + 1)];
            let whole = read(path, content_type, body);
            for chunks in [split_at(body, &cuts), body.chunks(1).collect()] {
                let mut scanner = scanner(path, content_type);
                chunks.into_iter().for_each(|chunk| scanner.feed(chunk));
                prop_assert_eq!(scanner.progress(), whole.progress());
                prop_assert_eq!(scanner.is_at_boundary(), whole.is_at_boundary());
                prop_assert_eq!(
                    scanner.final_events(Progress::default(), true), whole.final_events(Progress::default(), true)
                );
            }
        }
    }
}

#[test]
fn frames_end_in_frames() {
    use crate::frames::event;
    let body = [
        event("messageStart", br#"{"role":"assistant"}"#),
        event("contentBlockDelta", br#"{"contentBlockIndex":1,"delta":{"text":"a"}}"#),
    ]
    .concat();
    let scanner = read("/model/m/converse-stream", FRAMES, &body);
    let end = scanner.final_events(Progress { input: Some(5), output: 7 }, false).unwrap();
    assert_eq!(
        frames(&end),
        [
            ("contentBlockStop".to_owned(), json!({"contentBlockIndex": 1})),
            ("messageStop".to_owned(), json!({"stopReason": "max_tokens"})),
            (
                "metadata".to_owned(),
                json!({"metrics": {"latencyMs": 0}, "usage": {"inputTokens": 5, "outputTokens": 7, "totalTokens": 12}})
            ),
        ]
    );
    for (documents, expected) in [
        (
            [
                r#"{"type":"message_start","message":{}}"#,
                r#"{"type":"content_block_delta","index":0,"delta":{"text":"a"}}"#,
            ],
            3,
        ),
        (
            [
                r#"{"messageStart":{"role":"assistant"}}"#,
                r#"{"contentBlockDelta":{"delta":{"text":"a"},"contentBlockIndex":0}}"#,
            ],
            3,
        ),
        ([r#"{"outputText":"a"}"#, r#"{"outputText":"b"}"#], 0),
    ] {
        let body: Vec<u8> = documents.into_iter().flat_map(crate::frames::wrap).collect();
        let scanner = read("/model/m/invoke-with-response-stream", FRAMES, &body);
        let end = scanner.final_events(Progress { input: Some(5), output: 7 }, false).unwrap_or_default();
        let end = frames(&end);
        assert_eq!(end.len(), expected);
        assert!(end.iter().all(|(name, payload)| name == "chunk" && payload["bytes"].is_string()));
    }
}
