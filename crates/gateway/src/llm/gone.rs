//! Clients who leave: what a model does for them is read to its end in the background, because only the end says what
//! was used.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, ready},
    time::Duration,
};

use super::Answer;
use crate::{
    admitted::Admitted,
    body::{Progress, Proxied, ProxiedParts},
    connection::Connection,
    end::End,
    measures::Measures,
    shared::Shared,
    upstream::{SendError, Sent},
    worker::Phase,
};

/// Frames that are read at a stretch; then it is others' turn.
const FRAMES_AT_ONCE: usize = 32;

/// What a client who waited would have been told of an upstream that goes away without an answer.
const NO_ANSWER: u16 = 502;

/// A place among the answers that are read for clients who left, and how long it may be kept.
pub(crate) struct Place {
    shared: Arc<Shared>,
    time_max: Duration,
}

impl Place {
    /// `None` when there are as many as there may be, or the gateway is about to close everything.
    pub(crate) fn take(connection: &Connection) -> Option<Self> {
        let worker = &connection.worker;
        if worker.phase() >= Phase::Closing || tokio::runtime::Handle::try_current().is_err() {
            return None;
        }
        let (shared, live) = (&worker.shared, worker.live());
        let bounds = &live.gateway().llm;
        let place = Self { shared: Arc::clone(shared), time_max: bounds.drain_timeout };
        let taken = shared.drains.fetch_add(1, Relaxed);
        (taken < bounds.drains_max).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.drains.fetch_sub(1, Relaxed);
    }
}

/// Reads the rest of an answer in the background.
pub(crate) fn read_on(connection: &Rc<Connection>, place: Place, mut answer: Box<Proxied>) {
    connection.worker.spawn(connection, async move {
        answer.abandon(place.time_max);
        poll_fn(|cx| read(&mut answer, cx)).await;
        drop(place);
    });
}

fn read(answer: &mut Proxied, cx: &mut Context<'_>) -> Poll<()> {
    for _ in 0..FRAMES_AT_ONCE {
        match answer.poll_frame(cx) {
            Poll::Ready(Some(Ok(_))) => {}
            Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
            Poll::Pending => return Poll::Pending,
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// A request that was sent to a model and has no answer yet.
pub(crate) struct Waiting {
    pub(crate) connection: Rc<Connection>,
    pub(crate) progress: Rc<Progress>,
    pub(crate) admitted: Admitted,
}

/// Waits for an answer's head. When it is dropped, and the upstream has all of the request, it waits on in the
/// background, and reads the answer to its end.
pub(crate) struct Awaited(Option<State>);

struct State {
    sending: Pin<Box<dyn Future<Output = Sending>>>,
    waiting: Waiting,
}

/// An answer's head, or why there is none.
type Sending = Result<Sent, Option<SendError>>;

impl Awaited {
    pub(crate) fn new(sending: impl Future<Output = Sending> + 'static, waiting: Waiting) -> Self {
        Self(Some(State { sending: Box::pin(sending), waiting }))
    }
}

impl Future for Awaited {
    type Output = (Sending, Option<Waiting>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(state) = &mut self.0 else { return Poll::Ready((Err(None), None)) };
        let sent = ready!(state.sending.as_mut().poll(cx));
        Poll::Ready((sent, self.0.take().map(|state| state.waiting)))
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        let Some(state) = self.0.take() else { return };
        if state.waiting.progress.is_sent_whole()
            && let Some(place) = Place::take(&state.waiting.connection)
        {
            let connection = Rc::clone(&state.waiting.connection);
            connection.worker.spawn(&connection, wait_on(state, place));
        }
    }
}

async fn wait_on(state: State, place: Place) {
    let State { sending, waiting } = state;
    let Waiting { connection, progress, mut admitted } = waiting;
    progress.deadline.adopt();
    progress.deadline.set_end(place.time_max);
    let Sent { mut head, body: inner, lease } = match sending.await {
        Ok(sent) => sent,
        // As for a client who waits: what gets no answer costs nothing.
        Err(Some(_)) => {
            let measures = Measures { request_bytes: progress.bytes(), ..Measures::default() };
            // Nobody waits for the disk.
            let _ = admitted.settle(End::NoAnswer { status: NO_ANSWER }, &measures);
            return;
        }
        // For however long it might have gone on: it is dropped, and so settled, as that of a client who left.
        Err(None) => return,
    };
    admitted.take_reports(&head.headers);
    let answer = Answer::of(&admitted, &mut head.headers, &connection);
    let (status, admitted, busy) = (head.status.as_u16(), Some(admitted), connection.activity.busy());
    let parts = ProxiedParts {
        inner,
        status,
        progress,
        answer,
        admitted,
        untimed: None,
        lease,
        busy,
        reads_on: None,
    };
    let mut proxied = Proxied::new(parts);
    proxied.abandon(place.time_max);
    poll_fn(|cx| read(&mut proxied, cx)).await;
}
