//! A request's body on its way into the output.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http::HeaderMap;
use http_body::Body as _;

use super::{Error, encode::Coding, output::Output};
use crate::body::RequestBody;

/// What is left of a request.
#[derive(Default)]
pub(super) struct Upload {
    /// Until its end was taken from it.
    body: Option<RequestBody>,
    coding: Coding,
    /// Whether the upstream stopped reading before the end.
    failed: bool,
}

impl Upload {
    pub(super) fn new(body: RequestBody, coding: Coding) -> Self {
        let body = Some(body).filter(|body| !matches!(body, RequestBody::Empty));
        Self { body, coding, failed: false }
    }

    /// Whether nothing more comes.
    pub(super) fn is_over(&self) -> bool {
        self.body.is_none()
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
        while let Some(body) = self.body.as_mut().filter(|_| output.has_room()) {
            let end = match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(Error::Request(error))),
                Poll::Ready(None) => HeaderMap::new(),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        let last = body.is_end_stream();
                        if !data.is_empty() {
                            self.coding.data(data, last, output)?;
                        }
                        if !last {
                            continue;
                        }
                        HeaderMap::new()
                    }
                    Err(frame) => frame.into_trailers().unwrap_or_default(),
                },
            };
            // After the last data its end is said already.
            self.coding.end(&end, output)?;
            self.body = None;
        }
        Poll::Ready(Ok(()))
    }

    /// Lets the body go without a word on whether it is complete: its own end says so, if it came.
    fn give_up(&mut self) {
        if let Some(body) = self.body.take() {
            body.give_up();
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.give_up();
    }
}
