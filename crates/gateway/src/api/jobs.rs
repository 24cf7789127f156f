//! `POST jobs/{id}/end`: a job that runs longer than its request has ended.

use serde_json::json;

use super::{
    Request, asking,
    input::Input,
    once::{Attempt, Failed, once},
    open::{self, Open},
    posting::{self, Posting, Report, synced},
    reply::Reply,
    served::ServedMeter,
    speaker::{Named, Speaker},
};
use crate::{
    exchange::Context,
    identity::text,
    refusal::{Code, Refusal},
    resources::HOLD,
};

/// Frees the slots that the job has.
pub(super) async fn end(
    request: &Request<'_>,
    speaker: &Speaker,
    (id, body): (&str, &Input),
    context: &mut Context,
) -> Result<Reply, Refusal> {
    speaker.may_write(request)?;
    once(request, speaker, body, async |attempt| {
        Box::pin(try_end(request, speaker, (id, body), (attempt, context))).await
    })
    .await
}

async fn try_end(
    request: &Request<'_>,
    speaker: &Speaker,
    (id, body): (&str, &Input),
    (attempt, context): (Attempt, &mut Context),
) -> Result<Reply, Failed> {
    let object = body.object(Code::BadRequest);
    object.only(&["user_id", "org_id", "tier"])?;
    let caller = speaker.caller(request, &Named::read(&object)?).await?;
    context.tier = Some(caller.tier);
    let id = super::speaker::decoded(id).filter(|id| !id.starts_with(HOLD)).ok_or_else(gone)?;
    let mut meters = open::all(request.served);
    meters.retain(|meter| meter.is_concurrent());
    let open = Open::claim(request, &caller, (&id, &meters)).await?;
    // An earlier attempt may have ended it, or a part of it, and nobody was told.
    let ids = posting::ids(attempt.key, meters.iter().map(|meter| (number(meter), attempt.key.at())));
    let known = match attempt.is_again {
        true => asking::known(request, ids).await?,
        false => Default::default(),
    };
    if open.held.is_empty() {
        return if known.is_empty() { Err(Failed::nothing(gone())) } else { Ok(ended(&id)) };
    }
    let posting = |(meter, had): (_, i64)| Posting {
        number: number(meter),
        caller: &caller,
        charges: [(meter, -had)].into_iter().collect(),
        at: attempt.key.at(),
        resource: Some(&*id),
        metadata: Some(r#"{"job":"ended"}"#),
        estimated: false,
    };
    let postings = open.held.iter().copied().map(posting).collect();
    let request_id = text(&context.request_id).to_owned();
    let report = Report::new(request, (attempt.key, &request_id), postings);
    let durable = report.charge(request, &known)?;
    open.ended(request);
    synced(durable).await.map_err(Failed::after_charging)?;
    Ok(ended(&id))
}

/// The number of the event that frees a meter's slot, whatever else is free by now.
fn number(meter: &ServedMeter) -> u32 {
    u32::try_from(meter.index.0).unwrap_or(u32::MAX)
}

fn ended(id: &str) -> Reply {
    Reply::ok(&json!({ "id": id, "ended": true }))
}

fn gone() -> Refusal {
    Refusal::new(Code::NotFound, "there is no such job: it has ended, or it is somebody else's")
}
