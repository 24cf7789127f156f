//! One request to the API, and the reading of its body.

use std::time::Duration;

use bytes::Bytes;
use http::header;

use super::{Served, input::Input};
use crate::{
    admission::overloaded,
    body::Inbound,
    exchange::Arrival,
    head::RequestHead,
    headers,
    identity::{Claimed, IdentityError},
    live::Live,
    llm::{self, LookBounds, Looked},
    refusal::{Code, Refusal},
    worker::Worker,
};

/// A thousand events of a kilobyte each.
const BODY_BYTES_MAX: u64 = 1 << 20;
/// Longest time without anything of a body coming.
const BODY_IDLE_MAX: Duration = Duration::from_secs(10);
/// Longest time for a whole body: a megabyte at 280 kbit/s, which every phone network has.
const BODY_TIME_MAX: Duration = Duration::from_secs(30);

/// One request to the API.
pub(crate) struct Request<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) live: &'a Live,
    pub(crate) served: &'a Served,
    pub(crate) arrival: Arrival,
    /// In normal form.
    pub(crate) path: &'a str,
    pub(crate) parts: &'a RequestHead,
    /// Who is calling, as on any route.
    pub(crate) claimed: Result<Claimed, IdentityError>,
}

impl Request<'_> {
    /// The body, which must be a JSON object.
    pub(super) async fn json(&self, unread: &mut Option<Inbound>) -> Result<Input, Refusal> {
        if !self.is_json() {
            let message = "the body must be JSON: send it with Content-Type: application/json";
            return Err(Refusal::new(Code::BadRequest, message));
        }
        let Some(body) = unread.as_mut() else {
            return Err(Refusal::new(Code::BadRequest, "the request has no body"));
        };
        if http_body::Body::size_hint(body).lower() > BODY_BYTES_MAX {
            return Err(too_large());
        }
        let mut looked = Looked::default();
        let bounds = LookBounds::whole(BODY_BYTES_MAX, BODY_IDLE_MAX);
        let read = llm::look(self.worker, body, &mut looked, bounds, too_large);
        tokio::time::timeout(BODY_TIME_MAX, Box::pin(read)).await.map_err(|_| {
            Refusal::new(Code::RequestTimeout, "the request's body came too slowly").closing()
        })??;
        // It was read to its end, unless as many bodies are kept as there is room for.
        let text = looked
            .text()
            .ok_or_else(|| overloaded("too many bodies are being read; try again soon").closing())?;
        Input::parse(text)
    }

    /// The same; no body at all says nothing.
    pub(super) async fn json_or_nothing(&self, unread: &mut Option<Inbound>) -> Result<Input, Refusal> {
        match unread.as_ref().is_none_or(http_body::Body::is_end_stream) {
            true => Input::parse(Bytes::from_static(b"{}")),
            false => self.json(unread).await,
        }
    }

    fn is_json(&self) -> bool {
        let mut values = self.parts.headers.all(&header::CONTENT_TYPE);
        let value = values.next().and_then(headers::text).unwrap_or_default();
        let essence = value.split(';').next().unwrap_or_default().trim();
        values.next().is_none() && essence.eq_ignore_ascii_case("application/json")
    }
}

fn too_large() -> Refusal {
    let message =
        format!("the body is larger than the {BODY_BYTES_MAX} bytes that are read here: send less at a time");
    Refusal::new(Code::BodyTooLarge, message).closing()
}
