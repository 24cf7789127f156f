//! A request's body as it comes from a client.

use std::{
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::Shared;
use crate::http1::Error;

/// The body of one request, read from its connection when it is asked for, and never further.
pub(crate) struct Received {
    wire: Shared,
    /// Of the request. Its body ends with its answer, whoever still holds it.
    number: u64,
}

impl Received {
    pub(super) fn new(wire: &Shared, number: u64) -> Self {
        Self { wire: Rc::clone(wire), number }
    }

    /// The next frame. After an error nothing more is read on the connection.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let wire = &mut *self.wire.borrow_mut();
        if wire.number() != self.number {
            return Poll::Ready(Some(Err(Error::Framing("its request was answered already"))));
        }
        wire.poll_body(cx)
    }

    /// Whether there is nothing more to come.
    pub(crate) fn is_end(&self) -> bool {
        let wire = self.wire.borrow();
        wire.number() == self.number && wire.is_body_read()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        let wire = self.wire.borrow();
        if wire.number() == self.number { wire.body_size() } else { SizeHint::default() }
    }
}
