//! What is known of a request: for now, its method and headers.

use std::borrow::Cow;

use http::{HeaderMap, Method};
use tollgate_config::{Condition, Conditions, Place};

use super::Facts;

/// A request as it came.
pub(crate) struct Known<'a> {
    pub(crate) method: &'a Method,
    pub(crate) headers: Option<&'a HeaderMap>,
}

impl Facts for Known<'_> {
    fn hold(&self, conditions: &Conditions) -> bool {
        conditions.0.iter().all(|condition| match condition {
            Condition::Method(methods) => methods.contains(self.method),
            Condition::Status(_) | Condition::Value(..) => true,
        })
    }

    fn fulfil(&self, conditions: &Conditions) -> bool {
        conditions.0.iter().all(|condition| match condition {
            Condition::Method(methods) => methods.contains(self.method),
            Condition::Status(_) | Condition::Value(..) => false,
        })
    }

    fn text(&self, place: &Place) -> Option<Cow<'_, str>> {
        match place {
            Place::RequestHeader(name) => self.headers?.get(name)?.to_str().ok().map(Cow::Borrowed),
            Place::ResponseHeader(_) | Place::RequestJson(_) | Place::ResponseJson(_) => None,
        }
    }
}
