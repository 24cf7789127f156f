//! Refusals of requests that do not say what they are charged by.

use http::HeaderName;
use tollgate_config::show_bytes;

use super::{
    Source,
    ask::{Asking, Body, Flaw},
    part::{At, IdAt},
};
use crate::refusal::{Code, Refusal};

impl Asking<'_> {
    /// The request does not say how much it is.
    pub(super) fn no_amount(&self, source: &Source, flaw: &Flaw) -> Refusal {
        let what = match source {
            Source::At(at) => self.place(at),
            Source::Memory(memory) => self.field(memory.text),
            _ => "the amount".to_owned(),
        };
        let wants = if matches!(source, Source::Memory(_)) { "a text" } else { "a number" };
        let is_of_body = !matches!(source, Source::At(At::RequestHeader(_)));
        if let Some(refusal) = self.unread(&what).filter(|_| is_of_body) {
            return refusal;
        }
        let message = match flaw {
            Flaw::Missing => format!("{what} is missing, by which the request is charged; send {wants}"),
            Flaw::Wrong => {
                format!("{what} is not {wants} that a request can be charged by; send {wants}, once")
            }
        };
        Refusal::new(Code::BadRequest, message)
    }

    /// The request does not say of what it is.
    pub(super) fn no_id(&self, at: &IdAt) -> Refusal {
        let what = match at {
            IdAt::Path => "the id in the path".to_owned(),
            IdAt::At(at) => self.place(at),
        };
        let is_of_body = matches!(at, IdAt::At(At::RequestField(_)));
        self.unread(&what).filter(|_| is_of_body).unwrap_or_else(|| {
            let message = format!(
                "{what} does not say what the request changes, by which it is charged; send an id of at most 256 \
                 bytes, once"
            );
            Refusal::new(Code::BadRequest, message)
        })
    }

    /// Why nothing of the body is known, which says `what`.
    fn unread(&self, what: &str) -> Option<Refusal> {
        match &self.sender.body {
            Body::Whole(_) => None,
            Body::TooLong { bytes_max } => {
                let message = format!(
                    "what is charged is said by {what}, and only bodies up to {} are read for that; send less at once",
                    show_bytes(i64::try_from(*bytes_max).unwrap_or(i64::MAX))
                );
                Some(Refusal::new(Code::BadRequest, message))
            }
            Body::NoRoom => {
                let message = "the gateway reads as many bodies as it has room for; try again soon";
                Some(Refusal::new(Code::Overloaded, message).retry_after(1))
            }
        }
    }

    fn place(&self, at: &At) -> String {
        match at {
            At::RequestHeader(name) => format!("the header {}", title(name)),
            At::RequestField(number) => self.field(*number),
            At::ResponseHeader(_) | At::ResponseField(_) => "the answer".to_owned(),
        }
    }

    fn field(&self, number: usize) -> String {
        match self.plan.request_fields.pointer(number) {
            Some(pointer) => format!("{pointer} of the request's body"),
            None => "the request's body".to_owned(),
        }
    }
}

/// A header's name as people write it.
fn title(name: &HeaderName) -> String {
    let word = |word: &str| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_ascii_uppercase() + rest
    };
    name.as_str().split('-').map(word).collect::<Vec<_>>().join("-")
}
