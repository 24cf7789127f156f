//! An upstream inside the test, with scripted behaviour.
//!
//! It runs on a thread of its own, so a test may block without stopping it. HTTP/1.1 is written by hand: what a
//! server library would never send (a body cut short, a connection closed instead of an answer) is the point of it,
//! and so are the exact bytes that arrived.

mod answer;
mod http1;
mod http2;
mod inbound;
mod outbound;
mod received;
mod state;
mod websocket;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

pub use answer::{Answer, Gate, Reply, Reuse};
pub use received::Received;
use state::State;

use crate::{BOUND, eventually};

/// What decides on an answer that no path has.
type Handler = Box<dyn Fn(&Received) -> Answer + Send + Sync>;

/// How an origin behaves.
pub struct OriginBuilder {
    answers: HashMap<String, Answer>,
    handler: Handler,
    reuse: Reuse,
    http2: bool,
    tls: Option<Arc<ServerConfig>>,
    address: SocketAddr,
}

impl OriginBuilder {
    /// What requests for exactly this path (without the query) are answered.
    #[must_use]
    pub fn on(mut self, path: &str, answer: Answer) -> Self {
        self.answers.insert(path.to_owned(), answer);
        self
    }

    /// What all other requests are answered, decided when their body has been read; an echo otherwise.
    #[must_use]
    pub fn otherwise(mut self, handler: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> Self {
        self.handler = Box::new(handler);
        self
    }

    /// What HTTP/1.1 connections do after their first answer.
    #[must_use]
    pub fn reuse(mut self, reuse: Reuse) -> Self {
        self.reuse = reuse;
        self
    }

    /// HTTP/2 with prior knowledge instead of HTTP/1.1.
    #[must_use]
    pub fn http2(mut self) -> Self {
        self.http2 = true;
        self
    }

    /// TLS; ALPN decides on the protocol.
    #[must_use]
    pub fn tls(mut self, config: Arc<ServerConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// This address instead of a free port, to come back where another origin was.
    #[must_use]
    pub fn at(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// Listens and serves.
    ///
    /// # Panics
    /// When the address is taken.
    #[must_use]
    pub fn start(self) -> Origin {
        let Self { answers, handler, reuse, http2, tls, address } = self;
        let listener = std::net::TcpListener::bind(address).expect("an address for the origin");
        listener.set_nonblocking(true).expect("a listener that does not block");
        let address = listener.local_addr().expect("the origin's address");
        let state = Arc::new(State::new(answers, handler, reuse));
        let (stop, stopped) = oneshot::channel::<()>();
        let server = Server { state: Arc::clone(&state), http2, tls: tls.map(TlsAcceptor::from) };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime for the origin").block_on(async {
                tokio::select! {
                    () = server.serve(listener) => {}
                    _ = stopped => {}
                }
            });
        });
        Origin { address, state, running: Some((stop, thread)) }
    }
}

/// A running upstream. Dropping it closes its listener and its connections.
#[derive(Debug)]
pub struct Origin {
    address: SocketAddr,
    state: Arc<State>,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Origin {
    /// An origin that echoes until told otherwise.
    #[must_use]
    pub fn builder() -> OriginBuilder {
        OriginBuilder {
            answers: HashMap::new(),
            handler: Box::new(|_| Answer::Echo),
            reuse: Reuse::Keep,
            http2: false,
            tls: None,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        }
    }

    /// A running origin that echoes every request.
    ///
    /// # Panics
    /// When it cannot listen.
    #[must_use]
    pub fn echo() -> Self {
        Self::builder().start()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests whose head has arrived.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.state.requests()
    }

    /// Connections accepted.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.state.connections()
    }

    /// Requests that the peer gave up before they were answered in full.
    #[must_use]
    pub fn abandoned(&self) -> usize {
        self.state.abandoned()
    }

    /// The requests that were read to the end of their body, in that order.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.state.received()
    }

    /// The request that was read last.
    ///
    /// # Panics
    /// When there was none.
    #[must_use]
    pub fn last(&self) -> Received {
        self.received().pop().expect("a request at the origin")
    }

    /// Changes what requests for this path are answered from now on.
    pub fn set(&self, path: &str, answer: Answer) {
        self.state.set(path, answer);
    }

    /// Whether `requests` request heads have arrived within `bound`. Blocks the thread.
    #[must_use]
    pub fn wait_requests(&self, requests: usize, bound: Duration) -> bool {
        eventually(bound, || self.requests() >= requests)
    }

    /// Closes the listener and all connections. What was received stays.
    pub fn stop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            drop(stop);
            let ended = eventually(BOUND, || thread.is_finished());
            let joined = ended && thread.join().is_ok();
            assert!(joined || std::thread::panicking(), "the origin's thread did not end well");
        }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Server {
    state: Arc<State>,
    http2: bool,
    tls: Option<TlsAcceptor>,
}

impl Server {
    async fn serve(self, listener: std::net::TcpListener) {
        let listener = TcpListener::from_std(listener).expect("a listener for tokio");
        let server = Arc::new(self);
        while let Ok((stream, _)) = listener.accept().await {
            let connection = server.state.connected();
            let server = Arc::clone(&server);
            tokio::spawn(async move { server.serve_connection(stream, connection).await });
        }
    }

    async fn serve_connection(&self, stream: TcpStream, connection: usize) {
        let state = Arc::clone(&self.state);
        // Without it, small writes would wait for acknowledgements and tests with them.
        let _ = stream.set_nodelay(true);
        match &self.tls {
            None if self.http2 => Box::pin(http2::serve(stream, state, connection)).await,
            None => Box::pin(http1::serve(stream, &state, connection)).await,
            Some(acceptor) => {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    Box::pin(http2::serve(stream, state, connection)).await;
                } else {
                    Box::pin(http1::serve(stream, &state, connection)).await;
                }
            }
        }
    }
}
