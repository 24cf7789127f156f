//! A body on its way into the output.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::Body;

use super::{Coding, Error, Output};
use crate::body::BodyError;

/// What is left to be sent of a message.
pub(crate) struct Sending<B> {
    /// Until its end was taken from it.
    body: Option<B>,
    coding: Coding,
}

impl<B> Default for Sending<B> {
    fn default() -> Self {
        Self { body: None, coding: Coding::End }
    }
}

impl<B: Body<Data = Bytes, Error = BodyError> + Unpin> Sending<B> {
    pub(crate) fn new(body: Option<B>, coding: Coding) -> Self {
        Self { body, coding }
    }

    /// Whether nothing more comes.
    pub(crate) fn is_over(&self) -> bool {
        self.body.is_none()
    }

    /// Takes the body before its end.
    pub(crate) fn take(&mut self) -> Option<B> {
        self.body.take()
    }

    /// Fills `output`; ready when it is full or nothing more comes.
    pub(crate) fn poll_fill(&mut self, output: &mut Output, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while let Some(body) = self.body.as_mut().filter(|_| output.has_room()) {
            let end = match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(Error::Body(error))),
                Poll::Ready(None) => None,
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        let unread = matches!(self.coding, Coding::Nothing) && !data.is_empty();
                        let last = unread || body.is_end_stream();
                        if !data.is_empty() {
                            self.coding.data(data, last, output)?;
                        }
                        if !last {
                            continue;
                        }
                        None
                    }
                    Err(frame) => frame.into_trailers().ok(),
                },
            };
            // After the last data its end is said already.
            self.coding.end(end.as_ref(), output)?;
            self.body = None;
        }
        Poll::Ready(Ok(()))
    }
}
