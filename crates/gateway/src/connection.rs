//! One client connection: who is at the other end, and whether it is doing anything.

use std::{
    cell::OnceCell,
    io,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use http::HeaderValue;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{deadline::Task, downstream, head::ResponseHead, worker::Worker};

/// One client connection.
pub(crate) struct Connection {
    pub(crate) worker: Rc<Worker>,
    pub(crate) peer: SocketAddr,
    pub(crate) tls: bool,
    /// `X-Forwarded-For` and `Forwarded` of a request that came straight from the peer.
    pub(crate) forwarded_for: HeaderValue,
    pub(crate) forwarded: HeaderValue,
    pub(crate) activity: Arc<Activity>,
    pub(crate) task: Rc<Task>,
    /// What it speaks HTTP/1 on.
    pub(crate) http1: OnceCell<downstream::Shared>,
}

/// What a connection is doing, for timeouts. Shared with the stream, which must be `Send`.
#[derive(Debug)]
pub(crate) struct Activity {
    /// Requests being answered.
    busy: AtomicUsize,
    /// The tick of the worker at which the connection became idle, or received the first byte of the
    /// head that it is receiving.
    since: AtomicU64,
    /// Whether bytes of a head have come.
    in_head: AtomicUsize,
    /// The worker's ticks.
    ticks: Arc<AtomicU64>,
    multiplexed: AtomicBool,
}

/// A request that is being answered on a connection.
pub(crate) struct Busy(Arc<Activity>);

impl Connection {
    pub(crate) fn new(
        worker: &Rc<Worker>,
        peer: SocketAddr,
        tls: bool,
        activity: Arc<Activity>,
        task: Rc<Task>,
    ) -> Self {
        let ip = peer.ip().to_canonical();
        let proto = if tls { "https" } else { "http" };
        // RFC 7239, section 6: an IPv6 address is quoted and in brackets.
        let forwarded = if ip.is_ipv6() {
            format!("for=\"[{ip}]\";proto={proto}")
        } else {
            format!("for={ip};proto={proto}")
        };
        let value = |text: String| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("unknown"));
        Self {
            worker: Rc::clone(worker),
            peer: SocketAddr::new(ip, peer.port()),
            tls,
            forwarded_for: value(ip.to_string()),
            forwarded: value(forwarded),
            activity,
            task,
            http1: OnceCell::new(),
        }
    }

    /// Passes on what an upstream says before its answer; over HTTP/2 there is no way to.
    pub(crate) fn inform(&self, head: ResponseHead) {
        if let Some(wire) = self.http1.get() {
            wire.borrow_mut().inform(head);
        }
    }
}

impl Activity {
    pub(crate) fn new(ticks: &Arc<AtomicU64>, multiplexed: bool) -> Arc<Self> {
        Arc::new(Self {
            busy: AtomicUsize::new(0),
            since: AtomicU64::new(ticks.load(Relaxed)),
            // Whoever connects is expected to say something soon.
            in_head: AtomicUsize::new(1),
            ticks: Arc::clone(ticks),
            multiplexed: AtomicBool::new(multiplexed),
        })
    }

    /// The connection carries many requests at once: bytes that come need not be heads.
    pub(crate) fn multiplex(&self) {
        self.multiplexed.store(true, Relaxed);
    }

    /// A request begins.
    pub(crate) fn busy(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Relaxed);
        self.in_head.store(0, Relaxed);
        Busy(Arc::clone(self))
    }

    /// Whether the peer has been silent for longer than it may, in ticks.
    pub(crate) fn is_overdue(&self, header_ticks: u64, idle_ticks: u64) -> bool {
        if self.busy.load(Relaxed) > 0 {
            return false;
        }
        let quiet = self.ticks.load(Relaxed).saturating_sub(self.since.load(Relaxed));
        quiet > if self.in_head.load(Relaxed) > 0 { header_ticks } else { idle_ticks }
    }

    /// Notes that bytes came from the peer.
    pub(crate) fn received(&self) {
        let quiet = self.busy.load(Relaxed) == 0 && !self.multiplexed.load(Relaxed);
        if quiet && self.in_head.swap(1, Relaxed) == 0 {
            self.since.store(self.ticks.load(Relaxed), Relaxed);
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if self.0.busy.fetch_sub(1, Relaxed) == 1 {
            self.0.since.store(self.0.ticks.load(Relaxed), Relaxed);
        }
    }
}

/// A client's byte stream that notes when bytes come.
#[derive(Debug)]
pub(crate) struct ClientStream<S> {
    inner: S,
    activity: Arc<Activity>,
}

impl<S> ClientStream<S> {
    pub(crate) fn new(inner: S, activity: &Arc<Activity>) -> Self {
        Self { inner, activity: Arc::clone(activity) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let result = Pin::new(&mut this.inner).poll_read(cx, buf);
        if buf.filled().len() > before {
            this.activity.received();
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
