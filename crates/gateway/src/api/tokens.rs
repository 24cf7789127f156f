//! Service tokens: whoever has one may speak for others.

use std::env;

use http::header;
use ring::digest::{Digest, SHA256, digest};

use crate::headers::Headers;

/// Shortest token, in bytes: 24 characters of base64 are 144 bits.
const TOKEN_BYTES_MIN: usize = 24;
/// Each request compares with all of them.
const TOKENS_MAX: usize = 64;

/// Why the tokens cannot be used. None of them is shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error(
        "a token in {0} has fewer than {TOKEN_BYTES_MIN} bytes or a character that no header can have; \
         make one with: openssl rand -base64 32"
    )]
    Weak(Box<str>),
    #[error("there are more than {TOKENS_MAX} tokens in {0}")]
    TooMany(Box<str>),
}

/// Hashes of the tokens: these are compared, so that neither length nor prefix shows in the time it takes.
pub(super) struct Tokens(Vec<Digest>);

impl Tokens {
    /// Those in the environment variable `name`, separated by commas or white space; none without it.
    pub(super) fn read(name: &str) -> Result<Self, TokenError> {
        let text = env::var(name).unwrap_or_default();
        let is_separator = |c: char| c == ',' || c.is_whitespace();
        let tokens: Vec<&str> = text.split(is_separator).filter(|token| !token.is_empty()).collect();
        if tokens.len() > TOKENS_MAX {
            return Err(TokenError::TooMany(name.into()));
        }
        let is_weak = |token: &&str| {
            token.len() < TOKEN_BYTES_MIN || !token.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if tokens.iter().any(is_weak) {
            return Err(TokenError::Weak(name.into()));
        }
        Ok(Self(tokens.iter().map(|token| digest(&SHA256, token.as_bytes())).collect()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the request has one of them.
    pub(super) fn know(&self, headers: &Headers) -> bool {
        let Some(token) = bearer(headers) else { return false };
        let given = digest(&SHA256, token);
        // All are compared, whichever fits.
        self.0.iter().fold(false, |known, token| known | (token.as_ref() == given.as_ref()))
    }
}

/// The only bearer token of a request.
pub(super) fn bearer(headers: &Headers) -> Option<&[u8]> {
    let mut values = headers.all(&header::AUTHORIZATION);
    let (scheme, token) = values.next()?.split_at_checked(7)?;
    (values.next().is_none() && scheme.eq_ignore_ascii_case(b"bearer ")).then_some(token)
}
