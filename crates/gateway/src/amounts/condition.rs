//! Conditions, as they turn out.

use http::{HeaderName, Method};
use tollgate_config::ChargeOn;
use tollgate_core::{Value, Wanted};
use tollgate_usage::FieldReader;

use super::plan::Heard;
use crate::headers::Headers;

/// What is true of some requests. Where it cannot be told, it is neither true nor false.
pub(crate) enum Test {
    Method(Vec<Method>),
    Status(ChargeOn),
    RequestHeader(HeaderName, Vec<Wanted>),
    /// Of the request's body, by number.
    RequestField(usize),
    /// Of the headers that are noted, by number.
    ResponseHeader(usize, Vec<Wanted>),
    /// Of the answer's body, by number.
    ResponseField(usize),
}

/// How the exchange came out, as far as that can be told.
#[derive(Clone, Copy)]
pub(super) enum Outcome {
    Status(u16),
    NoAnswer,
    Unknown,
}

impl Test {
    pub(super) fn is_of_request(&self) -> bool {
        match self {
            Self::Method(_) | Self::RequestHeader(..) | Self::RequestField(_) => true,
            Self::Status(_) | Self::ResponseHeader(..) | Self::ResponseField(_) => false,
        }
    }

    /// Whether it is true of a request; one of the answer cannot be told yet.
    pub(super) fn of_request(
        &self,
        method: &Method,
        headers: &Headers,
        body: Option<&FieldReader>,
    ) -> Option<bool> {
        match self {
            Self::Method(methods) => Some(methods.contains(method)),
            Self::RequestHeader(name, wanted) => Some(is_any(headers.all(name), wanted)),
            Self::RequestField(number) => body?.is_met(*number),
            Self::Status(_) | Self::ResponseHeader(..) | Self::ResponseField(_) => None,
        }
    }

    /// Whether it is true of an answer; what the request says is told already.
    pub(super) fn of_answer(
        &self,
        outcome: Outcome,
        heard: Option<&Heard>,
        body: Option<&FieldReader>,
    ) -> Option<bool> {
        match (self, outcome) {
            (Self::Status(statuses), Outcome::Status(status)) => Some(statuses.includes(Some(status))),
            (Self::Status(statuses), Outcome::NoAnswer) => Some(statuses.includes(None)),
            (Self::Status(_), Outcome::Unknown) => None,
            (Self::ResponseHeader(number, wanted), _) => Some(is_any(heard?.all(*number), wanted)),
            (Self::ResponseField(number), _) => body?.is_met(*number),
            (Self::Method(_) | Self::RequestHeader(..) | Self::RequestField(_), _) => None,
        }
    }
}

/// Whether one of a header's lines is one of the values.
fn is_any<'a>(lines: impl IntoIterator<Item = &'a [u8]>, wanted: &[Wanted]) -> bool {
    lines.into_iter().any(|line| {
        let value = std::str::from_utf8(line).map_or(Value::Other, |text| Value::Text(text.trim()));
        wanted.iter().any(|wanted| wanted.is(value))
    })
}
