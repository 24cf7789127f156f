//! The answer's body on its way to the client: its last byte leaves after its settlement is journalled.

use std::{
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::{BodyError, Progress, request::BodyEnd};
use crate::{
    admitted::Admitted,
    connection::{Busy, Connection},
    durable::Durable,
    end::End,
    live::Route,
    llm::{Answer, Growth, Place, join, read_on},
    measures::Measures,
    names::USAGE_PREFIX,
    resources::Claiming,
    upstream::{Lease, UpstreamBody},
};

/// What a client is sent.
pub(crate) enum ResponseBody {
    /// The gateway's own answer.
    Full(Option<Bytes>),
    /// An upstream's answer.
    Proxied(Awaited),
}

/// An upstream's answer that a client waits for. A model's may be read to its end without the client.
pub(crate) struct Awaited(Option<Box<Proxied>>);

/// An upstream's body, passed on frame by frame.
pub(crate) struct Proxied {
    inner: UpstreamBody,
    status: u16,
    bytes: u64,
    progress: Rc<Progress>,
    /// Of a model.
    answer: Option<Box<Answer>>,
    /// Until the settlement.
    admitted: Option<Admitted>,
    /// Of an unmetered request, until its end; a settlement times the others.
    untimed: Option<(Arc<Route>, Instant)>,
    /// Until the end of the body.
    lease: Option<Lease>,
    /// The last frame, kept back until the resource that the answer names is claimed. Frames are large, and what is
    /// kept back elsewhere than here makes every answer smaller.
    claiming: Option<Box<(Frame<Bytes>, Claiming)>>,
    /// The last frame, kept back until its settlement is durable.
    last: Option<Box<(Frame<Bytes>, Durable)>>,
    /// Why the answer stops here, kept back until what came before it has left.
    cut: Option<BodyError>,
    /// Kept back until the shared store has said whether it is covered.
    asking: Option<Bytes>,
    /// What came after what was read last, and is not read yet.
    rest: Bytes,
    /// Kept back until what came before them has left.
    trailers: Option<Box<Frame<Bytes>>>,
    /// Whose connection it is read on for when the client leaves now, whatever it is.
    reads_on: Option<Rc<Connection>>,
    /// Whether nobody waits for it any more.
    abandoned: bool,
    ended: bool,
    _busy: Busy,
}

/// What a [`Proxied`] is made of.
pub(crate) struct Parts {
    pub(crate) inner: UpstreamBody,
    pub(crate) status: u16,
    pub(crate) progress: Rc<Progress>,
    pub(crate) answer: Option<Box<Answer>>,
    pub(crate) admitted: Option<Admitted>,
    pub(crate) untimed: Option<(Arc<Route>, Instant)>,
    pub(crate) lease: Lease,
    pub(crate) busy: Busy,
    /// Whose connection it is read on for when the client leaves, whatever it is.
    pub(crate) reads_on: Option<Rc<Connection>>,
}

impl ResponseBody {
    pub(crate) fn proxied(parts: Parts) -> Self {
        // Written where it stays: it is large.
        Self::Proxied(Awaited(Some(Box::write(Box::new_uninit(), Proxied::new(parts)))))
    }

    pub(crate) fn full(bytes: impl Into<Bytes>) -> Self {
        Self::Full(Some(bytes.into()))
    }

    pub(crate) fn empty() -> Self {
        Self::Full(None)
    }
}

impl Proxied {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { inner, status, progress, answer, admitted, untimed, lease, busy, reads_on } = parts;
        progress.answered();
        Self {
            inner,
            status,
            bytes: 0,
            progress,
            answer,
            admitted,
            untimed,
            lease: Some(lease),
            claiming: None,
            last: None,
            cut: None,
            asking: None,
            rest: Bytes::new(),
            trailers: None,
            reads_on,
            abandoned: false,
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
        let admitted = self.admitted.take();
        let durable = admitted.and_then(|admitted| admitted.settle(end, &self.measures()));
        let is_whole = matches!(end, End::Answered { .. } | End::ReadOn { .. });
        match self.lease.take() {
            Some(lease) if is_whole && self.progress.end() == BodyEnd::Complete => {
                lease.finish(&mut self.inner);
            }
            // So that the upstream stops too.
            _ => self.inner.close(),
        }
        durable
    }

    fn measures(&self) -> Measures<'_> {
        Measures {
            request_bytes: self.progress.bytes(),
            response_bytes: self.bytes,
            ..Measures::of_answer(self.answer.as_deref())
        }
    }

    /// From here on it is read for its own sake, for at most so long.
    pub(crate) fn abandon(&mut self, time_max: Duration) {
        self.abandoned = true;
        self.progress.deadline.adopt();
        self.progress.deadline.set_end(time_max);
        // A client who did not read kept it from moving.
        self.progress.moved();
    }

    /// Whether what is left is as long as what the upstream has left.
    fn keeps_length(&self) -> bool {
        let is_edited = self.answer.as_ref().is_some_and(|answer| answer.is_edited());
        self.last.is_none() && self.claiming.is_none() && !self.ended && !is_edited
    }

    fn whole(&self) -> End {
        if self.abandoned {
            End::ReadOn { status: self.status }
        } else {
            End::Answered { status: self.status }
        }
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.last.is_some() {
            return self.poll_last(cx);
        }
        if self.ended {
            return Poll::Ready(self.cut.take().map(Err));
        }
        if self.claiming.is_some() {
            return self.poll_claiming(cx);
        }
        let (frame, is_last) = loop {
            if self.asking.is_some() {
                return self.poll_asked(cx);
            }
            match ready!(self.poll_inner(cx)) {
                Some(Ok(frame)) if frame.is_trailers() => {
                    // What was held back of a model's stream goes first.
                    let rest = self.answer.as_mut().map(|answer| answer.finish()).unwrap_or_default();
                    if rest.is_empty() {
                        break (frame, true);
                    }
                    self.trailers = Some(Box::new(frame));
                    break (Frame::data(rest), false);
                }
                Some(Ok(frame)) => {
                    let is_last = self.inner.is_end_stream();
                    let data = frame.into_data().unwrap_or_default();
                    let Some(answer) = &mut self.answer else { break (Frame::data(data), is_last) };
                    let (read, growth) = if answer.is_full() {
                        let (read, behind) = answer.read_to_boundary(data);
                        if let Some(behind) = behind {
                            self.rest = behind;
                            return self.stop(read, cx);
                        }
                        (read, Growth::Covered)
                    } else {
                        self.read_covered(data)
                    };
                    match growth {
                        Growth::Covered if is_last => {
                            let held_back = self.answer.as_mut().map(|answer| answer.finish());
                            break (Frame::data(join(&read, held_back.unwrap_or_default())), true);
                        }
                        Growth::Covered if read.is_empty() => {}
                        Growth::Covered => break (Frame::data(read), false),
                        Growth::Asking => self.asking = Some(read),
                        Growth::Full => return self.fill(read, cx),
                        Growth::Unknown => return self.stop_untold(read),
                    }
                }
                Some(Err(error)) => return self.cut_off(error, cx),
                None => {
                    let rest = self.answer.as_mut().map(|answer| answer.finish()).unwrap_or_default();
                    break (Frame::data(rest), true);
                }
            }
        };
        if !is_last {
            return Poll::Ready(Some(Ok(frame)));
        }
        let (end, measures) = (self.whole(), self.measures());
        match self.admitted.as_ref().and_then(|admitted| admitted.claim_late(end, &measures)) {
            None => {
                let durable = self.end(end);
                self.hold_back(frame, durable, cx)
            }
            Some(claiming) => {
                self.claiming = Some(Box::new((frame, claiming)));
                self.poll_claiming(cx)
            }
        }
    }

    /// The whole answer is there, and waits for the resource that it names.
    fn poll_claiming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some((_, claiming)) = self.claiming.as_deref_mut() else { return Poll::Ready(None) };
        let kept = ready!(claiming.as_mut().poll(cx));
        if let Some(admitted) = &mut self.admitted {
            admitted.keep(kept);
        }
        let Some((frame, _)) = self.claiming.take().map(|claiming| *claiming) else {
            return Poll::Ready(None);
        };
        let durable = self.end(self.whole());
        self.hold_back(frame, durable, cx)
    }

    /// Reads what came of a model's answer, as far as it is covered: event by event where a limit can end it.
    fn read_covered(&mut self, mut data: Bytes) -> (Bytes, Growth) {
        let Some(answer) = self.answer.as_mut() else { return (data, Growth::Covered) };
        if answer.written_limited().is_none() {
            return (answer.read(data), Growth::Covered);
        }
        let (mut read, mut growth) = (0, Growth::Covered);
        while read < data.len() && growth == Growth::Covered {
            read += self.answer.as_mut().map_or(data.len(), |answer| answer.read_event(&data[read..]));
            growth = self.grow();
        }
        self.rest = data.split_off(read);
        (self.answer.as_mut().map(|answer| answer.pass(data)).unwrap_or_default(), growth)
    }

    /// Sets more aside for a model's stream, where it nears what is held.
    fn grow(&mut self) -> Growth {
        let written = self.answer.as_ref().and_then(|answer| answer.written_limited());
        let (Some(written), Some(admitted)) = (written, &mut self.admitted) else {
            return Growth::Covered;
        };
        admitted.grow(written)
    }

    /// What was read waits for the shared store to say whether it is covered.
    fn poll_asked(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let asked = self.admitted.as_ref().map_or(Poll::Ready(()), |admitted| admitted.poll_asked(cx));
            let is_late = asked.is_pending() && self.progress.deadline.poll_passed(cx);
            if asked.is_pending() && !is_late {
                return Poll::Pending;
            }
            let growth = if is_late { Growth::Unknown } else { self.grow() };
            let read = self.asking.take().unwrap_or_default();
            match growth {
                Growth::Covered => return Poll::Ready(Some(Ok(Frame::data(read)))),
                Growth::Asking => self.asking = Some(read),
                Growth::Full => return self.fill(read, cx),
                Growth::Unknown => return self.stop_untold(read),
            }
        }
    }

    /// Cuts a model's stream after `read`: the shared store does not say whether more is left.
    fn stop_untold(&mut self, read: Bytes) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.end(End::Untold { status: self.status });
        self.cut = Some("how much is left cannot be told".into());
        Poll::Ready(Some(Ok(Frame::data(read))))
    }

    /// Nothing is left for what comes after `read`.
    fn fill(&mut self, read: Bytes, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.answer {
            Some(answer) if answer.is_at_boundary() => self.stop(read, cx),
            Some(answer) => {
                answer.fill();
                Poll::Ready(Some(Ok(Frame::data(read))))
            }
            None => Poll::Ready(Some(Ok(Frame::data(read)))),
        }
    }

    /// Ends a model's stream after `read`, as its dialect ends one at a limit, and closes the upstream's.
    fn stop(&mut self, read: Bytes, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let events = self.answer.as_mut().map(|answer| answer.final_events());
        match events {
            // It has said why it ends, and what is left is short.
            Some(Some(events)) if events.is_empty() => {
                if let Some(answer) = &mut self.answer {
                    answer.let_pass();
                }
                Poll::Ready(Some(Ok(Frame::data(read))))
            }
            Some(Some(events)) => {
                let durable = self.end(End::Limited { status: self.status });
                self.hold_back(Frame::data(join(&read, events)), durable, cx)
            }
            Some(None) | None => {
                self.end(End::Limited { status: self.status });
                self.cut = Some("the quota is used up".into());
                Poll::Ready(Some(Ok(Frame::data(read))))
            }
        }
    }

    /// The upstream's next frame, in its time.
    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.rest)))));
        }
        if let Some(trailers) = self.trailers.take() {
            return Poll::Ready(Some(Ok(*trailers)));
        }
        let frame = match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Pending if self.progress.deadline.poll_passed(cx) => {
                return Poll::Ready(Some(Err("the upstream sent nothing for too long".into())));
            }
            Poll::Pending => return Poll::Pending,
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
            Poll::Ready(Some(Ok(frame))) => frame,
        };
        self.progress.moved();
        let frame = match frame.into_data() {
            Ok(data) => {
                self.bytes = self.bytes.saturating_add(data.len() as u64);
                Frame::data(data)
            }
            Err(frame) => Frame::trailers(without_usage(frame.into_trailers().unwrap_or_default())),
        };
        Poll::Ready(Some(Ok(frame)))
    }

    /// Ends an answer that stops before its end.
    fn cut_off(
        &mut self,
        error: BodyError,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let is_late = self.abandoned && self.progress.deadline.poll_passed(cx);
        self.end(if is_late {
            End::ClientGone { status: Some(self.status) }
        } else {
            End::Cut { status: self.status }
        });
        self.cut = Some(error);
        // An error discards what is not written yet, which may be all there was of the answer.
        cx.waker().wake_by_ref();
        Poll::Pending
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
                self.last = Some(Box::new((frame, durable)));
                self.poll_last(cx)
            }
            None if frame.data_ref().is_some_and(Bytes::is_empty) => Poll::Ready(None),
            None => Poll::Ready(Some(Ok(frame))),
        }
    }

    fn poll_last(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some((_, durable)) = self.last.as_deref() else { return Poll::Ready(None) };
        let result = ready!(durable.poll(cx));
        let Some((frame, _)) = self.last.take().map(|last| *last) else { return Poll::Ready(None) };
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
            // What waited only for its resource is whole; what waits lets others have that first.
            let end = match self.claiming.take() {
                Some(_) => End::ReadOn { status: self.status },
                None => End::ClientGone { status: Some(self.status) },
            };
            self.end(end);
        }
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        let Some(proxied) = self.0.take().filter(|proxied| !proxied.ended) else { return };
        let of_answer = proxied.answer.as_ref().and_then(|answer| answer.reads_on());
        let connection = of_answer.or(proxied.reads_on.as_ref()).map(Rc::clone);
        if let Some(connection) = connection
            && let Some(place) = Place::take(&connection)
        {
            read_on(&connection, place, proxied);
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
            Self::Proxied(Awaited(Some(proxied))) => proxied.poll_frame(cx),
            Self::Proxied(Awaited(None)) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_none(),
            Self::Proxied(Awaited(proxied)) => proxied
                .as_ref()
                .is_none_or(|proxied| proxied.ended && proxied.last.is_none() && proxied.cut.is_none()),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Proxied(Awaited(Some(proxied))) if proxied.keeps_length() => proxied.inner.size_hint(),
            Self::Proxied(_) => SizeHint::default(),
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
