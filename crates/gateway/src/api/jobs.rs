//! `POST jobs/{id}/end`: a job that runs longer than its request has ended.

use serde_json::json;
use tollgate_core::MeterKind;

use super::{
    Request, asking,
    input::Input,
    once::{Attempt, Failed, once},
    open::{self, Open},
    posting::{self, Posting, Report, synced},
    reply::Reply,
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
    let mut found = open::find(request, &caller, &id).await?;
    found.retain(|found| request.live.plans().meters[found.meter.index.0].kind == MeterKind::Concurrent);
    let open = Open::claim(request, &caller, (&id, found)).await?.filter(|open| !open.held.is_empty());
    let Some(open) = open else {
        // An earlier attempt may have ended it, and nobody was told.
        let first = posting::ids(attempt.key, std::iter::once(attempt.key.at()));
        let was_ended = attempt.is_again && !asking::known(request, first).await?.is_empty();
        return if was_ended { Ok(ended(&id)) } else { Err(gone().into()) };
    };
    let posting = |(meter, had): (_, i64)| Posting {
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
    let durable = report.charge(request, &Default::default())?;
    open.ended(request);
    synced(durable).await.map_err(Failed::after_charging)?;
    Ok(ended(&id))
}

fn ended(id: &str) -> Reply {
    Reply::ok(&json!({ "id": id, "ended": true }))
}

fn gone() -> Refusal {
    Refusal::new(Code::NotFound, "there is no such job: it has ended, or it is somebody else's")
}
