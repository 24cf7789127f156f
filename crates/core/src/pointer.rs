//! JSON pointers (RFC 6901): where in a document a value is.

use std::{fmt, str::FromStr};

/// The path to a value in a JSON document, such as `/usage/total_tokens`, `/results/0/tokens` or `/items/*/pages`.
///
/// A token is the key of an object, or the index of an array's element. Beyond RFC 6901, the token `*` is every element
/// of an array, whose amounts are added; a key that is itself `*` can not be named.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pointer {
    tokens: Box<[Box<str>]>,
}

/// Why a text is not a pointer to a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no JSON pointer: {why}; write it as in \"/usage/total_tokens\" or \"/items/*/pages\"")]
pub struct PointerError {
    text: String,
    why: &'static str,
}

impl Pointer {
    /// Tokens of a pointer at most: usage lies at a depth of two to five in every API that we know.
    pub const TOKENS_MAX: usize = 8;

    /// Bytes of a token at most; the longest known key of a usage field has 32. A reader that keeps 192 bytes of a
    /// key finds such a one however its non-ASCII characters are escaped.
    pub const TOKEN_BYTES_MAX: usize = 64;

    /// Places that are looked at in one body at most: one bit for each.
    pub const FIELDS_MAX: usize = 64;

    /// The token for every element of an array.
    pub const EACH: &str = "*";

    /// Keys, indices and [`Pointer::EACH`], outermost first and without escapes; at least one.
    pub fn tokens(&self) -> impl ExactSizeIterator<Item = &str> {
        self.tokens.iter().map(AsRef::as_ref)
    }

    /// The element of an array that `token` names: digits without a leading zero.
    #[must_use]
    pub fn index(token: &str) -> Option<u32> {
        let is_index =
            token.bytes().all(|byte| byte.is_ascii_digit()) && (token == "0" || !token.starts_with('0'));
        is_index.then(|| token.parse().ok())?
    }
}

impl FromStr for Pointer {
    type Err = PointerError;

    fn from_str(text: &str) -> Result<Self, PointerError> {
        let error = |why| PointerError { text: shortened(text), why };
        let Some(rest) = text.strip_prefix('/') else {
            let why = if text.is_empty() {
                "it names the whole document, not a field"
            } else {
                "it must begin with \"/\""
            };
            return Err(error(why));
        };
        if rest.split('/').nth(Self::TOKENS_MAX).is_some() {
            return Err(error("it may have at most 8 tokens"));
        }
        let tokens = rest.split('/').map(|token| unescape(token).map_err(error)).collect::<Result<_, _>>()?;
        Ok(Self { tokens })
    }
}

fn unescape(token: &str) -> Result<Box<str>, &'static str> {
    let mut parts = token.split('~');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (mark, rest) = match part.as_bytes().first() {
            Some(b'0') => ('~', &part[1..]),
            Some(b'1') => ('/', &part[1..]),
            _ => return Err("\"~\" is written \"~0\", and \"/\" in a key \"~1\""),
        };
        plain.push(mark);
        plain.push_str(rest);
    }
    if plain.len() > Pointer::TOKEN_BYTES_MAX {
        return Err("a token may have at most 64 bytes");
    }
    Ok(plain.into())
}

/// What a message repeats of a text that may be long.
fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tokens().try_for_each(|token| write!(f, "/{}", token.replace('~', "~0").replace('/', "~1")))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tokens(text: &str) -> Vec<String> {
        text.parse::<Pointer>().unwrap().tokens().map(str::to_owned).collect()
    }

    #[test]
    fn tokens_are_read_as_the_standard_has_them() {
        for (text, expected) in [
            ("/usage/total_tokens", vec!["usage", "total_tokens"]),
            ("/results/0/tokens", vec!["results", "0", "tokens"]),
            ("/items/*/pages", vec!["items", "*", "pages"]),
            ("/a~1b", vec!["a/b"]),
            ("/m~0n", vec!["m~n"]),
            ("/~01", vec!["~1"]),
            ("/", vec![""]),
            ("/a//b", vec!["a", "", "b"]),
            ("/ ", vec![" "]),
            ("/日本/c%d", vec!["日本", "c%d"]),
            ("/1/2/3/4/5/6/7/8", vec!["1", "2", "3", "4", "5", "6", "7", "8"]),
        ] {
            assert_eq!(tokens(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_pointer_says_why() {
        let (long, deep) = (format!("/{}", "k".repeat(65)), "/k".repeat(9));
        for (text, why) in [
            ("", "it names the whole document"),
            ("usage/total", "it must begin with \"/\""),
            ("#/usage", "it must begin with \"/\""),
            ("/a~", "\"~\" is written \"~0\""),
            ("/a~2", "\"~\" is written \"~0\""),
            (long.as_str(), "at most 64 bytes"),
            (deep.as_str(), "at most 8 tokens"),
        ] {
            let error = text.parse::<Pointer>().unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert!("x".repeat(10_000).parse::<Pointer>().unwrap_err().to_string().len() < 300);
    }

    #[test]
    fn indices_have_one_spelling() {
        for (token, index) in
            [("0", Some(0)), ("7", Some(7)), ("10", Some(10)), ("4294967295", Some(u32::MAX))]
        {
            assert_eq!(Pointer::index(token), index, "{token}");
        }
        for token in ["", "00", "01", "-1", "+1", "1.0", "-", "*", "a", "4294967296", "٣"] {
            assert_eq!(Pointer::index(token), None, "{token}");
        }
    }

    proptest! {
        #[test]
        fn every_pointer_reads_back(tokens in prop::collection::vec("[a-z~/0-9é*]{0,16}", 1..=8)) {
            let pointer = Pointer { tokens: tokens.iter().map(|token| token.as_str().into()).collect() };
            prop_assert_eq!(pointer.to_string().parse::<Pointer>(), Ok(pointer));
        }

        #[test]
        fn any_text_is_a_pointer_or_an_error(text in any::<String>(), tail in "[/~01a]{0,40}") {
            let _ = text.parse::<Pointer>();
            let _ = format!("/{tail}").parse::<Pointer>();
        }
    }
}
