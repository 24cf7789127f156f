//! A memory store: texts with tags, kept in memory per user.
//!
//! Every answer reports in `X-Usage-memory_storage` how many bytes it added; deleting reports a negative number.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::http1::{self, Body, BodyError, header_or, item};

const USAGE: &str = "x-usage-memory_storage";

/// Memories of all users together.
const MEMORIES_MAX: usize = 1_000;

const BODY_BYTES_MAX: usize = 64 * 1024;

/// What a client sends.
#[derive(Deserialize)]
struct Memory {
    text: String,
    #[serde(default)]
    tags: Vec<String>,
}

impl Memory {
    fn size_bytes(&self) -> i64 {
        let bytes = self.text.len() + self.tags.iter().map(String::len).sum::<usize>();
        i64::try_from(bytes).unwrap_or(i64::MAX)
    }

    fn to_json(&self, id: Uuid) -> Value {
        json!({ "id": id.to_string(), "text": self.text, "tags": self.tags, "size_bytes": self.size_bytes() })
    }
}

/// By user and id; ids are in order of time.
type Memories = BTreeMap<(String, Uuid), Memory>;

/// An answer and the bytes it added.
struct Outcome(StatusCode, Value, i64);

impl Outcome {
    fn refused(status: StatusCode, message: &str) -> Self {
        Self(status, json!({ "error": message }), 0)
    }
}

pub(crate) async fn serve(listener: TcpListener) {
    let memories = Arc::new(Mutex::new(Memories::new()));
    http1::serve(listener, move |request| answer(request, Arc::clone(&memories))).await;
}

async fn answer(request: Request<Incoming>, memories: Arc<Mutex<Memories>>) -> Response<Body> {
    if request.uri().path() == "/healthz" {
        return http1::json(StatusCode::OK, &json!({ "status": "ok" }));
    }
    let Outcome(status, body, added_bytes) = outcome(request, &memories).await;
    let mut response = http1::json(status, &body);
    response.headers_mut().insert(USAGE, HeaderValue::from(added_bytes));
    response
}

async fn outcome(request: Request<Incoming>, memories: &Mutex<Memories>) -> Outcome {
    let (head, body) = request.into_parts();
    let user = header_or(&head.headers, "x-user-id", "anonymous").to_owned();
    let id = item(head.uri.path(), &["/api/v1/memory", "/memories"]);
    if id.is_empty() {
        match head.method {
            Method::GET => list(&user, memories),
            Method::POST => create(user, body, memories).await,
            _ => Outcome::refused(StatusCode::METHOD_NOT_ALLOWED, "GET or POST"),
        }
    } else {
        let Ok(id) = id.parse() else { return Outcome::refused(StatusCode::NOT_FOUND, "no such memory") };
        match head.method {
            Method::GET => show((user, id), memories),
            Method::DELETE => delete(&(user, id), memories),
            _ => Outcome::refused(StatusCode::METHOD_NOT_ALLOWED, "GET or DELETE"),
        }
    }
}

fn list(user: &str, memories: &Mutex<Memories>) -> Outcome {
    let memories = lock(memories);
    let own: Vec<Value> = memories
        .range((user.to_owned(), Uuid::nil())..=(user.to_owned(), Uuid::max()))
        .map(|((_, id), memory)| memory.to_json(*id))
        .collect();
    Outcome(StatusCode::OK, json!({ "memories": own }), 0)
}

async fn create(user: String, body: Incoming, memories: &Mutex<Memories>) -> Outcome {
    let body = match http1::read(body, BODY_BYTES_MAX).await {
        Ok(body) => body,
        Err(BodyError::TooLarge) => return Outcome::refused(StatusCode::PAYLOAD_TOO_LARGE, "at most 64 KiB"),
        Err(BodyError::Cut) => return Outcome::refused(StatusCode::BAD_REQUEST, "the body was cut"),
    };
    let memory: Memory = match serde_json::from_slice(&body) {
        Ok(memory) => memory,
        Err(error) => {
            let message = format!(r#"send JSON like {{"text": "...", "tags": ["..."]}}: {error}"#);
            return Outcome::refused(StatusCode::BAD_REQUEST, &message);
        }
    };
    let mut memories = lock(memories);
    if memories.len() >= MEMORIES_MAX {
        return Outcome::refused(
            StatusCode::INSUFFICIENT_STORAGE,
            "the sample keeps no more; delete some memories",
        );
    }
    let (id, size_bytes) = (Uuid::now_v7(), memory.size_bytes());
    let answer = json!({ "id": id.to_string(), "size_bytes": size_bytes });
    memories.insert((user, id), memory);
    Outcome(StatusCode::CREATED, answer, size_bytes)
}

fn show(key: (String, Uuid), memories: &Mutex<Memories>) -> Outcome {
    match lock(memories).get(&key) {
        Some(memory) => Outcome(StatusCode::OK, memory.to_json(key.1), 0),
        None => Outcome::refused(StatusCode::NOT_FOUND, "no such memory"),
    }
}

fn delete(key: &(String, Uuid), memories: &Mutex<Memories>) -> Outcome {
    match lock(memories).remove(key) {
        Some(memory) => {
            let freed_bytes = memory.size_bytes();
            Outcome(
                StatusCode::OK,
                json!({ "id": key.1.to_string(), "freed_bytes": freed_bytes }),
                -freed_bytes,
            )
        }
        None => Outcome::refused(StatusCode::NOT_FOUND, "no such memory"),
    }
}

fn lock(memories: &Mutex<Memories>) -> std::sync::MutexGuard<'_, Memories> {
    memories.lock().unwrap_or_else(PoisonError::into_inner)
}
