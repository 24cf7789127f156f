//! The beginning of a request's body, read before it is decided on: it says what the request may cost.
//!
//! No quota is held while a client sends, so a slow one keeps nothing from others.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::Poll,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Body as _;

use crate::{
    body::Inbound,
    live::{Live, Route},
    refusal::{Code, Refusal},
    shared::Shared,
    worker::Worker,
};

/// Bytes of bodies that are kept for looking at them, all requests together. Beyond, requests are not looked at and
/// hold what their route says.
const LOOKED_BYTES_MAX: u64 = 256 << 20;
/// The part of it that requests take which wait to be admitted, or may have to: the rest is for those who do not.
pub(crate) const WAITING_BYTES_MAX: u64 = LOOKED_BYTES_MAX / 2;
/// Bytes of a body that is read for nothing but to notice, behind it, a client who hangs up: most bodies that are no
/// upload are shorter.
const WATCHED_BYTES_MAX: u64 = 64 << 10;

/// Shorter pieces are joined to what comes next, so that what is kept of a body is about as large as the body, however it
/// is cut: a piece of its own costs 32 bytes, and what it was read with.
const PIECE_BYTES_MIN: usize = 1024;
/// A joined piece is at most so long: one that grew with the body would leave memory of every size behind.
const JOINED_BYTES: usize = 16 * 1024;

/// What was read of a body; it is forwarded before the rest.
#[derive(Default)]
pub(crate) struct Looked {
    frames: VecDeque<Bytes>,
    /// After `frames`: short pieces, joined.
    joined: BytesMut,
    trailers: Option<HeaderMap>,
    /// Bytes that the client sent of it.
    bytes: u64,
    /// Whether nothing comes after it.
    whole: bool,
    room: Option<Room>,
}

/// Bounds of a look.
#[derive(Clone, Copy)]
pub(crate) struct LookBounds {
    /// Bytes of a body that is looked at.
    look_bytes_max: u64,
    /// Bytes that a body may have.
    body_bytes_max: u64,
    /// Without anything of the body coming.
    idle_timeout: Duration,
    /// Bytes that are kept of all bodies.
    room_max: u64,
}

impl LookBounds {
    pub(crate) fn new(live: &Live, route: &Route, body_bytes_max: u64) -> Self {
        Self {
            look_bytes_max: live.gateway().llm.look_bytes_max,
            body_bytes_max,
            idle_timeout: route.upstream.settings.idle_timeout,
            room_max: LOOKED_BYTES_MAX,
        }
    }

    /// For a body that says nothing, of a request that may have to wait.
    pub(crate) fn watched(live: &Live, route: &Route, body_bytes_max: u64) -> Self {
        let bounds = Self::new(live, route, body_bytes_max);
        let look_bytes_max = bounds.look_bytes_max.min(WATCHED_BYTES_MAX);
        Self { look_bytes_max, room_max: WAITING_BYTES_MAX, ..bounds }
    }

    /// For a body that is not forwarded, of at most so many bytes.
    pub(crate) fn whole(bytes_max: u64, idle_timeout: Duration) -> Self {
        Self {
            look_bytes_max: bytes_max,
            body_bytes_max: bytes_max,
            idle_timeout,
            room_max: LOOKED_BYTES_MAX,
        }
    }
}

/// Reads `body` to its end, or until it is too long to be looked at. Cancel-safe: what was read is in `looked`.
pub(crate) async fn look(
    worker: &Worker,
    body: &mut Inbound,
    looked: &mut Looked,
    bounds: LookBounds,
    too_large: impl Fn() -> Refusal,
) -> Result<(), Refusal> {
    let size = body.size_hint();
    if size.lower() > bounds.look_bytes_max {
        return Ok(());
    }
    let mut room = Room { shared: Arc::clone(&worker.shared), bytes: 0 };
    let deadline = worker.deadlines.add();
    deadline.set(bounds.idle_timeout);
    loop {
        let frame = poll_fn(|cx| match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Pending if deadline.poll_passed(cx) => Poll::Ready(Err(())),
            Poll::Pending => Poll::Pending,
            Poll::Ready(frame) => Poll::Ready(Ok(frame)),
        });
        let Ok(frame) = frame.await else {
            return Err(Refusal::new(Code::RequestTimeout, "the request's body stopped coming").closing());
        };
        match frame {
            None => looked.whole = true,
            Some(Err(_)) => {
                let message = "the request's body ended before its end";
                return Err(Refusal::new(Code::BadRequest, message).closing());
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    // Frames without a byte keep nothing alive.
                    if !data.is_empty() {
                        deadline.set(bounds.idle_timeout);
                    }
                    looked.push(data);
                }
                Err(frame) => {
                    looked.trailers = frame.into_trailers().ok();
                    looked.whole = true;
                }
            },
        }
        if looked.bytes > bounds.body_bytes_max {
            return Err(too_large());
        }
        looked.whole |= body.is_end_stream();
        let has_room = room.grow_to(looked.bytes, bounds.room_max);
        if looked.whole || looked.bytes > bounds.look_bytes_max || !has_room {
            looked.close();
            looked.room = Some(room);
            return Ok(());
        }
    }
}

impl Looked {
    fn push(&mut self, data: Bytes) {
        self.bytes = self.bytes.saturating_add(data.len() as u64);
        // The first is nearly always all there is.
        let is_first = self.frames.is_empty() && self.joined.is_empty();
        if data.len() < PIECE_BYTES_MIN && !is_first {
            if let Some(first) = self.frames.pop_back_if(|last| last.len() < PIECE_BYTES_MIN) {
                self.join(&first);
            }
            self.join(&data);
        } else if !data.is_empty() {
            self.close();
            self.frames.push_back(data);
        }
    }

    fn join(&mut self, data: &[u8]) {
        if self.joined.len() + data.len() > JOINED_BYTES {
            self.close();
        }
        // Not for the first, which may be all there is.
        if self.joined.is_empty() && !self.frames.is_empty() {
            self.joined = BytesMut::with_capacity(JOINED_BYTES);
        }
        self.joined.extend_from_slice(data);
    }

    /// Ends the joined piece: what comes next is not for it.
    fn close(&mut self) {
        if !self.joined.is_empty() {
            self.frames.push_back(self.joined.split().freeze());
        }
    }

    /// Bytes that the client sent of it.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// All of the body, if it was read to its end.
    pub(crate) fn text(&mut self) -> Option<Bytes> {
        if !self.whole {
            return None;
        }
        if self.frames.len() > 1 {
            let joined = self.frames.iter().map(Bytes::as_ref).collect::<Vec<_>>().concat();
            self.frames = VecDeque::from([Bytes::from(joined)]);
        }
        Some(self.frames.front().cloned().unwrap_or_default())
    }

    /// Puts another text in the place of all of it.
    pub(crate) fn replace(&mut self, text: Vec<u8>) {
        self.frames = VecDeque::from([Bytes::from(text)]);
    }

    /// The next piece to be forwarded.
    pub(crate) fn next(&mut self) -> Option<Bytes> {
        self.frames.pop_front()
    }

    /// What came after the last piece.
    pub(crate) fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take()
    }

    /// Whether something comes after its last piece.
    pub(crate) fn has_trailers(&self) -> bool {
        self.trailers.is_some()
    }

    /// Whether all was forwarded that was read.
    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.trailers.is_none()
    }

    /// Bytes that are left to be forwarded.
    pub(crate) fn len(&self) -> u64 {
        self.frames.iter().map(|frame| frame.len() as u64).sum()
    }
}

/// A part of [`LOOKED_BYTES_MAX`], given back when dropped.
struct Room {
    shared: Arc<Shared>,
    bytes: u64,
}

impl Room {
    /// Takes as much as is missing; whether all together keep no more than `max` then.
    fn grow_to(&mut self, bytes: u64, max: u64) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        self.bytes = bytes;
        self.shared.looked_bytes.fetch_add(more, Relaxed).saturating_add(more) <= max
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.shared.looked_bytes.fetch_sub(self.bytes, Relaxed);
    }
}
