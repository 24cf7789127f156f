//! What of an exchange's heads decides how its body is read.

/// The request that a response answers, as the upstream was sent it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method; only the answer to a `POST` can be charged.
    pub method: &'a str,
    /// The path, with its query or without; its end says which operation it is.
    pub path: &'a str,
}

/// The headers of a response that say how its body is to be read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Response<'a> {
    /// `Content-Type`.
    pub content_type: Option<&'a str>,
    /// `Content-Encoding`.
    pub content_encoding: Option<&'a str>,
}
