//! What an origin can answer.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// What happens to a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// 200 with the request as JSON: `method`, `path`, `version`, `headers` and `trailers` (pairs in their order),
    /// `body` (text), `body_bytes`, `connection`.
    Echo,
    /// A response of known length.
    Reply(Reply),
    /// A response of known length, sent as soon as the head is there; the body is not read, no `100 Continue` is sent.
    Early(Reply),
    /// `text/event-stream`: each event as it is, each but the first after the gate has let one more pass.
    Sse {
        /// The events, with their line ends.
        events: Vec<String>,
        /// What lets events pass; all at once when there is none.
        gate: Option<Gate>,
    },
    /// Another answer, begun when the gate lets it pass; the peer may give up meanwhile.
    After {
        /// What lets it begin.
        gate: Gate,
        /// The answer.
        answer: Box<Answer>,
    },
    /// A chunked body with trailers.
    Chunked {
        /// The chunks.
        chunks: Vec<String>,
        /// The trailers.
        trailers: Vec<(String, String)>,
    },
    /// A chunked response: its body in chunks of these sizes, and what is left in a last one.
    Pieces {
        /// The response.
        reply: Reply,
        /// Bytes of each chunk, none of them zero.
        sizes: Vec<usize>,
    },
    /// `103 Early Hints`, then the response. HTTP/2 origins send the response only.
    EarlyHints(Reply),
    /// Reads the request and says nothing until the peer gives up.
    Hang,
    /// Promises `promised` bytes with `Content-Length` and sends these only, then closes.
    CutLength {
        /// The length that the head says.
        promised: usize,
        /// What is sent.
        sent: String,
    },
    /// Sends these chunks without a last one, then closes.
    CutChunked(Vec<String>),
    /// Closes without an answer.
    Close,
    /// Reads the body only as the gate lets pieces of this size pass, then echoes.
    SlowReader {
        /// Bytes read at most for each piece that the gate lets pass.
        piece_bytes: usize,
        /// What lets pieces pass.
        gate: Gate,
    },
    /// Accepts a WebSocket and returns every message. HTTP/1.1 only.
    WebSocket,
    /// These bytes, whatever they are, then the end of the connection. HTTP/1.1 only.
    Raw(Vec<u8>),
}

impl Answer {
    /// 200 with this JSON.
    #[must_use]
    pub fn json(body: impl Into<String>) -> Self {
        Self::Reply(Reply::json(200, body))
    }

    /// This answer, begun when `gate` lets it pass.
    #[must_use]
    pub fn after(self, gate: &Gate) -> Self {
        Self::After { gate: gate.clone(), answer: Box::new(self) }
    }

    /// This status and an empty body.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::Reply(Reply { status, headers: Vec::new(), body: Vec::new() })
    }
}

/// A response of known length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Headers; `Content-Length` is added.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// A JSON response.
    #[must_use]
    pub fn json(status: u16, body: impl Into<String>) -> Self {
        let headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
        Self { status, headers, body: body.into().into_bytes() }
    }

    /// 200 with this body.
    #[must_use]
    pub fn of(content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("Content-Type".to_owned(), content_type.to_owned())];
        Self { status: 200, headers, body: body.into() }
    }

    /// The body in pieces of these sizes, and what is left in a last one.
    pub(super) fn pieces(&self, sizes: &[usize]) -> Vec<&[u8]> {
        let mut rest = &*self.body;
        let mut pieces: Vec<&[u8]> = Vec::new();
        for size in sizes {
            let (piece, after) = rest.split_at((*size).min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        pieces.push(rest);
        pieces.retain(|piece| !piece.is_empty());
        pieces
    }

    /// The response with one header more.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// What an HTTP/1.1 connection does after an answer that said nothing about closing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// Waits for the next request.
    Keep,
    /// Closes at once.
    CloseIdle,
    /// Waits until the next request's head has arrived, then closes without an answer. That request is counted in
    /// `requests` and not in `received`.
    CloseOnNext,
}

/// Lets a test decide when an origin goes on. Clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets `steps` more pass.
    pub fn pass(&self, steps: usize) {
        self.0.add_permits(steps);
    }

    /// Lets everything pass from now on.
    pub fn open(&self) {
        self.0.close();
    }

    /// Waits for one step. Cancelling it takes no step.
    pub(crate) async fn step(&self) {
        if let Ok(permit) = self.0.acquire().await {
            permit.forget();
        }
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}
