//! `POST track`: what services used, or saw used. It has happened, so it is charged, limits or not.

use std::{collections::HashSet, time::Duration};

use arrayvec::ArrayVec;
use serde::Serialize;
use serde_json::{Value, json};
use tollgate_core::{SETTLEMENT_CHARGES_MAX, UnixMillis};
use tollgate_ledger::IDEMPOTENT_ANSWER_BYTES_MAX;

use super::{
    Request, amounts, asking,
    basket::{self, Wanted},
    event::{Event, Times},
    input::Input,
    levels::Levels,
    once::{Attempt, Failed, once},
    posting::{self, Posting, Report, synced},
    reply::Reply,
    rights::Rights,
    served::ServedMeter,
    speaker::{Named, Speaker},
    view::{self, LimitView, Status},
    wholes::wholes,
};
use crate::{
    admission::store_unavailable,
    exchange::Context,
    identity::{Caller, text},
    refusal::{Code, Refusal},
};

/// Most events of one request.
const EVENTS_MAX: usize = 1000;
/// Longest time in which all of its users are looked up: a thousand that are not cached, at some milliseconds each.
const CALLERS_TIME_MAX: Duration = Duration::from_secs(10);
/// Of so many users and organisations, the answer says where their limits stand.
const SUBJECTS_SHOWN_MAX: usize = 16;
/// What this may take of an answer, which is kept for repeats.
const SUBJECTS_BYTES_MAX: usize = 12 * 1024;
const _: () = assert!(SUBJECTS_BYTES_MAX + 1024 <= IDEMPOTENT_ANSWER_BYTES_MAX);

/// What the answer says of one user and organisation.
#[derive(Serialize)]
struct SubjectView<'a> {
    user_id: &'a str,
    org_id: Option<&'a str>,
    tier: &'a str,
    /// The worst of `limits`; none where it cannot be told at the moment.
    status: Option<Status>,
    limits: Option<Vec<LimitView>>,
}

/// Charges one event, or all of `events`, or nothing.
pub(super) async fn track(
    request: &Request<'_>,
    speaker: &Speaker,
    body: &Input,
    context: &mut Context,
) -> Result<Reply, Refusal> {
    speaker.may_write(request)?;
    once(request, speaker, body, async |attempt| {
        Box::pin(attempt_it(request, speaker, body, (attempt, context))).await
    })
    .await
}

async fn attempt_it(
    request: &Request<'_>,
    speaker: &Speaker,
    body: &Input,
    (attempt, context): (Attempt, &mut Context),
) -> Result<Reply, Failed> {
    let events = events(request, body, attempt.key.at())?;
    let callers = tokio::time::timeout(CALLERS_TIME_MAX, callers(request, speaker, &events)).await;
    let callers = callers
        .map_err(|_| store_unavailable("not all users could be looked up in time; try again soon"))??;
    if let [(_, caller)] = &*callers {
        context.tier = Some(caller.tier);
    }
    let mut whose = Vec::with_capacity(events.len());
    for event in &events {
        let Some((_, caller)) = callers.iter().find(|(named, _)| *named == event.named) else { continue };
        amounts::available(request, caller, (event.meter, &event.place))?;
        whose.push((event, caller));
    }
    let mut levels = Box::pin(Levels::claim(request, &whose)).await?;
    let ids = posting::ids(attempt.key, (0u32..).zip(events.iter().map(|event| event.at)));
    let known = match attempt.is_again {
        true => asking::known(request, ids.clone()).await?,
        false => HashSet::new(),
    };
    let mut postings = Vec::with_capacity(events.len());
    for (number, ((event, caller), id)) in (0u32..).zip(whose.iter().zip(&ids)) {
        // What was charged before a gateway died is in what its resource has.
        let amount = if known.contains(id) { 0 } else { levels.set(event, caller) };
        postings.push(Posting {
            number,
            caller,
            charges: charges(request, event, amount)?,
            at: event.at,
            resource: event.resource.as_deref(),
            metadata: event.metadata.as_deref(),
            estimated: false,
        });
    }
    let request_id = match attempt.is_keyed {
        true => attempt.key.to_string(),
        false => text(&context.request_id).to_owned(),
    };
    let report = Report::new(request, (attempt.key, &request_id), postings);
    Box::pin(know(request, &callers, &report)).await;
    let durable = report.charge(request, &known)?;
    levels.settled(request);
    synced(durable).await.map_err(Failed::after_charging)?;
    let (subjects, status) = subjects(request, &callers, &report, context).await;
    Ok(Reply::ok(&json!({
        "recorded": events.len(),
        "request_id": request_id,
        "status": status,
        "subjects": subjects,
    })))
}

/// The event's meter and those that are made of it.
fn charges<'a>(
    request: &Request<'a>,
    event: &Event,
    amount: i64,
) -> Result<ArrayVec<(&'a ServedMeter, i64), SETTLEMENT_CHARGES_MAX>, Refusal> {
    let wholes = wholes(request.live.plans(), event.meter, amount);
    let mut charges = ArrayVec::new();
    for (meter, amount) in std::iter::once((event.meter, amount)).chain(wholes) {
        let Some(meter) = request.served.meter(meter) else { continue };
        if charges.try_push((meter, amount)).is_err() {
            return Err(event.place.wrong("is a part of too many meters"));
        }
    }
    Ok(charges)
}

/// Has the counters loaded of whoever is charged for use beyond limits: what their lines say of it begins with what was
/// used before. It is recorded, whether or not the ledger can be asked now.
async fn know(request: &Request<'_>, callers: &[(Named, Caller)], report: &Report<'_>) {
    for (_, caller) in callers {
        let charges_more = |meter: &&ServedMeter| Rights::of(request, caller, meter).beyond.is_some();
        let mut wanted: Vec<Wanted<'_>> = Vec::new();
        for meter in report.meters_of(caller).filter(charges_more) {
            if wanted.iter().all(|known| known.meter.index != meter.index) {
                wanted.push(Wanted { meter, need: 0 });
            }
        }
        if !wanted.is_empty() && basket::peek(request, caller, &wanted).await.is_err() {
            return;
        }
    }
}

/// Where the limits stand of those who were charged, and the worst of it, as far as an answer has room.
async fn subjects(
    request: &Request<'_>,
    callers: &[(Named, Caller)],
    report: &Report<'_>,
    context: &mut Context,
) -> (Vec<Value>, Option<Status>) {
    let (mut subjects, mut worst, mut room) = (Vec::new(), None, SUBJECTS_BYTES_MAX);
    for (_, caller) in callers.iter().take(SUBJECTS_SHOWN_MAX) {
        let view = subject(request, caller, report, (&mut *context, callers.len() == 1)).await;
        worst = worst.max(view.status);
        let value = serde_json::to_value(&view).unwrap_or_default();
        let Some(left) = usize::checked_sub(room, value.to_string().len()) else { break };
        room = left;
        subjects.push(value);
    }
    (subjects, worst)
}

/// What was sent, with what it says of all events in each.
fn events(request: &Request<'_>, body: &Input, now: UnixMillis) -> Result<Vec<Event>, Refusal> {
    let object = body.object(Code::InvalidEvent);
    let late_ms_max = i64::try_from(request.served.late_max.as_millis()).unwrap_or(i64::MAX);
    let times = Times { now, late_ms_max };
    let Some(list) = object.get("events") else {
        return Ok(vec![Event::read(&object, request.live, times)?]);
    };
    object.only(&["events", "user_id", "org_id", "tier"])?;
    let of_all = Named::read(&object)?;
    let one = |object| {
        let event = Event::read(&object, request.live, times)?;
        Ok(Event { named: event.named.or(&of_all), ..event })
    };
    list.objects(EVENTS_MAX)?.into_iter().map(one).collect()
}

/// Everybody who is charged, by how the events name them.
async fn callers(
    request: &Request<'_>,
    speaker: &Speaker,
    events: &[Event],
) -> Result<Vec<(Named, Caller)>, Refusal> {
    let mut callers: Vec<(Named, Caller)> = Vec::new();
    for event in events {
        if callers.iter().all(|(named, _)| *named != event.named) {
            let caller = speaker.caller(request, &event.named).await?;
            callers.push((event.named.clone(), caller));
        }
    }
    Ok(callers)
}

/// Where the limits stand of what was charged to `caller`.
async fn subject<'a>(
    request: &Request<'a>,
    caller: &'a Caller,
    report: &Report<'a>,
    (context, is_only): (&mut Context, bool),
) -> SubjectView<'a> {
    let mut wanted: Vec<Wanted<'_>> = Vec::new();
    for meter in report.meters_of(caller) {
        if wanted.iter().all(|known| known.meter.index != meter.index) {
            wanted.push(Wanted { meter, need: 0 });
        }
    }
    // It is recorded, whether or not the ledger can be asked now.
    let seen = basket::peek(request, caller, &wanted).await.ok();
    if let Some(seen) = seen.as_deref().filter(|_| is_only) {
        view::show_closest(seen, caller, context);
    }
    let limits = seen.map(|seen| view::limits(request.live, caller, &seen));
    SubjectView {
        user_id: text(&caller.user),
        org_id: caller.org.as_ref().map(text),
        tier: &request.live.tier(caller.tier).name,
        status: limits.as_deref().map(view::status),
        limits,
    }
}
