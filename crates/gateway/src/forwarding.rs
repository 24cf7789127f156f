//! Requests and answers as the other side is to see them.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};

use tollgate_core::RequestKey;
use uuid::Uuid;

use crate::{
    connection::Connection,
    head::RequestHead,
    headers::{Headers, Known},
    identity::{Caller, text},
    live::{Live, Route},
    names::{Claim, TIMESTAMP},
    refusal::{Code, Refusal},
    signature::{Signed, timestamp},
    target::Target,
    worker::Worker,
};

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What is asked for on the upstream: the normal path under the route's rewrite, and the query as it came. `None` where that
/// is what the client asks for.
pub(crate) fn redirected(
    worker: &Worker,
    route: &Route,
    (target, normal_path): (&Target, &Cow<'_, str>),
) -> Result<Option<(Bytes, usize)>, Refusal> {
    if !route.rewrites() && matches!(normal_path, Cow::Borrowed(_)) {
        return Ok(None);
    }
    let invalid = |_| Refusal::new(Code::BadRequest, "the request's target is not valid").closing();
    let (rewrite, rest) = route.rewrite(normal_path);
    target.with_path([rewrite, rest], &mut worker.scratch.borrow_mut()).map(Some).map_err(invalid)
}

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
pub(crate) fn dress(parts: &mut RequestHead, sender: &Sender<'_>) {
    let Sender { connection, live, caller, key, request_id } = *sender;
    let worker = &connection.worker;
    let headers = &mut parts.headers;
    join_cookies(headers);
    if !caller.is_said {
        headers.insert(live.names.of(Claim::User), &caller.user);
        headers.insert(live.names.of(Claim::Tier), &live.tiers[caller.tier.0].header);
        if let Some(org) = &caller.org {
            headers.insert(live.names.of(Claim::Org), org);
        }
    }
    if !headers.first_known(Known::Traceparent).is_some_and(|field| is_traceparent(field.value)) {
        headers.remove(&TRACEPARENT);
        headers.append_text(&TRACEPARENT, |text| put_traceparent(text, worker, key));
    }
    let via = &caller.via;
    for (name, before, own) in [
        (&FORWARDED_FOR, &via.forwarded_for, &connection.forwarded_for),
        (&header::FORWARDED, &via.forwarded, &connection.forwarded),
    ] {
        headers.append_text(name, |text| {
            if let Some(before) = before {
                text.extend_from_slice(before.as_bytes());
                text.extend_from_slice(b", ");
            }
            text.extend_from_slice(own.as_bytes());
        });
    }
    let proto = HeaderValue::from_static(if connection.tls { "https" } else { "http" });
    headers.append(&FORWARDED_PROTO, via.forwarded_proto.as_ref().unwrap_or(&proto));
    match (&via.forwarded_host, parts.target.authority()) {
        (Some(host), _) => headers.append(&FORWARDED_HOST, host),
        (None, authority) => {
            if !headers.append_copy(&FORWARDED_HOST, Known::Host)
                && let Some(authority) = authority
            {
                headers.append_text(&FORWARDED_HOST, |text| {
                    text.extend_from_slice(authority.as_str().as_bytes());
                });
            }
        }
    }
    headers.append(&REQUEST_ID, request_id);

    if let (Some(signer), Some(name)) = (&live.signer, live.names.signature()) {
        let tier = &live.tiers[caller.tier.0].header;
        let timestamp = timestamp(worker.now());
        let optional = |value: &Option<HeaderValue>| value.clone().unwrap_or(HeaderValue::from_static(""));
        let (org, email, role) = (optional(&caller.org), optional(&caller.email), optional(&caller.role));
        let signature = signer.sign(&Signed {
            timestamp,
            method: parts.method.as_str(),
            target: str::from_utf8(parts.target.text()).unwrap_or_default(),
            request_id: text(request_id),
            claims: [text(&caller.user), text(&org), text(&email), text(&role), text(tier)],
        });
        headers.append(&TIMESTAMP, &HeaderValue::from(timestamp));
        headers.append(name, &signature);
    }
}

/// Takes from an answer what concerned the upstream's connection or the gateway only.
pub(crate) fn undress(headers: &mut Headers) {
    const UNDRESSED: [Known; 6] = [
        Known::Connection,
        Known::TransferEncoding,
        Known::Upgrade,
        Known::KeepAlive,
        Known::ProxyConnection,
        Known::Usage,
    ];
    if !UNDRESSED.into_iter().any(|known| headers.may_have(known)) {
        return;
    }
    let (mut nominated, mut is_chunked) = (Vec::new(), false);
    headers.retain(|field| match field.known {
        Known::Connection => {
            let options = field.value.split(|byte| *byte == b',');
            nominated.extend(options.filter_map(|option| HeaderName::from_bytes(option.trim_ascii()).ok()));
            false
        }
        Known::TransferEncoding => {
            is_chunked = true;
            false
        }
        known => !UNDRESSED.contains(&known),
    });
    nominated.retain(|name| name != header::CONTENT_LENGTH);
    is_chunked |= nominated.contains(&header::TRANSFER_ENCODING);
    headers.remove_all(nominated);
    if is_chunked {
        // The body was read by its chunks (RFC 9112, section 6.3): a length beside them would cut it.
        headers.remove(&header::CONTENT_LENGTH);
    }
}

/// HTTP/2 may split cookies over several lines; elsewhere they are one (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut Headers) {
    if headers.all_known(Known::Cookie).nth(1).is_none() {
        return;
    }
    let lines: Vec<_> = headers.all_known(Known::Cookie).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&lines.join(&b"; "[..])) {
        headers.insert(&header::COOKIE, &joined);
    }
}

/// `version-traceid-parentid-flags` of W3C Trace Context.
fn is_traceparent(bytes: &[u8]) -> bool {
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
fn put_traceparent(text: &mut Vec<u8>, worker: &Worker, key: RequestKey) {
    let mut hex = Uuid::encode_buffer();
    // Nobody upstream of us knows the trace: our own span is its root.
    let span = u128::from(worker.random_u64() | 1);
    text.extend_from_slice(b"00-");
    text.extend_from_slice(Uuid::from_u128(key.to_bits()).simple().encode_lower(&mut hex).as_bytes());
    text.push(b'-');
    text.extend_from_slice(&Uuid::from_u128(span).simple().encode_lower(&mut hex).as_bytes()[16..]);
    text.extend_from_slice(b"-00");
}
