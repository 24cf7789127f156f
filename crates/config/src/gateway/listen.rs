//! `[listen]` and `[admin]`: the two addresses, and the bounds of what clients may open and send.

use std::{
    net::{Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
    time::Duration,
};

use super::Reader;
use crate::{number::Unit, report::Flaw, section::Section};

/// Loopback: a gateway that nobody has configured is reachable by nobody else.
const ADDRESS_DEFAULT: SocketAddr = local(8080);
const ADMIN_ADDRESS_DEFAULT: SocketAddr = local(9090);

/// Ten thousand connections need some 20,000 file descriptors and, at 32 KiB of head each, 320 MB at worst.
const CONNECTIONS_DEFAULT: usize = 10_000;
/// A million sockets is what a kernel can be tuned to.
const CONNECTIONS_BOUNDS: RangeInclusive<usize> = 1..=1_000_000;

/// Browsers send about 20 header lines, proxies add a dozen; 100 is also what nginx and hyper stop at.
const HEADERS_DEFAULT: usize = 100;
/// Below 16 no browser gets in; every line costs a look at the protected names, so not without end.
const HEADERS_BOUNDS: RangeInclusive<usize> = 16..=1000;

/// Four cookies of 4 KiB and large tokens fit.
const HEADER_BYTES_DEFAULT: usize = 32 << 10;
/// hyper's least buffer is 8 KiB; 1 MiB for each connection is what memory stands.
const HEADER_BYTES_BOUNDS: RangeInclusive<usize> = (8 << 10)..=(1 << 20);

/// What RFC 9113 (section 6.5.2) recommends as the least, so that clients do not open more connections.
const STREAMS_DEFAULT: u32 = 100;
/// Each stream is a request in flight; thousands on one connection are a flood.
const STREAMS_BOUNDS: RangeInclusive<u32> = 1..=10_000;

/// A head of 32 KiB needs 26 kbit/s to arrive in time, which every phone network has.
const HEADER_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// A slow client may not hold a connection longer than any human waits.
const HEADER_TIMEOUT_BOUNDS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(300);

/// Longer than the 60 s that load balancers keep idle connections, so that they close first.
const KEEP_ALIVE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(75);
/// An idle connection costs memory; after an hour nobody comes back.
const KEEP_ALIVE_TIMEOUT_BOUNDS: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(3600);

const fn local(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// The metered side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Where to listen; port 0 lets the system choose.
    pub address: SocketAddr,
    /// Certificate and key; plain text without.
    pub tls: Option<TlsFiles>,
    /// Most client connections open at once, of all workers together.
    pub connections_max: usize,
    /// Most header lines of one request.
    pub headers_max: usize,
    /// Most bytes of one request's head.
    pub header_bytes_max: usize,
    /// Most concurrent HTTP/2 streams of one connection.
    pub streams_max: u32,
    /// Longest time to receive one request head.
    pub header_timeout: Duration,
    /// Longest time a connection may stay open without a request.
    pub keep_alive_timeout: Duration,
}

/// Where a certificate chain and its key are; both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, leaf first.
    pub cert: PathBuf,
    /// The leaf's private key.
    pub key: PathBuf,
}

/// The operator's side: metrics, health, administration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where to listen; port 0 lets the system choose.
    pub address: SocketAddr,
    /// The environment variable that holds the administrator's token.
    pub token_env: Option<Box<str>>,
}

impl Listen {
    pub(super) fn read(section: &mut Section<'_>, reader: Reader<'_>) -> Self {
        Self {
            address: section.or("address", ADDRESS_DEFAULT, |item| item.address()),
            tls: section.maybe("tls", |item| {
                item.table("{ cert = \"cert.pem\", key = \"key.pem\" }", |tls| TlsFiles::read(tls, reader))?
            }),
            connections_max: section.or("connections_max", CONNECTIONS_DEFAULT, |item| {
                item.amount_in(Unit::Count, CONNECTIONS_BOUNDS)
            }),
            headers_max: section
                .or("headers_max", HEADERS_DEFAULT, |item| item.amount_in(Unit::Count, HEADERS_BOUNDS)),
            header_bytes_max: section.or("header_bytes_max", HEADER_BYTES_DEFAULT, |item| {
                item.amount_in(Unit::Bytes, HEADER_BYTES_BOUNDS)
            }),
            streams_max: section
                .or("streams_max", STREAMS_DEFAULT, |item| item.amount_in(Unit::Count, STREAMS_BOUNDS)),
            header_timeout: section
                .or("header_timeout", HEADER_TIMEOUT_DEFAULT, |item| item.duration(HEADER_TIMEOUT_BOUNDS)),
            keep_alive_timeout: section.or("keep_alive_timeout", KEEP_ALIVE_TIMEOUT_DEFAULT, |item| {
                item.duration(KEEP_ALIVE_TIMEOUT_BOUNDS)
            }),
        }
    }
}

impl TlsFiles {
    fn read(section: &mut Section<'_>, reader: Reader<'_>) -> Option<Self> {
        let cert = section.need("cert", "cert = \"cert.pem\"").and_then(|item| reader.file(&item));
        let key = section.need("key", "key = \"key.pem\"").and_then(|item| reader.file(&item));
        Some(Self { cert: cert?, key: key? })
    }
}

impl Admin {
    pub(super) fn read(section: &mut Section<'_>, listen: &Listen) -> Self {
        let address = section.or("address", ADMIN_ADDRESS_DEFAULT, |item| {
            let address = item.address()?;
            if address == listen.address && address.port() != 0 {
                let message = format!("{address} is already the address of [listen]");
                item.wrong(Flaw::new(message, "give the operator's side an address of its own"));
            }
            Some(address)
        });
        Self { address, token_env: section.maybe("token_env", super::environment_name) }
    }
}
