//! Sending one request to an upstream, with at most one repetition.

use std::{future::poll_fn, mem, rc::Rc, sync::Arc};

use http::{HeaderValue, Method, Request, Uri, Version, header, uri::PathAndQuery};
use tollgate_config::Protocol;

use super::{
    Endpoint, Lease, Upstream, UpstreamBody,
    connect::{ConnectError, Fresh, connect},
    endpoint::{InFlight, display},
    http1::{Answer, Connection},
    pool::{Pool, SendH2},
};
use crate::{
    body::{BodyError, Progress, RequestBody},
    connection::Connection as Client,
    head::{RequestHead, ResponseHead},
    headers::Known,
    turn,
};

/// A request as an upstream is to get it; its URI is the target there.
pub(crate) struct Outgoing {
    pub(crate) parts: Box<RequestHead>,
    pub(crate) body: RequestBody,
}

/// An answer's head, and the connection its body comes over.
pub(crate) struct Sent {
    pub(crate) head: ResponseHead,
    pub(crate) body: UpstreamBody,
    pub(crate) lease: Lease,
}

/// Who waits for an answer.
#[derive(Clone, Copy)]
pub(crate) struct Waiter<'a> {
    /// Hears what an upstream says before its answer.
    pub(crate) client: &'a Client,
    pub(crate) progress: &'a Progress,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error("every URL of the upstream is left out for now")]
    NoneAvailable,
    #[error("{url}: {error}")]
    Connect { url: String, error: ConnectError },
    #[error("{url}: {error}")]
    Failed { url: String, error: BodyError },
}

/// A request until it is sent, and again where it may be repeated.
type Unsent = Option<Outgoing>;

/// Sends `request`.
///
/// It is sent a second time, once, where that cannot do work twice: if nothing of it was sent, or if an
/// idempotent request without a body found its pooled connection closed. Cancelling drops the
/// connection, so that the upstream notices.
pub(crate) async fn send(
    waiter: Waiter<'_>,
    upstream: &Arc<Upstream>,
    request: Outgoing,
) -> Result<Sent, SendError> {
    let (pools, random) = (&waiter.client.worker.pools, waiter.client.worker.random_u64());
    let first = upstream.pick(random, None).ok_or(SendError::NoneAvailable)?;
    let mut unsent = Some(request);
    let error = match attempt(&pools.of(upstream, first), &mut unsent, waiter, true).await {
        Ok(sent) => return Ok(sent),
        Err(error) => error,
    };
    let second = match (&unsent, &*error) {
        // The URL does not accept connections: another may.
        (Some(_), SendError::Connect { .. }) => upstream.pick(random, Some(first.id)),
        (Some(_), _) => Some(first),
        (None, _) => return Err(*error),
    };
    let Some(second) = second else { return Err(*error) };
    upstream.retries.increment(1);
    Box::pin(attempt(&pools.of(upstream, second), &mut unsent, waiter, false)).await.map_err(|error| *error)
}

/// Whether it may be repeated even if the upstream has seen it.
fn is_repeatable(Outgoing { parts, body }: &Outgoing) -> bool {
    matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
        && matches!(body, RequestBody::Empty)
        && !parts.headers.has_known(Known::Upgrade)
}

impl From<Request<RequestBody>> for Outgoing {
    fn from(request: Request<RequestBody>) -> Self {
        let (parts, body) = request.into_parts();
        Self { parts: Box::new(parts.into()), body }
    }
}

async fn attempt(
    pool: &Rc<Pool>,
    request: &mut Unsent,
    waiter: Waiter<'_>,
    pooled: bool,
) -> Result<Sent, Box<SendError>> {
    let protocol = pool.endpoint.protocol;
    // Over HTTP/2 an upgrade would be lost, and the request an ordinary one.
    let only_h1 = protocol == Protocol::Auto
        && request.as_ref().is_some_and(|request| request.parts.headers.has_known(Known::Upgrade));
    // From here on it counts for whoever picks a URL.
    let in_flight = pool.endpoint.begin();
    if let Some(sender) = pool.shared().filter(|_| !only_h1) {
        return send_h2(pool, sender, request, waiter.progress, in_flight).await;
    }
    if pooled {
        // Before a connection is looked at: nothing comes between that and what is written to it.
        turn::others_first().await;
        if let Some(connection) = pool.take_idle() {
            return send_h1(pool, connection, request, waiter, in_flight, true).await;
        }
    }
    // Where one connection can serve all, one connects and the others wait for it.
    let connecting = match protocol {
        Protocol::Http1 => None,
        Protocol::Auto if only_h1 || pool.negotiated_h1.get() => None,
        Protocol::Http2 | Protocol::Auto => Some(pool.connecting.lock().await),
    };
    if let Some(sender) = pool.shared().filter(|_| !only_h1) {
        drop(connecting);
        return send_h2(pool, sender, request, waiter.progress, in_flight).await;
    }
    // Rare, and large: not part of every exchange's future.
    let fresh = Box::pin(connect(pool, only_h1)).await;
    match &fresh {
        Ok(Fresh::H1(_)) if only_h1 => {}
        Ok(Fresh::H1(_)) => pool.negotiated_h1.set(true),
        Ok(Fresh::H2(sender)) => *pool.h2.borrow_mut() = Some(sender.clone()),
        Err(_) => {}
    }
    // What is waited for is the connection, not somebody else's answer.
    drop(connecting);
    match fresh {
        Ok(Fresh::H1(connection)) => send_h1(pool, connection, request, waiter, in_flight, false).await,
        Ok(Fresh::H2(sender)) => send_h2(pool, sender, request, waiter.progress, in_flight).await,
        Err(error) => {
            let error = SendError::Connect { url: display(&pool.endpoint.url), error };
            Err(Box::new(error))
        }
    }
}

async fn send_h1(
    pool: &Rc<Pool>,
    mut connection: Box<Connection>,
    unsent: &mut Unsent,
    Waiter { client, progress }: Waiter<'_>,
    in_flight: InFlight,
    on_pooled: bool,
) -> Result<Sent, Box<SendError>> {
    let Some(request) = unsent else { return Err(Box::new(SendError::NoneAvailable)) };
    progress.set_sent(true);
    // Of a connection that was idle, only the attempt shows that it was closed.
    let repeatable = on_pooled && is_repeatable(request);
    connection.begin(request, &pool.endpoint.authority);
    match poll_fn(|cx| connection.poll_head(|head| client.inform(head), cx)).await {
        Ok(head) => {
            connection.reuse(mem::take(&mut request.parts.headers));
            *unsent = None;
            let body = UpstreamBody::H1(Answer::new(connection));
            Ok(Sent { head, body, lease: Lease::new(Rc::clone(pool), in_flight) })
        }
        Err(error) => {
            if !(repeatable && error.is_closed()) {
                *unsent = None;
            }
            let error = SendError::Failed { url: display(&pool.endpoint.url), error: error.into() };
            Err(Box::new(error))
        }
    }
}

async fn send_h2(
    pool: &Rc<Pool>,
    mut sender: SendH2,
    unsent: &mut Unsent,
    progress: &Progress,
    in_flight: InFlight,
) -> Result<Sent, Box<SendError>> {
    let Some(request) = unsent.take() else { return Err(Box::new(SendError::NoneAvailable)) };
    let copy =
        is_repeatable(&request).then(|| Outgoing { parts: request.parts.clone(), body: RequestBody::Empty });
    let Outgoing { mut parts, body } = request;
    let uri = absolute(&pool.endpoint, parts.target.to_path_and_query());
    parts.version = Version::HTTP_2;
    parts.headers.remove(&header::HOST);
    // Trailers are passed on; gRPC services refuse calls that do not say so.
    parts.headers.insert(&header::TE, &HeaderValue::from_static("trailers"));
    progress.set_sent(true);
    match sender.try_send_request(parts.into_request(uri, body)).await {
        Ok(response) => {
            let (parts, body) = response.into_parts();
            let (head, body) = (ResponseHead::from(parts), UpstreamBody::H2(body));
            Ok(Sent { head, body, lease: Lease::new(Rc::clone(pool), in_flight) })
        }
        Err(mut failed) => {
            *unsent = failed.take_message().map(Outgoing::from);
            progress.set_sent(unsent.is_none());
            *unsent = unsent.take().or(copy);
            let error =
                SendError::Failed { url: display(&pool.endpoint.url), error: failed.into_error().into() };
            // A connection that went away must not be found again.
            pool.h2.borrow_mut().take_if(|shared| shared.is_closed());
            Err(Box::new(error))
        }
    }
}

fn absolute(endpoint: &Endpoint, target: Option<PathAndQuery>) -> Uri {
    let scheme = if endpoint.url.tls { "https" } else { "http" };
    let target = target.unwrap_or(PathAndQuery::from_static("/"));
    Uri::builder()
        .scheme(scheme)
        .authority(&*endpoint.url.authority)
        .path_and_query(target)
        .build()
        .unwrap_or_default()
}
