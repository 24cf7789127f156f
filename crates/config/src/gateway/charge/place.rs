//! Places in a request or an answer: headers, and fields of JSON.

use std::fmt;

use http::HeaderName;
use tollgate_core::{Pointer, PointerError};

use super::reserved;
use crate::{
    nearest::nearest,
    report::Flaw,
    text::{NAME_BYTES_MAX, quote},
};

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// `"request.header:X-Rows"`: as the client sent it.
    RequestHeader(HeaderName),
    /// `"response.header:X-Pages"`: as the upstream sent it.
    ResponseHeader(HeaderName),
    /// `"request.json:/rows"`: of the request's body.
    RequestJson(Pointer),
    /// `"response.json:/items/*/pages"`: of the answer's body.
    ResponseJson(Pointer),
}

/// What a place begins with, and an example of it.
const KINDS: [(&str, &str); 4] = [
    ("request.header", "\"request.header:X-Rows\""),
    ("response.header", "\"response.header:X-Pages\""),
    ("request.json", "\"request.json:/rows\""),
    ("response.json", "\"response.json:/items/*/pages\""),
];

impl Place {
    /// Whether it is known before a request is forwarded.
    #[must_use]
    pub const fn is_of_request(&self) -> bool {
        match self {
            Self::RequestHeader(_) | Self::RequestJson(_) => true,
            Self::ResponseHeader(_) | Self::ResponseJson(_) => false,
        }
    }

    /// Where in a body it is.
    #[must_use]
    pub const fn pointer(&self) -> Option<&Pointer> {
        match self {
            Self::RequestJson(pointer) | Self::ResponseJson(pointer) => Some(pointer),
            Self::RequestHeader(_) | Self::ResponseHeader(_) => None,
        }
    }

    /// The place that `text` names; `None` when it does not look like one.
    pub(super) fn parse(text: &str) -> Option<Result<Self, Flaw>> {
        let (kind, rest) = match text.split_once(':') {
            Some((kind, rest)) => (kind, Some(rest)),
            None => (text, None),
        };
        let Some((kind, example)) = KINDS.iter().find(|(known, _)| *known == kind) else {
            let meant = rest.and_then(|_| nearest(kind, KINDS.iter().map(|(kind, _)| *kind)))?;
            let message = format!("{} is no place in a request or an answer", quote(text));
            return Some(Err(Flaw::new(message, format!("did you mean {}?", quote(meant)))));
        };
        let Some(rest) = rest else {
            return Some(Err(Flaw::new(
                format!("{} does not say which", quote(text)),
                format!("write as in {example}"),
            )));
        };
        Some(match *kind {
            "request.header" => parse_header(rest).and_then(reserved::check).map(Self::RequestHeader),
            "response.header" => parse_header(rest).map(Self::ResponseHeader),
            "request.json" => parse_pointer(rest).map(Self::RequestJson),
            _ => parse_pointer(rest).map(Self::ResponseJson),
        })
    }

    /// The place that `text` must name.
    pub(super) fn need(text: &str) -> Result<Self, Flaw> {
        Self::parse(text).unwrap_or_else(|| {
            let message = format!("{} is no place in a request or an answer", quote(text));
            let [header, .., json] = KINDS;
            Err(Flaw::new(message, format!("write as in {} or {}", header.1, json.1)))
        })
    }

    /// That it is one value, not one of each element of a list.
    pub(super) fn single(self) -> Result<Self, Flaw> {
        let is_each = |pointer: &Pointer| pointer.tokens().any(|token| token == Pointer::EACH);
        if self.pointer().is_some_and(is_each) {
            let message = "an id is one value, not one for each element of a list";
            return Err(Flaw::new(
                message,
                "write the index of an element in place of \"*\", as in \"/0/id\"",
            ));
        }
        Ok(self)
    }
}

/// As it is written in a file.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RequestHeader(name) => write!(f, "request.header:{name}"),
            Self::ResponseHeader(name) => write!(f, "response.header:{name}"),
            Self::RequestJson(pointer) => write!(f, "request.json:{pointer}"),
            Self::ResponseJson(pointer) => write!(f, "response.json:{pointer}"),
        }
    }
}

fn parse_header(text: &str) -> Result<HeaderName, Flaw> {
    let name = HeaderName::from_bytes(text.as_bytes()).ok().filter(|_| text.len() <= NAME_BYTES_MAX);
    name.ok_or_else(|| {
        let message = format!("{} is not a header name", quote(text));
        Flaw::new(
            message,
            format!("use letters, digits and \"-\", at most {NAME_BYTES_MAX}, as in \"X-Rows\""),
        )
    })
}

pub(super) fn parse_pointer(text: &str) -> Result<Pointer, Flaw> {
    text.parse().map_err(|error: PointerError| Flaw::with(error.to_string(), None))
}
