//! What an upstream is not told of a request, so that it sees what is charged, and its answer can be read.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{ACCEPT_ENCODING, IF_RANGE, RANGE},
};

use super::Plan;
use crate::names::{fold, folds_to};

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

    fn is_spelling(&self, name: &HeaderName) -> bool {
        self.0.iter().any(|(_, folded)| folds_to(name.as_str(), folded))
    }

    fn is_exact(&self, name: &HeaderName) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }
}

impl Plan {
    /// Takes from a request what would have its upstream see something else than is charged, and what asks for an answer
    /// that says less than is looked at.
    pub(crate) fn guard(&self, headers: &mut HeaderMap) {
        self.remove(headers, |name| !self.request_headers.is_exact(name));
        if !self.response_fields.is_empty() {
            [RANGE, IF_RANGE, PREFER].into_iter().for_each(|name| drop(headers.remove(name)));
            accept_what_is_decoded(headers);
        }
    }

    /// Takes from trailers what is looked at in headers: what comes this late is not charged.
    pub(crate) fn guard_trailers(&self, trailers: &mut HeaderMap) {
        self.remove(trailers, |_| true);
    }

    /// Whether there is something that trailers must not say.
    pub(crate) fn guards_trailers(&self) -> bool {
        !self.request_headers.0.is_empty()
    }

    fn remove(&self, headers: &mut HeaderMap, is_unwanted: impl Fn(&HeaderName) -> bool) {
        if !self.guards_trailers() {
            return;
        }
        let is_removed = |name: &&HeaderName| self.request_headers.is_spelling(name) && is_unwanted(name);
        let removed: Vec<HeaderName> = headers.keys().filter(is_removed).cloned().collect();
        for name in removed {
            headers.remove(name);
        }
    }
}

/// Leaves of what a client accepts the codings that can be decoded.
fn accept_what_is_decoded(headers: &mut HeaderMap) {
    if !headers.contains_key(ACCEPT_ENCODING) {
        return;
    }
    let is_decoded = |item: &&str| {
        let coding = item.split(';').next().unwrap_or_default().trim();
        !coding.is_empty() && tollgate_usage::is_decoded(coding)
    };
    let lines = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    let kept: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).filter(is_decoded).collect();
    let kept = if kept.is_empty() { "identity".to_owned() } else { kept.join(", ") };
    let kept = HeaderValue::try_from(kept).unwrap_or(HeaderValue::from_static("identity"));
    headers.insert(ACCEPT_ENCODING, kept);
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
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(ACCEPT_ENCODING, HeaderValue::from_static(line));
            }
            accept_what_is_decoded(&mut headers);
            let all: Vec<_> = headers.get_all(ACCEPT_ENCODING).iter().collect();
            assert_eq!(all, [kept], "{lines:?}");
        }
        let mut headers = HeaderMap::new();
        accept_what_is_decoded(&mut headers);
        assert!(headers.is_empty());
    }
}
