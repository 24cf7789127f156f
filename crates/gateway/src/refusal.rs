//! Refusals: the one place that turns what went wrong into an answer.

use std::borrow::Cow;

use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use crate::{body::ResponseBody, identity::IdentityError, target::TargetError};

/// Stable codes of refusals. Clients match on them; a code never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Code {
    BadRequest,
    BodyTooLarge,
    HeadersTooLarge,
    IdempotencyConflict,
    IdentityInvalid,
    IdentityMissing,
    InvalidEvent,
    NoRoute,
    NotFound,
    Overloaded,
    QuotaExceeded,
    RateLimited,
    RequestTimeout,
    StoreUnavailable,
    TooManyJobs,
    UnknownTier,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
}

impl Code {
    pub(crate) const ALL: [Self; 19] = [
        Self::BadRequest,
        Self::BodyTooLarge,
        Self::HeadersTooLarge,
        Self::IdempotencyConflict,
        Self::IdentityInvalid,
        Self::IdentityMissing,
        Self::InvalidEvent,
        Self::NoRoute,
        Self::NotFound,
        Self::Overloaded,
        Self::QuotaExceeded,
        Self::RateLimited,
        Self::RequestTimeout,
        Self::StoreUnavailable,
        Self::TooManyJobs,
        Self::UnknownTier,
        Self::UpstreamError,
        Self::UpstreamTimeout,
        Self::UpstreamUnavailable,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::BodyTooLarge => "body_too_large",
            Self::HeadersTooLarge => "headers_too_large",
            Self::IdempotencyConflict => "idempotency_conflict",
            Self::IdentityInvalid => "identity_invalid",
            Self::IdentityMissing => "identity_missing",
            Self::InvalidEvent => "invalid_event",
            Self::NoRoute => "no_route",
            Self::NotFound => "not_found",
            Self::Overloaded => "overloaded",
            Self::QuotaExceeded => "quota_exceeded",
            Self::RateLimited => "rate_limited",
            Self::RequestTimeout => "request_timeout",
            Self::StoreUnavailable => "store_unavailable",
            Self::TooManyJobs => "too_many_jobs",
            Self::UnknownTier => "unknown_tier",
            // Both are the upstream not being there for the client; the status tells them apart.
            Self::UpstreamError | Self::UpstreamUnavailable => "upstream_unavailable",
            Self::UpstreamTimeout => "upstream_timeout",
        }
    }

    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::BadRequest | Self::IdentityInvalid | Self::InvalidEvent => StatusCode::BAD_REQUEST,
            Self::IdentityMissing => StatusCode::UNAUTHORIZED,
            Self::UnknownTier => StatusCode::FORBIDDEN,
            Self::NoRoute | Self::NotFound => StatusCode::NOT_FOUND,
            Self::IdempotencyConflict => StatusCode::CONFLICT,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::QuotaExceeded | Self::RateLimited | Self::TooManyJobs => StatusCode::TOO_MANY_REQUESTS,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::UpstreamError => StatusCode::BAD_GATEWAY,
            Self::Overloaded | Self::StoreUnavailable | Self::UpstreamUnavailable => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

/// A request that is answered by the gateway itself.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    /// For the client: what happened and what to do.
    message: Cow<'static, str>,
    quota: Option<Box<Quota>>,
    /// Where in a JSON body the mistake is, as in RFC 6901.
    pointer: Option<Box<str>>,
    retry_after_seconds: Option<u64>,
    /// Whether the connection can not be used any more.
    pub(crate) close: bool,
}

/// The limit that refuses.
#[derive(Debug, Serialize)]
pub(crate) struct Quota {
    pub(crate) tier: String,
    pub(crate) meter: String,
    pub(crate) window: String,
    pub(crate) used: i64,
    pub(crate) limit: i64,
    pub(crate) remaining: i64,
    /// RFC 3339; null for what never resets.
    pub(crate) reset_at: Option<String>,
    pub(crate) retry_after: Option<u64>,
    pub(crate) upgrade_url: Option<String>,
}

/// What the answer to a refused request says.
#[derive(Serialize)]
pub(crate) struct Body<'a> {
    error: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<&'a str>,
    #[serde(flatten)]
    quota: Option<&'a Quota>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

impl Refusal {
    pub(crate) fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            quota: None,
            pointer: None,
            retry_after_seconds: None,
            close: false,
        }
    }

    /// Of a limit.
    pub(crate) fn quota(code: Code, message: String, quota: Quota) -> Self {
        let retry_after_seconds = quota.retry_after;
        Self { quota: Some(Box::new(quota)), retry_after_seconds, ..Self::new(code, message) }
    }

    /// Says when to try again.
    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after_seconds: Some(seconds), ..self }
    }

    /// Of a mistake in a JSON body, where `pointer` says.
    pub(crate) fn at(
        code: Code,
        pointer: impl Into<Box<str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { pointer: Some(pointer.into()), ..Self::new(code, message) }
    }

    /// Ends the connection with the answer.
    pub(crate) fn closing(self) -> Self {
        Self { close: true, ..self }
    }

    /// What its answer says; without an id where it is a part of another one.
    pub(crate) fn body<'a>(&'a self, request_id: Option<&'a str>) -> Body<'a> {
        Body {
            error: self.code.name(),
            message: &self.message,
            pointer: self.pointer.as_deref(),
            quota: self.quota.as_deref(),
            retry_after: self.retry_after_seconds.filter(|_| self.quota.is_none()),
            request_id,
        }
    }

    /// The answer, without the headers that all answers get.
    pub(crate) fn into_response(self, request_id: &str) -> Response<ResponseBody> {
        let json = serde_json::to_vec(&self.body(Some(request_id))).unwrap_or_default();
        let mut response = Response::new(ResponseBody::full(json));
        *response.status_mut() = self.code.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl From<TargetError> for Refusal {
    fn from(error: TargetError) -> Self {
        Self::new(Code::BadRequest, error.to_string()).closing()
    }
}

impl From<IdentityError> for Refusal {
    fn from(error: IdentityError) -> Self {
        let code = match error {
            IdentityError::Missing(_) => Code::IdentityMissing,
            IdentityError::UnknownTier(_) => Code::UnknownTier,
            IdentityError::Repeated(_)
            | IdentityError::Invalid(_)
            | IdentityError::Misspelt(_)
            | IdentityError::Nominated(_) => Code::IdentityInvalid,
        };
        Self::new(code, error.to_string())
    }
}
