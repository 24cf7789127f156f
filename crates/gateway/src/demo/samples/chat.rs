//! An OpenAI-compatible service without a model: it repeats what it was told and names the tier it was told.
//!
//! A token is a word here, so usage is right by its own measure.

mod completion;
mod embeddings;

use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::http1::{self, Body, BodyError};

const BODY_BYTES_MAX: usize = 1024 * 1024;

/// The models that it lists; it answers to any name.
const MODELS: [&str; 2] = ["sample", "sample-embedding"];

/// When the models were made, seconds since 1970.
const MODELS_CREATED: u64 = 1_767_225_600;

/// A refusal, in OpenAI's shape.
struct Refusal {
    status: StatusCode,
    message: String,
    param: Option<&'static str>,
    code: Option<&'static str>,
}

impl Refusal {
    /// 400 because of a parameter.
    fn invalid(param: &'static str, message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message: message.into(), param: Some(param), code: None }
    }

    fn response(&self) -> Response<Body> {
        let Self { status, message, param, code } = self;
        let error =
            json!({ "message": message, "type": "invalid_request_error", "param": param, "code": code });
        http1::json(*status, &json!({ "error": error }))
    }
}

pub(crate) async fn serve(listener: TcpListener) {
    http1::serve(listener, answer).await;
}

async fn answer(request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let answered = match (head.method, head.uri.path()) {
        (Method::GET, "/healthz") => Ok(http1::json(StatusCode::OK, &json!({ "status": "ok" }))),
        (Method::GET, "/v1/models") => Ok(http1::json(StatusCode::OK, &models())),
        (Method::GET, path) => model(path),
        (Method::POST, "/v1/chat/completions") => chat(&head.headers, body).await,
        (Method::POST, "/v1/embeddings") => embed(body).await,
        (method, path) => Err(unknown(&format!("{method} {path}"))),
    };
    answered.unwrap_or_else(|refusal| refusal.response())
}

async fn chat(headers: &HeaderMap, body: Incoming) -> Result<Response<Body>, Refusal> {
    completion::answer(read(body).await?, headers)
}

async fn embed(body: Incoming) -> Result<Response<Body>, Refusal> {
    Ok(http1::json(StatusCode::OK, &embeddings::answer(read(body).await?)?))
}

async fn read<T: DeserializeOwned>(body: Incoming) -> Result<T, Refusal> {
    let refused = |status, message: String| Refusal { status, message, param: None, code: None };
    let body = http1::read(body, BODY_BYTES_MAX).await.map_err(|error| match error {
        BodyError::TooLarge => {
            refused(StatusCode::PAYLOAD_TOO_LARGE, "The body is larger than 1 MiB.".to_owned())
        }
        BodyError::Cut => refused(StatusCode::BAD_REQUEST, "The body ended too early.".to_owned()),
    })?;
    serde_json::from_slice(&body).map_err(|error| {
        refused(StatusCode::BAD_REQUEST, format!("We could not use the JSON of your request: {error}"))
    })
}

fn models() -> Value {
    json!({ "object": "list", "data": MODELS.map(model_json) })
}

fn model(path: &str) -> Result<Response<Body>, Refusal> {
    let Some(name) = path.strip_prefix("/v1/models/") else { return Err(unknown(&format!("GET {path}"))) };
    if MODELS.contains(&name) {
        return Ok(http1::json(StatusCode::OK, &model_json(name)));
    }
    let message = format!("The model `{name}` does not exist.");
    Err(Refusal {
        status: StatusCode::NOT_FOUND,
        message,
        param: Some("model"),
        code: Some("model_not_found"),
    })
}

fn model_json(name: &str) -> Value {
    json!({ "id": name, "object": "model", "created": MODELS_CREATED, "owned_by": "tollgate" })
}

fn unknown(what: &str) -> Refusal {
    let message = format!("Invalid URL ({what})");
    Refusal { status: StatusCode::NOT_FOUND, message, param: None, code: None }
}

/// The tokens of a text.
fn tokens(text: &str) -> usize {
    text.split_whitespace().count()
}
