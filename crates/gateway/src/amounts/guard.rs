//! What an upstream is not told of a request, so that it sees what is charged, and its answer can be read.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{ACCEPT_ENCODING, IF_RANGE, RANGE},
};

use super::Plan;
use crate::{
    headers::{self, Headers},
    names::{fold, folds_to},
};

/// Asks for an answer that says less (RFC 7240).
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// Headers of requests that a route looks at.
#[derive(Default)]
pub(super) struct LookedAt(Vec<(HeaderName, String)>);

impl LookedAt {
    pub(super) fn add(&mut self, name: &HeaderName) {
        if self.0.iter().all(|(known, _)| known != name) {
            self.0.push((name.clone(), fold(name.as_str())));
        }
    }

    fn is_spelling(&self, name: &[u8]) -> bool {
        self.0.iter().any(|(_, folded)| folds_to(name, folded))
    }

    fn is_exact(&self, name: &[u8]) -> bool {
        self.0.iter().any(|(known, _)| known.as_str().as_bytes() == name)
    }
}

impl Plan {
    /// Takes from a request what would have its upstream see something else than is charged, and what asks for an answer
    /// that says less than is looked at.
    pub(crate) fn guard(&self, headers: &mut Headers) {
        if self.guards_trailers() {
            let looked_at = &self.request_headers;
            headers.retain(|field| looked_at.is_exact(field.name) || !looked_at.is_spelling(field.name));
        }
        if !self.response_fields.is_empty() {
            [RANGE, IF_RANGE, PREFER].iter().for_each(|name| headers.remove(name));
            accept_what_is_decoded(headers);
        }
    }

    /// Takes from trailers what is looked at in headers: what comes this late is not charged.
    pub(crate) fn guard_trailers(&self, trailers: &mut HeaderMap) {
        let is_removed = |name: &&HeaderName| self.request_headers.is_spelling(name.as_str().as_bytes());
        let removed: Vec<HeaderName> = trailers.keys().filter(is_removed).cloned().collect();
        for name in removed {
            trailers.remove(name);
        }
    }

    /// Whether there is something that trailers must not say.
    pub(crate) fn guards_trailers(&self) -> bool {
        !self.request_headers.0.is_empty()
    }
}

/// Leaves of what a client accepts the codings that can be decoded.
fn accept_what_is_decoded(headers: &mut Headers) {
    if !headers.has(&ACCEPT_ENCODING) {
        return;
    }
    let is_decoded = |item: &&str| {
        let coding = item.split(';').next().unwrap_or_default().trim();
        !coding.is_empty() && tollgate_usage::is_decoded(coding)
    };
    let lines = headers.all(&ACCEPT_ENCODING).filter_map(headers::text);
    let kept: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).filter(is_decoded).collect();
    let kept = if kept.is_empty() { "identity".to_owned() } else { kept.join(", ") };
    let kept = HeaderValue::try_from(kept).unwrap_or(HeaderValue::from_static("identity"));
    headers.insert(&ACCEPT_ENCODING, &kept);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_decoded_is_not_asked_for() {
        for (lines, kept) in [
            (&["gzip, br;q=0.5"][..], "gzip, br;q=0.5"),
            (&["unheard-of"], "identity"),
            (&["*"], "identity"),
            (&["compress, *;q=0.1", "GZIP , deflate"], "GZIP, deflate"),
            (&["identity;q=0, zstd"], "identity;q=0, zstd"),
        ] {
            let mut headers = Headers::default();
            for line in lines {
                headers.append(&ACCEPT_ENCODING, &HeaderValue::from_static(line));
            }
            accept_what_is_decoded(&mut headers);
            let all: Vec<_> = headers.all(&ACCEPT_ENCODING).collect();
            assert_eq!(all, [kept.as_bytes()], "{lines:?}");
        }
        let mut headers = Headers::default();
        accept_what_is_decoded(&mut headers);
        assert_eq!(headers.len(), 0);
    }
}
