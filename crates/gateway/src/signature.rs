//! The optional signature over what the gateway says to upstreams. `crates/gateway/docs/signature.md`
//! has the recipe to verify it.

use std::{env, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderValue;
use ring::hmac;
use tollgate_config::Signature;
use tollgate_core::UnixMillis;

/// Shortest key, in bytes, that is accepted (RFC 2104, section 3: as long as the hash's output).
const KEY_BYTES_MIN: usize = 32;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("the environment variable {0} is not set")]
    Missing(Box<str>),
    #[error("the key in {0} has fewer than {KEY_BYTES_MIN} bytes; make one with: openssl rand -base64 32")]
    TooShort(Box<str>),
}

/// Signs with one key.
pub(crate) struct Signer {
    key: hmac::Key,
}

/// What is signed of a request, in this order, each followed by a newline.
pub(crate) struct Signed<'a> {
    /// Seconds since the epoch.
    pub(crate) timestamp: i64,
    pub(crate) method: &'a str,
    /// Path and query as the upstream receives them.
    pub(crate) target: &'a str,
    pub(crate) request_id: &'a str,
    /// User, organisation, e-mail, role and tier; an absent one is empty.
    pub(crate) claims: [&'a str; 5],
}

impl Signer {
    /// With the key that the environment holds.
    pub(crate) fn new(signature: &Signature) -> Result<Self, KeyError> {
        let name = &signature.key_env;
        let key = env::var(&**name).map_err(|_| KeyError::Missing(name.clone()))?;
        if key.len() < KEY_BYTES_MIN {
            return Err(KeyError::TooShort(name.clone()));
        }
        Ok(Self { key: hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()) })
    }

    /// `v1=` and the base64 of HMAC-SHA256 over the text that [`Signed`] describes.
    pub(crate) fn sign(&self, signed: &Signed<'_>) -> HeaderValue {
        let Signed { timestamp, method, target, request_id, claims } = signed;
        let mut context = hmac::Context::with_key(&self.key);
        for part in ["v1", itoa::Buffer::new().format(*timestamp), method, target, request_id] {
            context.update(part.as_bytes());
            context.update(b"\n");
        }
        for claim in claims {
            context.update(claim.as_bytes());
            context.update(b"\n");
        }
        let text = format!("v1={}", STANDARD.encode(context.sign()));
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("v1="))
    }
}

/// Seconds, as they are signed.
pub(crate) fn timestamp(at: UnixMillis) -> i64 {
    at.0.div_euclid(1000)
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}
