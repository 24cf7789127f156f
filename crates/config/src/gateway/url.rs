//! Where an upstream is: scheme, host and port, nothing else.

use super::host;
use crate::{report::Flaw, text::quote};

/// Where an upstream is: `http://host:port` or `https://host:port`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Url {
    /// Whether it is https.
    pub tls: bool,
    /// Host name in lower case, or IP address without brackets.
    pub host: String,
    /// Port; 80 or 443 where the URL names none.
    pub port: u16,
    /// What to say in `Host` and `:authority`: the host (an IPv6 address in brackets), and the port unless
    /// it is the scheme's own.
    pub authority: String,
}

pub(super) const EXAMPLE: &str = "\"http://127.0.0.1:9101\"";

impl Url {
    /// Reads `http[s]://host[:port][/]`. No flaw shows what is before an `@`: it may be a password.
    pub(super) fn parse(text: &str) -> Result<Self, Flaw> {
        let (tls, rest) = match split_scheme(text) {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some((scheme, _)) => {
                let message = format!("the scheme {} is not spoken", quote(scheme));
                return Err(Flaw::new(message, format!("write it as in {EXAMPLE}")));
            }
            None => {
                let message = "the URL has no scheme";
                return Err(Flaw::new(
                    message,
                    format!("write \"http://\" or \"https://\" first, as in {EXAMPLE}"),
                ));
            }
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains('@') {
            return Err(Flaw::new(
                "a URL with a user or password is not supported",
                "remove what is before the @",
            ));
        }
        if authority.contains(['/', '?', '#']) {
            let message = format!("{} has a path or a query", quote(text));
            return Err(Flaw::new(message, "end the URL after the port, and use rewrite in the route"));
        }
        let (host, port) = host::split_port(authority)?;
        let host = host::check(host)?;
        let usual = if tls { 443 } else { 80 };
        let port = port.unwrap_or(usual);
        let authority = if port == usual { host.clone() } else { format!("{host}:{port}") };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { tls, host, port, authority })
    }
}

fn split_scheme(text: &str) -> Option<(&str, &str)> {
    text.split_once("://").filter(|(scheme, _)| scheme.bytes().all(|b| b.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        for (text, tls, host, port, authority) in [
            ("http://127.0.0.1:9101", false, "127.0.0.1", 9101, "127.0.0.1:9101"),
            ("http://Example.com/", false, "example.com", 80, "example.com"),
            ("http://example.com:443", false, "example.com", 443, "example.com:443"),
            ("https://example.com:443", true, "example.com", 443, "example.com"),
            ("https://[::1]:8443", true, "::1", 8443, "[::1]:8443"),
            ("https://[0:0::1]", true, "::1", 443, "[::1]"),
        ] {
            let url = Url { tls, host: host.into(), port, authority: authority.into() };
            assert_eq!(Url::parse(text), Ok(url), "{text}");
        }
    }

    #[test]
    fn flaws() {
        for (text, message) in [
            ("127.0.0.1:9101", "the URL has no scheme"),
            ("ftp://x", "the scheme \"ftp\" is not spoken"),
            ("http://user:secret@x", "a URL with a user or password is not supported"),
            ("http://x/v1", "\"http://x/v1\" has a path or a query"),
            ("http://x?y", "\"http://x?y\" has a path or a query"),
            ("http://", "\"\" is not a host"),
            ("http://x:", "\"\" is not a port"),
            ("http://x:0", "\"0\" is not a port"),
            ("http://x:65536", "\"65536\" is not a port"),
            ("http://x:+1", "\"+1\" is not a port"),
            ("http://::1", "\":\" is not a host"),
            ("http://127.1", "\"127.1\" is not a host"),
            ("http://a..b", "\"a..b\" is not a host"),
            ("http://[::g]", "\"[::g]\" is not a host"),
        ] {
            assert_eq!(Url::parse(text).unwrap_err().message, message, "{text}");
        }
    }
}
