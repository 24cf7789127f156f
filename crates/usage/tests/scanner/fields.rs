//! Fields of any document: what is found is what a reader of the whole document finds, however it is cut.

use proptest::prelude::*;
use serde_json::{Map, Value as Json};
use tollgate_core::{Decimal, Pointer, Wanted};
use tollgate_usage::{Field, FieldReader, Fields, Said, Want};

fn field(pointer: &str, want: Want) -> Field {
    Field { pointer: pointer.parse().unwrap(), want }
}

fn read(fields: Vec<Field>, text: &[u8]) -> FieldReader {
    let mut reader = Fields::of(fields).reader(None).unwrap();
    reader.feed(text);
    reader.end();
    reader
}

fn amount(pointer: &str, text: &str) -> Said<String> {
    match read(vec![field(pointer, Want::Amount)], text.as_bytes()).amount(0) {
        Said::Value(amount) => Said::Value(amount.to_string()),
        Said::Missing => Said::Missing,
        Said::Wrong => Said::Wrong,
    }
}

fn value(text: &str) -> Said<String> {
    Said::Value(text.to_owned())
}

#[test]
fn amounts_are_exact_and_never_zero_in_silence() {
    for (pointer, text, said) in [
        ("/n", r#"{"n":3}"#, value("3")),
        ("/n", r#"{"n":0}"#, value("0")),
        ("/n", r#"{"n":-5}"#, value("-5")),
        ("/n", r#"{"n":1.5}"#, value("1.5")),
        ("/n", r#"{"n":"12"}"#, value("12")),
        ("/n", r#"{"n":"1.25e1"}"#, value("12.5")),
        ("/n", r#"{"n":9223372036854775808}"#, value("9223372036854775808")),
        ("/n", r#"{"n":1e309}"#, Said::Wrong),
        ("/n", r#"{"n":"NaN"}"#, Said::Wrong),
        ("/n", r#"{"n":NaN}"#, Said::Wrong),
        ("/n", r#"{"n":""}"#, Said::Wrong),
        ("/n", r#"{"n":true}"#, Said::Wrong),
        ("/n", r#"{"n":[3]}"#, Said::Wrong),
        ("/n", r#"{"n":{"n":3}}"#, Said::Wrong),
        ("/n", r#"{"n":null}"#, Said::Missing),
        ("/n", r#"{"m":{"n":3}}"#, Said::Missing),
        ("/n", r#"[{"n":3}]"#, Said::Missing),
        ("/n", "3", Said::Missing),
        ("/n", r#"{"n":3,"n":3}"#, Said::Wrong),
        ("/n", r#"{"n":null,"n":3}"#, Said::Wrong),
        ("/a/n", r#"{"a":{"n":3},"a":{}}"#, Said::Wrong),
        ("/n", r#"{"\u006e":3}"#, value("3")),
        ("/é/n", r#"{"\u00e9":{"n":4}}"#, value("4")),
        ("/~1~0", r#"{"/~":7}"#, value("7")),
        ("/n", r#"{"n":3"#, Said::Wrong),
        ("/n", r#"{"n":3}x"#, Said::Wrong),
        ("/n", r#"{"n":3} {}"#, Said::Wrong),
        ("/n", "", Said::Missing),
        ("/n", " ", Said::Wrong),
        ("/items/*/pages", r#"{"items":[{"pages":2},{"pages":"3"},{"pages":0.5}]}"#, value("5.5")),
        ("/items/*/pages", r#"{"items":[]}"#, value("0")),
        ("/items/*/pages", r#"{"items":[{"pages":2},{}]}"#, Said::Wrong),
        ("/items/*/pages", r#"{"items":[{"pages":2},{"pages":null}]}"#, Said::Wrong),
        ("/items/*/pages", r#"{"items":[{"pages":2,"pages":2}]}"#, Said::Wrong),
        ("/items/*/pages", r#"{"items":{"0":{"pages":2}}}"#, Said::Missing),
        ("/items/*/pages", r#"{"items":{"*":{"pages":2}}}"#, Said::Missing),
        ("/items/*/pages", r#"{}"#, Said::Missing),
        ("/a/*/b/*/n", r#"{"a":[{"b":[{"n":1},{"n":2}]},{"b":[]},{"b":[{"n":4}]}]}"#, value("7")),
        ("/a/*/b/*/n", r#"{"a":[{"b":[{"n":1}]},{}]}"#, Said::Wrong),
        ("/a/*", r#"{"a":[1,2,3]}"#, value("6")),
        ("/a/*", r#"{"a":[1000,-999]}"#, Said::Wrong),
        ("/a/*/n", r#"{"a":[{"n":1000},{"n":"-0.5"}]}"#, Said::Wrong),
        ("/a/1", r#"{"a":[1,2,3]}"#, value("2")),
        ("/a/1", r#"{"a":[1,-2,3]}"#, value("-2")),
        ("/a/1", r#"{"a":{"1":5}}"#, value("5")),
        ("/a/3", r#"{"a":[1,2,3]}"#, Said::Missing),
        ("/a/01", r#"{"a":[1,2,3]}"#, Said::Missing),
    ] {
        assert_eq!(amount(pointer, text), said, "{pointer} of {text}");
    }
}

#[test]
fn ids_are_texts_or_numbers() {
    let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(257));
    for (text, said) in [
        (r#"{"id":"m-1"}"#, Said::Value("m-1")),
        (r#"{"id":"\u00e9\n"}"#, Said::Value("é\n")),
        (r#"{"id":17}"#, Said::Value("17")),
        (r#"{"id":""}"#, Said::Wrong),
        (r#"{"id":false}"#, Said::Wrong),
        (r#"{"id":null}"#, Said::Missing),
        (long.as_str(), Said::Wrong),
    ] {
        assert_eq!(read(vec![field("/id", Want::Id)], text.as_bytes()).id(0), said, "{text}");
    }
}

#[test]
fn values_tell_documents_apart() {
    let number = Wanted::Number(Decimal::parse("2").unwrap());
    let wanted = |wanted: &[Wanted]| Want::AnyOf(wanted.into());
    let (done, any) = (wanted(&[Wanted::Text("done".into()), number]), wanted(&[Wanted::Present]));
    for (pointer, want, text, expected) in [
        ("/s", &done, r#"{"s":"done"}"#, Some(true)),
        ("/s", &done, r#"{"s":"\u0064one"}"#, Some(true)),
        ("/s", &done, r#"{"s":2.0}"#, Some(true)),
        ("/s", &done, r#"{"s":"failed"}"#, Some(false)),
        ("/s", &done, r#"{}"#, Some(false)),
        ("/s", &done, r#"{"s":"done","s":"failed"}"#, None),
        ("/s", &done, r#"{"s":"done""#, None),
        ("/s", &any, r#"{"s":{}}"#, Some(true)),
        ("/s", &any, r#"{"s":null}"#, Some(false)),
        ("/*/s", &done, r#"[{"s":"a"},{"s":"done"},{}]"#, Some(true)),
        ("/*/s", &done, r#"[]"#, Some(false)),
    ] {
        let reader = read(vec![field(pointer, want.clone())], text.as_bytes());
        assert_eq!(reader.is_met(0), expected, "{text}");
    }
}

#[test]
fn sizes_are_those_of_compact_json() {
    let size = |want: Want, text: &str| read(vec![field("/v", want)], text.as_bytes()).bytes(0);
    for (text, bytes) in [
        (
            r#"{"v": [ 1 , "a\/b\u00e9\u0001\"" , { "k" : null } ] }"#,
            r#"[1,"a/bé\u0001\"",{"k":null}]"#.len(),
        ),
        (r#"{"v":{}}"#, 2),
        (r#"{"v": 12.50 }"#, 5),
        (r#"{"v":true}"#, 4),
        (r#"{"v":"x"}"#, 3),
    ] {
        assert_eq!(size(Want::JsonBytes, text), Said::Value(i64::try_from(bytes).unwrap()), "{text}");
    }
    for (text, said) in [
        (r#"{"v":"aé\n\ud83d\ude42"}"#, Said::Value(8)),
        (r#"{"v":""}"#, Said::Value(0)),
        (r#"{"v":null}"#, Said::Missing),
        (r#"{"v":["a"]}"#, Said::Wrong),
        (r#"{"v":12}"#, Said::Wrong),
        (r#"{"v":"a","v":"b"}"#, Said::Wrong),
    ] {
        assert_eq!(size(Want::TextBytes, text), said, "{text}");
    }
    assert_eq!(size(Want::JsonBytes, r#"{"v":null}"#), Said::Missing);
}

/// What is found in a whole document, by the definition.
fn sum(json: &Json, tokens: &[&str]) -> Option<Vec<Json>> {
    let Some((token, rest)) = tokens.split_first() else {
        return (!json.is_null()).then(|| vec![json.clone()]);
    };
    match json {
        Json::Array(elements) if *token == Pointer::EACH => {
            let parts: Option<Vec<Vec<Json>>> = elements.iter().map(|element| sum(element, rest)).collect();
            parts.map(|parts| parts.concat())
        }
        Json::Array(elements) => sum(elements.get(usize::try_from(Pointer::index(token)?).ok()?)?, rest),
        Json::Object(fields) if *token != Pointer::EACH => sum(fields.get(*token)?, rest),
        _ => None,
    }
}

fn documents() -> impl Strategy<Value = Json> {
    let key = prop::sample::select(vec!["a", "b", "n", "0", "1", "*", "é\"\\", "long key that nobody wants"]);
    let leaf = prop_oneof![
        any::<i32>().prop_map(Json::from),
        (-99_999_i64..99_999, 1_i64..99)
            .prop_map(|(a, b)| serde_json::from_str(&format!("{a}.{b}")).unwrap()),
        "[a-zé0-9\"\\\\\n\u{1}🙂]{0,12}".prop_map(Json::from),
        (0_u32..50).prop_map(|number| Json::from(number.to_string())),
        any::<bool>().prop_map(Json::from),
        Just(Json::Null),
    ];
    leaf.prop_recursive(5, 48, 6, move |inner| {
        let key = key.clone();
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Json::from),
            prop::collection::vec((key, inner), 0..5).prop_map(|fields| {
                let fields = fields.into_iter().map(|(key, value)| (key.to_owned(), value));
                Json::Object(fields.collect::<Map<_, _>>())
            }),
        ]
    })
}

fn pointers() -> impl Strategy<Value = String> {
    let token = prop::sample::select(vec!["a", "b", "n", "0", "1", "*", "é\"\\"]);
    prop::collection::vec(token, 1..5).prop_map(|tokens| format!("/{}", tokens.join("/")))
}

/// `text` with white space between its tokens, and its characters escaped here and there.
fn respelled(text: &str, seed: u64) -> String {
    let (mut spelled, mut in_string, mut is_escape) = (String::new(), false, false);
    for (at, character) in text.char_indices() {
        let is_odd = (seed >> (at % 61)) & 1 == 1;
        match character {
            _ if is_escape => is_escape = false,
            '\\' => is_escape = true,
            '"' => in_string = !in_string,
            ',' | ':' | '[' | ']' | '{' | '}' if !in_string && is_odd => spelled.push_str(" \n"),
            _ => {}
        }
        let is_plain = in_string && character.is_alphabetic() && !text[..at].ends_with('\\');
        // The digits after `\u` are letters, too.
        if is_plain && is_odd && !text[..at].rsplit('"').next().unwrap_or("").contains("\\u") {
            let units = &mut [0; 2];
            character.encode_utf16(units).iter().for_each(|unit| spelled.push_str(&format!("\\u{unit:04X}")));
        } else {
            spelled.push(character);
        }
    }
    spelled
}

fn all_of(pointer: &str) -> Vec<Field> {
    let any_of = vec![Wanted::Present, Wanted::Text("a".into()), Wanted::Boolean(true)];
    let each = any_of.into_iter().map(|wanted| Want::AnyOf([wanted].into()));
    [Want::Amount, Want::Id, Want::TextBytes, Want::JsonBytes]
        .into_iter()
        .chain(each)
        .map(|want| field(pointer, want))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_is_found_is_what_serde_finds(json in documents(), pointer in pointers(), seed in any::<u64>()) {
        let text = respelled(&json.to_string(), seed);
        prop_assert_eq!(&serde_json::from_str::<Json>(&text).unwrap(), &json);
        let reader = read(all_of(&pointer), text.as_bytes());
        let tokens: Vec<&str> = pointer[1..].split('/').collect();
        let values = sum(&json, &tokens);
        // Amounts: all of them, or none.
        let expected = values.as_ref().and_then(|values| {
            values.iter().try_fold(Decimal::ZERO, |sum, value| {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let is_number = value.is_number() || value.is_string();
                let amount = Decimal::parse(&text).filter(|_| is_number)?;
                sum.checked_add(Some(amount).filter(|amount| !pointer.contains('*') || !amount.is_negative())?)
            })
        });
        match reader.amount(0) {
            Said::Value(amount) => prop_assert_eq!(Some(amount), expected),
            Said::Missing | Said::Wrong => prop_assert_eq!(None, expected),
        }
        if let Some([value]) = values.as_deref() && !pointer.contains('*') {
            prop_assert_eq!(reader.bytes(3), Said::Value(i64::try_from(value.to_string().len()).unwrap()));
            if let Some(text) = value.as_str() {
                prop_assert_eq!(reader.bytes(2), Said::Value(i64::try_from(text.len()).unwrap()));
                let id = if text.is_empty() { Said::Wrong } else { Said::Value(text) };
                prop_assert_eq!(reader.id(1), id);
            }
            prop_assert_eq!(reader.is_met(4), Some(true));
            prop_assert_eq!(reader.is_met(5), Some(value.as_str() == Some("a")));
            prop_assert_eq!(reader.is_met(6), Some(value.as_bool() == Some(true)));
        }
    }

    #[test]
    fn any_chunking_gives_the_same(
        json in documents(),
        pointer in pointers(),
        seed in any::<u64>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        broken in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let mut text = respelled(&json.to_string(), seed).into_bytes();
        if let Some((at, byte)) = broken {
            let at = at.index(text.len());
            text[at] = byte;
        }
        let whole = read(all_of(&pointer), &text);
        let mut bytes = Fields::of(all_of(&pointer)).reader(None).unwrap();
        text.iter().for_each(|byte| bytes.feed(&[*byte]));
        bytes.end();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let mut pieces = Fields::of(all_of(&pointer)).reader(None).unwrap();
        cuts.windows(2).for_each(|cut| pieces.feed(&text[cut[0]..cut[1]]));
        pieces.end();
        for other in [&bytes, &pieces] {
            prop_assert_eq!(other.amount(0), whole.amount(0));
            prop_assert_eq!(other.id(1), whole.id(1));
            prop_assert_eq!((other.bytes(2), other.bytes(3)), (whole.bytes(2), whole.bytes(3)));
            for field in 4..7 {
                prop_assert_eq!(other.is_met(field), whole.is_met(field));
            }
        }
    }

    /// What is no document for serde is none here, and the other way round.
    #[test]
    fn only_whole_documents_are_read(
        parts in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"", "\"a\"", "\"a\":", "{\"b\":", "1", "-0.5e+7", "0", "01", "true", "nul",
            "null", "\\", "\\u12aF", "\"\\n\\/\"", " ", "\n", "\t", "é", "-", ".", "e", "E9", "\u{1}", "\\ud800", "false",
        ]), 0..24),
    ) {
        let text = parts.concat();
        let reader = read(vec![field("/x", Want::AnyOf([Wanted::Present].into()))], text.as_bytes());
        let is_json = text.is_empty() || serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        prop_assert_eq!(reader.is_met(0).is_some(), is_json, "{}", text);
    }

    #[test]
    fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..200), pointer in pointers()) {
        let reader = read(all_of(&pointer), &bytes);
        let _ = (reader.amount(0), reader.id(1), reader.bytes(2), reader.bytes(3), reader.is_met(4));
    }
}
