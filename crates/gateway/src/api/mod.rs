//! The usage API: what services report to, and what they and their users ask. `docs/usage-api.md` is
//! what others see of it.
//!
//! Contract
//! - Identity is as on any route, or a service token says that the request may speak for others. Whoever
//!   has no token learns of nobody else and charges nobody else.
//! - What is asked is decided by the code that admits requests; it takes nothing.
//! - What is reported is charged wholly or not at all, also beyond limits: it has happened.
//! - Using the API is free.

mod amount;
mod amounts;
mod asking;
mod basket;
mod check;
mod current;
mod event;
mod health;
mod holds;
mod input;
mod jobs;
mod levels;
mod limits;
mod once;
mod open;
mod posting;
mod reply;
mod request;
mod rights;
mod served;
mod speaker;
mod taking;
mod tokens;
mod track;
mod view;
mod wholes;

use std::sync::Arc;

use http::{Method, Response};

use self::speaker::Speaker;
pub(crate) use self::{once::Running, request::Request, served::Served, tokens::TokenError};
use crate::{
    body::Inbound,
    body::ResponseBody,
    exchange::Context,
    refusal::{Code, Refusal},
};

/// Answers a request to the API. Cancel-safe: what is charged is charged in one step, without waiting.
pub(crate) async fn answer(
    request: Request<'_>,
    unread: &mut Option<Inbound>,
    context: &mut Context,
) -> Result<Response<ResponseBody>, Refusal> {
    // Its requests are counted under its own name.
    context.route = request.served.meters.first().map(|meter| Arc::clone(&meter.route));
    let speaker = Speaker::of(&request)?;
    if let Some(id) = speaker.request_id() {
        context.request_id = id.clone();
    }
    let below = request.path.strip_prefix(&*request.served.path).unwrap_or_default();
    let reply = match (request.parts.method.clone(), below) {
        (Method::GET | Method::HEAD, "tier") => limits::tier(&request, &speaker, context).await?,
        (Method::GET | Method::HEAD, "limits") => limits::limits(&request, &speaker, context).await?,
        (Method::GET | Method::HEAD, "current") => current::current(&request, &speaker, context).await?,
        (Method::GET | Method::HEAD, "health") => health::health(&request),
        (Method::POST, "check") => {
            let body = request.json(unread).await?;
            check::check(&request, &speaker, &body, context).await?
        }
        (Method::POST, "track") => {
            let body = request.json(unread).await?;
            track::track(&request, &speaker, &body, context).await?
        }
        (Method::POST, "holds") => {
            let body = request.json(unread).await?;
            holds::take(&request, &speaker, &body, context).await?
        }
        (Method::POST, below) => match below.split('/').collect::<Vec<_>>()[..] {
            ["holds", id, "settle"] => {
                let body = request.json(unread).await?;
                holds::settle(&request, &speaker, (id, &body), context).await?
            }
            ["holds", id, "release"] => {
                let body = request.json_or_nothing(unread).await?;
                holds::release(&request, &speaker, (id, &body), context).await?
            }
            ["jobs", id, "end"] => {
                let body = request.json_or_nothing(unread).await?;
                jobs::end(&request, &speaker, (id, &body), context).await?
            }
            _ => return Err(not_found(&request)),
        },
        _ => return Err(not_found(&request)),
    };
    Ok(reply.into_response())
}

fn not_found(request: &Request<'_>) -> Refusal {
    let path = &request.served.path;
    let message = format!(
        "there is nothing here for this method: below {path} are GET tier, limits, current, health, and POST check, \
         track, holds, holds/{{id}}/settle, holds/{{id}}/release, jobs/{{id}}/end"
    );
    Refusal::new(Code::NotFound, message)
}
