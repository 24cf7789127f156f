//! The binary event stream: payloads, documents wrapped in payloads, and frames that do not add up.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tollgate_usage::{Framing, Request, Response, Scanner, TokenUsage};

/// A frame with one header around `payload`.
pub(crate) fn frame(payload: &[u8]) -> Vec<u8> {
    frame_with(b"\x0d:message-type\x07\x00\x05event", payload)
}

/// A frame as Bedrock has it.
pub(crate) fn event(name: &str, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(name.len()).unwrap();
    let headers =
        [b"\x0b:event-type\x07\x00", &[length][..], name.as_bytes(), b"\x0d:message-type\x07\x00\x05event"];
    frame_with(&headers.concat(), payload)
}

fn frame_with(headers: &[u8], payload: &[u8]) -> Vec<u8> {
    let total = u32::try_from(16 + headers.len() + payload.len()).unwrap();
    let mut frame = total.to_be_bytes().to_vec();
    frame.extend(u32::try_from(headers.len()).unwrap().to_be_bytes());
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    frame.extend_from_slice(headers);
    frame.extend_from_slice(payload);
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    frame
}

pub(crate) fn wrap(document: &str) -> Vec<u8> {
    let bytes = BASE64_STANDARD.encode(document);
    frame(format!(r#"{{"bytes":"{bytes}","p":"abcdef"}}"#).as_bytes())
}

fn scan(path: &str, body: &[u8], chunk_bytes: usize) -> (Option<TokenUsage>, Option<String>) {
    let content_type = Some("application/vnd.amazon.eventstream");
    let response = Response { content_type, content_encoding: None };
    let mut scanner = Scanner::of(Request { method: "POST", path }, response).unwrap();
    body.chunks(chunk_bytes).for_each(|chunk| scanner.feed(chunk));
    let model = scanner.model().map(str::to_owned);
    (scanner.finish(), model)
}

#[test]
fn invoked_models_speak_in_wrapped_documents() {
    let body = [
        wrap(r#"{"type":"message_start","message":{"model":"claude-x","usage":{"input_tokens":14,"output_tokens":1}}}"#),
        wrap(r#"{"type":"content_block_delta","delta":{"text":"\"usage\":{\"input_tokens\":9}"}}"#),
        wrap(r#"{"type":"message_delta","usage":{"output_tokens":10}}"#),
        wrap(r#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":14,"outputTokenCount":10}}"#),
    ]
    .concat();
    for chunk_bytes in [1, 2, 3, 5, 64, body.len()] {
        let (usage, model) = scan("/model/x/invoke-with-response-stream", &body, chunk_bytes);
        let usage = usage.unwrap();
        assert_eq!((usage.input, usage.output, usage.total()), (Some(14), Some(10), Some(24)));
        assert_eq!(model.as_deref(), Some("claude-x"));
    }
    // Without the end, what the beginning said.
    assert_eq!(scan("/model/x/invoke-with-response-stream", &body[..360], 7).0.unwrap().total(), Some(15));
}

#[test]
fn other_models_are_counted_by_bedrock() {
    let body = [
        wrap(r#"{"outputText":"a","inputTextTokenCount":5}"#),
        wrap(r#"{"amazon-bedrock-invocationMetrics":{"inputTokenCount":5,"outputTokenCount":6,"cacheReadInputTokenCount":1}}"#),
    ]
    .concat();
    let usage = scan("/model/x/invoke-with-response-stream", &body, 1).0.unwrap();
    assert_eq!((usage.input, usage.output, usage.cached_read), (Some(6), Some(6), Some(1)));
}

#[test]
fn frames_that_do_not_add_up_end_the_reading() {
    let metadata = frame(br#"{"usage":{"inputTokens":2,"outputTokens":3,"totalTokens":5}}"#);
    let total = |body: &[u8]| scan("/model/x/converse-stream", body, 3).0.and_then(|usage| usage.total());
    assert_eq!(total(&[frame(b"{}"), metadata.clone()].concat()), Some(5));
    for (at, byte) in [(0, 0xff), (3, 1), (7, 0xff), (8, 0x55)] {
        let mut broken = frame(b"{}");
        broken[at] ^= byte;
        assert_eq!(total(&[broken.clone(), metadata.clone()].concat()), None, "{at}");
        // What came before stands.
        assert_eq!(total(&[metadata.clone(), broken].concat()), Some(5), "{at}");
    }
    let mut scanner = Scanner::new(Framing::Frames);
    scanner.feed(&metadata);
    assert_eq!(scanner.finish().unwrap().total(), Some(5));
}

#[test]
fn exceptions_are_errors() {
    let event = frame(br#"{"usage":{"inputTokens":2,"outputTokens":3}}"#);
    let exception = frame_with(
        b"\x0f:exception-type\x07\x00\x03abc\x0d:message-type\x07\x00\x09exception",
        br#"{"message":"Too many tokens"}"#,
    );
    for (body, is_error) in [(event.clone(), false), ([event, exception].concat(), true)] {
        for chunk_bytes in [1, 5, 1000] {
            let mut scanner = Scanner::new(Framing::Frames);
            body.chunks(chunk_bytes).for_each(|chunk| scanner.feed(chunk));
            assert_eq!(scanner.has_error(), is_error);
            assert_eq!(scanner.finish().unwrap().total(), Some(5));
        }
    }
}
