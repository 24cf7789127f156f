//! Connections of one worker to one URL. Nothing here is shared with other threads.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::Arc,
};

use hyper::client::conn::{http1, http2};
use tollgate_config::Upstream as Settings;

use super::{Endpoint, Upstream, endpoint::InFlight};
use crate::body::RequestBody;

pub(crate) type SendH1 = http1::SendRequest<RequestBody>;
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
    idle: RefCell<Vec<SendH1>>,
    pub(crate) h2: RefCell<Option<SendH2>>,
    /// Held while connecting where one connection serves all.
    pub(crate) connecting: tokio::sync::Mutex<()>,
    /// Whether the last handshake agreed on HTTP/1.
    pub(crate) negotiated_h1: Cell<bool>,
}

/// A connection that is serving one request. Dropped before its answer was read to the end, it is
/// closed, which is how an upstream learns that nobody waits any more.
pub(crate) struct Lease {
    pool: Rc<Pool>,
    /// `None` for HTTP/2, where the connection serves others too.
    sender: Option<SendH1>,
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
            pool.idle.borrow_mut().retain(|sender| !sender.is_closed());
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
    pub(crate) fn take_idle(&self) -> Option<SendH1> {
        let mut idle = self.idle.borrow_mut();
        while let Some(sender) = idle.pop() {
            if !sender.is_closed() {
                return Some(sender);
            }
        }
        None
    }

    /// The shared HTTP/2 connection, unless it ended.
    pub(crate) fn shared(&self) -> Option<SendH2> {
        self.h2.borrow().as_ref().filter(|sender| !sender.is_closed()).cloned()
    }

    fn keep(&self, sender: SendH1) {
        let mut idle = self.idle.borrow_mut();
        if !sender.is_closed() && idle.len() < self.settings().idle_connections_max {
            idle.push(sender);
        }
    }
}

impl Lease {
    pub(crate) fn new(pool: Rc<Pool>, sender: Option<SendH1>, in_flight: InFlight) -> Self {
        Self { pool, sender, _in_flight: in_flight }
    }

    /// The answer was read to its end: the connection can serve another request.
    pub(crate) fn finish(mut self) {
        if let Some(sender) = self.sender.take() {
            self.pool.keep(sender);
        }
    }
}
