//! A request's body on its way into the output.

use std::task::{Context, Poll};

use crate::{
    body::RequestBody,
    http1::{Coding, Error, Output, Sending},
};

/// What is left of a request.
#[derive(Default)]
pub(super) struct Upload {
    sending: Sending<RequestBody>,
    /// Whether the upstream stopped reading before the end.
    failed: bool,
}

impl Upload {
    pub(super) fn new(body: RequestBody, coding: Coding) -> Self {
        let body = Some(body).filter(|body| !matches!(body, RequestBody::Empty));
        Self { sending: Sending::new(body, coding), failed: false }
    }

    /// Whether nothing more comes.
    pub(super) fn is_over(&self) -> bool {
        self.sending.is_over()
    }

    /// Whether the upstream stopped reading before the end.
    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    /// The upstream reads no more.
    pub(super) fn fail(&mut self) {
        self.failed = true;
        self.give_up();
    }

    /// Fills `output`; ready when it is full or nothing more comes.
    pub(super) fn poll_fill(&mut self, output: &mut Output, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.sending.poll_fill(output, cx)
    }

    /// Lets the body go without a word on whether it is complete: its own end says so, if it came.
    fn give_up(&mut self) {
        if let Some(body) = self.sending.take() {
            body.give_up();
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.give_up();
    }
}
