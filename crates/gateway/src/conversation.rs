//! One client's conversation: HTTP/1 or HTTP/2 over one connection, until either side ends it.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    io,
    pin::pin,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use http::Request;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpStream, time};

use crate::{
    body::Inbound,
    connection::{ClientStream, Connection},
    deadline::{Abortable, TICK},
    downstream,
    exchange::exchange,
    http1::Stream,
    joined::Joined,
    live::Snapshot,
};

/// HTTP/2 resets that a client may cause before its connection is closed (CVE-2023-44487).
const H2_RESETS_MAX: usize = 64;
/// HTTP/2 receive windows: enough for a fast upload over a long way, small enough for many connections.
const H2_STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const H2_CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// HTTP/2 bytes that one connection may have waiting to be sent.
const H2_SEND_BUFFER_BYTES: usize = 256 * 1024;
/// How often a quiet HTTP/2 client is asked whether it is there, and how long it may take to say so.
const H2_KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const H2_KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves a connection until it ends.
pub(crate) async fn converse(stream: Stream, is_h2: bool, connection: Rc<Connection>, live: Rc<Snapshot>) {
    if is_h2 {
        // Large: not part of every connection's future.
        Box::pin(converse_h2(stream, connection, live)).await;
    } else {
        downstream::converse(connection, stream, live).await;
    }
}

async fn converse_h2(stream: Stream, connection: Rc<Connection>, live: Rc<Snapshot>) {
    let listen = &live.gateway().listen;
    let (worker, activity) = (Rc::clone(&connection.worker), Arc::clone(&connection.activity));
    activity.multiplex();
    let io = TokioIo::new(ClientStream::new(Joined(stream), &activity));
    let service = service_fn(move |request: Request<Incoming>| {
        let connection = Rc::clone(&connection);
        async move {
            let (parts, body) = request.into_parts();
            Ok::<_, Infallible>(
                exchange(connection, Box::new(parts.into()), Inbound::H2(body)).await.into_response(),
            )
        }
    });
    let mut builder = http2::Builder::new(StreamExecutor);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(listen.streams_max)
        .max_header_list_size(u32::try_from(listen.header_bytes_max).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(H2_RESETS_MAX)
        .max_local_error_reset_streams(H2_RESETS_MAX)
        .initial_stream_window_size(H2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(H2_SEND_BUFFER_BYTES)
        .keep_alive_interval(H2_KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(H2_KEEP_ALIVE_TIMEOUT);
    let mut conversation = pin!(builder.serve_connection(io, service));
    let mut asked_to_end = false;
    // How a conversation ends is the client's business; what was charged does not depend on it.
    let _ = poll_fn(|cx| {
        if !asked_to_end && worker.is_draining() {
            asked_to_end = true;
            conversation.as_mut().graceful_shutdown();
        }
        conversation.as_mut().poll(cx)
    })
    .await;
}

/// Runs each HTTP/2 stream as a task that can be ended alone: one client's slow stream is not another's
/// trouble.
#[derive(Clone, Copy, Debug)]
struct StreamExecutor;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for StreamExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(Abortable::new(Rc::default(), future));
    }
}

/// Whether a plain-text client begins with the preface of HTTP/2 (RFC 9113, section 3.4). Looks at the
/// first bytes without taking them.
pub(crate) async fn speaks_h2(stream: &TcpStream) -> io::Result<bool> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0";
    let mut seen = [0; PREFACE.len()];
    loop {
        let count = stream.peek(&mut seen).await?;
        let (seen, wanted) = (&seen[..count], &PREFACE[..count]);
        if count == 0 || seen != wanted {
            return Ok(false);
        }
        if count == PREFACE.len() {
            return Ok(true);
        }
        // A preface in pieces: the socket stays readable, so there is nothing to wait for but time.
        time::sleep(TICK / 10).await;
    }
}
