//! `POST check`: whether something would be admitted.

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Request, amount, amounts,
    basket::{self, Seen},
    input::Input,
    reply::Reply,
    speaker::{Named, Speaker},
    view::{self, LimitView},
};
use crate::{
    admission::{self, Needs},
    exchange::Context,
    identity::{Caller, text},
    live::Live,
    refusal::{Code, Refusal},
};

/// What one meter says.
#[derive(Serialize)]
struct MeterView {
    meter: Box<str>,
    amount: Value,
    allowed: bool,
    limits: Vec<LimitView>,
}

/// Decides as for a request, and takes nothing.
pub(super) async fn check(
    request: &Request<'_>,
    speaker: &Speaker,
    body: &Input,
    context: &mut Context,
) -> Result<Reply, Refusal> {
    let (live, object) = (request.live, body.object(Code::BadRequest));
    let named = Named::read(&object)?;
    object.only(&["meter", "amount", "amounts", "user_id", "org_id", "tier"])?;
    let amounts = amounts::read(&object, live)?;
    let caller = speaker.caller(request, &named).await?;
    context.tier = Some(caller.tier);
    let wanted = amounts::wanted(&amounts, request, &caller)?;
    let seen = basket::peek(request, &caller, &wanted).await?;
    view::show_closest(&seen, &caller, context);
    let refusing = seen.iter().filter(|seen| seen.is_refused).map(|seen| refusal(live, &caller, seen));
    // As for a request: of several limits, the one that keeps out longest.
    let refusal = refusing.flatten().max_by_key(|(end, _)| *end).map(|(_, refusal)| refusal);
    let of_meter = |seen: &Seen<'_>| {
        let meter = &live.plans().meters[seen.wanted.meter.index.0];
        MeterView {
            meter: meter.name.clone(),
            amount: amount::shown(seen.wanted.need, meter),
            allowed: !seen.is_refused,
            limits: view::limits(live, &caller, std::slice::from_ref(seen)),
        }
    };
    Ok(Reply::ok(&json!({
        "allowed": refusal.is_none(),
        "user_id": text(&caller.user),
        "org_id": caller.org.as_ref().map(text),
        "tier": live.tier(caller.tier).name,
        "meters": seen.iter().map(of_meter).collect::<Vec<_>>(),
        "refusal": refusal.as_ref().map(|refusal| refusal.body(None)),
    })))
}

fn refusal(live: &Live, caller: &Caller, seen: &Seen<'_>) -> Option<(i64, Refusal)> {
    let refusal = seen.refusal.as_ref()?;
    let needs: Needs = std::iter::once(seen.wanted.need).collect();
    let bearer = seen.rights.bearer(caller);
    let asked = (live, &*seen.wanted.meter.route, &bearer);
    let refused = admission::explain(asked, (refusal, &needs, None), seen.at);
    Some((refusal.standing.span.end.0, refused))
}
