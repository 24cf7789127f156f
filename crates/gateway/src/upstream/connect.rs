//! New connections to an upstream.

use std::{future::Future, io, rc::Rc, sync::Arc, time::Duration};

use hyper::{client::conn::http2, rt::Executor};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls_pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use tollgate_config::Protocol;

use super::{
    Endpoint,
    endpoint::Connected,
    http1::Connection,
    pool::{Pool, SendH2},
    tls,
};
use crate::http1::Stream;

/// How often a quiet HTTP/2 connection is asked whether it is alive, and how long it may take to say so.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("no connection in time")]
    Timeout,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Handshake(#[from] hyper::Error),
    #[error("the host is no valid server name")]
    ServerName,
    #[error("it has as many connections as connections_max allows")]
    TooMany,
}

/// A connection that nobody uses yet.
pub(crate) enum Fresh {
    H1(Box<Connection>),
    H2(SendH2),
}

/// Runs HTTP/2 tasks on the thread that asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalExecutor;

impl ConnectError {
    pub(crate) const fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout)
    }

    /// Whether nobody is there to connect to.
    pub(crate) fn is_absence(&self) -> bool {
        use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
        let Self::Io(error) = self else { return false };
        matches!(error.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable)
    }

    /// Whether the gateway itself allows no more.
    pub(crate) const fn is_overload(&self) -> bool {
        matches!(self, Self::TooMany)
    }
}

impl<F: Future + 'static> Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

/// Connects to the pool's endpoint within the upstream's connect timeout. `only_h1` leaves no choice of the
/// protocol to the endpoint.
pub(crate) async fn connect(pool: &Rc<Pool>, only_h1: bool) -> Result<Fresh, ConnectError> {
    let endpoint = &pool.endpoint;
    let settings = pool.settings();
    let connected = endpoint.try_connect(settings.connections_max).ok_or(ConnectError::TooMany)?;
    let result = timeout(settings.connect_timeout, open(endpoint, connected, only_h1)).await;
    let result = result.unwrap_or(Err(ConnectError::Timeout));
    match &result {
        Ok(_) => endpoint.connected(),
        Err(_) => endpoint.failed_to_connect(settings.eject_after, settings.eject_for),
    }
    result
}

async fn open(endpoint: &Arc<Endpoint>, connected: Connected, only_h1: bool) -> Result<Fresh, ConnectError> {
    let stream = TcpStream::connect((&*endpoint.url.host, endpoint.url.port)).await?;
    stream.set_nodelay(true)?;
    let Some(tls) = &endpoint.tls else {
        let is_h2 = endpoint.protocol == Protocol::Http2;
        return handshake(Stream::Plain(stream), is_h2, connected).await;
    };
    let name = ServerName::try_from(endpoint.url.host.clone()).map_err(|_| ConnectError::ServerName)?;
    let connector = TlsConnector::from(if only_h1 { tls::only_h1(tls) } else { Arc::clone(tls) });
    let stream = connector.connect(name, stream).await?;
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    handshake(Stream::tls(stream), is_h2, connected).await
}

async fn handshake(stream: Stream, is_h2: bool, connected: Connected) -> Result<Fresh, ConnectError> {
    if !is_h2 {
        return Ok(Fresh::H1(Box::new(Connection::new(stream, connected))));
    }
    // One task per connection and stream; with HTTP/1 there is none.
    let (sender, connection) = http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .handshake(TokioIo::new(stream))
        .await?;
    tokio::task::spawn_local(async move {
        let _connected = connected;
        // How it ended shows in the requests that it carried.
        let _ = connection.await;
    });
    Ok(Fresh::H2(sender))
}
