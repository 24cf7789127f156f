//! Heads of messages on their way through, whatever protocol they came by.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header, request, response};
use hyper::ext::ReasonPhrase;

use crate::{body::ResponseBody, headers::Headers, said::Said, target::Target};

/// What a request says before its body.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestHead {
    pub(crate) method: Method,
    pub(crate) target: Target,
    pub(crate) version: Version,
    pub(crate) headers: Headers,
}

/// What an answer says before its body.
#[derive(Clone, Debug, Default)]
pub(crate) struct ResponseHead {
    pub(crate) status: StatusCode,
    /// Where it is another than the usual one.
    pub(crate) reason: Option<ReasonPhrase>,
    pub(crate) headers: Headers,
}

/// An answer to a client.
pub(crate) struct Reply {
    pub(crate) head: ResponseHead,
    pub(crate) body: ResponseBody,
    /// What it says beside its headers, over HTTP/1.
    pub(crate) said: Said,
}

impl From<request::Parts> for RequestHead {
    fn from(parts: request::Parts) -> Self {
        let request::Parts { method, uri, version, headers, .. } = parts;
        Self { method, target: Target::from(&uri), version, headers: headers.into() }
    }
}

impl RequestHead {
    /// As libraries have it, for `uri`.
    pub(crate) fn into_request<B>(self, uri: Uri, body: B) -> Request<B> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = uri;
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers.into_map();
        request
    }
}

impl From<response::Parts> for ResponseHead {
    fn from(parts: response::Parts) -> Self {
        let response::Parts { status, headers, extensions, .. } = parts;
        Self { status, reason: extensions.get().cloned(), headers: headers.into() }
    }
}

impl Reply {
    /// An upstream's answer.
    pub(crate) fn new(head: ResponseHead, body: ResponseBody) -> Self {
        Self { head, body, said: Said(Bytes::new()) }
    }

    /// Says that the connection ends with it.
    pub(crate) fn say_close(&mut self) {
        self.head.headers.insert(&header::CONNECTION, &HeaderValue::from_static("close"));
    }

    /// As libraries have it.
    pub(crate) fn into_response(self) -> Response<ResponseBody> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.head.status;
        *response.headers_mut() = self.head.headers.into_map();
        response
    }
}

impl From<Response<ResponseBody>> for Reply {
    fn from(response: Response<ResponseBody>) -> Self {
        let (parts, body) = response.into_parts();
        Self::new(parts.into(), body)
    }
}
