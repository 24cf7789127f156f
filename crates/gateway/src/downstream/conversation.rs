//! One client's requests, one after another.

use std::{
    cell::RefCell,
    future::{Future as _, poll_fn},
    mem,
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::StatusCode;
use http_body::Body as _;
use tokio::time::timeout;
use tollgate_config::Listen;

use super::{
    LINGER_TIME_MAX, Received, Shared, Wire, answer,
    answer::Framed,
    head::{Asked, Head, Reader},
    wire::Begun,
};
use crate::{
    body::{DRAIN_TIME_MAX, Inbound, ResponseBody},
    connection::Connection,
    exchange::{exchange, turn_away},
    head::Reply,
    headers::Headers,
    http1::{Coding, Error, Output, Sending, Stream},
    live::Snapshot,
    refusal::{Code, Refusal},
    turn,
    worker::Phase,
};

/// What comes after an answer.
enum Next {
    Request,
    /// The end of the connection. The client may still be sending, if `lingers`.
    Close {
        lingers: bool,
    },
    /// Nothing: the answer did not come to its end, or the connection is somebody else's.
    Gone,
}

/// Serves a connection until either side ends it. Dropping the future closes it.
pub(crate) async fn converse(connection: Rc<Connection>, stream: Stream, live: Rc<Snapshot>) {
    let wire = connection.http1.get_or_init(|| {
        let (activity, task) = (Arc::clone(&connection.activity), Rc::clone(&connection.task));
        Rc::new(RefCell::new(Wire::new(stream, activity, task)))
    });
    let _closing = Closing(wire);
    let listen = &live.gateway().listen;
    let mut reader = Reader::new(listen.header_bytes_max, listen.headers_max);
    // The memory of an answer's list serves for the next request's, and that for the next answer on the upstream's connection.
    let mut used = Headers::default();
    let lingers = loop {
        let head = poll_fn(|cx| {
            let is_last_call = connection.worker.phase() >= Phase::ClosingIdle;
            wire.borrow_mut().poll_head(&mut reader, &mut used, is_last_call, cx)
        });
        let (reply, asked, is_readable) = match head.await {
            Ok(None) => break false,
            Err(error) => (turn_away(&connection, refusal(&error, listen)), Asked::UNREADABLE, false),
            Ok(Some(Head { parts, body, asked })) => {
                let begun = wire.borrow_mut().begin(body, &asked);
                let body = match begun {
                    Begun::Whole(data) => Inbound::Whole(data),
                    Begun::Reading(number) => Inbound::H1(Received::new(wire, number)),
                };
                let mut answering = pin!(exchange(Rc::clone(&connection), parts, body));
                let answered = poll_fn(|cx| match answering.as_mut().poll(cx) {
                    Poll::Ready(response) => Poll::Ready(Some(response)),
                    Poll::Pending => wire.borrow_mut().poll_meanwhile(cx).map(|()| None),
                });
                // Whoever goes away is not answered, and the exchange ends by being dropped.
                let Some(answer) = answered.await else { return };
                (answer, asked, true)
            }
        };
        match write(&connection, wire, reply, &asked, &mut used).await {
            Next::Request => {}
            Next::Close { lingers } => break lingers || !is_readable,
            Next::Gone => return,
        }
    };
    let _ = poll_fn(|cx| wire.borrow_mut().poll_shutdown(cx)).await;
    if lingers {
        let mut read = 0;
        let _ = timeout(LINGER_TIME_MAX, poll_fn(|cx| wire.borrow_mut().poll_linger(&mut read, cx))).await;
    }
}

/// Writes an answer: head and body together as far as the body is there.
async fn write(
    connection: &Connection,
    wire: &Shared,
    reply: Reply,
    asked: &Asked,
    used: &mut Headers,
) -> Next {
    let Reply { mut head, body, said } = reply;
    let mut output = wire.borrow_mut().take_output();
    // A request that is answered before its end ends the connection, unless it is nearly read; the client learns it in
    // time.
    let asked = &Asked { keep_alive: asked.keep_alive && is_nearly_read(wire), ..*asked };
    let Framed { coding, keep_alive } =
        answer::head(output.buffer(), (&head, &said), &body, asked, &connection.worker);
    *used = mem::take(&mut head.headers);
    used.clear();
    wire.borrow_mut().only_close_ends = matches!(coding, Coding::Close);
    let mut sending = Sending::new(Some(body).filter(|body| !body.is_end_stream()), coding);
    let (mut failure, mut is_later) = (None, false);
    // A worker that is ending may end the task in between.
    if !connection.worker.is_draining() {
        turn::others_first().await;
    }
    let sent = poll_fn(|cx| {
        // Whoever is gone takes nothing more, also where the end of the answer is there by now.
        if mem::replace(&mut is_later, true) && wire.borrow_mut().poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Error::Cut));
        }
        poll_send(wire, &mut sending, &mut output, &mut failure, cx)
    });
    let sent = sent.await;
    if let Err(error) = sent {
        tracing::debug!(%error, peer = %connection.peer, "an answer is cut");
        return Next::Gone;
    }
    wire.borrow_mut().end(output);
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        wire.borrow_mut().hand_over();
        return Next::Gone;
    }
    if keep_alive && !wire.borrow().is_body_read() {
        // What comes meanwhile is no head of a next request.
        let _busy = connection.activity.busy();
        let _ = timeout(DRAIN_TIME_MAX, poll_fn(|cx| wire.borrow_mut().poll_rest(cx))).await;
    }
    let mut wire = wire.borrow_mut();
    let reusable = wire.rest();
    if keep_alive && reusable {
        Next::Request
    } else {
        Next::Close { lingers: !reusable || wire.has_ahead() }
    }
}

/// Whether the request's body was read to its end, or soon will be.
fn is_nearly_read(wire: &Shared) -> bool {
    // What is there of a body that nobody reads is none that is on its way. Who reads it holds the wire beside its connection.
    if Rc::strong_count(wire) == 1 {
        wire.borrow_mut().pass_over_body();
    }
    wire.borrow().is_nearly_read()
}

/// Writes what the body has, until its end. An error ends the answer when what came before it has left.
fn poll_send(
    wire: &Shared,
    sending: &mut Sending<ResponseBody>,
    output: &mut Output,
    failure: &mut Option<Error>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Error>> {
    loop {
        let filled = match failure {
            None => sending.poll_fill(output, cx).map(|filled| *failure = filled.err()),
            Some(_) => Poll::Ready(()),
        };
        // The body's own end may need the connection; nothing is borrowed while it is polled.
        let mut wire = wire.borrow_mut();
        let flushed = output.poll_flush(&mut wire.stream, cx)?;
        if flushed.is_pending() || filled.is_pending() {
            ready!(wire.poll_gone(cx));
            return Poll::Ready(Err(Error::Cut));
        }
        if let Some(error) = failure.take() {
            return Poll::Ready(Err(error));
        }
        if sending.is_over() {
            return Poll::Ready(Ok(()));
        }
    }
}

/// Why a head is turned away.
fn refusal(error: &Error, listen: &Listen) -> Refusal {
    let refusal = match error {
        Error::TooLarge => {
            let (bytes, lines) = (listen.header_bytes_max, listen.headers_max);
            let message = format!("the request's head has more than {bytes} bytes or {lines} header lines");
            Refusal::new(Code::HeadersTooLarge, message)
        }
        error => Refusal::new(Code::BadRequest, format!("the request cannot be read: {error}")),
    };
    refusal.closing()
}

/// Closes the connection, whoever else still holds it.
struct Closing<'a>(&'a Shared);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        if let Ok(mut wire) = self.0.try_borrow_mut() {
            wire.close();
        }
    }
}
