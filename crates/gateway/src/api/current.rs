//! `GET current`: what is used.

use serde_json::json;

use super::{
    Request,
    basket::{self, Wanted},
    reply::Reply,
    rights::Rights,
    served::ServedMeter,
    speaker::{Named, Speaker},
    view,
};
use crate::{exchange::Context, identity::text, refusal::Refusal};

/// Every limit of the caller's tier, and where it stands.
pub(super) async fn current(
    request: &Request<'_>,
    speaker: &Speaker,
    context: &mut Context,
) -> Result<Reply, Refusal> {
    let named = Named::of_query(request.parts.target.query())?;
    let caller = speaker.caller(request, &named).await?;
    context.tier = Some(caller.tier);
    let is_limited = |meter: &&ServedMeter| !Rights::of(request, &caller, meter).checks().is_empty();
    let limited = request.served.meters.iter().filter(is_limited);
    let wanted: Vec<_> = limited.map(|meter| Wanted { meter, need: 0 }).collect();
    let seen = basket::peek(request, &caller, &wanted).await?;
    view::show_closest(&seen, &caller, context);
    let limits = view::limits(request.live, &caller, &seen);
    let at = seen.first().map_or(request.arrival.at, |seen| seen.at);
    Ok(Reply::ok(&json!({
        "user_id": text(&caller.user),
        "org_id": caller.org.as_ref().map(text),
        "tier": request.live.tier(caller.tier).name,
        "at": view::instant(at),
        "status": view::status(&limits),
        "limits": limits,
    })))
}
