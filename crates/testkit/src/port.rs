//! Ports for processes that cannot tell which port they got.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range from which the system takes ports for outgoing connections, which could take ours in between.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// Where this process begins to look, so that test binaries at the same time look at different ports.
static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(fastrand::u16(PORTS)));

/// A loopback port that nobody listens on, and that this process gives out only once.
///
/// # Panics
/// When no port is free.
#[must_use]
pub fn free_port() -> u16 {
    PORTS
        .map(|_| next())
        .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        .expect("a free port on loopback")
}

fn next() -> u16 {
    let after = |port: u16| if PORTS.contains(&(port + 1)) { port + 1 } else { PORTS.start };
    NEXT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |port| Some(after(port))).unwrap_or(PORTS.start)
}
