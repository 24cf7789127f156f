//! An origin's HTTP/1.1 connections.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::inbound::Inbound;
use super::outbound::{chunk, chunked_head, head, last_chunk, reply, write};
use super::state::{State, Unanswered};
use super::{Answer, Gate, Received, Reply, Reuse, websocket};

/// What follows an answer on its connection.
#[derive(PartialEq, Eq)]
enum Next {
    Request,
    Close,
}

/// Serves a connection until it ends.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    state: &Arc<State>,
    connection: usize,
) {
    let mut inbound = Inbound::new(stream);
    let mut answered = 0;
    while let Some(received) = inbound.head().await {
        state.head_arrived();
        if answered > 0 && state.reuse == Reuse::CloseOnNext {
            break;
        }
        let received = Received { connection, ..received };
        if matches!(state.scripted(&received), Some(Answer::WebSocket)) {
            state.was_read(&received);
            let (stream, ahead) = inbound.into_parts();
            return websocket::echo(stream, [&received.raw_head[..], &ahead].concat()).await;
        }
        let mut unanswered = Unanswered::new(Arc::clone(state));
        let Ok(next) = exchange(&mut inbound, state, received).await else { return };
        unanswered.was_answered();
        answered += 1;
        if next == Next::Close || state.reuse == Reuse::CloseIdle {
            break;
        }
    }
    // The peer may have gone already.
    let _ = inbound.stream.shutdown().await;
}

/// Reads the rest of a request and answers it; an error when the peer gave up.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    inbound: &mut Inbound<S>,
    state: &State,
    mut received: Received,
) -> io::Result<Next> {
    let scripted = state.scripted(&received);
    match &scripted {
        Some(Answer::Early(early)) => {
            state.was_read(&received);
            reply(&mut inbound.stream, early, received.method == "HEAD").await?;
            return Ok(Next::Close);
        }
        Some(Answer::SlowReader { piece_bytes, gate }) => {
            inbound.body(&mut received, Some((*piece_bytes, gate))).await?;
        }
        _ => inbound.body(&mut received, None).await?,
    }
    state.was_read(&received);
    let mut answer = scripted.unwrap_or_else(|| state.handled(&received));
    while let Answer::After { gate, answer: next } = answer {
        tokio::select! {
            () = gate.step() => {}
            () = inbound.gone() => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        answer = *next;
    }
    send(inbound, answer, &received).await
}

async fn send<S: AsyncRead + AsyncWrite + Unpin>(
    inbound: &mut Inbound<S>,
    answer: Answer,
    received: &Received,
) -> io::Result<Next> {
    let to_head = received.method == "HEAD";
    let stream = &mut inbound.stream;
    match answer {
        Answer::Echo | Answer::SlowReader { .. } | Answer::WebSocket => {
            reply(stream, &Reply::json(200, received.echo()), to_head).await?;
        }
        Answer::Reply(whole) | Answer::Early(whole) => reply(stream, &whole, to_head).await?,
        Answer::EarlyHints(whole) => {
            let link = [("Link".to_owned(), "</style.css>; rel=preload".to_owned())];
            write(stream, head(103, &link)).await?;
            reply(stream, &whole, to_head).await?;
        }
        Answer::Sse { events, gate } => sse(inbound, &events, gate.as_ref()).await?,
        Answer::Chunked { chunks, trailers } => {
            let body: String = chunks.iter().map(|data| chunk(data)).collect();
            write(stream, chunked_head("text/plain", &trailers) + &body + &last_chunk(&trailers)).await?;
        }
        Answer::Pieces { reply, sizes } => {
            let coding = ("Transfer-Encoding".to_owned(), "chunked".to_owned());
            let headers: Vec<_> = reply.headers.iter().cloned().chain([coding]).collect();
            let mut bytes = head(reply.status, &headers).into_bytes();
            for piece in reply.pieces(&sizes) {
                bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                bytes.extend_from_slice(piece);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(last_chunk(&[]).as_bytes());
            write(stream, bytes).await?;
        }
        Answer::Hang => {
            inbound.gone().await;
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Answer::CutLength { promised, sent } => {
            let length = [("Content-Length".to_owned(), promised.to_string())];
            write(stream, head(200, &length) + &sent).await?;
            return Ok(Next::Close);
        }
        Answer::CutChunked(chunks) => {
            let body: String = chunks.iter().map(|data| chunk(data)).collect();
            write(stream, chunked_head("text/plain", &[]) + &body).await?;
            return Ok(Next::Close);
        }
        Answer::Close | Answer::After { .. } => return Ok(Next::Close),
        Answer::Raw(bytes) => {
            write(stream, bytes).await?;
            return Ok(Next::Close);
        }
    }
    Ok(Next::Request)
}

/// Sends events as the gate lets them pass, and notices when nobody listens any more.
async fn sse<S: AsyncRead + AsyncWrite + Unpin>(
    inbound: &mut Inbound<S>,
    events: &[String],
    gate: Option<&Gate>,
) -> io::Result<()> {
    write(&mut inbound.stream, chunked_head("text/event-stream", &[])).await?;
    for (sent, event) in events.iter().enumerate() {
        if let Some(gate) = gate.filter(|_| sent > 0) {
            tokio::select! {
                () = gate.step() => {}
                () = inbound.gone() => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        write(&mut inbound.stream, chunk(event)).await?;
    }
    write(&mut inbound.stream, last_chunk(&[])).await
}
