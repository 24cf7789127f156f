//! Connections of one worker to one URL. Nothing here is shared with other threads.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::Arc,
};

use hyper::client::conn::http2;
use tollgate_config::Upstream as Settings;

use super::{Endpoint, Upstream, UpstreamBody, endpoint::InFlight, http1::Connection};
use crate::body::RequestBody;

pub(crate) type SendH2 = http2::SendRequest<RequestBody>;

/// The pools of one worker, by endpoint.
#[derive(Default)]
pub(crate) struct Pools {
    by_endpoint: RefCell<HashMap<usize, Rc<Pool>, foldhash::fast::RandomState>>,
}

/// Connections to one URL.
pub(crate) struct Pool {
    pub(crate) endpoint: Arc<Endpoint>,
    upstream: Arc<Upstream>,
    /// The most recently used is last, and used first: the others can grow old and go.
    #[expect(clippy::vec_box, reason = "they move between pool and exchanges, in their boxes")]
    idle: RefCell<Vec<Box<Connection>>>,
    pub(crate) h2: RefCell<Option<SendH2>>,
    /// Held while connecting where one connection serves all.
    pub(crate) connecting: tokio::sync::Mutex<()>,
    /// Whether the last handshake agreed on HTTP/1.
    pub(crate) negotiated_h1: Cell<bool>,
}

/// What a request takes of an upstream while it is served.
pub(crate) struct Lease {
    pool: Rc<Pool>,
    _in_flight: InFlight,
}

impl Pools {
    pub(crate) fn of(&self, upstream: &Arc<Upstream>, endpoint: &Arc<Endpoint>) -> Rc<Pool> {
        let mut pools = self.by_endpoint.borrow_mut();
        Rc::clone(pools.entry(endpoint.id).or_insert_with(|| Rc::new(Pool::new(upstream, endpoint))))
    }

    /// Closes connections that ended meanwhile, and those of endpoints that `upstreams` do not have.
    pub(crate) fn tidy(&self, upstreams: &[Arc<Upstream>]) {
        self.by_endpoint.borrow_mut().retain(|id, pool| {
            pool.idle.borrow_mut().retain_mut(|connection| connection.is_quiet());
            // A pool keeps the settings it was made with: gone with them, made anew with new ones.
            upstreams.iter().any(|upstream| {
                upstream.settings == pool.upstream.settings && upstream.endpoints.iter().any(|e| e.id == *id)
            })
        });
    }

    /// Closes everything that is idle.
    pub(crate) fn clear(&self) {
        self.by_endpoint.borrow_mut().clear();
    }
}

impl Pool {
    fn new(upstream: &Arc<Upstream>, endpoint: &Arc<Endpoint>) -> Self {
        Self {
            endpoint: Arc::clone(endpoint),
            upstream: Arc::clone(upstream),
            idle: RefCell::default(),
            h2: RefCell::default(),
            connecting: tokio::sync::Mutex::default(),
            negotiated_h1: Cell::new(false),
        }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.upstream.settings
    }

    /// The connection used last, unless it ended.
    pub(crate) fn take_idle(&self) -> Option<Box<Connection>> {
        let mut idle = self.idle.borrow_mut();
        while let Some(mut connection) = idle.pop() {
            if connection.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    /// The shared HTTP/2 connection, unless it ended.
    pub(crate) fn shared(&self) -> Option<SendH2> {
        self.h2.borrow().as_ref().filter(|sender| !sender.is_closed()).cloned()
    }

    fn keep(&self, connection: Box<Connection>) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.settings().idle_connections_max {
            idle.push(connection);
        }
    }
}

impl Lease {
    pub(crate) fn new(pool: Rc<Pool>, in_flight: InFlight) -> Self {
        Self { pool, _in_flight: in_flight }
    }

    /// The answer was read to its end: its connection can serve another request, unless there is more on it
    /// or to be sent.
    pub(crate) fn finish(self, body: &mut UpstreamBody) {
        if let Some(connection) = body.finish() {
            self.pool.keep(connection);
        }
    }
}
