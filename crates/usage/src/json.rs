//! A whole JSON document, read value by value without recursion.
//!
//! Strict as the standard is: what is broken or cut is no document. Nothing is copied; what is kept is one byte for each
//! bracket that is open.

use std::borrow::Cow;

use crate::find;

/// Brackets that may be open at once; no provider takes a schema of more than about ten levels.
pub(crate) const DEPTH_MAX: usize = 256;

/// What a step of the reading came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    Open(Bracket),
    Close,
    /// A key of an object, as it stands between its quotes.
    Key(&'a str),
    /// A string, as it stands between its quotes.
    Text(&'a str),
    /// A number, `true`, `false` or `null`.
    Scalar(&'a str),
}

/// What is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bracket {
    Object,
    Array,
}

/// An event, and where its first byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step<'a> {
    pub(crate) at: usize,
    pub(crate) event: Event<'a>,
}

/// The document is broken, cut, or too deep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

/// What may come next.
#[derive(Clone, Copy, Debug)]
enum Expected {
    Value,
    /// At the beginning of an array.
    ValueOrEnd,
    Key,
    /// At the beginning of an object.
    KeyOrEnd,
    /// A comma, or the end of what is open.
    Next,
}

/// The reader of one document.
#[derive(Debug)]
pub(crate) struct Json<'a> {
    text: &'a str,
    at: usize,
    open: Vec<Bracket>,
    expected: Expected,
}

impl<'a> Json<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0, open: Vec::new(), expected: Expected::Value }
    }

    /// The next event; `None` when the document has ended.
    pub(crate) fn next(&mut self) -> Result<Option<Step<'a>>, Broken> {
        loop {
            let byte = self.skip_space();
            match (self.expected, byte) {
                (Expected::Next, None) if self.open.is_empty() => return Ok(None),
                (Expected::Next, Some(b',')) => {
                    self.at += 1;
                    self.expected = match self.open.last() {
                        Some(Bracket::Object) => Expected::Key,
                        Some(Bracket::Array) => Expected::Value,
                        None => return Err(Broken),
                    };
                }
                (_, Some(byte)) => return self.step(byte).map(Some),
                (_, None) => return Err(Broken),
            }
        }
    }

    fn step(&mut self, byte: u8) -> Result<Step<'a>, Broken> {
        let at = self.at;
        let event = match (self.expected, byte) {
            (Expected::KeyOrEnd | Expected::Next, b'}') => self.close(Bracket::Object)?,
            (Expected::ValueOrEnd | Expected::Next, b']') => self.close(Bracket::Array)?,
            (Expected::Key | Expected::KeyOrEnd, b'"') => {
                let key = self.string()?;
                if self.skip_space() != Some(b':') {
                    return Err(Broken);
                }
                self.at += 1;
                self.expected = Expected::Value;
                Event::Key(key)
            }
            (Expected::Value | Expected::ValueOrEnd, b'{') => {
                self.open(Bracket::Object, Expected::KeyOrEnd)?
            }
            (Expected::Value | Expected::ValueOrEnd, b'[') => {
                self.open(Bracket::Array, Expected::ValueOrEnd)?
            }
            (Expected::Value | Expected::ValueOrEnd, b'"') => {
                self.expected = Expected::Next;
                Event::Text(self.string()?)
            }
            (Expected::Value | Expected::ValueOrEnd, _) => {
                self.expected = Expected::Next;
                Event::Scalar(self.scalar()?)
            }
            (Expected::Key | Expected::KeyOrEnd | Expected::Next, _) => return Err(Broken),
        };
        Ok(Step { at, event })
    }

    fn open(&mut self, bracket: Bracket, expected: Expected) -> Result<Event<'a>, Broken> {
        if self.open.len() >= DEPTH_MAX {
            return Err(Broken);
        }
        self.open.push(bracket);
        self.expected = expected;
        self.at += 1;
        Ok(Event::Open(bracket))
    }

    fn close(&mut self, bracket: Bracket) -> Result<Event<'a>, Broken> {
        if self.open.pop() != Some(bracket) {
            return Err(Broken);
        }
        self.expected = Expected::Next;
        self.at += 1;
        Ok(Event::Close)
    }

    /// Passes over white space; returns the byte after it, if there is one.
    fn skip_space(&mut self) -> Option<u8> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let space = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t')).count();
        self.at += space;
        rest.get(space).copied()
    }

    /// A string whose opening quote is next.
    fn string(&mut self) -> Result<&'a str, Broken> {
        let bytes = self.text.as_bytes();
        let start = self.at + 1;
        let mut at = start;
        loop {
            let rest = bytes.get(at..).ok_or(Broken)?;
            let plain = find::string_end(rest);
            // All of it is looked at, because that is faster.
            if rest[..plain].iter().fold(false, |is_control, &byte| is_control | (byte < 0x20)) {
                return Err(Broken);
            }
            at += plain;
            match rest.get(plain).ok_or(Broken)? {
                b'"' => break,
                _ => at += escape_bytes(rest.get(plain + 1..).unwrap_or_default())?,
            }
        }
        self.at = at + 1;
        self.text.get(start..at).ok_or(Broken)
    }

    fn scalar(&mut self) -> Result<&'a str, Broken> {
        let rest = self.text.get(self.at..).ok_or(Broken)?;
        let end = rest
            .bytes()
            .position(|byte| !matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'E' | b'+' | b'-' | b'.'));
        let scalar = rest.get(..end.unwrap_or(rest.len())).ok_or(Broken)?;
        if !matches!(scalar, "true" | "false" | "null") && !is_number(scalar.as_bytes()) {
            return Err(Broken);
        }
        self.at += scalar.len();
        Ok(scalar)
    }
}

/// What a key or a string means; its lone surrogates are replaced.
pub(crate) fn plain(quoted: &str) -> Cow<'_, str> {
    if quoted.contains('\\') { Cow::Owned(Chars::new(quoted).collect()) } else { Cow::Borrowed(quoted) }
}

/// The characters of a string as they are meant; a lone surrogate is U+FFFD.
#[derive(Clone, Debug)]
pub(crate) struct Chars<'a> {
    rest: &'a str,
}

impl<'a> Chars<'a> {
    /// `quoted` stands between quotes, and its escapes are whole.
    pub(crate) fn new(quoted: &'a str) -> Self {
        Self { rest: quoted }
    }

    /// What was not read yet.
    pub(crate) fn rest(&self) -> &'a str {
        self.rest
    }

    fn escape(&mut self) -> char {
        let mut chars = self.rest.chars();
        let mark = chars.next();
        self.rest = chars.as_str();
        match mark {
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => self.code_unit().map_or(char::REPLACEMENT_CHARACTER, |unit| self.character(unit)),
            Some(other) => other,
            None => char::REPLACEMENT_CHARACTER,
        }
    }

    fn code_unit(&mut self) -> Option<u32> {
        let (digits, rest) = self.rest.split_at_checked(4)?;
        self.rest = rest;
        u32::from_str_radix(digits, 16).ok()
    }

    /// The character that begins with the code unit `first`.
    fn character(&mut self, first: u32) -> char {
        let before = self.rest;
        let low = (0xd800..0xdc00).contains(&first).then(|| {
            self.rest = self.rest.strip_prefix("\\u")?;
            self.code_unit().filter(|low| (0xdc00..0xe000).contains(low))
        });
        let code = match low.flatten() {
            Some(low) => 0x1_0000 + ((first - 0xd800) << 10) + (low - 0xdc00),
            None => {
                self.rest = before;
                first
            }
        };
        char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
    }
}

impl Iterator for Chars<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next()?;
        self.rest = chars.as_str();
        Some(if next == '\\' { self.escape() } else { next })
    }
}

/// Bytes of an escape; `rest` is what follows the backslash.
fn escape_bytes(rest: &[u8]) -> Result<usize, Broken> {
    match rest {
        [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => Ok(2),
        [b'u', a, b, c, d, ..] if [a, b, c, d].iter().all(|digit| digit.is_ascii_hexdigit()) => Ok(6),
        _ => Err(Broken),
    }
}

fn is_number(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let (whole, rest) = split_digits(text);
    if whole.is_empty() || whole.len() > 1 && whole[0] == b'0' {
        return false;
    }
    let rest = match rest.strip_prefix(b".") {
        Some(rest) => match split_digits(rest) {
            ([], _) => return false,
            (_, rest) => rest,
        },
        None => rest,
    };
    match rest {
        [] => true,
        [b'e' | b'E', b'+' | b'-', digits @ ..] | [b'e' | b'E', digits @ ..] => {
            !digits.is_empty() && split_digits(digits).1.is_empty()
        }
        _ => false,
    }
}

fn split_digits(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().take_while(|byte| byte.is_ascii_digit()).count())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    fn events(text: &str) -> Result<Vec<Event<'_>>, Broken> {
        let mut json = Json::new(text);
        let mut events = Vec::new();
        while let Some(step) = json.next()? {
            events.push(step.event);
        }
        Ok(events)
    }

    #[test]
    fn a_document_is_its_events() {
        let text = r#" {"a" : [1.5e3,"b\"\ud800",{}] , "c":null}"#;
        assert_eq!(
            events(text).unwrap(),
            [
                Event::Open(Bracket::Object),
                Event::Key("a"),
                Event::Open(Bracket::Array),
                Event::Scalar("1.5e3"),
                Event::Text(r#"b\"\ud800"#),
                Event::Open(Bracket::Object),
                Event::Close,
                Event::Close,
                Event::Key("c"),
                Event::Scalar("null"),
                Event::Close,
            ]
        );
    }

    #[test]
    fn escapes_are_what_they_mean() {
        for (quoted, meant) in [
            ("", ""),
            (r#"a\"\\\/\b\f\n\r\té"#, "a\"\\/\u{8}\u{c}\n\r\té"),
            (r"\u00e9\u65e5\ud83d\ude42!", "é日🙂!"),
            (r"\ud83d", "\u{fffd}"),
            (r"\ud83d\n", "\u{fffd}\n"),
            (r"\ud83d\u0041", "\u{fffd}A"),
            (r"\ude42\ud83d\ude42", "\u{fffd}🙂"),
        ] {
            assert_eq!(plain(quoted), meant, "{quoted}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
        assert!(events(&nested(DEPTH_MAX)).is_ok());
        for depth in [DEPTH_MAX + 1, 1_000_000] {
            assert_eq!(events(&nested(depth)), Err(Broken));
            assert_eq!(events(&"{\"a\":".repeat(depth)), Err(Broken));
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_serde_reads(
            parts in prop::collection::vec(prop::sample::select(vec![
                "{", "}", "[", "]", ",", ":", "\"", "\"a\"", "\"a\":", "{\"b\":", "1", "-0.5e+7", "0", "01", "true", "nul",
                "null", "\\", "\\u12aF", "\"\\n\\/\"", " ", "\n", "\t", "é", "-", ".", "e", "E9", "\u{1}",
            ]), 0..24),
        ) {
            let text = parts.concat();
            prop_assert_eq!(events(&text).is_ok(), serde_json::from_str::<IgnoredAny>(&text).is_ok(), "{}", text);
        }

        #[test]
        fn every_string_reads_back(text in any::<String>(), ascii in any::<bool>()) {
            let escaped = |text: &str| text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
            let quoted = serde_json::to_string(&text).unwrap();
            let quoted = if ascii { escaped(&text) } else { quoted[1..quoted.len() - 1].to_owned() };
            prop_assert_eq!(plain(&quoted), text);
        }

        #[test]
        fn any_string_has_characters(text in any::<String>(), escapes in r"[\\ud8c0-9]{0,20}") {
            let _ = (plain(&text), plain(&escapes));
        }

        #[test]
        fn any_text_is_read_or_broken(text in any::<String>()) {
            prop_assert_eq!(events(&text).is_ok(), serde_json::from_str::<IgnoredAny>(&text).is_ok());
        }
    }
}
