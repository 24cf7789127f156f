//! Taking a hold: admitted like a request, and charged at once.

use std::cell::OnceCell;

use tollgate_core::{Charge, Charges, RequestKey, SETTLEMENT_CHARGES_MAX, SettledBy, Settlement, UnixMillis};
use tollgate_ledger::{METADATA_BYTES_MAX, Position};
use tollgate_quota::{
    Admission, Asked, Before, CHECKS_MAX, Hold, Mark, Mode, Parties, Refusal as QuotaRefusal, Standings,
    Terms,
};

use super::{
    Request,
    basket::{Asks, Seen, Wanted, asks},
    posting,
    rights::Rights,
    served::ROUTE,
    view,
};
use crate::{
    admission::{self, ATTEMPTS_MAX, Needs, store_unavailable},
    beyond,
    durable::Durable,
    exchange::Context,
    identity::{Caller, text},
    refusal::{Code, Refusal},
};

/// What its lines say.
pub(super) struct Line<'a> {
    pub(super) key: RequestKey,
    pub(super) resource: &'a str,
    pub(super) metadata: &'a str,
}

/// A hold that was taken.
pub(super) struct Taken {
    /// When it is charged.
    pub(super) at: UnixMillis,
    /// What to wait for, if the journal is to be synced before the answer.
    pub(super) durable: Option<Durable>,
}

/// Takes all that is `wanted`, or nothing.
pub(super) async fn take<'a>(
    request: &Request<'_>,
    caller: &Caller,
    wanted: &[Wanted<'a>],
    (line, context): (Line<'_>, &mut Context),
) -> Result<Taken, Refusal> {
    // Nobody waits here: where a limit slows down, what is beyond is refused.
    let asks = match request.live.mode {
        Mode::Enforce => asks(wanted, request, caller, Rights::strict_checks),
        Mode::Observe => asks(wanted, request, caller, Rights::checks),
    };
    if wanted.len() > SETTLEMENT_CHARGES_MAX || asks.checks.len() > CHECKS_MAX {
        let message = format!(
            "one hold is of at most {SETTLEMENT_CHARGES_MAX} meters with at most {CHECKS_MAX} limits: take several"
        );
        return Err(Refusal::new(Code::BadRequest, message));
    }
    let (user, org) = admission::subjects(request.worker, caller)?;
    let parties = Parties { user: &user, org: org.as_ref() };
    // First, so that what is admitted is charged.
    let room = request.worker.shared.journal.reserve().map_err(admission::not_journalled)?;
    let hold = admit(request, caller, (wanted, &asks, parties), context).await?;
    let at = hold.at();
    let charge =
        |wanted: &Wanted<'a>| Charge { meter: wanted.meter.name(), amount: wanted.need, estimated: true };
    let charges: Charges<'_> = wanted.iter().map(charge).collect();
    let request_id = line.key.to_string();
    let marks = OnceCell::new();
    let mut settlement = Settlement {
        key: posting::event_key(line.key, 0, at),
        at,
        user_id: text(&caller.user),
        org_id: caller.org.as_ref().map(text),
        tier: &request.live.tier(caller.tier).name,
        route: ROUTE,
        method: request.parts.method.as_str(),
        status: 200,
        duration_ms: 0,
        request_id: &request_id,
        resource: Some(line.resource),
        metadata: Some(line.metadata),
        settled_by: SettledBy::Exchange,
        charges,
    };
    let mut position = Position::default();
    let journal = |before: &Before<'_>| {
        mark(&mut settlement, &marks, (wanted, &asks), before);
        position = room.settle(&settlement);
        Mark(position.get())
    };
    hold.settle_after(journal, wanted.iter().filter_map(|wanted| Some((wanted.meter.id()?, wanted.need))));
    posting::tell(request, &settlement);
    let shared = &request.worker.shared;
    let durable = shared.sync_before_answer.then(|| Durable::new(&shared.journal, position));
    Ok(Taken { at, durable })
}

/// Says of each meter what is charged for as overage.
fn mark<'s>(
    settlement: &mut Settlement<'s>,
    text: &'s OnceCell<String>,
    (wanted, asks): (&[Wanted<'_>], &Asks<'_>),
    before: &Before<'_>,
) {
    let mut own = String::new();
    for (number, (wanted, charge)) in wanted.iter().zip(&settlement.charges).enumerate() {
        let (Some(range), Some(rights)) = (asks.ranges.get(number), asks.rights.get(number)) else {
            continue;
        };
        let marks = OnceCell::new();
        let charges = std::iter::once(*charge).collect();
        let mut alone = Settlement { charges, metadata: None, ..settlement.clone() };
        let limits = (&**rights, &*wanted.meter.route.charges);
        let graces = 0;
        beyond::mark(&mut alone, &marks, limits, graces, &before.part(range.clone()));
        own.push_str(alone.metadata.unwrap_or_default());
    }
    let shared = settlement.metadata.unwrap_or_default();
    // When it expires is what must be kept.
    if !own.is_empty() && shared.len() + own.len() <= METADATA_BYTES_MAX {
        settlement.metadata = Some(text.get_or_init(|| shared.to_owned() + &own));
    }
}

async fn admit(
    request: &Request<'_>,
    caller: &Caller,
    (wanted, asks, parties): (&[Wanted<'_>], &Asks<'_>, Parties<'_>),
    context: &mut Context,
) -> Result<Hold, Refusal> {
    let (live, worker) = (request.live, request.worker);
    let Asks { checks, needs, tracked, .. } = asks;
    let warn_at = &live.tier(caller.tier).warn_at;
    let terms = Terms { checks, needs, warn_at, mode: live.mode, tracked };
    let mut asked = Asked::default();
    for _ in 0..ATTEMPTS_MAX {
        let now = worker.now();
        match parties.admit_asked(terms, now, asked) {
            Admission::Admitted { hold, standings, .. } => {
                let seen = seen((wanted, asks), &standings, None, hold.at());
                view::show_closest(&seen, caller, context);
                return Ok(hold);
            }
            Admission::Refused { refusal, standings } => {
                let seen = seen((wanted, asks), &standings, Some(&refusal), now);
                view::show_closest(&seen, caller, context);
                let refused = seen.iter().find_map(|seen| Some((seen, seen.refusal.as_ref()?)));
                let Some((seen, refusal)) = refused else { break };
                let needs: Needs = std::iter::once(seen.wanted.need).collect();
                let bearer = seen.rights.bearer(caller);
                return Err(admission::explain(
                    (live, &*seen.wanted.meter.route, &bearer),
                    (refusal, &needs, None),
                    now,
                ));
            }
            Admission::NotLoaded => Box::pin(admission::load(worker, parties, terms, caller)).await?,
            Admission::NotLeased => {
                asked = parties.begin_ask(terms, now);
                Box::pin(admission::answered(parties, asked)).await?;
            }
            Admission::Unavailable { .. } => {
                return Err(store_unavailable(
                    "how much is left cannot be told at the moment; try again soon",
                ));
            }
        }
    }
    Err(store_unavailable("what was used before is not known yet; try again soon"))
}

/// What was seen of each meter.
fn seen<'a>(
    (wanted, asks): (&[Wanted<'a>], &Asks<'a>),
    standings: &Standings,
    refusal: Option<&QuotaRefusal>,
    at: UnixMillis,
) -> Vec<Seen<'a>> {
    let one = |((wanted, rights), range): ((&Wanted<'a>, &Rights<'a>), &std::ops::Range<usize>)| {
        let own = standings.get(range.clone()).unwrap_or_default();
        let refusal = refusal.filter(|refusal| range.contains(&refusal.check));
        let refusal = refusal.map(|refusal| QuotaRefusal { check: refusal.check - range.start, ..*refusal });
        let standings = own.iter().copied().collect();
        let rights = rights.clone();
        Seen { wanted: *wanted, rights, standings, refusal, is_refused: refusal.is_some(), at }
    };
    wanted.iter().zip(&asks.rights).zip(&asks.ranges).map(one).collect()
}
