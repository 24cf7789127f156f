//! Upstreams: which URL takes a request, over which connection, and what a failure means.

mod body;
mod connect;
mod endpoint;
mod health;
mod http1;
mod pool;
mod send;
mod tls;

use std::sync::Arc;

use metrics::{Counter, counter};
use tollgate_config::Upstream as Settings;

pub(crate) use body::UpstreamBody;
pub(crate) use endpoint::Endpoint;
pub(crate) use health::HealthChecks;
pub(crate) use http1::Tunnel;
pub(crate) use pool::{Lease, Pools};
pub(crate) use send::{Outgoing, SendError, Sent, Waiter, send};
pub(crate) use tls::TlsError as UpstreamError;

/// One service and its URLs.
pub(crate) struct Upstream {
    pub(crate) settings: Settings,
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
    pub(crate) retries: Counter,
    /// What the `ca` file had in it.
    authorities: Option<Vec<u8>>,
}

impl Upstream {
    /// With the state and connections of the URLs that `known` upstreams have already.
    pub(crate) fn new(settings: &Settings, known: &[Arc<Self>]) -> Result<Self, UpstreamError> {
        let authorities = settings.ca.as_deref().map(tls::read).transpose()?;
        let known: Vec<_> = known
            .iter()
            .filter(|upstream| upstream.settings.name == settings.name && upstream.authorities == authorities)
            .flat_map(|upstream| &upstream.endpoints)
            .collect();
        let endpoints = settings
            .urls
            .iter()
            .map(|url| {
                let same = known.iter().find(|e| e.url == *url && e.protocol == settings.protocol);
                match same {
                    Some(endpoint) => Ok(Arc::clone(endpoint)),
                    None => Ok(Arc::new(Endpoint::new(settings, url)?)),
                }
            })
            .collect::<Result<Vec<_>, UpstreamError>>()?;
        let retries = counter!("tollgate_upstream_retries_total", "upstream" => settings.name.to_string());
        Ok(Self { settings: settings.clone(), endpoints, retries, authorities })
    }

    /// The less loaded of two available URLs drawn at random (the power of two choices); never
    /// `except`, if there is another.
    pub(crate) fn pick(&self, random: u64, except: Option<usize>) -> Option<&Arc<Endpoint>> {
        if let [only] = &*self.endpoints {
            return (only.is_available() && except != Some(only.id)).then_some(only);
        }
        let mut available = self.endpoints.iter().filter(|e| e.is_available() && except != Some(e.id));
        let count = available.clone().count() as u64;
        if count < 2 {
            return available.next();
        }
        let first = random % count;
        let second = (first + 1 + (random >> 32) % (count - 1)) % count;
        let nth = |n: u64| available.clone().nth(usize::try_from(n).unwrap_or(0));
        match (nth(first), nth(second)) {
            (Some(a), Some(b)) if b.load() < a.load() => Some(b),
            (a, b) => a.or(b),
        }
    }
}
