//! Any chunking gives the same usage; no bytes make the scanner panic; valid JSON is read as serde_json reads it.

use proptest::prelude::*;
use serde_json::{Value, json};
use tollgate_usage::{Framing, Scanner, TokenUsage};

use crate::frames::frame;

const FRAMINGS: [Framing; 5] =
    [Framing::Json, Framing::JsonArray, Framing::Lines, Framing::Sse, Framing::Frames];

fn whole(framing: Framing, body: &[u8]) -> Option<TokenUsage> {
    chunked(framing, [body])
}

fn chunked<'a>(framing: Framing, chunks: impl IntoIterator<Item = &'a [u8]>) -> Option<TokenUsage> {
    let mut scanner = Scanner::new(framing);
    chunks.into_iter().for_each(|chunk| scanner.feed(chunk));
    scanner.finish()
}

pub(crate) fn split_at<'a>(body: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
    at.extend([0, body.len()]);
    at.sort_unstable();
    at.windows(2).map(|ends| &body[ends[0]..ends[1]]).collect()
}

/// Text with all that could confuse a reader: quotes, braces, escapes, other scripts, our own field names.
fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(
        prop_oneof![
            Just("\"usage\":{\"prompt_tokens\":99}"),
            Just("}"),
            Just("{"),
            Just("]"),
            Just("\\"),
            Just("\""),
            Just("\r\n\r\ndata: "),
            Just("日本"),
            Just("é🙂"),
            Just("usage"),
        ],
        0..5,
    )
    .prop_map(|parts| parts.concat())
}

fn any_json() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text().prop_map(Value::from)
    ];
    scalar.prop_recursive(4, 24, 4, |inner| {
        let key = prop_oneof![text(), Just("usage".to_owned()), Just("prompt_tokens".to_owned())];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..4)
                .prop_map(|entries| entries.into_iter().collect::<Value>()),
        ]
    })
}

fn amount() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => (0..i64::MAX).prop_map(Value::from),
        1 => Just(Value::Null),
        1 => any_json(),
    ]
}

/// A chat answer around arbitrary values, and what it says.
pub(crate) fn chat() -> impl Strategy<Value = Value> {
    (any_json(), any_json(), text(), amount(), amount(), amount()).prop_map(
        |(choices, extra, key, prompt, completion, total)| {
            let mut body = json!({
                "choices": choices,
                "usage": {"prompt_tokens": prompt, "extra": extra, "completion_tokens": completion, "total_tokens": total},
            });
            body[format!("x{key}")] = json!({"usage": {"prompt_tokens": 7}});
            body
        },
    )
}

fn said(body: &Value, field: &str) -> Option<i64> {
    body["usage"][field].as_i64().filter(|&amount| amount >= 0)
}

proptest! {
    #[test]
    fn json_is_read_as_serde_reads_it_in_any_chunks(
        body in chat(), pretty in any::<bool>(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let bytes = if pretty { serde_json::to_vec_pretty(&body) } else { serde_json::to_vec(&body) }.unwrap();
        let usage = whole(Framing::Json, &bytes);
        let fields = usage.map_or((None, None, None), |usage| (usage.input, usage.output, usage.total_reported));
        let expected = (said(&body, "prompt_tokens"), said(&body, "completion_tokens"), said(&body, "total_tokens"));
        prop_assert_eq!(fields, expected);
        prop_assert_eq!(chunked(Framing::Json, bytes.chunks(1)), usage);
        prop_assert_eq!(chunked(Framing::Json, split_at(&bytes, &cuts)), usage);
    }

    #[test]
    fn event_streams_give_the_same_with_any_line_ends_and_chunks(
        events in prop::collection::vec((chat(), any::<bool>()), 1..4),
        end in prop::sample::select(vec!["\n", "\r", "\r\n"]),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut stream = String::from(": comment with \"usage\":{\"total_tokens\":1}");
        stream.push_str(end);
        for (event, several_lines) in &events {
            let data = if *several_lines { serde_json::to_string_pretty(event) } else { serde_json::to_string(event) };
            for line in data.unwrap().lines() {
                stream.extend(["data: ", line, end]);
            }
            stream.extend(["id: 7", end, end]);
        }
        stream.extend(["data: [DONE]", end, end]);
        let last = |field| events.iter().rev().find_map(|(event, _)| {
            let given = &event["usage"][field];
            (!given.is_null()).then(|| said(event, field))
        }).flatten();
        let usage = whole(Framing::Sse, stream.as_bytes());
        let fields = usage.map_or((None, None, None), |usage| (usage.input, usage.output, usage.total_reported));
        prop_assert_eq!(fields, (last("prompt_tokens"), last("completion_tokens"), last("total_tokens")));
        prop_assert_eq!(chunked(Framing::Sse, stream.as_bytes().chunks(1)), usage);
        prop_assert_eq!(chunked(Framing::Sse, split_at(stream.as_bytes(), &cuts)), usage);
    }

    #[test]
    fn lines_arrays_and_frames_give_the_same_as_events(
        documents in prop::collection::vec(chat(), 1..4),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let texts: Vec<String> = documents.iter().map(Value::to_string).collect();
        let events: String = texts.iter().map(|text| format!("data: {text}\n\n")).collect();
        let usage = whole(Framing::Sse, events.as_bytes());
        let frames = texts.iter().flat_map(|text| frame(text.as_bytes())).collect();
        for (framing, body) in [
            (Framing::Lines, texts.join("\n").into_bytes()),
            (Framing::JsonArray, format!("[{}]", texts.join(" ,\r\n")).into_bytes()),
            (Framing::Frames, frames),
        ] {
            prop_assert_eq!(whole(framing, &body), usage, "{:?}", framing);
            prop_assert_eq!(chunked(framing, body.chunks(1)), usage);
            prop_assert_eq!(chunked(framing, split_at(&body, &cuts)), usage);
        }
    }

    #[test]
    fn arbitrary_bytes_neither_panic_nor_depend_on_chunks(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        syntax in prop::collection::vec(prop::sample::select(br#"{}[]":,\ndatusge 019.-e"#.to_vec()), 0..300),
    ) {
        for body in [&bytes, &syntax] {
            for framing in FRAMINGS {
                prop_assert_eq!(chunked(framing, body.chunks(1)), whole(framing, body));
            }
        }
    }

    #[test]
    fn a_cut_body_never_says_more_than_the_whole(body in chat(), cut in any::<prop::sample::Index>()) {
        let bytes = serde_json::to_vec(&body).unwrap();
        if let Some(usage) = whole(Framing::Json, &bytes[..cut.index(bytes.len())]) {
            let agrees = |seen: Option<i64>, field| seen.is_none() || seen == said(&body, field);
            prop_assert!(agrees(usage.input, "prompt_tokens"));
            prop_assert!(agrees(usage.output, "completion_tokens"));
            prop_assert!(agrees(usage.total_reported, "total_tokens"));
        }
    }
}
