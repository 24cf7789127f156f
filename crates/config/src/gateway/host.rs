//! Host names and ports as they stand in URLs and in `Host`.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::{report::Flaw, text::quote};

/// Longest name that the domain name system knows, in bytes.
const HOST_BYTES_MAX: usize = 253;

/// A host in lower case, an IPv6 address in brackets.
pub(super) fn check(text: &str) -> Result<String, Flaw> {
    let flaw = |suggestion: &str| Flaw::new(format!("{} is not a host", quote(text)), suggestion);
    let host = text.to_ascii_lowercase();
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address: Ipv6Addr = address.parse().map_err(|_| flaw("write it as in \"[::1]\""))?;
        return Ok(format!("[{address}]"));
    }
    if host.parse::<Ipv6Addr>().is_ok() {
        return Err(flaw(&format!("write \"[{host}]\"")));
    }
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let label = |label: &str| !label.is_empty() && label.bytes().all(legal);
    if host.len() > HOST_BYTES_MAX || !host.split('.').all(label) {
        return Err(flaw("write a host name such as \"api.example.com\", without scheme, port and path"));
    }
    // Resolvers read 127.1 or 0x7f.1 as addresses; nobody else does.
    let last = host.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|b| b.is_ascii_digit()) && host.parse::<Ipv4Addr>().is_err() {
        return Err(flaw("write an IPv4 address as four numbers, such as \"127.0.0.1\""));
    }
    Ok(host)
}

/// Splits `host:port`; the port is `None` where there is none.
pub(super) fn split_port(authority: &str) -> Result<(&str, Option<u16>), Flaw> {
    let colon =
        authority.rfind(':').filter(|colon| !authority.get(*colon..).is_some_and(|s| s.contains(']')));
    let Some((host, port)) = colon.and_then(|colon| authority.split_at_checked(colon)) else {
        return Ok((authority, None));
    };
    let digits = port.trim_start_matches(':');
    let number = digits.parse::<u16>().ok().filter(|port| *port != 0 && !digits.starts_with('+'));
    match number {
        Some(number) => Ok((host, Some(number))),
        None => Err(Flaw::new(format!("{} is not a port", quote(digits)), "write 1 to 65535")),
    }
}
