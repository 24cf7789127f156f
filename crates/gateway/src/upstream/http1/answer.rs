//! An answer's body, and the connection it comes over.

use std::{
    cell::RefCell,
    future::poll_fn,
    rc::{Rc, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::{task::AbortHandle, time::timeout};

use super::{Connection, Tunnel};
use crate::http1::Error;

/// How long an upstream that has answered may take to read the end of its request.
const SEND_LAST_TIME_MAX: Duration = Duration::from_secs(5);

/// The body of an answer. Dropped before its end, it closes its connection.
pub(crate) struct Answer(Carrier);

/// Who polls the connection.
enum Carrier {
    /// The answer alone.
    Own(Box<Connection>),
    /// The answer and, as neither may wait for the other, a task that sends the rest of the request.
    Shared { shared: Rc<RefCell<Shared>>, _sender: Sender },
    /// Nobody: it was taken back or closed.
    Gone,
}

struct Shared {
    connection: Box<Connection>,
    /// Why the request did not come to its end.
    error: Option<Error>,
    /// The answer's task, which waits for bytes that an error keeps from coming.
    reader: Option<Waker>,
}

/// A task, ended when dropped.
struct Sender(AbortHandle);

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Answer {
    /// The body that follows a head that `connection` has read.
    pub(crate) fn new(connection: Box<Connection>) -> Self {
        // Rare: most requests are sent before they are answered.
        if connection.is_upload_over() || connection.is_end() {
            return Self(Carrier::Own(connection));
        }
        let shared = Rc::new(RefCell::new(Shared { connection, error: None, reader: None }));
        let sender = Sender(tokio::task::spawn_local(send_rest(Rc::downgrade(&shared))).abort_handle());
        Self(Carrier::Shared { shared, _sender: sender })
    }

    /// The next frame. After an error the connection is closed.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = match &mut self.0 {
            Carrier::Own(connection) => connection.poll_frame(cx),
            Carrier::Shared { shared, .. } => shared.borrow_mut().poll_frame(cx),
            Carrier::Gone => Poll::Ready(None),
        };
        if matches!(polled, Poll::Ready(Some(Err(_)))) {
            self.0 = Carrier::Gone;
        }
        polled
    }

    /// Takes all that is left, if it is there and as long as its head says.
    pub(crate) fn take_whole(&mut self) -> Option<Bytes> {
        match &mut self.0 {
            Carrier::Own(connection) => connection.take_whole(),
            Carrier::Shared { .. } | Carrier::Gone => self.is_end().then(Bytes::new),
        }
    }

    /// Whether there is nothing more to come.
    pub(crate) fn is_end(&self) -> bool {
        match &self.0 {
            Carrier::Own(connection) => connection.is_end(),
            Carrier::Shared { shared, .. } => shared.borrow().connection.is_end(),
            Carrier::Gone => true,
        }
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Carrier::Own(connection) => connection.size_hint(),
            Carrier::Shared { shared, .. } => shared.borrow().connection.size_hint(),
            Carrier::Gone => SizeHint::with_exact(0),
        }
    }

    /// Takes the connection back, if it can serve another request; otherwise closes it, once what was taken of the
    /// request has left.
    pub(crate) fn finish(&mut self) -> Option<Box<Connection>> {
        let mut connection = self.take()?;
        if connection.rest() {
            return Some(connection);
        }
        if !connection.is_upload_over() {
            tokio::task::spawn_local(send_last(connection));
        }
        None
    }

    /// Closes the connection.
    pub(crate) fn close(&mut self) {
        drop(self.take());
    }

    /// Carries on after a switch of protocols.
    pub(crate) fn into_tunnel(mut self) -> Option<Tunnel> {
        self.take().map(|connection| connection.into_tunnel())
    }

    fn take(&mut self) -> Option<Box<Connection>> {
        match std::mem::replace(&mut self.0, Carrier::Gone) {
            Carrier::Own(connection) => Some(connection),
            Carrier::Shared { shared, .. } => Some(Rc::into_inner(shared)?.into_inner().connection),
            Carrier::Gone => None,
        }
    }
}

impl Shared {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(error) = self.error.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let polled = self.connection.poll_frame(cx);
        if polled.is_pending() && !self.reader.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.reader = Some(cx.waker().clone());
        }
        polled
    }
}

/// Sends what is left of a request whose answer has come whole.
async fn send_last(mut connection: Box<Connection>) {
    let sent = poll_fn(|cx| connection.poll_upload(cx));
    // However that ends, nobody waits for it.
    let _ = timeout(SEND_LAST_TIME_MAX, sent).await;
}

async fn send_rest(shared: Weak<RefCell<Shared>>) {
    poll_fn(|cx| {
        let Some(shared) = shared.upgrade() else { return Poll::Ready(()) };
        let mut shared = shared.borrow_mut();
        shared.connection.poll_upload(cx).map(|sent| {
            if let Err(error) = sent {
                shared.error = Some(error);
                shared.reader.take().into_iter().for_each(Waker::wake);
            }
        })
    })
    .await;
}
