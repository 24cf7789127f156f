//! What the samples have in common: connections, JSON answers, bounded bodies.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Connections of one sample; further ones wait.
const CONNECTIONS_MAX: usize = 256;

/// What passes before another try when a connection cannot be accepted (no file descriptors left).
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Why a request's body was not taken.
pub(super) enum BodyError {
    /// It is longer than allowed.
    TooLarge,
    /// It ended too early.
    Cut,
}

/// Serves until the runtime ends.
pub(super) async fn serve<Answer, Answering>(listener: TcpListener, answer: Answer)
where
    Answer: Fn(Request<Incoming>) -> Answering + Clone + Send + 'static,
    Answering: Future<Output = Response<Body>> + Send + 'static,
{
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(place) = Arc::clone(&connections).acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_RETRY).await;
            continue;
        };
        // Words of a stream are small writes that should not wait for each other.
        let _ = stream.set_nodelay(true);
        let answer = answer.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answering = answer(request);
                async move { Ok::<_, Infallible>(answering.await) }
            });
            // A client that goes away is no error of the sample.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(place);
        });
    }
}

/// A JSON answer.
pub(super) fn json(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = Response::new(Full::from(body.to_string()).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The whole body of a request, at most `bytes_max`.
pub(super) async fn read(body: Incoming, bytes_max: usize) -> Result<Bytes, BodyError> {
    match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge),
        Err(_) => Err(BodyError::Cut),
    }
}

/// What the gateway said in a header, or `otherwise`.
pub(super) fn header_or<'a>(headers: &'a http::HeaderMap, name: &str, otherwise: &'a str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or(otherwise)
}

/// What follows `prefix` in a path, without slashes around it: empty for the collection, else the id of an item.
pub(super) fn item<'a>(path: &'a str, prefixes: &[&str]) -> &'a str {
    let without = |path: &'a str, prefix: &&str| {
        let rest = path.strip_prefix(prefix);
        rest.filter(|rest| rest.is_empty() || rest.starts_with('/')).unwrap_or(path)
    };
    prefixes.iter().fold(path, without).trim_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_found_with_and_without_the_gateways_rewrite() {
        let prefixes = ["/api/v1/memory", "/memories"];
        for (path, expected) in [
            ("/memories", ""),
            ("/memories/7", "7"),
            ("/", ""),
            ("/7", "7"),
            ("/api/v1/memory/", ""),
            ("/api/v1/memory/memories/7", "7"),
            ("/api/v1/memory/7", "7"),
            ("/memoriesx", "memoriesx"),
        ] {
            assert_eq!(item(path, &prefixes), expected, "{path}");
        }
    }
}
