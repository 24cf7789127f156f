//! Active health checks: `GET path` on every URL, on the control thread.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Empty;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::AbortHandle,
    time,
};
use tokio_rustls::TlsConnector;
use tollgate_config::{Health, Protocol};

use super::{Endpoint, Upstream, endpoint::display};

/// The checks that run, one task per URL.
#[derive(Default)]
pub(crate) struct HealthChecks {
    running: HashMap<usize, (Health, AbortHandle)>,
}

impl HealthChecks {
    /// Starts and stops checks so that exactly the URLs of `upstreams` are checked as they say. Must be
    /// called within a runtime.
    pub(crate) fn follow(&mut self, upstreams: &[Arc<Upstream>]) {
        let wanted: HashMap<usize, (&Health, &Arc<Endpoint>)> = upstreams
            .iter()
            .filter_map(|upstream| Some((upstream.settings.health.as_ref()?, upstream)))
            .flat_map(|(health, upstream)| upstream.endpoints.iter().map(move |e| (e.id, (health, e))))
            .collect();
        self.running.retain(|id, (health, task)| {
            let keep = wanted.get(id).is_some_and(|(wanted, _)| *wanted == health);
            if !keep {
                task.abort();
            }
            keep
        });
        // Where nobody checks, nobody finds out that it works again.
        let unchecked = upstreams.iter().filter(|upstream| upstream.settings.health.is_none());
        for endpoint in unchecked.flat_map(|upstream| &upstream.endpoints) {
            endpoint.assume_healthy();
        }
        for (id, (health, endpoint)) in wanted {
            self.running.entry(id).or_insert_with(|| {
                let task = tokio::spawn(watch(Arc::clone(endpoint), health.clone()));
                (health.clone(), task.abort_handle())
            });
        }
    }
}

/// Checks one URL for ever.
async fn watch(endpoint: Arc<Endpoint>, health: Health) {
    let mut interval = time::interval(health.interval);
    interval.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    let (mut good, mut bad) = (0u32, 0u32);
    loop {
        interval.tick().await;
        let result = match time::timeout(health.timeout, check(&endpoint, &health)).await {
            Ok(result) => result,
            Err(_) => Err("no answer in time".into()),
        };
        match result {
            Ok(()) => (good, bad) = (good.saturating_add(1), 0),
            Err(_) => (good, bad) = (0, bad.saturating_add(1)),
        }
        let url = display(&endpoint.url);
        if good >= health.healthy_after.get() && endpoint.set_healthy(true) {
            tracing::info!(url, "upstream is healthy again");
        } else if bad >= health.unhealthy_after.get() && endpoint.set_healthy(false) {
            let error = result.err().map(|error| error.to_string());
            tracing::warn!(url, error, "upstream left out: its health check fails");
        }
    }
}

type CheckError = Box<dyn std::error::Error + Send + Sync>;

async fn check(endpoint: &Endpoint, health: &Health) -> Result<(), CheckError> {
    let stream = TcpStream::connect((&*endpoint.url.host, endpoint.url.port)).await?;
    let Some(tls) = &endpoint.tls else {
        return ask(endpoint, health, stream, endpoint.protocol == Protocol::Http2).await;
    };
    let name = ServerName::try_from(endpoint.url.host.clone())?;
    let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?;
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    ask(endpoint, health, stream, is_h2).await
}

async fn ask<S>(endpoint: &Endpoint, health: &Health, stream: S, is_h2: bool) -> Result<(), CheckError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    let request = Request::get(if is_h2 {
        format!("{}{}", display(&endpoint.url), health.path)
    } else {
        health.path.to_string()
    })
    .header(header::USER_AGENT, "tollgate-health-check");
    let response = if is_h2 {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(connection);
        sender.send_request(request.body(Empty::<Bytes>::new())?).await?
    } else {
        let (mut sender, connection) = http1::handshake(io).await?;
        tokio::spawn(connection);
        let request =
            request.header(header::HOST, endpoint.authority.clone()).header(header::CONNECTION, "close");
        sender.send_request(request.body(Empty::<Bytes>::new())?).await?
    };
    if response.status().is_success() {
        Ok(())
    } else {
        Err(format!("it answers {}", response.status()).into())
    }
}
