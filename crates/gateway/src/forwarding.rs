//! Requests and answers as the other side is to see them.

use bytes::{BufMut as _, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header, request::Parts, uri::PathAndQuery};

use tollgate_core::RequestKey;
use uuid::Uuid;

use crate::{
    connection::Connection,
    identity::{Caller, text},
    live::{Live, Route},
    names::{Claim, TIMESTAMP, USAGE_PREFIX},
    refusal::{Code, Refusal},
    signature::{Signed, timestamp},
    worker::Worker,
};

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The target on the upstream: the normal path under the route's rewrite, and the query as it came.
pub(crate) fn target(
    worker: &Worker,
    route: &Route,
    path: &str,
    query: Option<&str>,
) -> Result<Uri, Refusal> {
    let (rewrite, rest) = route.rewrite(path);
    let question = if query.is_some() { "?" } else { "" };
    let parts = [rewrite, rest, question, query.unwrap_or_default()];
    // Most requests want what the last one wanted.
    let last = &mut *worker.last_target.borrow_mut();
    if is_made_of(last.path_and_query().map_or("", PathAndQuery::as_str), parts) {
        return Ok(last.clone());
    }
    let mut target = BytesMut::with_capacity(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        target.put_slice(part.as_bytes());
    }
    let target = PathAndQuery::from_maybe_shared(target.freeze())
        .map_err(|_| Refusal::new(Code::BadRequest, "the request's target is not valid").closing())?;
    *last = Uri::from(target);
    Ok(last.clone())
}

/// Whether `text` is the parts one after another.
fn is_made_of(text: &str, parts: [&str; 4]) -> bool {
    let rest = parts.iter().try_fold(text, |text, part| text.strip_prefix(part));
    rest.is_some_and(str::is_empty)
}

/// Header lines of names that no header of the request has. Looking each up in a map would cost more than the rest
/// of them.
pub(crate) type Added = Vec<(HeaderName, HeaderValue)>;

/// Lines that are added to most requests.
const ADDED_USUAL: usize = 6;

/// Who sends a request on, for whom.
pub(crate) struct Sender<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) live: &'a Live,
    pub(crate) caller: &'a Caller,
    pub(crate) key: RequestKey,
    pub(crate) request_id: &'a HeaderValue,
}

/// Says to the upstream who is calling and how the request came. What a trusted peer says of the caller is
/// in the headers already; the client's own words on both are gone.
///
/// What no header says any more goes into the lines that are returned.
pub(crate) fn dress(parts: &mut Parts, target: &Uri, sender: &Sender<'_>) -> Added {
    let Sender { connection, live, caller, key, request_id } = *sender;
    let worker = &connection.worker;
    let headers = &mut parts.headers;
    let mut added = Added::with_capacity(ADDED_USUAL);
    join_cookies(headers);
    if !caller.is_said {
        headers.insert(live.names.of(Claim::User).clone(), caller.user.clone());
        headers.insert(live.names.of(Claim::Tier).clone(), live.tiers[caller.tier.0].header.clone());
        if let Some(org) = &caller.org {
            headers.insert(live.names.of(Claim::Org).clone(), org.clone());
        }
    }
    let host = headers.get(header::HOST).cloned().or_else(|| {
        parts.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok())
    });
    match headers.get_mut(&TRACEPARENT) {
        Some(given) if is_traceparent(given) => {}
        Some(_) => {
            headers.insert(TRACEPARENT, traceparent(connection, key));
        }
        None => added.push((TRACEPARENT, traceparent(connection, key))),
    }
    let via = &caller.via;
    let chained = |before: &Option<HeaderValue>, own: &HeaderValue| match before {
        None => own.clone(),
        Some(before) => {
            let joined = [before.as_bytes(), b", ", own.as_bytes()].concat();
            HeaderValue::from_bytes(&joined).unwrap_or_else(|_| own.clone())
        }
    };
    added.push((FORWARDED_FOR, chained(&via.forwarded_for, &connection.forwarded_for)));
    added.push((header::FORWARDED, chained(&via.forwarded, &connection.forwarded)));
    let proto = HeaderValue::from_static(if connection.tls { "https" } else { "http" });
    added.push((FORWARDED_PROTO, via.forwarded_proto.clone().unwrap_or(proto)));
    if let Some(host) = via.forwarded_host.clone().or(host) {
        added.push((FORWARDED_HOST, host));
    }
    added.push((REQUEST_ID, request_id.clone()));

    if let (Some(signer), Some(name)) = (&live.signer, live.names.signature()) {
        let tier = &live.tiers[caller.tier.0].header;
        let timestamp = timestamp(worker.now());
        let optional = |value: &Option<HeaderValue>| value.clone().unwrap_or(HeaderValue::from_static(""));
        let (org, email, role) = (optional(&caller.org), optional(&caller.email), optional(&caller.role));
        let signature = signer.sign(&Signed {
            timestamp,
            method: parts.method.as_str(),
            target: target.path_and_query().map_or("/", |target| target.as_str()),
            request_id: text(request_id),
            claims: [text(&caller.user), text(&org), text(&email), text(&role), text(tier)],
        });
        added.push((TIMESTAMP, HeaderValue::from(timestamp)));
        added.push((name.clone(), signature));
    }
    added
}

/// Takes from an answer what concerned the upstream's connection or the gateway only.
pub(crate) fn undress(headers: &mut HeaderMap) {
    let mut removed: Vec<HeaderName> = Vec::new();
    for (name, value) in headers.iter() {
        if *name == header::CONNECTION {
            let nominated = value.as_bytes().split(|byte| *byte == b',');
            let nominated = nominated.filter_map(|option| HeaderName::from_bytes(option.trim_ascii()).ok());
            removed.extend(nominated.filter(|name| *name != header::CONTENT_LENGTH));
            removed.push(header::CONNECTION);
        } else if is_upstreams_own(name) {
            removed.push(name.clone());
        }
    }
    if removed.contains(&header::TRANSFER_ENCODING) {
        // The body was read by its chunks (RFC 9112, section 6.3): a length beside them would cut it.
        removed.push(header::CONTENT_LENGTH);
    }
    for name in removed {
        headers.remove(name);
    }
}

/// Whether a header of an answer, `Connection` aside, is not for clients. Decided by the first letter
/// for most.
fn is_upstreams_own(name: &HeaderName) -> bool {
    let text = name.as_str();
    match text.as_bytes().first() {
        Some(b't') => *name == header::TRANSFER_ENCODING,
        Some(b'u') => *name == header::UPGRADE,
        Some(b'k') => text == "keep-alive",
        Some(b'p') => text == "proxy-connection",
        Some(b'x') => text.starts_with(USAGE_PREFIX),
        _ => false,
    }
}

/// HTTP/2 may split cookies over several lines; elsewhere they are one (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes);
    if lines.by_ref().nth(1).is_none() {
        return;
    }
    let lines: Vec<_> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&lines.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

/// `version-traceid-parentid-flags` of W3C Trace Context.
fn is_traceparent(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    let hex = |range: std::ops::Range<usize>| {
        let part = &bytes[range];
        part.iter().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte))
            && part.iter().any(|byte| *byte != b'0')
    };
    bytes.len() == 55
        && bytes.starts_with(b"00-")
        && bytes[35] == b'-'
        && bytes[52] == b'-'
        && hex(3..35)
        && hex(36..52)
        && bytes[53..].iter().all(u8::is_ascii_hexdigit)
}

/// A trace that begins here (W3C Trace Context): named like the request, so that the ledger leads to it.
fn traceparent(connection: &Connection, key: RequestKey) -> HeaderValue {
    let worker = &connection.worker;
    let mut text = Uuid::encode_buffer();
    // Nobody upstream of us knows the trace: our own span is its root.
    let span = u128::from(worker.random_u64() | 1);
    worker.scratch.borrow_mut().value(|buffer| {
        buffer.put_slice(b"00-");
        buffer.put_slice(Uuid::from_u128(key.to_bits()).simple().encode_lower(&mut text).as_bytes());
        buffer.put_u8(b'-');
        buffer.put_slice(&Uuid::from_u128(span).simple().encode_lower(&mut text).as_bytes()[16..]);
        buffer.put_slice(b"-00");
    })
}
