//! What a request asks for makes sense, and the edit of its body adds the option and nothing else.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use serde_json::{Value, json};
use tollgate_usage::{Asked, IncludeUsage, Request, ask};
use tollgate_usage_fuzz::case::PATHS;

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some((&[path, content_type], body)) = input.split_first_chunk() else { return Corpus::Reject };
    let request = Request { method: "POST", path: PATHS[usize::from(path) % PATHS.len()] };
    let content_type = [None, Some("application/json"), Some("application/x-www-form-urlencoded")]
        [usize::from(content_type) % 3];
    let value = value(body);
    let Some(asked) = ask(request, content_type, body) else {
        // What serde_json reads is at most half as deep as what we do.
        assert!(!value.is_some_and(|value| value.is_object()), "an object was not read");
        return Corpus::Keep;
    };
    if let Some(value) = &value {
        assert_is_read(request, value);
    }
    let Asked {
        model,
        input_tokens,
        reads_elsewhere: _,
        output_tokens,
        choices,
        is_stream,
        include_usage,
        ..
    } = asked;
    assert!(input_tokens >= 1, "{input_tokens} tokens are read");
    assert!(output_tokens.is_none_or(|tokens| tokens >= 0), "{output_tokens:?} tokens are written");
    assert!(choices >= 1, "there are {choices} answers");
    assert_ne!(model.as_deref(), Some(""));
    if let Some(edit) = include_usage {
        assert!(is_stream, "usage is asked for without a stream");
        assert_is_edited(request, body, value, edit);
    }
    Corpus::Keep
});

/// Spaces change nothing, and the model is the one that another reader finds.
fn assert_is_read(request: Request<'_>, value: &Value) {
    let [dense, loose] = [format!("{value}"), format!("{value:#}")].map(|body| {
        let mut asked = ask(request, None, body.as_bytes()).expect("what was read is read again");
        // Where the edit is may differ.
        let has_edit = asked.include_usage.take().is_some();
        (asked, has_edit)
    });
    assert_eq!(dense, loose);
    let (Some(model), Some(read)) = (value["model"].as_str(), &dense.0.model) else { return };
    if request.model().is_none() {
        assert_eq!(read, model);
    }
}

/// `body` is `before`, if that can be read, with the option, and says so to who reads it next.
fn assert_is_edited(request: Request<'_>, body: &[u8], before: Option<Value>, edit: IncludeUsage) {
    let edited = edit.apply(body);
    let again = ask(request, None, &edited).expect("the edited body can be read");
    assert_eq!(again.include_usage, None);
    assert!(again.is_stream, "the edit ends the stream");
    let Some(mut expected) = before else { return };
    if !expected["stream_options"].is_object() {
        expected["stream_options"] = json!({});
    }
    expected["stream_options"]["include_usage"] = json!(true);
    assert_eq!(value(&edited), Some(expected));
}

fn value(body: &[u8]) -> Option<Value> {
    serde_json::from_slice(body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body)).ok()
}
