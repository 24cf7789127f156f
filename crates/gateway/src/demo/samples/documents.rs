//! A document service: takes bodies of any kind, counts them as they arrive, and keeps only the counts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::http1::{self, Body, item};

/// Documents that are remembered; the oldest is forgotten for a new one.
const DOCUMENTS_MAX: usize = 1_000;

const DOCUMENT_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Bytes of a page of plain text.
const PAGE_BYTES: u64 = 3_000;

/// Bytes of each document by its id; ids are in order of time.
type Documents = BTreeMap<Uuid, u64>;

pub(crate) async fn serve(listener: TcpListener) {
    let documents = Arc::new(Mutex::new(Documents::new()));
    http1::serve(listener, move |request| answer(request, Arc::clone(&documents))).await;
}

async fn answer(request: Request<Incoming>, documents: Arc<Mutex<Documents>>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let id = item(path, &["/api/v1/documents", "/documents"]);
    match (head.method, id) {
        (_, "healthz") => http1::json(StatusCode::OK, &json!({ "status": "ok" })),
        (Method::POST, "") => create(body, &documents).await,
        (Method::GET, id) => show(id, &documents),
        (_, "") => refused(StatusCode::METHOD_NOT_ALLOWED, "POST a document"),
        (_, _) => refused(StatusCode::METHOD_NOT_ALLOWED, "GET a document"),
    }
}

async fn create(body: Incoming, documents: &Mutex<Documents>) -> Response<Body> {
    let bytes = match count(body).await {
        Some(bytes) if bytes <= DOCUMENT_BYTES_MAX => bytes,
        Some(_) => return refused(StatusCode::PAYLOAD_TOO_LARGE, "at most 1 GiB"),
        None => return refused(StatusCode::BAD_REQUEST, "the document was cut"),
    };
    let id = Uuid::now_v7();
    let mut documents = lock(documents);
    if documents.len() >= DOCUMENTS_MAX {
        documents.pop_first();
    }
    documents.insert(id, bytes);
    http1::json(StatusCode::CREATED, &to_json(id, bytes))
}

/// Bytes of the body, or the first count beyond the bound; `None` when it is cut.
async fn count(mut body: Incoming) -> Option<u64> {
    let mut bytes = 0_u64;
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.ok()?.into_data() {
            bytes = bytes.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
        }
        if bytes > DOCUMENT_BYTES_MAX {
            break;
        }
    }
    Some(bytes)
}

fn show(id: &str, documents: &Mutex<Documents>) -> Response<Body> {
    let found = id.parse().ok().and_then(|id| Some((id, *lock(documents).get(&id)?)));
    match found {
        Some((id, bytes)) => http1::json(StatusCode::OK, &to_json(id, bytes)),
        None => refused(StatusCode::NOT_FOUND, "no such document"),
    }
}

fn to_json(id: Uuid, bytes: u64) -> Value {
    json!({ "id": id.to_string(), "bytes": bytes, "pages": bytes.div_ceil(PAGE_BYTES).max(1) })
}

fn refused(status: StatusCode, message: &str) -> Response<Body> {
    http1::json(status, &json!({ "error": message }))
}

fn lock(documents: &Mutex<Documents>) -> MutexGuard<'_, Documents> {
    documents.lock().unwrap_or_else(PoisonError::into_inner)
}
