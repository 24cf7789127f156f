//! Holds: quota that a service sets aside for work that it does itself.
//!
//! A hold is a resource, `hold:<id>`: its lines charge at once what is held, as an estimate. Settling it charges what
//! was used and takes these lines back, at the instant that they were charged at; so does its expiry, which the
//! sweeper of resources sees to. So any gateway ends any hold, and a crash loses none.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tollgate_core::{MeterIndex, RequestKey, UnixMillis};
use tollgate_ledger::METADATA_BYTES_MAX;

use super::{
    Request, amount,
    amounts::{self, Amount},
    asking,
    basket::{self, Wanted},
    event,
    input::{Field, Input, Object},
    once::{Attempt, Failed, once},
    open::{self, Open},
    posting::{self, Posting, Report, synced},
    reply::Reply,
    served::{ROUTE, ServedMeter},
    speaker::{Named, Speaker},
    taking, view,
};
use crate::{
    exchange::Context,
    identity::text,
    refusal::{Code, Refusal},
    resources::{Expiry, HOLD, Kept, Why},
};

/// Of holds that do not say how long they last.
const EXPIRES_IN_DEFAULT: Duration = Duration::from_secs(600);
/// What a line says beside the service's own: when it expires, and what of it is beyond limits.
const OWN_METADATA_BYTES_MAX: usize = 512;

/// Takes a hold, if its limits admit it.
pub(super) async fn take(
    request: &Request<'_>,
    speaker: &Speaker,
    body: &Input,
    context: &mut Context,
) -> Result<Reply, Refusal> {
    speaker.may_write(request)?;
    once(request, speaker, body, async |attempt| {
        Box::pin(try_take(request, speaker, body, (attempt, context))).await
    })
    .await
}

async fn try_take(
    request: &Request<'_>,
    speaker: &Speaker,
    body: &Input,
    (attempt, context): (Attempt, &mut Context),
) -> Result<Reply, Failed> {
    let object = body.object(Code::BadRequest);
    object.only(&["meter", "amount", "amounts", "expires_in", "metadata", "user_id", "org_id", "tier"])?;
    let (named, amounts) = (Named::read(&object)?, amounts::read(&object, request.live)?);
    if let Some(nothing) = amounts.iter().find(|amount| amount.amount == 0) {
        return Err(nothing.place.wrong("is held with an amount of 0").into());
    }
    let lasts = object.get("expires_in").map(|field| expires_in(&field, request)).transpose()?;
    let lasts = lasts.unwrap_or(EXPIRES_IN_DEFAULT.min(request.served.holds_max));
    let caller = speaker.caller(request, &named).await?;
    context.tier = Some(caller.tier);
    let wanted = amounts::wanted(&amounts, request, &caller)?;
    let expires_at = UnixMillis(attempt.key.at().0.saturating_add(millis(lasts)));
    let metadata = metadata(&object, expires_at)?;
    let id = attempt.key.to_string();
    let resource = format!("{HOLD}{id}");
    let meters: Vec<_> = wanted.iter().map(|wanted| wanted.meter).collect();
    // An earlier attempt may have taken it.
    let is_there = attempt.is_again && {
        if expires_at <= request.worker.now() {
            let message = "the hold of this Idempotency-Key has expired: take another one with a new key";
            return Err(Refusal::new(Code::NotFound, message).into());
        }
        !Open::claim(request, &caller, (&resource, &meters)).await?.held.is_empty()
    };
    if !is_there {
        let (shared, of) = (&request.worker.shared, open::resource_meters(request, &meters));
        // Whoever ends it elsewhere waits until the ledger knows it.
        let kept = Kept::claim_new(shared, open::owners(&caller), &resource, &of).await.ok();
        let line = taking::Line { key: attempt.key, resource: &resource, metadata: &metadata };
        let taken = taking::take(request, &caller, &wanted, (line, context)).await?;
        let is_claimed = kept.is_some();
        if let Some(kept) = kept {
            kept.settled(shared, |position| wanted.get(position).map_or(0, |wanted| wanted.need));
        }
        for Wanted { meter, .. } in &wanted {
            shared.resources.watch(Expiry {
                at: expires_at,
                since: taken.at,
                why: Why::Expired,
                meter: meter.name().into(),
                resource: (*resource).into(),
                user: text(&caller.user).into(),
                org: caller.org.as_ref().map(|org| text(org).into()),
                tier: request.live.tier(caller.tier).name.clone(),
                route: ROUTE.into(),
            });
        }
        if !is_claimed {
            // Then nobody waits: it is to be there before anybody knows its id. Where the ledger is away, it is a little later.
            let reached = shared.journal.tail();
            let _ = asking::ask(request, |ledger, answer| ledger.flush(reached, answer)).await;
        }
        synced(taken.durable).await.map_err(Failed::after_charging)?;
    }
    let plans = request.live.plans();
    let shown = |wanted: &Wanted<'_>| {
        let meter = &plans.meters[wanted.meter.index.0];
        json!({ "meter": meter.name, "amount": amount::shown(wanted.need, meter) })
    };
    Ok(Reply::ok(&json!({
        "id": id,
        "expires_at": view::instant(expires_at),
        "user_id": text(&caller.user),
        "org_id": caller.org.as_ref().map(text),
        "tier": request.live.tier(caller.tier).name,
        "amounts": wanted.iter().map(shown).collect::<Vec<_>>(),
    })))
}

/// Charges what was used instead of what was held. What of the hold's meters is not named was not used.
pub(super) async fn settle(
    request: &Request<'_>,
    speaker: &Speaker,
    (id, body): (&str, &Input),
    context: &mut Context,
) -> Result<Reply, Refusal> {
    end(request, speaker, (id, body, true), context).await
}

/// Gives back what was held: nothing was used.
pub(super) async fn release(
    request: &Request<'_>,
    speaker: &Speaker,
    (id, body): (&str, &Input),
    context: &mut Context,
) -> Result<Reply, Refusal> {
    end(request, speaker, (id, body, false), context).await
}

async fn end(
    request: &Request<'_>,
    speaker: &Speaker,
    (id, body, is_used): (&str, &Input, bool),
    context: &mut Context,
) -> Result<Reply, Refusal> {
    speaker.may_write(request)?;
    once(request, speaker, body, async |attempt| {
        Box::pin(try_end(request, speaker, (id, body, is_used), (attempt, context))).await
    })
    .await
}

async fn try_end(
    request: &Request<'_>,
    speaker: &Speaker,
    (id, body, is_used): (&str, &Input, bool),
    (attempt, context): (Attempt, &mut Context),
) -> Result<Reply, Failed> {
    let object = body.object(Code::BadRequest);
    let used = match is_used {
        true => {
            object.only(&["meter", "amount", "amounts", "user_id", "org_id", "tier"])?;
            amounts::read(&object, request.live)?
        }
        false => {
            object.only(&["user_id", "org_id", "tier"])?;
            Vec::new()
        }
    };
    let caller = speaker.caller(request, &Named::read(&object)?).await?;
    context.tier = Some(caller.tier);
    let id: uuid::Uuid = id.parse().map_err(|_| gone())?;
    let (id_text, resource) = (id.to_string(), format!("{HOLD}{id}"));
    let meters = open::all(request.served);
    let open = Open::claim(request, &caller, (&resource, &meters)).await?;
    let (at, held) = (open.at, &*open.held);
    if held.is_empty() {
        // An earlier attempt may have ended it, and nobody was told.
        let numbers = meters.iter().flat_map(|meter| [of_use(meter), of_hold(meter)]);
        let ids = posting::ids(attempt.key, numbers.map(|number| (number, begun_at(id.as_u128()))));
        let was_ended = attempt.is_again && !asking::known(request, ids).await?.is_empty();
        return if was_ended {
            Ok(ended(request, &id_text, &used, &[]))
        } else {
            Err(Failed::nothing(gone()))
        };
    }
    let used_all = amounts::wanted(&used, request, &caller)?;
    let is_held = |meter| held.iter().any(|(of, _): &(&ServedMeter, i64)| of.index == meter);
    if let Some(other) = used.iter().find(|amount| !is_held(amount.meter)) {
        return Err(other.place.wrong("is not held").into());
    }
    let takes_slot = |wanted: &&Wanted<'_>| wanted.need > 0 && wanted.meter.is_concurrent();
    if let Some(slot) = used_all.iter().find(takes_slot) {
        let of_slot = used.iter().find(|amount| amount.meter == slot.meter.index);
        let place = of_slot.map(|amount| &amount.place);
        let wrong =
            place.map(|place| place.wrong("is of what runs now: its slot is free, and nothing is used"));
        return Err(wrong.unwrap_or_else(gone).into());
    }
    let settled = format!(r#"{{"hold":"{}","id":"{id}"}}"#, if is_used { "settled" } else { "released" });
    let posting = |number, charge, resource, estimated| Posting {
        number,
        caller: &caller,
        charges: std::iter::once(charge).collect(),
        at,
        resource,
        metadata: Some(&*settled),
        estimated,
    };
    // What was used first: should the gateway die in between, the rest of the hold still expires.
    let uses = used_all.iter().map(|used| posting(of_use(used.meter), (used.meter, used.need), None, false));
    let holds =
        held.iter().map(|(meter, had)| posting(of_hold(meter), (*meter, -had), Some(&*resource), true));
    let postings: Vec<_> = uses.chain(holds).collect();
    let ids = posting::ids(attempt.key, postings.iter().map(|posting| (posting.number, posting.at)));
    let known = match attempt.is_again {
        true => asking::known(request, ids).await?,
        false => Default::default(),
    };
    let request_id = match attempt.is_keyed {
        true => attempt.key.to_string(),
        false => text(&context.request_id).to_owned(),
    };
    let report = Report::new(request, (attempt.key, &request_id), postings);
    let durable = report.charge(request, &known)?;
    let reply = ended(request, &id_text, &used, held);
    open.ended(request);
    synced(durable).await.map_err(Failed::after_charging)?;
    let wanted: Vec<_> = used_all.iter().map(|used| Wanted { need: 0, ..*used }).collect();
    if let Ok(seen) = basket::peek(request, &caller, &wanted).await {
        view::show_closest(&seen, &caller, context);
    }
    Ok(reply)
}

fn ended(request: &Request<'_>, id: &str, used: &[Amount], held: &[(&ServedMeter, i64)]) -> Reply {
    let plans = request.live.plans();
    let shown = |(index, amount): (MeterIndex, i64)| {
        let meter = &plans.meters[index.0];
        json!({ "meter": meter.name, "amount": amount::shown(amount, meter) })
    };
    Reply::ok(&json!({
        "id": id,
        "used": used.iter().map(|used| shown((used.meter, used.amount))).collect::<Vec<_>>(),
        "held": held.iter().map(|(meter, amount)| shown((meter.index, *amount))).collect::<Vec<_>>(),
    }))
}

/// The number of the event that says what was used of a meter. It does not depend on what else is held, or is by now:
/// who tries again after a crash between two events finds those that are there.
fn of_use(meter: &ServedMeter) -> u32 {
    u32::try_from(meter.index.0).unwrap_or(u32::MAX / 2).saturating_mul(2)
}

/// The number of the event that gives back what was held of a meter.
fn of_hold(meter: &ServedMeter) -> u32 {
    of_use(meter).saturating_add(1)
}

/// When a hold with this id was taken, but for clocks that were set.
fn begun_at(id: u128) -> UnixMillis {
    RequestKey::from_bits(id).at()
}

fn gone() -> Refusal {
    Refusal::new(Code::NotFound, "there is no such hold: it has ended, or it is somebody else's")
}

/// How long it lasts, in seconds.
fn expires_in(field: &Field<'_>, request: &Request<'_>) -> Result<Duration, Refusal> {
    let seconds = field.value().as_u64().filter(|seconds| *seconds > 0);
    let seconds = seconds.ok_or_else(|| field.wrong("must be a whole number of seconds, at least 1"))?;
    let max = request.served.holds_max;
    if seconds > max.as_secs() {
        return Err(field.wrong(&format!("is more than the {} seconds that a hold may last", max.as_secs())));
    }
    Ok(Duration::from_secs(seconds))
}

/// What the hold's lines say: when it expires, and what its service says of it.
fn metadata(object: &Object<'_>, expires_at: UnixMillis) -> Result<String, Refusal> {
    let mut metadata = Map::new();
    metadata.insert("hold".to_owned(), Value::from("taken"));
    metadata.insert("expires_at".to_owned(), Value::from(view::instant(expires_at)));
    if let Some(field) = object.get("metadata") {
        event::metadata(&field, METADATA_BYTES_MAX - OWN_METADATA_BYTES_MAX)?;
        metadata.insert("metadata".to_owned(), field.value().clone());
    }
    Ok(Value::Object(metadata).to_string())
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
