//! WebSocket: a request that turns into a tunnel. It is admitted and charged like any request; what went
//! through, and for how long, is in its event.

use std::{
    cell::Cell,
    future::{Future as _, poll_fn},
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderValue, Version, header};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional},
    sync::oneshot,
};

use crate::{
    admitted::Admitted,
    body::ResponseBody,
    connection::{Busy, Connection},
    deadline::Deadline,
    end::End,
    head::{Reply, ResponseHead},
    headers::{Headers, Known},
    http1::Tunnel as ClientTunnel,
    llm::{Conversation, Tapped},
    measures::{Measures, Model},
    refusal::{Code, Refusal},
    upstream::{Lease, Tunnel as UpstreamTunnel, UpstreamBody},
};

/// How long a client has to close a tunnel that a limit ended.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(5);
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// An upstream's `101`, and what the request holds.
pub(crate) struct Switch {
    pub(crate) head: ResponseHead,
    pub(crate) inner: UpstreamBody,
    pub(crate) lease: Lease,
    pub(crate) admitted: Option<Admitted>,
    /// With a model.
    pub(crate) conversation: Option<Rc<Conversation>>,
    pub(crate) busy: Busy,
}

/// Whether a client asks for a WebSocket. Any other upgrade is not asked for: the request is an ordinary one.
pub(crate) fn is_wanted(headers: &Headers, version: Version) -> bool {
    if version != Version::HTTP_11 {
        return false;
    }
    let mut protocols = headers.all_known(Known::Upgrade);
    let Some(protocol) = protocols.next() else { return false };
    let websocket = protocol.eq_ignore_ascii_case(WEBSOCKET.as_bytes()) && protocols.next().is_none();
    let named = headers.all_known(Known::Connection).any(|value| {
        value.split(|byte| *byte == b',').any(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    });
    websocket && named
}

/// Asks the upstream for what the client asked for.
pub(crate) fn ask(headers: &mut Headers) {
    headers.insert(&header::CONNECTION, &HeaderValue::from_static("upgrade"));
    headers.insert(&header::UPGRADE, &WEBSOCKET);
}

/// Answers `101` and carries both directions from then on.
pub(crate) fn switch(
    connection: &Rc<Connection>,
    is_wanted: bool,
    switch: Switch,
    idle_timeout: Duration,
) -> Result<Reply, Refusal> {
    let Switch { mut head, inner, lease, admitted, conversation, busy } = switch;
    let client = connection.http1.get().filter(|_| is_wanted);
    let (Some(client), Some(upstream)) = (client, inner.into_tunnel()) else {
        if let Some(admitted) = admitted {
            let _ = admitted.settle(End::NoAnswer { status: 502 }, &Measures::default());
        }
        return Err(Refusal::new(
            Code::UpstreamError,
            "the service changed the protocol without being asked",
        ));
    };
    head.reason = None;
    crate::forwarding::undress(&mut head.headers);
    ask(&mut head.headers);

    let held = (admitted, conversation);
    let client = client.borrow_mut().switch();
    let tunnel = tunnel(Rc::clone(connection), client, upstream, held, idle_timeout);
    connection.worker.spawn(connection, async move {
        let (_lease, _busy) = (lease, busy);
        tunnel.await;
    });
    Ok(Reply::new(head, ResponseBody::empty()))
}

async fn tunnel(
    connection: Rc<Connection>,
    client: oneshot::Receiver<ClientTunnel>,
    upstream: UpstreamTunnel,
    (admitted, conversation): (Option<Admitted>, Option<Rc<Conversation>>),
    idle_timeout: Duration,
) {
    let deadline = Rc::new(connection.worker.deadlines.add());
    deadline.set(idle_timeout);
    let Ok(client) = client.await else { return };
    let mut tunnel =
        Tunnel { admitted, conversation: conversation.clone(), sent: Rc::default(), received: Rc::default() };
    let mut client = Counted::new(client, &tunnel.sent, &deadline, idle_timeout);
    let upstream = Tapped::new(upstream, conversation.clone());
    let mut upstream = Counted::new(upstream, &tunnel.received, &deadline, idle_timeout);
    {
        let mut copying = pin!(copy_bidirectional(&mut client, &mut upstream));
        let mut charging = pin!(charge(conversation.as_deref()));
        let mut is_charging = true;
        poll_fn(|cx| {
            loop {
                if copying.as_mut().poll(cx).is_ready() || deadline.poll_passed(cx) {
                    return Poll::Ready(());
                }
                // What was carried is charged; what cannot be paid for any more ends what is carried.
                if !is_charging || charging.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                is_charging = false;
                deadline.set_end(CLOSE_TIME_MAX);
            }
        })
        .await;
    }
    tunnel.end();
}

/// Charges for what a model says, until it cannot be paid for.
async fn charge(conversation: Option<&Conversation>) {
    match conversation {
        Some(conversation) => conversation.charge().await,
        None => std::future::pending().await,
    }
}

/// Settles when the tunnel ends, however it ends.
struct Tunnel {
    admitted: Option<Admitted>,
    conversation: Option<Rc<Conversation>>,
    /// Bytes from the client and from the upstream.
    sent: Rc<Cell<u64>>,
    received: Rc<Cell<u64>>,
}

impl Tunnel {
    fn end(&mut self) {
        let Some(mut admitted) = self.admitted.take() else { return };
        let (sent, received) = (self.sent.get(), self.received.get());
        admitted.set_metadata(format!(
            r#"{{"websocket":true,"request_bytes":{sent},"response_bytes":{received}}}"#
        ));
        let owed = self.conversation.as_ref().map(|conversation| conversation.settle_up());
        let model = owed.as_ref().map_or(Model::Unseen, Model::Owed);
        let measures =
            Measures { request_bytes: sent, response_bytes: received, ..Measures::of_model(model) };
        // Nobody waits for an answer's last byte any more.
        let _ = admitted.settle(End::Answered { status: 101 }, &measures);
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.end();
    }
}

/// One side of a tunnel, counting what comes from it.
struct Counted<S> {
    inner: S,
    read: Rc<Cell<u64>>,
    deadline: Rc<Deadline>,
    idle_timeout: Duration,
}

impl<S> Counted<S> {
    fn new(inner: S, read: &Rc<Cell<u64>>, deadline: &Rc<Deadline>, idle_timeout: Duration) -> Self {
        Self { inner, read: Rc::clone(read), deadline: Rc::clone(deadline), idle_timeout }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(cx, buf);
        let count = buf.filled().len() - before;
        if count > 0 {
            self.read.set(self.read.get().saturating_add(count as u64));
            self.deadline.set(self.idle_timeout);
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
