//! The answer's body on its way to the client: its last byte leaves after its settlement is journalled.

use std::{
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tollgate_usage::Scanner;

use super::{BodyError, Progress, request::BodyEnd};
use crate::{
    admitted::{Admitted, End, Measures},
    connection::Busy,
    durable::Durable,
    live::Route,
    names::USAGE_PREFIX,
    upstream::{Lease, UpstreamBody},
};

/// What a client is sent.
pub(crate) enum ResponseBody {
    /// The gateway's own answer.
    Full(Option<Bytes>),
    /// An upstream's answer.
    Proxied(Box<Proxied>),
}

/// An upstream's body, passed on frame by frame.
pub(crate) struct Proxied {
    inner: UpstreamBody,
    status: u16,
    bytes: u64,
    progress: Rc<Progress>,
    scanner: Option<Box<Scanner>>,
    /// Until the settlement.
    admitted: Option<Admitted>,
    /// Of an unmetered request, until its end; a settlement times the others.
    untimed: Option<(Arc<Route>, Instant)>,
    /// Until the end of the body.
    lease: Option<Lease>,
    /// The last frame, kept back until its settlement is durable.
    last: Option<(Frame<Bytes>, Durable)>,
    /// Why the answer stops here, kept back until what came before it has left.
    cut: Option<BodyError>,
    ended: bool,
    _busy: Busy,
}

/// What a [`Proxied`] is made of.
pub(crate) struct Parts {
    pub(crate) inner: UpstreamBody,
    pub(crate) status: u16,
    pub(crate) progress: Rc<Progress>,
    pub(crate) scanner: Option<Box<Scanner>>,
    pub(crate) admitted: Option<Admitted>,
    pub(crate) untimed: Option<(Arc<Route>, Instant)>,
    pub(crate) lease: Lease,
    pub(crate) busy: Busy,
}

impl ResponseBody {
    pub(crate) fn full(bytes: impl Into<Bytes>) -> Self {
        Self::Full(Some(bytes.into()))
    }

    pub(crate) fn empty() -> Self {
        Self::Full(None)
    }
}

impl Proxied {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { inner, status, progress, scanner, admitted, untimed, lease, busy } = parts;
        progress.answered();
        Self {
            inner,
            status,
            bytes: 0,
            progress,
            scanner,
            admitted,
            untimed,
            lease: Some(lease),
            last: None,
            cut: None,
            ended: false,
            _busy: busy,
        }
    }

    /// Ends the exchange; what must be durable before the last byte may leave.
    fn end(&mut self, end: End) -> Option<Durable> {
        self.ended = true;
        if let Some((route, started)) = self.untimed.take() {
            route.metrics.took(self.status, started.elapsed());
        }
        let measures = self.measures();
        let durable = self.admitted.take().and_then(|admitted| admitted.settle(end, &measures));
        let whole = matches!(end, End::Answered { .. }) && self.progress.end() == BodyEnd::Complete;
        match self.lease.take() {
            Some(lease) if whole => lease.finish(&mut self.inner),
            // So that the upstream stops too.
            _ => self.inner.close(),
        }
        durable
    }

    fn measures(&mut self) -> Measures {
        Measures {
            request_bytes: self.progress.bytes(),
            response_bytes: self.bytes,
            tokens: self.scanner.take().and_then(|scanner| scanner.finish()).and_then(|usage| usage.total()),
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.last.is_some() {
            return self.poll_last(cx);
        }
        if self.ended {
            return Poll::Ready(self.cut.take().map(Err));
        }
        let frame = match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Pending if self.progress.deadline.poll_passed(cx) => {
                self.end(End::Cut { status: self.status });
                return Poll::Ready(Some(Err("the upstream sent nothing for too long".into())));
            }
            Poll::Pending => return Poll::Pending,
            Poll::Ready(None) => {
                let durable = self.end(End::Answered { status: self.status });
                return self.hold_back(Frame::data(Bytes::new()), durable, cx);
            }
            Poll::Ready(Some(Err(error))) => {
                self.end(End::Cut { status: self.status });
                self.cut = Some(error);
                // An error discards what is not written yet, which may be all there was of the answer.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(Some(Ok(frame))) => frame,
        };
        self.progress.moved();
        let frame = match frame.into_data() {
            Ok(data) => {
                self.bytes = self.bytes.saturating_add(data.len() as u64);
                if let Some(scanner) = &mut self.scanner {
                    scanner.feed(&data);
                }
                Frame::data(data)
            }
            Err(frame) => Frame::trailers(without_usage(frame.into_trailers().unwrap_or_default())),
        };
        if !frame.is_trailers() && !self.inner.is_end_stream() {
            return Poll::Ready(Some(Ok(frame)));
        }
        let durable = self.end(End::Answered { status: self.status });
        self.hold_back(frame, durable, cx)
    }

    /// Lets the last frame go, now or when its settlement is durable.
    fn hold_back(
        &mut self,
        frame: Frame<Bytes>,
        durable: Option<Durable>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match durable {
            Some(durable) => {
                self.last = Some((frame, durable));
                self.poll_last(cx)
            }
            None if frame.data_ref().is_some_and(Bytes::is_empty) => Poll::Ready(None),
            None => Poll::Ready(Some(Ok(frame))),
        }
    }

    fn poll_last(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some((_, durable)) = &self.last else { return Poll::Ready(None) };
        let result = ready!(durable.poll(cx));
        let Some((frame, _)) = self.last.take() else { return Poll::Ready(None) };
        match result {
            Err(error) => Poll::Ready(Some(Err(error.into()))),
            Ok(()) if frame.data_ref().is_some_and(Bytes::is_empty) => Poll::Ready(None),
            Ok(()) => Poll::Ready(Some(Ok(frame))),
        }
    }
}

impl Drop for Proxied {
    fn drop(&mut self) {
        if !self.ended {
            self.end(End::ClientGone { status: Some(self.status) });
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Proxied(proxied) => proxied.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_none(),
            Self::Proxied(proxied) => proxied.ended && proxied.last.is_none() && proxied.cut.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Proxied(proxied) if proxied.last.is_some() || proxied.ended => SizeHint::default(),
            Self::Proxied(proxied) => proxied.inner.size_hint(),
        }
    }
}

/// Trailers without what the upstream reports to the gateway only.
fn without_usage(mut trailers: HeaderMap) -> HeaderMap {
    let reported: Vec<_> =
        trailers.keys().filter(|name| name.as_str().starts_with(USAGE_PREFIX)).cloned().collect();
    for name in reported {
        trailers.remove(name);
    }
    trailers
}
