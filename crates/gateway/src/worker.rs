//! One worker: a thread with its own runtime, listener, upstream connections and clients. A request
//! never leaves the thread that accepted it.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    io,
    net::SocketAddr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::BufMut as _;
use http::HeaderValue;
use slab::Slab;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time,
};
use tollgate_core::{RequestKey, UnixMillis};

use crate::{
    connection::{Activity, Connection},
    conversation::{converse, speaks_h2},
    deadline::{Abortable, Deadlines, TICK, Task},
    downstream::Date,
    http1::Stream,
    listener::ServerTls,
    live::{Live, Snapshot},
    ratelimit::Scratch,
    shared::Shared,
    upstream::Pools,
};

/// How often what is idle is looked at, in ticks.
const TIDY_TICKS: u64 = 10;
/// What a client hears that comes when `listen.connections_max` connections are open.
const TURNED_AWAY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n\
    content-length: 72\r\nretry-after: 1\r\nconnection: close\r\n\r\n\
    {\"error\":\"overloaded\",\"message\":\"too many connections; try again soon\"}\n";

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Serving.
    Serving,
    /// Accepting nothing new; every answer ends its connection.
    Draining,
    /// Closing connections that are idle.
    ClosingIdle,
    /// Closing everything.
    Closing,
}

/// The one place that reads the wall clock.
pub(crate) fn wall_clock() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// One worker.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    live: RefCell<(u64, Rc<Snapshot>)>,
    pub(crate) pools: Pools,
    pub(crate) deadlines: Deadlines,
    pub(crate) scratch: RefCell<Scratch>,
    pub(crate) date: Date,
    random: RefCell<fastrand::Rng>,
    connections: RefCell<Slab<Rc<Connection>>>,
    /// As `deadlines` counts them, for those who are not on this thread's terms.
    ticks: Arc<AtomicU64>,
    phase: Cell<Phase>,
}

/// Runs one worker on the calling thread until the drain is over.
pub(crate) fn run(
    shared: Arc<Shared>,
    listener: std::net::TcpListener,
    tls: Option<ServerTls>,
    phases: watch::Receiver<Phase>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())?;
    runtime.block_on(async move {
        let listener = TcpListener::from_std(listener)?;
        Rc::new(Worker::new(shared)).serve(listener, tls, phases).await;
        Ok(())
    })
}

impl Worker {
    fn new(shared: Arc<Shared>) -> Self {
        let live = RefCell::new((shared.live_version(), Rc::new(Snapshot(shared.live()))));
        Self {
            shared,
            live,
            pools: Pools::default(),
            deadlines: Deadlines::default(),
            scratch: RefCell::default(),
            date: Date::default(),
            random: RefCell::new(fastrand::Rng::new()),
            connections: RefCell::default(),
            ticks: Arc::new(AtomicU64::new(0)),
            phase: Cell::new(Phase::Serving),
        }
    }

    /// The configuration in force, for one request to keep.
    pub(crate) fn live(&self) -> Rc<Snapshot> {
        let version = self.shared.live_version();
        let mut live = self.live.borrow_mut();
        if live.0 != version {
            *live = (version, Rc::new(Snapshot(self.shared.live())));
        }
        Rc::clone(&live.1)
    }

    /// The wall clock, as requests see it: that of the shared counters, where there are such.
    pub(crate) fn now(&self) -> UnixMillis {
        UnixMillis(wall_clock().0.saturating_add(self.shared.clock_ahead()))
    }

    pub(crate) fn random(&self) -> u128 {
        self.random.borrow_mut().u128(..)
    }

    pub(crate) fn random_u64(&self) -> u64 {
        self.random.borrow_mut().u64(..)
    }

    /// The text that clients and upstreams know a request by.
    pub(crate) fn request_id(&self, key: RequestKey) -> HeaderValue {
        let mut text = uuid::Uuid::encode_buffer();
        let text = uuid::Uuid::from_u128(key.to_bits()).hyphenated().encode_lower(&mut text);
        self.scratch.borrow_mut().value(|buffer| buffer.put_slice(text.as_bytes()))
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.phase.get() != Phase::Serving
    }

    /// Runs what outlives a connection's own future, such as a tunnel; ended with everything else.
    pub(crate) fn spawn(self: &Rc<Self>, from: &Connection, future: impl Future<Output = ()> + 'static) {
        let task = Rc::new(Task::default());
        let activity = Activity::new(&self.ticks, true);
        let entry =
            Rc::new(Connection::new(self, from.peer, from.tls, Arc::clone(&activity), Rc::clone(&task)));
        let registered = self.register(entry);
        let busy = activity.busy();
        tokio::task::spawn_local(Abortable::new(task, async move {
            let _held = (registered, busy);
            future.await;
        }));
    }

    async fn serve(
        self: Rc<Self>,
        listener: TcpListener,
        tls: Option<ServerTls>,
        mut phases: watch::Receiver<Phase>,
    ) {
        let mut ticker = tokio::task::spawn_local(Rc::clone(&self).tick());
        let mut listener = Some(listener);
        loop {
            tokio::select! {
                changed = phases.changed() => {
                    let phase = if changed.is_ok() { *phases.borrow_and_update() } else { Phase::Closing };
                    self.enter(phase);
                    if phase >= Phase::Draining && let Some(listener) = listener.take() {
                        self.welcome_queued(listener, tls.as_ref());
                    }
                    if phase == Phase::Closing {
                        break;
                    }
                }
                // Without time, no timeout would ever pass.
                _ = &mut ticker => return,
                accepted = accept(listener.as_ref()) => match accepted {
                    Ok((stream, peer)) => {
                        self.welcome(stream, peer, tls.as_ref());
                        // Those who are here come first: in a flood of connections, new ones wait in the
                        // kernel's queue, not in front of everybody else's requests.
                        tokio::task::yield_now().await;
                    }
                    Err(error) => {
                        // Out of descriptors, most likely: those who have a connection go on.
                        tracing::warn!(%error, "no connection accepted");
                        time::sleep(TICK).await;
                    }
                },
            }
        }
        // What was aborted is dropped, and so settled, when its task is polled.
        while !self.connections.borrow().is_empty() {
            tokio::task::yield_now().await;
        }
        ticker.abort();
    }

    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        if phase >= Phase::ClosingIdle {
            self.pools.clear();
        }
        for (_, connection) in self.connections.borrow().iter() {
            if phase == Phase::Closing {
                connection.task.abort();
            } else {
                connection.task.wake();
            }
        }
    }

    /// Lets time pass for deadlines, idle connections and idle pools.
    async fn tick(self: Rc<Self>) {
        let mut interval = time::interval(TICK);
        interval.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            self.deadlines.tick();
            let now = self.deadlines.now();
            self.ticks.store(now, Ordering::Relaxed);
            if now.is_multiple_of(TIDY_TICKS) {
                let live = self.live();
                self.pools.tidy(&live.upstreams);
                self.close_overdue(&live);
            }
        }
    }

    /// Closes connections whose clients say nothing, or say it too slowly.
    fn close_overdue(&self, live: &Live) {
        let ticks = |time: Duration| u64::try_from(time.as_millis() / TICK.as_millis()).unwrap_or(u64::MAX);
        let listen = &live.gateway().listen;
        let (header, idle) = (ticks(listen.header_timeout), ticks(listen.keep_alive_timeout));
        for (_, connection) in self.connections.borrow().iter() {
            if connection.activity.is_overdue(header, idle) {
                connection.task.abort();
            }
        }
    }

    /// Begins to serve a connection, if there is room for it.
    fn welcome(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr, tls: Option<&ServerTls>) {
        let live = self.live();
        let open = self.shared.connections.load(Ordering::Relaxed);
        if open >= live.gateway().listen.connections_max {
            self.shared.metrics.connections_refused.increment(1);
            if tls.is_none() {
                // As far as the socket takes it at once; nobody waits for a client that is turned away.
                let _ = stream.try_write(TURNED_AWAY);
            }
            return;
        }
        let _ = stream.set_nodelay(true);
        let task = Rc::new(Task::default());
        let (tls, held) = (tls.cloned(), Rc::clone(&task));
        let activity = Activity::new(&self.ticks, false);
        let connection =
            Rc::new(Connection::new(self, peer, tls.is_some(), Arc::clone(&activity), Rc::clone(&task)));
        let registered = self.register(Rc::clone(&connection));
        tokio::task::spawn_local(Abortable::new(task, async move {
            let _registered = registered;
            let _held = held;
            let header_timeout = live.gateway().listen.header_timeout;
            match tls {
                None => {
                    if let Ok(Ok(is_h2)) = time::timeout(header_timeout, speaks_h2(&stream)).await {
                        converse(Stream::Plain(stream), is_h2, connection, live).await;
                    }
                }
                Some(tls) => {
                    // Large: not part of every connection's future.
                    let accepting = Box::pin(time::timeout(header_timeout, tls.accept(stream)));
                    if let Ok(Ok(stream)) = accepting.await {
                        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                        converse(Stream::tls(stream), is_h2, connection, live).await;
                    }
                }
            }
        }));
    }

    /// Welcomes whoever is in the listener's queue: the kernel has accepted them in our name.
    fn welcome_queued(self: &Rc<Self>, listener: TcpListener, tls: Option<&ServerTls>) {
        let Ok(listener) = listener.into_std() else { return };
        while let Ok((stream, peer)) = listener.accept() {
            if stream.set_nonblocking(true).is_ok()
                && let Ok(stream) = TcpStream::from_std(stream)
            {
                self.welcome(stream, peer, tls);
            }
        }
    }

    fn register(self: &Rc<Self>, connection: Rc<Connection>) -> Registered {
        self.shared.connections.fetch_add(1, Ordering::Relaxed);
        let key = self.connections.borrow_mut().insert(connection);
        Registered { worker: Rc::clone(self), key }
    }
}

/// A connection in its worker's list; out of it when dropped.
struct Registered {
    worker: Rc<Worker>,
    key: usize,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.worker.connections.borrow_mut().try_remove(self.key);
        self.worker.shared.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}
