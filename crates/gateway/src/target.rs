//! The one normal form of a request's target: matching, metering and forwarding all use it.

use std::borrow::Cow;

use bytes::{BufMut as _, Bytes};
use http::{
    Method, Uri, Version,
    uri::{Authority, InvalidUri, PathAndQuery, Scheme},
};

use crate::{
    headers::{Headers, Known},
    ratelimit::Scratch,
};

/// Longest path, in bytes, that is looked at.
const PATH_BYTES_MAX: usize = 8 * 1024;

/// Longest target, in bytes, which is what `http` takes.
const TARGET_BYTES_MAX: usize = 65_534;

/// Why a target cannot be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TargetError {
    #[error("the path is longer than {PATH_BYTES_MAX} bytes")]
    TooLong,
    #[error("the path has an invalid percent-encoding or a character that may not stand in a path")]
    Encoding,
    #[error(
        "the path has an encoded slash, backslash, dot segment or percent sign, which services read differently"
    )]
    Ambiguous,
    #[error("the path leaves the root by dot segments")]
    Escapes,
    #[error("the request needs exactly one valid Host")]
    Host,
    #[error("Host and the request's authority differ")]
    HostMismatch,
    #[error("the target's scheme is not http or https")]
    Scheme,
    #[error("the method must be written in upper case")]
    MethodCase,
    #[error("CONNECT is not served: this is not a proxy to other hosts")]
    Connect,
    #[error("TRACE is not served: it would show what is said to services")]
    Trace,
}

/// What a request asks for, and whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    /// Path and query, as they came or as an upstream is to get them.
    text: Bytes,
    path_end: usize,
    /// Whether the path is in its normal form already.
    is_normal: bool,
    /// Where it was said in the absolute form.
    named: Option<Box<Named>>,
}

/// Whom a target in the absolute form names (RFC 9112, section 3.2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    scheme: Option<Scheme>,
    authority: Option<Authority>,
}

impl Target {
    /// Reads what stands in a request's first line.
    pub(crate) fn read(text: Bytes) -> Result<Self, InvalidUri> {
        match plain_path_end(&text) {
            Some(path_end) => Ok(Self { text, path_end, is_normal: true, named: None }),
            None => Uri::from_maybe_shared(text).map(|uri| Self::from(&uri)),
        }
    }

    pub(crate) fn path(&self) -> &str {
        str::from_utf8(&self.text[..self.path_end]).unwrap_or_default()
    }

    pub(crate) fn query(&self) -> Option<&str> {
        self.text.get(self.path_end + 1..).map(|query| str::from_utf8(query).unwrap_or_default())
    }

    /// Path and query.
    pub(crate) fn text(&self) -> &[u8] {
        if self.text.is_empty() { b"/" } else { &self.text }
    }

    pub(crate) fn authority(&self) -> Option<&Authority> {
        self.named.as_ref()?.authority.as_ref()
    }

    /// The path in its normal form.
    pub(crate) fn normal_path(&self) -> Result<Cow<'_, str>, TargetError> {
        if self.is_normal && self.path_end <= PATH_BYTES_MAX {
            return Ok(Cow::Borrowed(self.path()));
        }
        normal_path(self.path())
    }

    /// The text with another path, and the query as it is; and where its path ends.
    pub(crate) fn with_path(
        &self,
        path: [&str; 2],
        scratch: &mut Scratch,
    ) -> Result<(Bytes, usize), InvalidUri> {
        let query = &self.text[self.path_end..];
        let text = scratch.text(|text| {
            path.iter().for_each(|part| text.put_slice(part.as_bytes()));
            text.put_slice(query);
        });
        // What is in its normal form stands under any path.
        if !self.is_normal {
            PathAndQuery::from_maybe_shared(text.clone())?;
        }
        Ok((text, path.iter().map(|part| part.len()).sum()))
    }

    /// Asks for that.
    pub(crate) fn set(&mut self, (text, path_end): (Bytes, usize)) {
        (self.text, self.path_end) = (text, path_end);
    }

    /// Path and query, as libraries have it.
    pub(crate) fn to_path_and_query(&self) -> Option<PathAndQuery> {
        PathAndQuery::from_maybe_shared(self.text.clone()).ok()
    }

    /// As libraries have it.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn to_uri(&self) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.path_and_query = Some(self.text.clone())
            .filter(|text| !text.is_empty())
            .and_then(|text| PathAndQuery::from_maybe_shared(text).ok());
        if let Some(named) = &self.named {
            (parts.scheme, parts.authority) = (named.scheme.clone(), named.authority.clone());
        }
        Uri::from_parts(parts).unwrap_or_default()
    }
}

impl From<&Uri> for Target {
    fn from(uri: &Uri) -> Self {
        let path = uri.path();
        let query = uri.query().map(|query| ["?", query]).unwrap_or_default();
        let (scheme, authority) = (uri.scheme().cloned(), uri.authority().cloned());
        let is_named = scheme.is_some() || authority.is_some();
        Self {
            text: Bytes::from([path, query[0], query[1]].concat()),
            path_end: path.len(),
            is_normal: false,
            named: is_named.then(|| Box::new(Named { scheme, authority })),
        }
    }
}

/// Brings a path into its normal form: unreserved characters decoded, other escapes in upper case, dot
/// segments resolved (RFC 3986, section 6.2.2), repeated slashes merged.
///
/// Whatever different servers read differently is refused rather than guessed at: encoded separators
/// and dots, backslashes, doubly encoded ones, and `..;x`.
pub(crate) fn normal_path(path: &str) -> Result<Cow<'_, str>, TargetError> {
    if path.len() > PATH_BYTES_MAX {
        return Err(TargetError::TooLong);
    }
    if is_plainly_normal(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    let decoded = decode_unreserved(path)?;
    let mut segments: Vec<&str> = Vec::new();
    let mut rest = decoded.strip_prefix('/').ok_or(TargetError::Encoding)?;
    loop {
        let (segment, tail) = match rest.split_once('/') {
            Some((segment, tail)) => (segment, Some(tail)),
            None => (rest, None),
        };
        let is_last = tail.is_none();
        let stem = segment.split(';').next().unwrap_or(segment);
        if stem.len() != segment.len() && (stem == "." || stem == "..") {
            return Err(TargetError::Ambiguous);
        }
        match segment {
            ".." => {
                segments.pop().ok_or(TargetError::Escapes)?;
                if is_last {
                    segments.push("");
                }
            }
            "." | "" if is_last => segments.push(""),
            "." | "" => {}
            other => segments.push(other),
        }
        match tail {
            Some(tail) => rest = tail,
            None => break,
        }
    }
    Ok(Cow::Owned(format!("/{}", segments.join("/"))))
}

/// Where the path ends in a target that has no other parts than path and query, with nothing to normalise, and nothing in
/// either that could be misread.
fn plain_path_end(target: &[u8]) -> Option<usize> {
    let path_end = memchr::memchr(b'?', target).unwrap_or(target.len());
    let (path, query) = target.split_at(path_end);
    let is_plain =
        |byte: &u8| *byte == b'?' || *byte == b'%' || !matches!(PLAIN[usize::from(*byte)], Plain::Never);
    let is_short = target.len() <= TARGET_BYTES_MAX;
    (is_short && is_plainly_normal(path) && query.iter().all(is_plain)).then_some(path_end)
}

/// Whether there is nothing to normalise: the common case, found without allocating.
fn is_plainly_normal(path: &[u8]) -> bool {
    let mut previous = 0;
    if path.first() != Some(&b'/') {
        return false;
    }
    for &byte in path {
        // After a slash, neither a slash nor a dot is plain; after a dot, no dot.
        let plain = match PLAIN[usize::from(byte)] {
            Plain::Always => true,
            Plain::Slash => previous != b'/',
            Plain::Dot => previous != b'/' && previous != b'.',
            Plain::Never => false,
        };
        if !plain {
            return false;
        }
        previous = byte;
    }
    true
}

/// Where a byte may stand in a path that is left as it is.
#[derive(Clone, Copy)]
enum Plain {
    Always,
    Slash,
    Dot,
    Never,
}

const PLAIN: [Plain; 256] = {
    let mut table = [Plain::Never; 256];
    let mut byte = 0u8;
    while byte < 128 {
        table[byte as usize] = match byte {
            b'/' => Plain::Slash,
            b'.' => Plain::Dot,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => Plain::Always,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@' => {
                Plain::Always
            }
            _ => Plain::Never,
        };
        byte += 1;
    }
    table
};

fn decode_unreserved(path: &str) -> Result<String, TargetError> {
    let bytes = path.as_bytes();
    let mut out = String::with_capacity(path.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte != b'%' {
            let allowed = byte.is_ascii_graphic()
                && !matches!(
                    byte,
                    b'\\' | b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' | b'#' | b'?'
                );
            if !allowed {
                return Err(TargetError::Encoding);
            }
            out.push(char::from(byte));
            at += 1;
            continue;
        }
        let value = escape_at(bytes, at).ok_or(TargetError::Encoding)?;
        match value {
            b'/' | b'\\' | b'.' => return Err(TargetError::Ambiguous),
            b'%' if escape_at(bytes, at + 3).is_some() || hex_pair(bytes, at + 3).is_some() => {
                return Err(TargetError::Ambiguous);
            }
            0..=0x1f | 0x7f => return Err(TargetError::Encoding),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => out.push(char::from(value)),
            _ => {
                out.push('%');
                out.extend(
                    path.get(at + 1..at + 3).unwrap_or_default().chars().map(|c| c.to_ascii_uppercase()),
                );
            }
        }
        at += 3;
    }
    Ok(out)
}

fn escape_at(bytes: &[u8], at: usize) -> Option<u8> {
    if bytes.get(at) != Some(&b'%') {
        return None;
    }
    hex_pair(bytes, at + 1)
}

fn hex_pair(bytes: &[u8], at: usize) -> Option<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    Some(digit(bytes.get(at)?)? << 4 | digit(bytes.get(at + 1)?)?)
}

/// The host that a request is for, without port, if it says so exactly once.
pub(crate) fn host<'a>(
    headers: &'a Headers,
    target: &'a Target,
    version: Version,
) -> Result<&'a str, TargetError> {
    let scheme = target.named.as_ref().and_then(|named| named.scheme.as_ref());
    if scheme.is_some_and(|scheme| *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS) {
        return Err(TargetError::Scheme);
    }
    let mut hosts = headers.all_known(Known::Host);
    let header = hosts.next();
    if hosts.next().is_some() {
        return Err(TargetError::Host);
    }
    // What is no visible ASCII is no host either.
    let header = header.map(|value| str::from_utf8(value).map_err(|_| TargetError::Host)).transpose()?;
    let authority = target.authority().map(Authority::as_str);
    let named = match (header, authority) {
        (Some(header), Some(authority)) if !header.eq_ignore_ascii_case(authority) => {
            return Err(TargetError::HostMismatch);
        }
        (Some(header), _) => header,
        (None, Some(authority)) => authority,
        // HTTP/1.0 knows no Host.
        (None, None) if version < Version::HTTP_11 => "",
        (None, None) => return Err(TargetError::Host),
    };
    without_port(named).ok_or(TargetError::Host)
}

/// `None` when the text is no host with at most one port.
fn without_port(authority: &str) -> Option<&str> {
    let is_ip6 = authority.starts_with('[');
    let end = if is_ip6 {
        authority.find(']')? + 1
    } else {
        // Too short for a search by words to pay.
        authority.bytes().position(|byte| byte == b':').unwrap_or(authority.len())
    };
    let (host, port) = authority.split_at_checked(end)?;
    let name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let ip6 = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b'[' | b':' | b'.' | b']');
    let is_host = if is_ip6 { host.bytes().all(ip6) } else { host.bytes().all(name) };
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    (is_host && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))).then_some(host)
}

/// Refuses `post`: a service may take it for `POST`, a route for methods does not. Refuses `CONNECT`,
/// whatever its target: what follows it is no HTTP. Refuses `TRACE`: an echo would tell the client what
/// the gateway says of it.
pub(crate) fn check_method(method: &Method) -> Result<(), TargetError> {
    if *method == Method::CONNECT {
        return Err(TargetError::Connect);
    }
    if *method == Method::TRACE {
        return Err(TargetError::Trace);
    }
    if method.as_str().bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err(TargetError::MethodCase);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn normal_forms() {
        for (raw, normal) in [
            ("/api/v1/llm/chat", "/api/v1/llm/chat"),
            ("//v1//x", "/v1/x"),
            ("/v1/./x", "/v1/x"),
            ("/v1/../x", "/x"),
            ("/v1/x/..", "/v1/"),
            ("/v1/.", "/v1/"),
            ("/%61pi/%7Euser", "/api/~user"),
            ("/a%20b%e4", "/a%20b%E4"),
            ("/", "/"),
            ("/file.tar.gz", "/file.tar.gz"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a;v=1/b", "/a;v=1/b"),
            ("/a%25", "/a%25"),
        ] {
            assert_eq!(normal_path(raw).as_deref(), Ok(normal), "{raw}");
        }
    }

    #[test]
    fn what_servers_read_differently_is_refused() {
        for raw in [
            "/v1/%2e%2e/x",
            "/v1/%2E/x",
            "/a%2fb",
            "/a%5Cb",
            "/a\\b",
            "/a%252e%252e/b",
            "/a%25%32%65",
            "/a/..;x/b",
            "/a/.;/b",
        ] {
            assert!(matches!(normal_path(raw), Err(TargetError::Ambiguous | TargetError::Encoding)), "{raw}");
        }
        for raw in ["", "*", "/..", "/a/../..", "/%00", "/%0d%0a", "/%zz", "/%", "/a\u{e4}", "/a b", "/a\"b"]
        {
            assert!(normal_path(raw).is_err(), "{raw}");
        }
        assert_eq!(normal_path(&format!("/{}", "a".repeat(PATH_BYTES_MAX))), Err(TargetError::TooLong));
    }

    proptest! {
        /// Short cuts lead to the same.
        #[test]
        fn a_target_is_what_libraries_read(
            text in "(http://a:80)?/?[a-zA-Z0-9./%;~:@\"<{ -]{0,20}(\\?[a-z%&=?\"<{/]{0,6})?(#[a-z]{0,2})?",
        ) {
            let read = Target::read(Bytes::from(text.clone()));
            match text.parse::<Uri>() {
                Err(_) => prop_assert!(read.is_err()),
                Ok(uri) => {
                    let read = read.unwrap();
                    prop_assert_eq!((read.path(), read.query()), (uri.path(), uri.query()));
                    prop_assert_eq!(read.authority(), uri.authority());
                    prop_assert_eq!(read.normal_path(), normal_path(uri.path()));
                    prop_assert_eq!(read.to_uri(), uri.clone());
                    prop_assert_eq!(Target::from(&uri).to_uri(), uri);
                }
            }
        }

        /// Normal means normal: once more changes nothing, and no dot segment or double slash is left.
        #[test]
        fn normalising_is_idempotent(path in "/[a-zA-Z0-9./%;~:@ -]{0,40}") {
            if let Ok(once) = normal_path(&path) {
                prop_assert_eq!(normal_path(&once), Ok(Cow::Borrowed(&*once)));
                prop_assert!(!once.contains("//"));
                prop_assert!(once.split('/').all(|s| s != "." && s != ".."));
            }
        }
    }
}
