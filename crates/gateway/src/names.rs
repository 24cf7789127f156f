//! Header names that clients must not speak in.

use http::HeaderName;
use tollgate_config::Identity;

use crate::headers::Known;

/// What a header means to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Nothing: it passes.
    Passes,
    /// It concerns this connection only (RFC 9110, section 7.6.1).
    HopByHop,
    /// It says who is calling.
    Identity(Claim),
    /// It is a spelling of a header that says who is calling.
    Misspelt,
    /// It is the gateway's to say: forwarding, signatures, usage, overridden methods.
    Reserved,
}

/// What a trusted peer says about the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    User,
    Org,
    Tier,
    Email,
    Role,
}

/// Claims in the order in which they are signed.
pub(crate) const CLAIMS: [Claim; 5] = [Claim::User, Claim::Org, Claim::Email, Claim::Role, Claim::Tier];

/// Lengths of names that are told apart.
const LENGTHS: usize = 32;

/// The configured names, ready to compare with.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    claims: [(HeaderName, String); 5],
    signature: Option<HeaderName>,
    /// At N: one bit for each claim whose name has N bytes, or N plus a multiple of that many.
    by_length: [u8; LENGTHS],
}

/// When the headers are signed, the time of the signature.
pub(crate) const TIMESTAMP: HeaderName = HeaderName::from_static("x-tollgate-timestamp");
/// Says what an upstream used of a meter.
pub(crate) const USAGE_PREFIX: &str = "x-usage-";

/// Folded names that tell upstreams something other than what was asked for.
const RESERVED: [&str; 9] = [
    "forwarded",
    "x-real-ip",
    "x-original-url",
    "x-original-uri",
    "x-rewrite-url",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-request-id",
];
/// Bit N: some reserved name has N bytes.
const RESERVED_LENGTHS: u64 = {
    let (mut bits, mut at) = (0, 0);
    while at < RESERVED.len() {
        bits |= 1 << RESERVED[at].len();
        at += 1;
    }
    bits
};
const RESERVED_PREFIXES: [&str; 3] = ["x-forwarded-", USAGE_PREFIX, "x-tollgate-"];

impl Names {
    pub(crate) fn new(identity: &Identity) -> Self {
        let claims = CLAIMS.map(|claim| {
            let name = match claim {
                Claim::User => &identity.user,
                Claim::Org => &identity.org,
                Claim::Tier => &identity.tier,
                Claim::Email => &identity.email,
                Claim::Role => &identity.role,
            };
            (name.clone(), fold(name.as_str()))
        });
        let mut by_length = [0; LENGTHS];
        for (claim, (_, folded)) in claims.iter().enumerate() {
            by_length[folded.len() % LENGTHS] |= 1 << claim;
        }
        let signature = identity.signature.as_ref().map(|signature| signature.header.clone());
        Self { claims, signature, by_length }
    }

    /// The header that carries `claim`.
    pub(crate) fn of(&self, claim: Claim) -> &HeaderName {
        let position = CLAIMS.iter().position(|c| *c == claim).unwrap_or(0);
        &self.claims[position].0
    }

    /// The header that carries the signature, if there is one.
    pub(crate) fn signature(&self) -> Option<&HeaderName> {
        self.signature.as_ref()
    }

    /// What a name, in lower case, means.
    pub(crate) fn classify(&self, known: Known, name: &[u8]) -> Class {
        match known {
            // What begins like the latter may be a claim's spelling all the same.
            Known::Other | Known::Usage => {}
            Known::Connection
            | Known::Expect
            | Known::KeepAlive
            | Known::ProxyAuthorization
            | Known::ProxyConnection
            | Known::Te
            | Known::TransferEncoding
            | Known::Upgrade => return Class::HopByHop,
            // Not `Trailer`: what it announces is passed on, and over HTTP/1 only what is announced.
            Known::Trailer
            | Known::ContentLength
            | Known::Cookie
            | Known::Date
            | Known::Host
            | Known::Traceparent => return Class::Passes,
        }
        for claim in self.of_length(name.len()) {
            let (exact, folded) = &self.claims[claim];
            if exact.as_str().as_bytes() == name {
                return Class::Identity(CLAIMS[claim]);
            }
            if folds_to(name, folded) {
                return Class::Misspelt;
            }
        }
        let is_signature = |signature: &HeaderName| folds_to(name, signature.as_str());
        match name.first() {
            Some(b'f' | b'x') if self.is_reserved(name) => Class::Reserved,
            _ if self.signature.as_ref().is_some_and(is_signature) => Class::Reserved,
            _ => Class::Passes,
        }
    }

    /// The claims whose names may have so many bytes.
    fn of_length(&self, length: usize) -> impl Iterator<Item = usize> {
        let mut left = self.by_length[length % LENGTHS];
        std::iter::from_fn(move || {
            let claim = left.checked_ilog2()? as usize;
            left &= !(1 << claim);
            Some(claim)
        })
    }

    fn is_reserved(&self, text: &[u8]) -> bool {
        (RESERVED_LENGTHS & length_bit(text) != 0 && RESERVED.iter().any(|name| folds_to(text, name)))
            || RESERVED_PREFIXES
                .iter()
                .any(|prefix| text.get(..prefix.len()).is_some_and(|head| folds_to(head, prefix)))
    }
}

/// Every non-alphanumeric character becomes `-`: how some servers make environment variables of names.
pub(crate) fn fold(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect()
}

/// Whether `name`, in lower case already, folds to `folded`.
pub(crate) fn folds_to(name: &[u8], folded: &str) -> bool {
    name.len() == folded.len()
        && name
            .iter()
            .zip(folded.as_bytes())
            .all(|(have, want)| have == want || (*want == b'-' && !have.is_ascii_alphanumeric()))
}

/// Names of different lengths may share a bit: the set rules out, it does not decide.
fn length_bit(text: &[u8]) -> u64 {
    1 << (text.len() % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names::new(&Identity {
            trusted_peers: Vec::new(),
            user: HeaderName::from_static("x-user-id"),
            org: HeaderName::from_static("x-org-id"),
            tier: HeaderName::from_static("x-user-tier"),
            email: HeaderName::from_static("x-user-email"),
            role: HeaderName::from_static("x-user-role"),
            anonymous: tollgate_config::Anonymous::Reject,
            signature: None,
        })
    }

    #[test]
    fn every_spelling_is_known() {
        let names = names();
        let class = |text: &str| {
            let name = text.to_lowercase();
            names.classify(Known::of(name.as_bytes()), name.as_bytes())
        };
        assert_eq!(class("X-User-Id"), Class::Identity(Claim::User));
        for misspelt in ["x_user_id", "X.User.Id", "x-user_id", "x!user*id"] {
            assert_eq!(class(misspelt), Class::Misspelt, "{misspelt}");
        }
        for reserved in [
            "X-Forwarded-Uri",
            "x_forwarded_for",
            "Forwarded",
            "X-HTTP-Method-Override",
            "X-Usage-calls",
            "x.request.id",
        ] {
            assert_eq!(class(reserved), Class::Reserved, "{reserved}");
        }
        for hop in ["Connection", "Keep-Alive", "TE", "Transfer-Encoding", "Upgrade", "Proxy-Connection"] {
            assert_eq!(class(hop), Class::HopByHop, "{hop}");
        }
        for passes in ["x-user-idx", "xuserid", "accept", "content-type", "x-api-key", "user-id"] {
            assert_eq!(class(passes), Class::Passes, "{passes}");
        }
    }
}
