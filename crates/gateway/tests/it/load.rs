//! Clients that keep a gateway busy from threads of their own, and remember what they sent and what came back.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tollgate_testkit::{BOUND, Ending, Response, Wire};

/// Before a client asks again whether somebody listens.
const PAUSE: Duration = Duration::from_millis(2);

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Its `X-Request-Id`.
    pub(crate) id: String,
    pub(crate) user: String,
    pub(crate) tier: String,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) body: String,
}

impl Call {
    pub(crate) fn new(id: impl Into<String>, user: &str, target: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            user: user.to_owned(),
            tier: String::new(),
            target: target.into(),
            body: "{}".to_owned(),
        }
    }

    /// With this body.
    pub(crate) fn asking(self, body: impl Into<String>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// On this tier instead of the default one.
    pub(crate) fn on(mut self, tier: &str) -> Self {
        tier.clone_into(&mut self.tier);
        self
    }

    /// The request as it is sent.
    pub(crate) fn bytes(&self) -> String {
        let Self { id, user, tier, target, body } = self;
        let tier = if tier.is_empty() { String::new() } else { format!("X-User-Tier: {tier}\r\n") };
        format!(
            "POST {target} HTTP/1.1\r\nHost: gateway\r\nX-User-Id: {user}\r\n{tier}X-Request-Id: {id}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}

/// What became of a request that was sent.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) call: Call,
    /// The answer, to its last byte; none when the connection ended before that.
    pub(crate) answer: Option<Response>,
}

impl Outcome {
    pub(crate) fn status(&self) -> Option<u16> {
        self.answer.as_ref().map(|answer| answer.status)
    }
}

/// How clients use connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connections {
    /// One for many requests.
    Kept,
    /// A new one for each.
    New,
}

/// Running clients.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Vec<Outcome>>>,
}

impl Load {
    /// Starts `clients` clients. Each sends one request after the other: what `next` says for its number and the
    /// request's, until that is nothing or the load is stopped. Who finds nobody listening tries again.
    pub(crate) fn start(
        address: SocketAddr,
        clients: usize,
        connections: Connections,
        next: impl Fn(usize, usize) -> Option<Call> + Send + Sync + 'static,
    ) -> Self {
        let next = Arc::new(next);
        let (stop, answered, refused) = Default::default();
        let mut load = Self { stop, answered, refused, threads: Vec::new() };
        for client in 0..clients {
            let next = Arc::clone(&next);
            let (stop, answered, refused) =
                (Arc::clone(&load.stop), Arc::clone(&load.answered), Arc::clone(&load.refused));
            load.threads.push(thread::spawn(move || {
                let mut outcomes = Vec::new();
                let mut wire = None;
                while !stop.load(Ordering::SeqCst) {
                    let Some(call) = next(client, outcomes.len()) else { break };
                    let Some(open) = wire.take().or_else(|| connect(address, &stop, &refused)) else { break };
                    let (outcome, kept) = send(open, call);
                    answered.fetch_add(usize::from(outcome.answer.is_some()), Ordering::SeqCst);
                    outcomes.push(outcome);
                    wire = kept.filter(|_| connections == Connections::Kept);
                }
                outcomes
            }));
        }
        load
    }

    /// Requests answered so far.
    pub(crate) fn answered(&self) -> usize {
        self.answered.load(Ordering::SeqCst)
    }

    /// How often a client found nobody listening.
    pub(crate) fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }

    /// Lets the clients end what they are at, and returns all that they did.
    pub(crate) fn stop(self) -> Vec<Outcome> {
        self.stop.store(true, Ordering::SeqCst);
        self.join()
    }

    /// Waits until the clients have nothing more to send, and returns all that they did.
    pub(crate) fn join(self) -> Vec<Outcome> {
        let outcomes: Vec<_> = self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        let ids: HashSet<_> = outcomes.iter().map(|outcome| &outcome.call.id).collect();
        assert_eq!(ids.len(), outcomes.len(), "the test's own request ids repeat");
        outcomes
    }
}

/// A new connection, unless the load is stopped before somebody listens.
fn connect(address: SocketAddr, stop: &AtomicBool, refused: &AtomicUsize) -> Option<Wire> {
    while !stop.load(Ordering::SeqCst) {
        if let Ok(wire) = Wire::try_connect(address) {
            return Some(wire);
        }
        refused.fetch_add(1, Ordering::SeqCst);
        thread::sleep(PAUSE);
    }
    None
}

/// Sends one request; the connection is returned if another one can be sent on it.
pub(crate) fn send(mut wire: Wire, call: Call) -> (Outcome, Option<Wire>) {
    wire.send(call.bytes());
    let answer = wire.response(false, BOUND).filter(|answer| answer.ending != Ending::Cut);
    let closes = answer.as_ref().is_none_or(|a| a.header("connection") == Some("close"));
    (Outcome { call, answer }, (!closes).then_some(wire))
}

/// Sends one request on a connection of its own.
pub(crate) fn once(address: SocketAddr, call: Call) -> Outcome {
    send(Wire::connect(address), call).0
}
