//! Usage that an OpenAI stream leaves out unless it is asked for.

use crate::json::{self, Bracket, Broken, Event, Json, Step};

/// The edit of a request's body that asks for usage; all other bytes stay as they are.
///
/// A service that is shaped like OpenAI's answers such a request with one chunk more, which has `usage` and no `choices`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IncludeUsage {
    /// Bytes of the body before the edit.
    at: usize,
    /// Bytes of the body that the edit replaces.
    replaced_bytes: usize,
    insert: &'static str,
}

const OPTION: &str = r#""include_usage":true"#;
const OPTIONS: &str = r#"{"include_usage":true}"#;

/// What the body says about one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Said<T> {
    #[default]
    Nothing,
    Once(T),
    /// Twice or in a way that is no option: what the service makes of it cannot be known.
    Unclear,
}

/// A value that the edit may replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Value {
    at: usize,
    bytes: usize,
}

/// Where `stream_options` are, and what is in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Options {
    Null(Value),
    /// After the opening bracket at `at`.
    Object {
        at: usize,
        is_empty: bool,
    },
}

impl IncludeUsage {
    /// The edit of a body of chat or completions that is streamed without usage; `None` when it is not streamed, when
    /// it asks for usage, and when two keys of one name leave that unclear.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let body = text.strip_prefix('\u{feff}').unwrap_or(text);
        let looked = Looked::at(body).ok()?;
        let mark_bytes = text.len() - body.len();
        if looked.stream != Said::Once(true) {
            return None;
        }
        let insert_at = |at: usize, insert| Self { at: mark_bytes + at, replaced_bytes: 0, insert };
        let replace =
            |value: Value, insert| Self { replaced_bytes: value.bytes, ..insert_at(value.at, insert) };
        match (looked.options, looked.include) {
            // The document holds `stream` at least.
            (Said::Nothing, _) => {
                Some(insert_at(looked.start, r#""stream_options":{"include_usage":true},"#))
            }
            (Said::Once(Options::Null(value)), _) => Some(replace(value, OPTIONS)),
            (Said::Once(Options::Object { at, is_empty: true }), _) => Some(insert_at(at, OPTION)),
            (Said::Once(Options::Object { at, .. }), Said::Nothing) => {
                Some(insert_at(at, r#""include_usage":true,"#))
            }
            (Said::Once(Options::Object { .. }), Said::Once(Some(value))) => Some(replace(value, "true")),
            (Said::Once(Options::Object { .. }), Said::Once(None) | Said::Unclear) | (Said::Unclear, _) => {
                None
            }
        }
    }

    /// `body`, the one that was looked at, with the option.
    #[must_use]
    pub fn apply(&self, body: &[u8]) -> Vec<u8> {
        let before = body.get(..self.at).unwrap_or(body);
        let after = body.get(self.at.saturating_add(self.replaced_bytes)..).unwrap_or_default();
        [before, self.insert.as_bytes(), after].concat()
    }
}

/// What a body says about its stream.
#[derive(Debug, Default)]
struct Looked {
    /// After the document's opening bracket.
    start: usize,
    stream: Said<bool>,
    options: Said<Options>,
    /// The value to replace, or `None` when usage is asked for.
    include: Said<Option<Value>>,
}

/// The key that the next value has, if it is one of ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Key {
    #[default]
    Other,
    Stream,
    StreamOptions,
    IncludeUsage,
}

impl Looked {
    fn at(body: &str) -> Result<Self, Broken> {
        let mut json = Json::new(body);
        let mut looked = Self::default();
        let (mut depth, mut key, mut in_options) = (0_usize, Key::Other, false);
        while let Some(Step { at, event }) = json.next()? {
            match event {
                Event::Key(name) => {
                    key = match depth {
                        1 => Key::of_document(name),
                        2 if in_options => Key::of_options(name),
                        _ => Key::Other,
                    };
                    continue;
                }
                Event::Close => {
                    depth = depth.saturating_sub(1);
                    in_options &= depth > 1;
                }
                Event::Open(_) | Event::Text(_) | Event::Scalar(_) => {
                    if in_options && depth == 2 {
                        looked.options.fill();
                    }
                    looked.value(key, at, event);
                }
            }
            if let Event::Open(bracket) = event {
                if depth == 0 {
                    looked.start = at + 1;
                }
                in_options |= key == Key::StreamOptions && bracket == Bracket::Object;
                depth += 1;
            }
            key = Key::Other;
        }
        Ok(looked)
    }

    fn value(&mut self, key: Key, at: usize, event: Event<'_>) {
        match key {
            Key::Other => {}
            Key::Stream => self.stream.say(match event {
                Event::Scalar("true") => Some(true),
                Event::Scalar("false" | "null") => Some(false),
                _ => None,
            }),
            Key::StreamOptions => self.options.say(match event {
                Event::Scalar(null @ "null") => Some(Options::Null(Value { at, bytes: null.len() })),
                Event::Open(Bracket::Object) => Some(Options::Object { at: at + 1, is_empty: true }),
                _ => None,
            }),
            Key::IncludeUsage => self.include.say(match event {
                Event::Scalar("true") => Some(None),
                Event::Scalar(value @ ("false" | "null")) => Some(Some(Value { at, bytes: value.len() })),
                _ => None,
            }),
        }
    }
}

impl<T> Said<T> {
    fn say(&mut self, value: Option<T>) {
        *self = match (&*self, value) {
            (Self::Nothing, Some(value)) => Self::Once(value),
            (Self::Nothing | Self::Once(_) | Self::Unclear, _) => Self::Unclear,
        };
    }
}

impl Said<Options> {
    /// The options hold a value.
    fn fill(&mut self) {
        if let Self::Once(Options::Object { is_empty, .. }) = self {
            *is_empty = false;
        }
    }
}

impl Key {
    fn of_document(name: &str) -> Self {
        match json::plain(name).as_ref() {
            "stream" => Self::Stream,
            "stream_options" => Self::StreamOptions,
            _ => Self::Other,
        }
    }

    fn of_options(name: &str) -> Self {
        if json::plain(name) == "include_usage" { Self::IncludeUsage } else { Self::Other }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value as Document, json};

    use super::*;

    fn edited(body: &str) -> Option<String> {
        let edit = IncludeUsage::of(body)?;
        Some(String::from_utf8(edit.apply(body.as_bytes())).unwrap())
    }

    #[test]
    fn the_option_is_added_where_it_is_missing() {
        for (body, expected) in [
            (r#"{"stream":true}"#, r#"{"stream_options":{"include_usage":true},"stream":true}"#),
            (r#" { "stream": true }"#, r#" {"stream_options":{"include_usage":true}, "stream": true }"#),
            (
                "\u{feff}{\"stream\":true}",
                "\u{feff}{\"stream_options\":{\"include_usage\":true},\"stream\":true}",
            ),
            (
                r#"{"stream":true,"stream_options":null}"#,
                r#"{"stream":true,"stream_options":{"include_usage":true}}"#,
            ),
            (
                r#"{"stream_options":{ },"stream":true}"#,
                r#"{"stream_options":{"include_usage":true },"stream":true}"#,
            ),
            (
                r#"{"stream_options":{"x":[1]},"stream":true}"#,
                r#"{"stream_options":{"include_usage":true,"x":[1]},"stream":true}"#,
            ),
            (
                r#"{"stream_options":{"x":{"include_usage":true},"include_usage": false},"stream":true}"#,
                r#"{"stream_options":{"x":{"include_usage":true},"include_usage": true},"stream":true}"#,
            ),
            (
                r#"{"str\u0065am":true,"stream_options":{"include_usage":null}}"#,
                r#"{"str\u0065am":true,"stream_options":{"include_usage":true}}"#,
            ),
            (
                r#"{"a":{"stream":false,"stream_options":1},"stream":true}"#,
                r#"{"stream_options":{"include_usage":true},"a":{"stream":false,"stream_options":1},"stream":true}"#,
            ),
        ] {
            assert_eq!(edited(body).as_deref(), Some(expected), "{body}");
            assert_eq!(edited(expected), None, "{expected}");
        }
    }

    #[test]
    fn what_is_unclear_stays_as_it_is() {
        for body in [
            r#"{"stream":false}"#,
            "{}",
            r#"{"stream":null}"#,
            r#"{"stream":"true"}"#,
            r#"{"stream":true,"stream":false}"#,
            r#"{"stream":true,"str\u0065am":true}"#,
            r#"{"stream":true,"stream_options":{"include_usage":true}}"#,
            r#"{"stream":true,"stream_options":{"include_usage":1}}"#,
            r#"{"stream":true,"stream_options":{"include_usage":false,"include_usage":true}}"#,
            r#"{"stream":true,"stream_options":{},"stream_options":null}"#,
            r#"{"stream":true,"stream_options":[]}"#,
            r#"{"stream":true,"stream_options":"x"}"#,
            r#"[{"stream":true}]"#,
            r#"{"stream":true"#,
            r#"{"stream":true}{}"#,
            "",
        ] {
            assert_eq!(edited(body), None, "{body}");
        }
    }

    fn value() -> impl Strategy<Value = Document> {
        prop_oneof![
            Just(json!(null)),
            Just(json!(true)),
            Just(json!(false)),
            Just(json!("stream_options\":{")),
            Just(json!({"include_usage": false, "stream": true})),
            Just(json!([{"stream_options": null}, 1.5])),
        ]
    }

    proptest! {
        #[test]
        fn the_edited_body_is_the_same_document_with_the_option(
            entries in prop::collection::btree_map("[a-z\"é]{0,4}", value(), 0..4),
            options in prop_oneof![
                Just(None), value().prop_map(Some),
                prop::collection::btree_map("include_usage|x", value(), 0..2).prop_map(|options| Some(json!(options))),
            ],
            stream in value(), pretty in any::<bool>(),
        ) {
            let mut document = json!(entries);
            document["stream"] = stream.clone();
            if let Some(options) = &options {
                document["stream_options"] = options.clone();
            }
            let body = if pretty { serde_json::to_string_pretty(&document) } else { serde_json::to_string(&document) };
            let body = body.unwrap();
            let options = options.unwrap_or_default();
            let is_missing = options.is_null()
                || options.as_object().is_some_and(|options| matches!(
                    options.get("include_usage"), None | Some(Document::Null | Document::Bool(false))
                ));
            let edited = edited(&body);
            prop_assert_eq!(edited.is_some(), stream == json!(true) && is_missing);
            if let Some(edited) = edited {
                if !options.is_object() {
                    document["stream_options"] = json!({});
                }
                document["stream_options"]["include_usage"] = json!(true);
                prop_assert_eq!(serde_json::from_str::<Document>(&edited).unwrap(), document);
            }
        }

        #[test]
        fn any_text_is_edited_or_left(text in any::<String>()) {
            prop_assert_eq!(edited(&text), None);
        }
    }
}
