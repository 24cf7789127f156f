//! An origin's HTTP/2 connections.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};

use super::state::{State, Unanswered};
use super::{Answer, Gate, Received, Reply};
use crate::client::pairs;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Turns that a connection gets to send what was written before a reset, which would discard it.
const TURNS_BEFORE_RESET: usize = 16;

/// A part of a body; an error resets the stream. The gate is asked before the part is sent.
type Part = (io::Result<Frame<Bytes>>, Option<Gate>);

/// Serves a connection until it ends.
pub(super) async fn serve<S>(stream: S, state: Arc<State>, connection: usize)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| exchange(request, Arc::clone(&state), connection));
    // The peer's errors are its own affair; the test sees them on its side.
    let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

/// Answers a request; an error resets its stream.
async fn exchange(
    request: Request<Incoming>,
    state: Arc<State>,
    connection: usize,
) -> io::Result<Response<Body>> {
    state.head_arrived();
    let unanswered = Unanswered::new(Arc::clone(&state));
    let (head, mut incoming) = request.into_parts();
    let mut received = received(&head, connection);
    let scripted = state.scripted(&received);
    let is_early = matches!(scripted, Some(Answer::Early(_)));
    while let Some(frame) = if is_early { None } else { incoming.frame().await } {
        if let Some(Answer::SlowReader { gate, .. }) = &scripted {
            gate.step().await;
        }
        match frame.map_err(io::Error::other)?.into_data() {
            Ok(data) => received.push(&data),
            Err(frame) => received.trailers.extend(frame.trailers_ref().map(pairs).unwrap_or_default()),
        }
    }
    state.was_read(&received);
    let mut answer = scripted.unwrap_or_else(|| state.handled(&received));
    while let Answer::After { gate, answer: next } = answer {
        gate.step().await;
        answer = *next;
    }
    respond(answer, &received, unanswered).await
}

fn received(head: &http::request::Parts, connection: usize) -> Received {
    let mut headers = pairs(&head.headers);
    if let Some(authority) = head.uri.authority() {
        headers.insert(0, (":authority".to_owned(), authority.to_string()));
    }
    Received {
        method: head.method.to_string(),
        target: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        version: format!("{:?}", head.version),
        headers,
        connection,
        ..Received::default()
    }
}

async fn respond(answer: Answer, received: &Received, unanswered: Unanswered) -> io::Result<Response<Body>> {
    let data = |text: String| Ok(Frame::data(Bytes::from(text)));
    let cut = || Err(io::ErrorKind::UnexpectedEof.into());
    let plain = |headers| Reply { status: 200, headers, body: Vec::new() };
    let typed = |kind: &str| vec![("content-type".to_owned(), kind.to_owned())];
    let mut parts: Vec<Part> = Vec::new();
    let mut reply = match answer {
        Answer::Echo | Answer::SlowReader { .. } => Reply::json(200, received.echo()),
        Answer::Reply(reply) | Answer::Early(reply) | Answer::EarlyHints(reply) => reply,
        Answer::WebSocket | Answer::Raw(_) => Reply::json(501, r#"{"error":"this origin speaks HTTP/2"}"#),
        Answer::Sse { events, gate } => {
            let gates = std::iter::once(None).chain(std::iter::repeat(gate));
            parts = events.into_iter().map(data).zip(gates).collect();
            plain(typed("text/event-stream"))
        }
        Answer::Chunked { chunks, trailers } => {
            parts.extend(chunks.into_iter().map(|chunk| (data(chunk), None)));
            parts.push((Ok(Frame::trailers(header_map(&trailers))), None));
            plain(typed("text/plain"))
        }
        Answer::Pieces { reply, sizes } => {
            let frame = |piece: &[u8]| Ok(Frame::data(Bytes::copy_from_slice(piece)));
            parts.extend(reply.pieces(&sizes).into_iter().map(|piece| (frame(piece), None)));
            Reply { body: Vec::new(), ..reply }
        }
        Answer::CutLength { promised, sent } => {
            parts = vec![(data(sent), None), (cut(), None)];
            plain(vec![("content-length".to_owned(), promised.to_string())])
        }
        Answer::CutChunked(chunks) => {
            parts.extend(chunks.into_iter().map(|chunk| (data(chunk), None)).chain([(cut(), None)]));
            plain(typed("text/plain"))
        }
        Answer::Hang => std::future::pending().await,
        Answer::Close | Answer::After { .. } => return Err(io::ErrorKind::UnexpectedEof.into()),
    };
    if received.method == "HEAD" {
        reply.body.clear();
        parts.clear();
    }
    Ok(response(reply, parts, unanswered))
}

/// The body of `reply`, or the parts where there are any.
fn response(reply: Reply, mut parts: Vec<Part>, unanswered: Unanswered) -> Response<Body> {
    let Reply { status, headers, body } = reply;
    if parts.is_empty() && !body.is_empty() {
        parts.push((Ok(Frame::data(Bytes::from(body))), None));
    }
    let frames = stream::unfold((parts.into_iter(), unanswered), |(mut parts, mut unanswered)| async {
        let Some((part, gate)) = parts.next() else {
            unanswered.was_answered();
            return None;
        };
        if let Some(gate) = gate {
            gate.step().await;
        }
        if part.is_err() {
            for _ in 0..TURNS_BEFORE_RESET {
                tokio::task::yield_now().await;
            }
        }
        if parts.len() == 0 {
            unanswered.was_answered();
        }
        Some((part, (parts, unanswered)))
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    *response.status_mut() = http::StatusCode::from_u16(status).expect("a status");
    *response.headers_mut() = header_map(&headers);
    response
}

fn header_map(headers: &[(String, String)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name: HeaderName = name.parse().expect("a header name");
        map.append(name, HeaderValue::from_str(value).expect("a header value"));
    }
    map
}
