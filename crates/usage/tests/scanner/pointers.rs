//! Fields that a route names: found in any chunks and framings, and as a reader of whole documents finds them.

use proptest::prelude::*;
use serde_json::{Value, json};
use tollgate_core::Pointer;
use tollgate_usage::{Pointers, Response, Scanner, TokenUsage};

use crate::chunking::split_at;
use crate::frames::frame;

fn pointer(text: &str) -> Option<Pointer> {
    Some(text.parse().unwrap())
}

fn scanner(pointers: &Pointers, content_type: &str) -> Scanner {
    let response = Response { content_type: Some(content_type), content_encoding: None };
    Scanner::with_pointers(&pointers.shape(), response).unwrap()
}

fn scan<'a>(
    pointers: &Pointers,
    content_type: &str,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> Option<TokenUsage> {
    let mut scanner = scanner(pointers, content_type);
    chunks.into_iter().for_each(|chunk| scanner.feed(chunk));
    scanner.finish()
}

/// The total at `path`, the same for each size of chunks.
fn total(path: &str, body: &str) -> Option<i64> {
    let pointers = Pointers { total: pointer(path), ..Pointers::default() };
    let whole = scan(&pointers, "application/json", [body.as_bytes()]);
    for bytes in [1, 2, 3, 7] {
        assert_eq!(
            scan(&pointers, "application/json", body.as_bytes().chunks(bytes)),
            whole,
            "{path} in {body}"
        );
    }
    whole?.total()
}

#[test]
fn pointers_lead_through_objects_and_arrays() {
    let deep = r#"{"a":{"b":{"c":{"d":{"e":{"f":{"g":{"h":6}}}}}}}}"#;
    for (path, body, amount) in [
        ("/usage/units", r#"{"x":{"usage":{"units":1}},"usage":{"units":7}}"#, Some(7)),
        ("/results/0/tokens", r#"{"results":[{"tokens":3},{"tokens":4}]}"#, Some(3)),
        ("/results/1/tokens", r#"{"results":[{"tokens":3},{"tokens":4}]}"#, Some(4)),
        ("/results/2/tokens", r#"{"results":[{"tokens":3},{"tokens":4}]}"#, None),
        ("/items/*/pages", r#"{"items":[{"pages":3},{},{"pages":null},7,[1],"x",{"pages":40}]}"#, Some(43)),
        ("/items/*/pages", r#"{"items":[{"pages":3},{"pages":"4"}]}"#, None),
        ("/items/*/*", r#"{"items":[[1,2],[],[3]]}"#, Some(6)),
        ("/counts/*", r#"{"counts":[1,2,3]}"#, Some(6)),
        ("/counts/10", r#"{"counts":[0,1,2,3,4,5,6,7,8,9,100]}"#, Some(100)),
        // A key may look like an index.
        ("/results/0/tokens", r#"{"results":{"0":{"tokens":9}}}"#, Some(9)),
        ("/results/01", r#"{"results":{"01":9}}"#, Some(9)),
        ("/results/01", r#"{"results":[8,9]}"#, None),
        ("/items/*", r#"{"items":{"*":9}}"#, None),
        ("/0/n", r#"[{"n":5},{"n":6}]"#, Some(5)),
        ("/*/n", r#"[{"n":5},{"n":6}]"#, Some(11)),
        ("/a~1b/m~0n", r#"{"a\/b":{"m~n":5}}"#, Some(5)),
        ("/é/日本", r#"{"\u00e9":{"日\u672c":5}}"#, Some(5)),
        ("/", r#"{"":5}"#, Some(5)),
        ("/a/b/c/d/e/f/g/h", deep, Some(6)),
        // Said twice.
        ("/n", r#"{"n":5,"n":6}"#, None),
        ("/n", r#"{"n":{"n":6}}"#, None),
        ("/n", r#"{"n":12.0}"#, Some(12)),
        ("/n", r#"{"n":-1}"#, None),
        ("/n", r#"{"n":9223372036854775808}"#, None),
        ("/*/n", r#"[{"n":9223372036854775807},{"n":1}]"#, None),
        ("/n", r#"{"n":5"#, None),
        ("/n", r#"{"n":5 "#, Some(5)),
    ] {
        assert_eq!(total(path, body), amount, "{path} in {body}");
    }
}

#[test]
fn every_part_has_its_pointer() {
    let pointers = Pointers {
        input: pointer("/u/0"),
        output: pointer("/u/1"),
        total: pointer("/u/*"),
        cached_read: pointer("/u/0"),
        cache_write: pointer("/w"),
        reasoning: pointer("/r"),
        model: pointer("/engine/name"),
    };
    let body = br#"{"engine":{"name":"m-1"},"model":"other","u":[5,6,7],"w":2,"r":3,"error":{"code":1}}"#;
    for bytes in [1, 3, body.len()] {
        let mut scanner = scanner(&pointers, "application/json");
        body.chunks(bytes).for_each(|chunk| scanner.feed(chunk));
        assert_eq!(scanner.model(), Some("m-1"));
        assert!(scanner.has_error());
        let expected = TokenUsage {
            input: Some(5),
            output: Some(6),
            total_reported: Some(18),
            cached_read: Some(5),
            cache_write: Some(2),
            reasoning: Some(3),
            input_only: false,
        };
        assert_eq!(scanner.finish(), Some(expected));
    }
}

#[test]
fn a_key_that_looks_like_an_index_is_no_element() {
    let pointers = Pointers { output: pointer("/n/0/a"), total: pointer("/n/*/a"), ..Pointers::default() };
    for (body, output, total) in [
        (r#"{"n":{"0":{"a":7}}}"#, Some(7), None),
        (r#"{"n":[{"a":7}]}"#, Some(7), Some(7)),
        (r#"{"n":[{"a":7},{"a":8}]}"#, Some(7), Some(15)),
    ] {
        let usage = scan(&pointers, "application/json", [body.as_bytes()]).unwrap();
        assert_eq!((usage.output, usage.total_reported), (output, total), "{body}");
    }
}

#[test]
fn the_input_alone_is_the_whole_unless_more_is_named() {
    let body: &[u8] = br#"{"pages":5}"#;
    let input = Pointers { input: pointer("/pages"), ..Pointers::default() };
    assert_eq!(scan(&input, "application/json", [body]).unwrap().total(), Some(5));
    let both = Pointers { output: pointer("/out"), ..input };
    assert_eq!(scan(&both, "application/json", [body]).unwrap().total(), None);
    assert_eq!(scan(&Pointers::default(), "application/json", [body]), None);
}

#[test]
fn bodies_that_cannot_be_scanned_have_no_scanner() {
    let shape = Pointers { total: pointer("/n"), ..Pointers::default() }.shape();
    for (content_type, content_encoding) in
        [(None, None), (Some("text/html"), None), (Some("application/json"), Some("x"))]
    {
        assert!(Scanner::with_pointers(&shape, Response { content_type, content_encoding }).is_none());
    }
}

/// What is known of a chat's stream before it says its usage: tokens written, and how it is ended there.
fn before_usage(pointers: &Pointers) -> (i64, Option<Vec<u8>>) {
    let mut scanner = scanner(pointers, "text/event-stream");
    let chunk = r#"{"id":"c-1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"four four four four "}}]}"#;
    scanner.feed(format!("data: {chunk}\n\n").as_bytes());
    let (progress, is_at_boundary) = (scanner.progress(), scanner.is_at_boundary());
    assert!(is_at_boundary);
    let events = scanner.final_events(progress, false);
    scanner.feed(b"data: {\"n\":7}\n\n");
    assert_eq!(scanner.usage().and_then(|usage| usage.total()), Some(7));
    (progress.output, events)
}

#[test]
fn streams_that_write_are_held_to_their_limits_by_their_text() {
    let (tokens, events) = before_usage(&Pointers { total: pointer("/n"), ..Pointers::default() });
    assert_eq!(tokens, 5);
    let events = String::from_utf8(events.unwrap()).unwrap();
    assert!(events.contains(r#""id":"c-1""#) && events.contains(r#""finish_reason":"length""#), "{events}");
    // Nothing is written where only what was read is charged.
    assert_eq!(before_usage(&Pointers { input: pointer("/n"), ..Pointers::default() }), (0, None));
}

#[test]
fn what_a_route_names_is_more_than_what_dialects_have_there() {
    let pointers =
        Pointers { output: pointer("/choices/0/delta/n"), model: pointer("/id"), ..Pointers::default() };
    let mut scanner = scanner(&pointers, "text/event-stream");
    scanner.feed(b"data: {\"id\":\"m-1\",\"model\":\"m-2\",\"choices\":[{\"delta\":{\"content\":\"twelve bytes\",\"n\":9}}]}\n\n");
    assert_eq!((scanner.model(), scanner.progress().output), (Some("m-1"), 9));
}

fn any_json() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        3 => (0..1000_i64).prop_map(Value::from),
        1 => Just(Value::Null),
        1 => Just(json!("0")),
        1 => Just(json!(-1)),
    ];
    scalar.prop_recursive(5, 40, 4, |inner| {
        let key = prop::sample::select(vec!["a", "b", "0", "1", "*", "a\"/~é"]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.prop_map(str::to_owned), inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

fn any_pointer() -> impl Strategy<Value = Pointer> {
    let token = prop::sample::select(vec!["a", "b", "0", "1", "*", "*", "a\"~1~0é"]);
    prop::collection::vec(token, 1..4).prop_map(|tokens| format!("/{}", tokens.join("/")).parse().unwrap())
}

/// All values at `tokens`.
fn values<'a>(value: &'a Value, tokens: &[&str]) -> Vec<&'a Value> {
    let Some((token, rest)) = tokens.split_first() else { return vec![value] };
    let below: Vec<&Value> = match value {
        Value::Array(elements) if *token == Pointer::EACH => elements.iter().collect(),
        Value::Array(elements) => Pointer::index(token)
            .and_then(|index| elements.get(usize::try_from(index).unwrap()))
            .into_iter()
            .collect(),
        Value::Object(fields) if *token != Pointer::EACH => fields.get(*token).into_iter().collect(),
        _ => Vec::new(),
    };
    below.into_iter().flat_map(|value| values(value, rest)).collect()
}

/// What a document says at a pointer: nothing, an amount, or what is none.
fn said(document: &Value, pointer: &Pointer) -> Option<Option<i64>> {
    let tokens: Vec<&str> = pointer.tokens().collect();
    let present: Vec<&Value> =
        values(document, &tokens).into_iter().filter(|value| !value.is_null()).collect();
    if present.is_empty() {
        return None;
    }
    Some(present.into_iter().map(|value| value.as_i64().filter(|&amount| amount >= 0)).sum())
}

proptest! {
    #[test]
    fn pointers_find_what_a_reader_of_the_whole_finds(
        documents in prop::collection::vec(any_json(), 1..4),
        input in any_pointer(), output in any_pointer(), total in any_pointer(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        // The framings have objects as their documents.
        let documents: Vec<Value> = documents.into_iter().map(|inner| json!({"a": inner.clone(), "b": [inner]})).collect();
        let last = |pointer: &Pointer| documents.iter().rev().find_map(|document| said(document, pointer)).flatten();
        let expected = (last(&input), last(&output), last(&total));
        let pointers =
            Pointers { input: Some(input), output: Some(output), total: Some(total), ..Pointers::default() };
        let texts: Vec<String> = documents.iter().map(Value::to_string).collect();
        for (content_type, body) in [
            ("text/event-stream", texts.iter().flat_map(|text| format!("data: {text}\n\n").into_bytes()).collect::<Vec<u8>>()),
            ("application/x-ndjson", texts.join("\n").into_bytes()),
            ("application/vnd.amazon.eventstream", texts.iter().flat_map(|text| frame(text.as_bytes())).collect()),
        ] {
            let usage = scan(&pointers, content_type, [&body[..]]);
            // The last line ends in a bracket, so no number is cut.
            let fields = usage.map_or((None, None, None), |usage| (usage.input, usage.output, usage.total_reported));
            prop_assert_eq!(fields, expected, "{}", content_type);
            prop_assert_eq!(scan(&pointers, content_type, body.chunks(1)), usage);
            prop_assert_eq!(scan(&pointers, content_type, split_at(&body, &cuts)), usage);
        }
    }

    #[test]
    fn root_arrays_are_read_too(
        elements in prop::collection::vec(any_json(), 0..4), total in any_pointer(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let document = json!(elements);
        let expected = said(&document, &total).flatten();
        let pointers = Pointers { total: Some(total), ..Pointers::default() };
        let body = serde_json::to_vec_pretty(&document).unwrap();
        let usage = scan(&pointers, "application/json", split_at(&body, &cuts));
        prop_assert_eq!(usage.and_then(|usage| usage.total_reported), expected);
    }
}
