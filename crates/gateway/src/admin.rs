//! The operator's side: metrics, health, readiness, and what the audit asks for.

use std::{
    convert::Infallible,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use ring::digest::{Digest, SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::{net::TcpListener, sync::Semaphore};
use tollgate_core::Scope;
use tollgate_quota::{Remote, RemoteStatus};

use crate::shared::Shared;

/// Most operators, probes and scrapers at once.
const CONNECTIONS_MAX: usize = 64;
/// A scraper that sends nothing for so long is gone.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The admin listener.
pub(crate) struct Admin {
    shared: Arc<Shared>,
    prometheus: PrometheusHandle,
    /// Of the token; the hash is compared, so that neither length nor prefix shows in the time it takes.
    token: Option<Digest>,
}

/// What `GET /admin/counters` answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CountersView {
    /// The journal that the counters' marks are positions of.
    pub(crate) journal: uuid::Uuid,
    pub(crate) counters: Vec<CounterView>,
}

/// One counter, as `GET /admin/counters` shows it to `tollgate audit`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CounterView {
    pub(crate) org: bool,
    pub(crate) subject: String,
    pub(crate) meter: String,
    pub(crate) window: String,
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    pub(crate) settled: i64,
    pub(crate) held: i64,
    /// Journal position of the newest settlement in `settled`.
    pub(crate) last_mark: u64,
}

impl Admin {
    pub(crate) fn new(shared: &Arc<Shared>, prometheus: PrometheusHandle, token: Option<&str>) -> Arc<Self> {
        let token = token.map(|token| digest(&SHA256, token.as_bytes()));
        Arc::new(Self { shared: Arc::clone(shared), prometheus, token })
    }

    /// Serves until dropped.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let admin = Arc::clone(&self);
            tokio::spawn(async move {
                let _permit = permit;
                let service =
                    service_fn(|request| std::future::ready(Ok::<_, Infallible>(admin.answer(&request))));
                let mut builder = http1::Builder::new();
                builder.timer(TokioTimer::new()).header_read_timeout(IDLE_TIMEOUT);
                // How a scraper hangs up is its business.
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n");
        }
        match request.uri().path() {
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" => self.readiness(),
            "/metrics" => {
                let mut response = text(StatusCode::OK, self.prometheus.render());
                let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                response.headers_mut().insert(header::CONTENT_TYPE, format);
                response
            }
            "/admin/counters" if !self.is_administrator(request.headers()) => {
                let message = "{\"error\":\"unauthorized\",\"message\":\"needs Authorization: Bearer with the admin token\"}\n";
                json_text(StatusCode::UNAUTHORIZED, message)
            }
            "/admin/counters" => {
                json_text(StatusCode::OK, serde_json::to_string(&self.counters()).unwrap_or_default())
            }
            _ => text(StatusCode::NOT_FOUND, "here are /metrics, /healthz, /readyz, /admin/counters\n"),
        }
    }

    /// Without a configured token, whoever reaches the admin address may ask.
    fn is_administrator(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.strip_prefix("Bearer "));
        given.is_some_and(|given| digest(&SHA256, given.as_bytes()).as_ref() == token.as_ref())
    }

    /// Not ready: starting, draining, or unable to serve metered requests. A bad configuration file is
    /// shown and does not make a gateway that serves well unready.
    fn readiness(&self) -> Response<Full<Bytes>> {
        let shared = &self.shared;
        let journal = shared.journal.status();
        let ledger = shared.ledger.status();
        let serving = shared.ready.load(Ordering::Acquire);
        let ready = serving && !journal.full && !journal.failed;
        let state = |good: bool, otherwise: &'static str| if good { "ok" } else { otherwise };
        let config_error = shared.reload_error.load();
        let upstreams: Vec<_> = shared.live().upstreams.iter().map(|upstream| {
            let available = upstream.endpoints.iter().filter(|endpoint| endpoint.is_available()).count();
            json!({ "name": &*upstream.settings.name, "urls": upstream.endpoints.len(), "available": available })
        }).collect();
        let body = json!({
            "ready": ready,
            "serving": state(serving, "starting or draining"),
            "journal": state(!journal.failed, "failed: mend the disk and restart"),
            "journal_room": state(!journal.full, "full: metered routes answer 503"),
            "ledger": match &ledger.last_error {
                None => json!("ok"),
                Some(error) => json!({ "failing": error, "pending_bytes": ledger.pending_bytes }),
            },
            "counters": counters_state(shared.remote.as_ref().map(Remote::status)),
            "config": match &**config_error {
                None => json!("ok"),
                Some(mistakes) => json!({ "invalid": mistakes.lines().collect::<Vec<_>>() }),
            },
            "upstreams": upstreams,
        });
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        json_text(status, format!("{body:#}\n"))
    }

    fn counters(&self) -> CountersView {
        let meter = |id| self.shared.meters.name(id).unwrap_or_default().into();
        let view = |reading: tollgate_quota::CounterReading| CounterView {
            org: reading.scope == Scope::Org,
            subject: reading.subject.into(),
            meter: meter(reading.key.meter),
            window: reading.key.window.to_string(),
            start_ms: reading.span.start.0,
            end_ms: reading.span.end.0,
            settled: reading.usage.settled,
            held: reading.usage.held,
            last_mark: reading.last_mark.0,
        };
        let counters = self.shared.counters.readings().into_iter().map(view).collect();
        CountersView { journal: self.shared.journal.id(), counters }
    }
}

/// How the counters do. Without their shared store, limits follow their own `on_store_failure`.
fn counters_state(status: Option<RemoteStatus>) -> serde_json::Value {
    match status {
        None => json!("ok"),
        Some(RemoteStatus { down_seconds: Some(seconds), last_error, .. }) => {
            json!({ "redis_away_seconds": seconds, "error": last_error })
        }
        Some(RemoteStatus { rebuilding: true, .. }) => {
            json!("rebuilding from the ledger: nothing is granted")
        }
        Some(_) => json!("ok"),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

fn json_text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = text(status, body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
