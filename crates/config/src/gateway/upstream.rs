//! `[upstreams.NAME]`: the services behind the gateway.

use std::{num::NonZeroU32, ops::RangeInclusive, path::PathBuf, time::Duration};

use super::{Reader, Url, path, url};
use crate::{item::Item, number::Unit, report::Flaw, section::Section, text};

/// Each has connections and health of its own in every worker.
const UPSTREAMS_MAX: usize = 256;
/// Two of them are compared for each request, all are checked for health.
const URLS_MAX: usize = 64;

/// Within a data centre a connection takes a millisecond, around the world and with TLS half a second.
const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);
/// What people wait for a page, and what most proxies wait.
const RESPONSE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);
/// Models think for long, but say something in between.
const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);
/// A millisecond is the finest that timers tell apart; no exchange lasts longer than a day.
const TIMEOUT_BOUNDS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(86_400);

/// What one service usually stands, and far below the 28,000 local ports of an address.
const CONNECTIONS_DEFAULT: usize = 1024;
/// Beyond 65,535 there are no ports left.
const CONNECTIONS_BOUNDS: RangeInclusive<usize> = 1..=65_535;
/// Enough for the requests in flight of one worker at a hundred thousand per second and 0.5 ms each.
const IDLE_CONNECTIONS_DEFAULT: usize = 64;
/// None, or all of them.
const IDLE_CONNECTIONS_BOUNDS: RangeInclusive<usize> = 0..=65_535;

/// Notices a dead URL within the three checks that a healthy one may fail by accident.
const HEALTH_INTERVAL_DEFAULT: Duration = Duration::from_secs(5);
/// A health endpoint that needs longer is not healthy.
const HEALTH_TIMEOUT_DEFAULT: Duration = Duration::from_secs(1);
/// More than ten checks a second are load; fewer than one an hour find out nothing.
const HEALTH_BOUNDS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
const HEALTHY_AFTER_DEFAULT: NonZeroU32 = NonZeroU32::MIN;
const UNHEALTHY_AFTER_DEFAULT: NonZeroU32 = NonZeroU32::MIN.saturating_add(2);

/// One lost packet is no reason yet, three refused connections are.
const EJECT_AFTER_DEFAULT: NonZeroU32 = NonZeroU32::MIN.saturating_add(2);
/// A restart takes about that long.
const EJECT_FOR_DEFAULT: Duration = Duration::from_secs(5);
/// How often something may fail in a row before it counts; beyond a thousand it would never.
const FAILURES_BOUNDS: RangeInclusive<u32> = 1..=1000;

/// Position of an upstream in [`Gateway::upstreams`](super::Gateway::upstreams).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpstreamIndex(pub usize);

/// One service, at one or more URLs that are all the same to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Its name in files and metrics.
    pub name: Box<str>,
    /// Who runs its models, in events; its name where the file says nothing.
    pub provider: Box<str>,
    /// Where it is; not empty, no two the same.
    pub urls: Vec<Url>,
    /// What is spoken with it.
    pub protocol: Protocol,
    /// Certificate authorities (PEM) to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// Longest time to connect, TLS handshake included.
    pub connect_timeout: Duration,
    /// Longest time from the request's last byte to the response head.
    pub response_timeout: Duration,
    /// Longest time without a byte in either direction.
    pub idle_timeout: Duration,
    /// Longest time of a whole exchange.
    pub total_timeout: Option<Duration>,
    /// Most connections to each URL, of all workers together.
    pub connections_max: usize,
    /// Most idle connections that each worker keeps to each URL.
    pub idle_connections_max: usize,
    /// How to find out whether a URL works without waiting for requests to fail.
    pub health: Option<Health>,
    /// After so many consecutive failures to connect, a URL is left out.
    pub eject_after: NonZeroU32,
    /// How long a URL is left out.
    pub eject_for: Duration,
}

/// What is spoken with an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, by prior knowledge where there is no TLS.
    Http2,
    /// What the TLS handshake agrees on; every URL is https.
    Auto,
}

/// An active health check: `GET path`, healthy when the answer is 2xx in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What to ask for.
    pub path: Box<str>,
    /// From one check to the next.
    pub interval: Duration,
    /// Longest time for one check; at most `interval`.
    pub timeout: Duration,
    /// So many good checks in a row bring a URL back.
    pub healthy_after: NonZeroU32,
    /// So many bad checks in a row take a URL out.
    pub unhealthy_after: NonZeroU32,
}

/// All of `[upstreams]`, in the file's order.
pub(super) fn read_all(section: &mut Section<'_>, reader: Reader<'_>) -> Vec<Upstream> {
    let mut entries = section.entries();
    if entries.len() > UPSTREAMS_MAX {
        let message = format!("there are {} upstreams", entries.len());
        section.wrong(Flaw::new(message, format!("use at most {UPSTREAMS_MAX}")));
        entries.truncate(UPSTREAMS_MAX);
    }
    let read = |(name, item): &(&str, Item<'_>)| {
        if let Err(flaw) = text::check_name(name) {
            item.wrong_key(flaw);
        }
        item.table_or_empty(|section| Upstream::read(name, section, reader))
    };
    entries.iter().map(read).collect()
}

impl Upstream {
    fn read(name: &str, section: &mut Section<'_>, reader: Reader<'_>) -> Self {
        let urls = section.need("urls", &format!("urls = [{}]", url::EXAMPLE));
        let urls = urls.and_then(|item| read_urls(&item)).unwrap_or_default();
        let all_tls = urls.iter().all(|url| url.tls);
        let any_tls = urls.is_empty() || urls.iter().any(|url| url.tls);
        Self {
            name: name.into(),
            provider: section.or("provider", name.into(), |item| {
                item.parsed("\"openai\"", |text| text::check_name(text).map(|()| text.into()))
            }),
            protocol: section.or("protocol", Protocol::Http1, |item| read_protocol(item, all_tls)),
            ca: section.maybe("ca", |item| {
                if !any_tls {
                    let message = "there is no https URL whose certificate it could check";
                    item.wrong_key(Flaw::new(message, "remove it, or write \"https://\" in urls"));
                }
                reader.file(item)
            }),
            urls,
            connect_timeout: timeout(section, "connect_timeout", CONNECT_TIMEOUT_DEFAULT),
            response_timeout: timeout(section, "response_timeout", RESPONSE_TIMEOUT_DEFAULT),
            idle_timeout: timeout(section, "idle_timeout", IDLE_TIMEOUT_DEFAULT),
            total_timeout: section.maybe("total_timeout", |item| item.duration(TIMEOUT_BOUNDS)),
            connections_max: section.or("connections_max", CONNECTIONS_DEFAULT, |item| {
                item.amount_in(Unit::Count, CONNECTIONS_BOUNDS)
            }),
            idle_connections_max: section.or("idle_connections_max", IDLE_CONNECTIONS_DEFAULT, |item| {
                item.amount_in(Unit::Count, IDLE_CONNECTIONS_BOUNDS)
            }),
            health: section.maybe("health", |item| item.table("{ path = \"/healthz\" }", Health::read)?),
            eject_after: failures(section, "eject_after", EJECT_AFTER_DEFAULT),
            eject_for: timeout(section, "eject_for", EJECT_FOR_DEFAULT),
        }
    }
}

impl Health {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        let example = "\"/healthz\"";
        let path = section.need("path", &format!("path = {example}"));
        let path = path.and_then(|item| item.parsed(example, path::check));
        let interval = section.or("interval", HEALTH_INTERVAL_DEFAULT, |item| item.duration(HEALTH_BOUNDS));
        let timeout = section.maybe("timeout", |item| {
            let timeout = item.duration(HEALTH_BOUNDS)?;
            if timeout > interval {
                let message = "a check may not last longer than the interval between checks";
                item.wrong(Flaw::new(message, "write a shorter timeout, or a longer interval"));
            }
            Some(timeout)
        });
        let healthy_after = failures(section, "healthy_after", HEALTHY_AFTER_DEFAULT);
        let unhealthy_after = failures(section, "unhealthy_after", UNHEALTHY_AFTER_DEFAULT);
        let timeout = timeout.unwrap_or(HEALTH_TIMEOUT_DEFAULT.min(interval));
        Some(Self { path: path?, interval, timeout, healthy_after, unhealthy_after })
    }
}

fn timeout(section: &mut Section<'_>, key: &'static str, default: Duration) -> Duration {
    section.or(key, default, |item| item.duration(TIMEOUT_BOUNDS))
}

fn failures(section: &mut Section<'_>, key: &'static str, default: NonZeroU32) -> NonZeroU32 {
    section.or(key, default, |item| NonZeroU32::new(item.amount_in(Unit::Count, FAILURES_BOUNDS)?))
}

fn read_urls(item: &Item<'_>) -> Option<Vec<Url>> {
    let items = item.list(URLS_MAX, &format!("[{}]", url::EXAMPLE))?;
    if items.is_empty() {
        item.wrong(Flaw::new("there is no URL", format!("write [{}]", url::EXAMPLE)));
    }
    let mut urls: Vec<Url> = Vec::new();
    for item in items {
        let Some(url) = item.parsed(url::EXAMPLE, Url::parse) else { continue };
        if urls.contains(&url) {
            item.wrong(Flaw::new("the same URL stands here twice", "remove one"));
        }
        urls.push(url);
    }
    Some(urls)
}

fn read_protocol(item: &Item<'_>, all_tls: bool) -> Option<Protocol> {
    let protocols = [("http1", Protocol::Http1), ("http2", Protocol::Http2), ("auto", Protocol::Auto)];
    let protocol = item.one_of(&protocols)?;
    if protocol == Protocol::Auto && !all_tls {
        let message = "only a TLS handshake can agree on a protocol, and a URL is not https";
        item.wrong(Flaw::new(message, "write \"http1\" or \"http2\", or \"https://\" in urls"));
    }
    Some(protocol)
}
