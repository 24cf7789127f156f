//! The last events that a scanner writes, taken apart by other means.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::frame::payloads;

/// The documents of an ending in this media type; panics when something else is in it.
pub fn documents(content_type: &str, end: &[u8]) -> Vec<Value> {
    if content_type == "application/vnd.amazon.eventstream" {
        return payloads(end).into_iter().map(payload).collect();
    }
    let text = std::str::from_utf8(end).expect("an ending is text");
    if content_type == "text/event-stream" {
        events(text)
    } else if let Some(array) = text.strip_suffix(']') {
        let array = format!("[{}]", array.strip_prefix(',').unwrap_or(array));
        serde_json::from_str(&array).expect("the array ends well")
    } else {
        assert!(text.ends_with('\n'), "{text:?}");
        text.lines().map(document).collect()
    }
}

fn events(text: &str) -> Vec<Value> {
    assert!(text.ends_with("\n\n") || text.ends_with("\r\n\r\n"), "{text:?}");
    let mut documents = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && *line != "data: [DONE]") {
        match line.strip_prefix("data: ") {
            Some(data) => documents.push(document(data)),
            None => assert!(line.starts_with("event: "), "{line:?}"),
        }
    }
    documents
}

/// Bedrock's own payload, or the document that is wrapped in it.
fn payload(payload: &[u8]) -> Value {
    let value: Value = serde_json::from_slice(payload).expect("a payload is JSON");
    match value.get("bytes").and_then(Value::as_str) {
        Some(wrapped) => {
            let bytes = BASE64_STANDARD.decode(wrapped).expect("what is wrapped is base64");
            serde_json::from_slice(&bytes).expect("what is wrapped is JSON")
        }
        None => value,
    }
}

fn document(text: &str) -> Value {
    serde_json::from_str(text).expect("an event is JSON")
}
