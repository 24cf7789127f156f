//! The request's body on its way to the upstream.

use std::{
    cell::Cell,
    mem,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use http_body::{Body, Frame, SizeHint};

use super::{BodyError, Inbound};
use crate::{
    deadline::Deadline,
    headers::Known,
    live::{Route, Snapshot},
    llm::Looked,
    names::{Class, Names},
};

/// What the upstream is sent.
pub(crate) enum RequestBody {
    Empty,
    /// What came whole with its head.
    Whole(Whole),
    Stream(Box<Forwarded>),
}

/// A client's body in one piece.
pub(crate) struct Whole {
    /// Empty when it was passed on, or given up.
    data: Bytes,
    progress: Rc<Progress>,
}

/// A client's body, passed on frame by frame.
pub(crate) struct Forwarded {
    /// What was read of it before.
    looked: Looked,
    inner: Inbound,
    live: Rc<Snapshot>,
    /// Its route, where trailers must not say what is looked at in headers.
    guarding: Option<Arc<Route>>,
    progress: Rc<Progress>,
    bytes_max: u64,
    /// Whether its being dropped says nothing.
    given_up: bool,
}

/// How far a request's body got, for those who do not own it.
pub(crate) struct Progress {
    /// Of the exchange as a whole: one deadline, moved by what passes in either direction.
    pub(crate) deadline: Deadline,
    idle_timeout: Duration,
    response_timeout: Duration,
    /// Whether the answer has begun.
    answered: Cell<bool>,
    /// Whether the upstream would take more than the client has sent.
    starved: Cell<bool>,
    bytes: Cell<u64>,
    end: Cell<BodyEnd>,
    sent: Cell<bool>,
}

/// Where a request's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyEnd {
    /// There is more to come.
    Open,
    /// It was passed on whole.
    Complete,
    /// It is larger than the tier allows.
    TooLarge,
    /// The client stopped sending it.
    Broken,
}

impl Progress {
    pub(crate) fn new(deadline: Deadline, idle_timeout: Duration, response_timeout: Duration) -> Self {
        Self {
            deadline,
            idle_timeout,
            response_timeout,
            answered: Cell::new(false),
            starved: Cell::new(false),
            bytes: Cell::new(0),
            end: Cell::new(BodyEnd::Open),
            sent: Cell::new(false),
        }
    }

    /// Bytes passed on so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    pub(crate) fn end(&self) -> BodyEnd {
        self.end.get()
    }

    /// Whether it is the client who is waited for.
    pub(crate) fn is_starved(&self) -> bool {
        self.end.get() == BodyEnd::Open && self.starved.get()
    }

    /// Whether an upstream may have seen all of the request, and so may do what it asks for.
    pub(crate) fn is_sent_whole(&self) -> bool {
        self.sent.get() && self.end.get() == BodyEnd::Complete
    }

    pub(crate) fn set_sent(&self, sent: bool) {
        self.sent.set(sent);
    }

    /// The request is sent whole: from here on the upstream is waited for.
    pub(crate) fn complete(&self) {
        if self.end.get() == BodyEnd::Open {
            self.end.set(BodyEnd::Complete);
            if !self.answered.get() {
                self.deadline.set(self.response_timeout);
            }
        }
    }

    /// The answer's head is there: from here on the exchange lasts as long as something passes.
    pub(crate) fn answered(&self) {
        self.answered.set(true);
        self.moved();
    }

    /// Something passed, in either direction.
    pub(crate) fn moved(&self) {
        self.deadline.set(self.idle_timeout);
    }
}

impl RequestBody {
    pub(crate) fn new(
        (inner, looked): (Option<Inbound>, Looked),
        live: &Rc<Snapshot>,
        route: &Arc<Route>,
        progress: &Rc<Progress>,
        bytes_max: u64,
    ) -> Self {
        progress.bytes.set(looked.bytes());
        let Some(inner) = inner.filter(|inner| !inner.is_end_stream() || !looked.is_empty()) else {
            progress.complete();
            return Self::Empty;
        };
        let inner = match inner {
            // Of what was looked at, something may be kept by now.
            Inbound::Whole(data) if looked.is_empty() => {
                progress.moved();
                return Self::Whole(Whole { data, progress: Rc::clone(progress) });
            }
            inner => inner,
        };
        progress.moved();
        Self::Stream(Box::new(Forwarded {
            looked,
            inner,
            live: Rc::clone(live),
            guarding: route.plan.as_ref().filter(|plan| plan.guards_trailers()).map(|_| Arc::clone(route)),
            progress: Rc::clone(progress),
            bytes_max,
            given_up: false,
        }))
    }

    /// Lets it go: it is complete only if it came to its end.
    pub(crate) fn give_up(self) {
        match self {
            Self::Empty => {}
            Self::Whole(mut whole) => drop(mem::take(&mut whole.data)),
            Self::Stream(mut forwarded) => forwarded.given_up = true,
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match this {
            Self::Empty => Poll::Ready(None),
            Self::Whole(whole) => {
                let data = whole.take();
                *this = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Self::Stream(forwarded) => forwarded.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(_) => false,
            Self::Stream(forwarded) => forwarded.looked.is_empty() && forwarded.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Whole(whole) => SizeHint::with_exact(whole.data.len() as u64),
            Self::Stream(forwarded) => forwarded.size_hint(),
        }
    }
}

impl Whole {
    /// Passes it on.
    fn take(&mut self) -> Bytes {
        let data = mem::take(&mut self.data);
        self.progress.bytes.set(data.len() as u64);
        self.progress.complete();
        data
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        // The upstream answered, or went away, without reading it.
        if !self.data.is_empty() {
            self.progress.complete();
        }
    }
}

impl Forwarded {
    fn size_hint(&self) -> SizeHint {
        let (inner, looked) = (self.inner.size_hint(), self.looked.len());
        let mut size = SizeHint::new();
        size.set_lower(inner.lower().saturating_add(looked));
        // A length that is known leaves no place for trailers.
        let upper = inner.upper().and_then(|upper| upper.checked_add(looked));
        if let Some(upper) = upper.filter(|_| !self.looked.has_trailers()) {
            size.set_upper(upper);
        }
        size
    }

    /// What of trailers is for the upstream.
    fn passed(&self, trailers: HeaderMap) -> HeaderMap {
        let mut trailers = without_claims(trailers, &self.live.names);
        if let Some(plan) = self.guarding.as_ref().and_then(|route| route.plan.as_ref()) {
            plan.guard_trailers(&mut trailers);
        }
        trailers
    }

    /// What was read before; its bytes are counted already.
    fn next_looked(&mut self) -> Option<Frame<Bytes>> {
        let frame = match self.looked.next() {
            Some(data) => Frame::data(data),
            None => {
                let trailers = self.looked.take_trailers()?;
                Frame::trailers(self.passed(trailers))
            }
        };
        self.progress.moved();
        if self.looked.is_empty() && self.inner.is_end_stream() {
            self.progress.complete();
        }
        Some(frame)
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.looked.is_empty()
            && let Some(frame) = self.next_looked()
        {
            return Poll::Ready(Some(Ok(frame)));
        }
        let progress = &*self.progress;
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        progress.starved.set(polled.is_pending());
        let Some(frame) = ready!(polled) else {
            progress.complete();
            return Poll::Ready(None);
        };
        let frame = frame.inspect_err(|_| progress.end.set(BodyEnd::Broken))?;
        // Frames without a byte keep nothing alive.
        if frame.data_ref().is_none_or(|data| !data.is_empty()) {
            progress.moved();
        }
        let frame = match frame.into_data() {
            Ok(data) => {
                let bytes = progress.bytes.get().saturating_add(data.len() as u64);
                if bytes > self.bytes_max {
                    progress.end.set(BodyEnd::TooLarge);
                    return Poll::Ready(Some(Err("the body is larger than the tier allows".into())));
                }
                progress.bytes.set(bytes);
                Frame::data(data)
            }
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                Frame::trailers(self.passed(trailers))
            }
        };
        if self.inner.is_end_stream() {
            progress.complete();
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

impl Drop for Forwarded {
    fn drop(&mut self) {
        // The upstream answered, or went away, without reading all of it.
        if !self.given_up {
            self.progress.complete();
        }
    }
}

/// Trailers in which nobody claims to be anybody.
fn without_claims(mut trailers: HeaderMap, names: &Names) -> HeaderMap {
    let is_forbidden = |name: &&HeaderName| {
        let name = name.as_str().as_bytes();
        names.classify(Known::of(name), name) != Class::Passes
    };
    let forbidden: Vec<_> = trailers.keys().filter(is_forbidden).cloned().collect();
    for name in forbidden {
        trailers.remove(name);
    }
    trailers
}
