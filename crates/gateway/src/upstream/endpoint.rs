//! One URL of an upstream: its load and whether it works.

use std::{
    num::NonZeroU32,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use http::HeaderValue;
use metrics::{Gauge, gauge};
use rustls::ClientConfig;
use tollgate_config::{Protocol, Upstream as Settings, Url};

use super::tls::{TlsError, client_config};

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// One URL of an upstream, shared by all workers and by the configurations that have it.
pub(crate) struct Endpoint {
    /// Unique in this process.
    pub(crate) id: usize,
    pub(crate) url: Url,
    pub(crate) protocol: Protocol,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) authority: HeaderValue,
    in_flight: AtomicUsize,
    connections: AtomicUsize,
    /// By active checks.
    healthy: AtomicBool,
    /// Consecutive failures to connect.
    failures: AtomicU32,
    /// Milliseconds since [`EPOCH`]; 0 when not left out.
    ejected_until_ms: AtomicU64,
    gauge: Gauge,
}

/// A request that an endpoint is working on.
pub(crate) struct InFlight(Arc<Endpoint>);

/// A connection that counts.
pub(crate) struct Connected(Arc<Endpoint>);

impl Endpoint {
    pub(crate) fn new(settings: &Settings, url: &Url) -> Result<Self, TlsError> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let tls = url.tls.then(|| client_config(settings)).transpose()?;
        let gauge = gauge!("tollgate_upstream_healthy", "upstream" => settings.name.to_string(), "url" => display(url));
        gauge.set(1.0);
        Ok(Self {
            id: NEXT.fetch_add(1, Relaxed),
            url: url.clone(),
            protocol: settings.protocol,
            tls,
            authority: HeaderValue::from_str(&url.authority).unwrap_or(HeaderValue::from_static("upstream")),
            in_flight: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            healthy: AtomicBool::new(true),
            failures: AtomicU32::new(0),
            ejected_until_ms: AtomicU64::new(0),
            gauge,
        })
    }

    /// Whether it takes requests.
    pub(crate) fn is_available(&self) -> bool {
        self.healthy.load(Relaxed) && {
            let until = self.ejected_until_ms.load(Relaxed);
            until == 0 || now_ms() >= until
        }
    }

    pub(crate) fn load(&self) -> usize {
        self.in_flight.load(Relaxed)
    }

    pub(crate) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Relaxed);
        InFlight(Arc::clone(self))
    }

    /// Room for one more connection, if there are fewer than `max`.
    pub(crate) fn try_connect(self: &Arc<Self>, max: usize) -> Option<Connected> {
        if self.connections.fetch_add(1, Relaxed) >= max {
            self.connections.fetch_sub(1, Relaxed);
            return None;
        }
        Some(Connected(Arc::clone(self)))
    }

    /// A connection was made.
    pub(crate) fn connected(&self) {
        if self.failures.swap(0, Relaxed) > 0 {
            self.ejected_until_ms.store(0, Relaxed);
            self.show();
        }
    }

    /// No connection could be made; after `eject_after` times in a row the endpoint is left out for a
    /// while, then tried again.
    pub(crate) fn failed_to_connect(&self, eject_after: NonZeroU32, eject_for: Duration) {
        let failures = self.failures.fetch_add(1, Relaxed).saturating_add(1);
        if failures < eject_after.get() {
            return;
        }
        let until = now_ms().saturating_add(u64::try_from(eject_for.as_millis()).unwrap_or(u64::MAX));
        if self.ejected_until_ms.swap(until.max(1), Relaxed) == 0 {
            let url = display(&self.url);
            tracing::warn!(url, failures, "upstream left out: it does not accept connections");
        }
        self.show();
    }

    /// Nobody checks any more: what the last check found is forgotten.
    pub(crate) fn assume_healthy(&self) {
        self.healthy.store(true, Relaxed);
    }

    /// What active checks found; the change, if it is one.
    pub(crate) fn set_healthy(&self, healthy: bool) -> bool {
        let changed = self.healthy.swap(healthy, Relaxed) != healthy;
        if healthy {
            self.failures.store(0, Relaxed);
            self.ejected_until_ms.store(0, Relaxed);
        }
        self.show();
        changed
    }

    /// Brings the metric up to date: an endpoint that was left out is tried again when its time is over.
    pub(crate) fn show(&self) {
        self.gauge.set(if self.is_available() { 1.0 } else { 0.0 });
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
    }
}

/// As the configuration writes it.
pub(crate) fn display(url: &Url) -> String {
    format!("{}://{}", if url.tls { "https" } else { "http" }, url.authority)
}

/// Milliseconds of the monotonic clock; never 0.
fn now_ms() -> u64 {
    u64::try_from(EPOCH.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}
