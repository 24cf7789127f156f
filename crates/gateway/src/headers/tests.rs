use http::HeaderMap;
use proptest::prelude::*;

use super::*;
use crate::http1::{LineEnd, header_lines};

fn name(text: &str) -> HeaderName {
    HeaderName::from_bytes(text.as_bytes()).unwrap()
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap()
}

/// The headers of a head with these lines.
fn read(head: &str) -> Headers {
    let (mut headers, mut text) = (Headers::default(), format!("{head}\r\n").into_bytes());
    let end = header_lines(&mut text, 0, LineEnd::Lenient, headers.begin(), 64).unwrap();
    assert_eq!(end, Some(text.len()));
    headers.found_in(text.into());
    headers
}

fn written(headers: &Headers, passes: impl Fn(Field<'_>) -> bool) -> String {
    let mut buffer = Vec::new();
    headers.write(&mut buffer, passes);
    String::from_utf8(buffer).unwrap()
}

/// What can be done to headers.
#[derive(Clone, Debug)]
enum Change {
    Append(&'static str, String),
    Insert(&'static str, String),
    Remove(&'static str),
    RemoveAll(Vec<&'static str>),
    /// All whose value has an even length stay.
    Retain,
}

fn names() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(&["host", "te", "x-a", "x-b", "content-length", "cookie"][..])
}

fn changes() -> impl Strategy<Value = Change> {
    prop_oneof![
        (names(), "[a-z]{0,3}").prop_map(|(name, value)| Change::Append(name, value)),
        (names(), "[a-z]{0,3}").prop_map(|(name, value)| Change::Insert(name, value)),
        names().prop_map(Change::Remove),
        proptest::collection::vec(names(), 0..4).prop_map(Change::RemoveAll),
        Just(Change::Retain),
    ]
}

proptest! {
    /// They are what a map of headers would be, however they came about.
    #[test]
    fn they_are_as_a_map_of_them(
        lines in proptest::collection::vec((names(), "[a-z]{0,3}", "(\r\n|\n)"), 0..6),
        changes in proptest::collection::vec(changes(), 0..6),
    ) {
        let mut map = HeaderMap::new();
        for (n, v, _) in &lines {
            map.append(name(n), value(v));
        }
        let text: String = lines.iter().map(|(name, value, end)| format!("{}:  {value}\t{end}", name.to_uppercase())).collect();
        let mut headers = read(&text);
        for change in changes {
            match change {
                Change::Append(n, v) => {
                    map.append(name(n), value(&v));
                    headers.append(&name(n), &value(&v));
                }
                Change::Insert(n, v) => {
                    map.insert(name(n), value(&v));
                    headers.insert(&name(n), &value(&v));
                }
                Change::Remove(n) => {
                    map.remove(n);
                    headers.remove(&name(n));
                }
                Change::RemoveAll(all) => {
                    all.iter().for_each(|n| drop(map.remove(*n)));
                    headers.remove_all(all.into_iter().map(name).collect());
                }
                Change::Retain => {
                    let pairs = map.iter().filter(|(_, value)| value.len() % 2 == 0);
                    map = pairs.map(|(name, value)| (name.clone(), value.clone())).collect();
                    headers.retain(|field| field.value.len() % 2 == 0);
                }
            }
        }
        prop_assert_eq!(headers.len(), map.len());
        for known in map.keys() {
            let text = known.as_str().as_bytes();
            let theirs: Vec<_> = map.get_all(known).iter().map(HeaderValue::as_bytes).collect();
            prop_assert_eq!(headers.all(known).collect::<Vec<_>>(), theirs.clone());
            prop_assert_eq!(headers.get(known), theirs.first().copied());
            if Known::of(text) != Known::Other {
                prop_assert_eq!(headers.all_known(Known::of(text)).collect::<Vec<_>>(), theirs);
            }
        }
        // What is written is read as the same.
        prop_assert_eq!(&read(&written(&headers, |_| true)).into_map(), &map);
        prop_assert_eq!(&Headers::from(map.clone()).into_map(), &map);
        let without_host = read(&written(&headers, |field| field.known != Known::Host)).into_map();
        map.remove("host");
        prop_assert_eq!(&without_host, &map);
    }
}

#[test]
fn lines_pass_as_they_came_but_for_their_names_and_ends() {
    let headers = read("Accept:a\r\nX-B :  no\r\n".replace(" :", ":").as_str());
    assert_eq!(written(&headers, |_| true), "accept:a\r\nx-b:  no\r\n");
    let headers = read("Accept:a\nX-B: b\r\nX-C:  c \nX-D: d\r\n");
    assert_eq!(written(&headers, |_| true), "accept: a\r\nx-b: b\r\nx-c: c\r\nx-d: d\r\n");
}

#[test]
fn what_was_read_is_given_back_when_it_is_forgotten() {
    let mut headers = read("accept: a\r\n");
    let head = headers.head().clone();
    headers.clear();
    assert!(head.is_unique(), "an idle connection keeps nothing of its last message");
}
