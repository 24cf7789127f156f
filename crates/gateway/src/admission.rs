//! From the limits of a route and tier to a hold, or to the refusal that says why not.

use std::{
    cell::Cell,
    future::{Ready, poll_fn, ready},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use arrayvec::ArrayVec;
use futures_util::future::Either;
use http_body::SizeHint;
use jiff::Timestamp;
use tollgate_core::{Max, SETTLEMENT_CHARGES_MAX, Scope, UnixMillis};
use tollgate_ledger::{LoadError, LoadRequest, Loaded, OpenError, Subject as LedgerSubject, SyncFailed};
use tollgate_quota::{
    Admission as Decision, Asked, Check, Hold, LoadTicket, Mark, Mode, Parties, Refusal as QuotaRefusal,
    Standings, Subject, SubjectKey, Terms,
};

use crate::{
    admitted::Admitted,
    amounts::{PartAmount, Source, Stated, per_meter},
    beyond::Beyond,
    identity::{Caller, text},
    live::{Grant, Live, Route, RouteCharge},
    llm::Call,
    meters::MeterIds,
    ratelimit,
    refusal::{Code, Quota, Refusal},
    resources::{Kept, Unclaimed},
    shared::Shared,
    waiting::{Next, Refused, Waiting},
    worker::Worker,
};

/// Longest time that a request waits to learn from the ledger what its subject used before.
const LOAD_WAIT_MAX: Duration = Duration::from_secs(2);
/// A window may turn, a load be overtaken, or others take what was just granted, while a request waits;
/// more often than this is not chance.
pub(crate) const ATTEMPTS_MAX: u32 = 16;
/// When to try again after something of the gateway's own was not there.
const RETRY_SECONDS: u64 = 1;

/// What is set aside, by position of the route's charges.
pub(crate) type Needs = ArrayVec<i64, SETTLEMENT_CHARGES_MAX>;

/// What to hold for a request: what it says about itself, or what the route says.
pub(crate) fn needs(asking: &Asking<'_>, size: &SizeHint) -> Needs {
    let Asking { route, call, stated, kept, .. } = asking;
    let exact_bytes = size.exact().and_then(|bytes| i64::try_from(bytes).ok());
    let counts = |charge: &RouteCharge| call.is_none_or(|call| charge.counts_model(call.model()));
    let mut needs = per_meter(&route.charges, counts, |(position, charge), (number, part)| {
        let said = stated.and_then(|stated| stated.need(number));
        let need = match (&part.amount, said) {
            (_, Some(need)) => need,
            (PartAmount::Measured(measured), None) => match (&measured.source, exact_bytes, call) {
                (Source::RequestBytes, Some(bytes), _) => measured.conversion.apply_whole(bytes),
                (Source::Llm(measure), _, Some(call)) => call.need(asking, position, (*measure, measured)),
                _ => part.flat_need(),
            },
            (PartAmount::Constant(_), None) => part.flat_need(),
        };
        // What one part gives back is not there for another before it is given.
        if charge.parts.len() > 1 { need.max(0) } else { need }
    });
    if let Some(kept) = kept {
        // Of what it has already, nothing more is taken.
        for (position, need) in needs.iter_mut().enumerate() {
            *need = kept.had(position).map_or(*need, |had| need.saturating_sub(had.max(0)).max(0));
        }
    }
    needs
}

/// Who asks for what, and by which rules.
pub(crate) struct Asking<'a> {
    pub(crate) live: &'a Live,
    pub(crate) shared: &'a Shared,
    pub(crate) route: &'a Route,
    pub(crate) grant: &'a Grant,
    /// Of a model.
    pub(crate) call: Option<&'a Call>,
    /// What the request says of its charges.
    pub(crate) stated: Option<&'a Stated>,
    /// What the resource has that it changes.
    pub(crate) kept: Option<&'a Kept>,
    pub(crate) at: UnixMillis,
}

/// A request that asks to be admitted.
#[derive(Clone, Copy)]
pub(crate) struct Applicant<'a> {
    pub(crate) live: &'a Live,
    pub(crate) route: &'a Route,
    pub(crate) caller: &'a Caller,
    pub(crate) needs: &'a Needs,
    pub(crate) arrived: UnixMillis,
    /// What is kept of its body.
    pub(crate) kept_bytes: u64,
    /// Told of its place in the line, if it has to wait.
    pub(crate) queued: &'a Cell<Option<usize>>,
}

/// What becomes of a request that asks to be admitted: mostly that is decided when it asks.
pub(crate) type Admitting<'a> =
    Either<Ready<Result<Admitted, Refusal>>, Pin<Box<dyn Future<Output = Result<Admitted, Refusal>> + 'a>>>;

/// Takes what the request needs from all its limits, or from none, and hands the hold to `open` on the
/// spot: it is large, and would be copied at each step of the way back. Where the limits stand then is put
/// into `standings`, unless they could not be asked.
pub(crate) fn admit<'a>(
    worker: &'a Worker,
    applicant: Applicant<'a>,
    standings: &'a mut Option<Standings>,
    open: impl FnOnce(Hold) -> Result<Admitted, Refusal> + 'a,
) -> Admitting<'a> {
    let (user, org) = match subjects(worker, applicant.caller) {
        Ok(subjects) => subjects,
        Err(refusal) => return Either::Left(ready(Err(refusal))),
    };
    let parties = Parties { user: &user, org: org.as_ref() };
    if applicant.waits_at().is_none() {
        match parties.admit(applicant.terms(), applicant.arrived) {
            Decision::Admitted { hold, standings: standing, unenforced, warnings } => {
                let standings = standings.insert(standing);
                applicant.tell(unenforced.is_some(), &warnings);
                return Either::Left(ready(applicant.open(hold, standings, open)));
            }
            Decision::Refused { refusal, standings: standing } => {
                *standings = Some(standing);
                let why = Refused { refusal, standings: None, again_after: None };
                return Either::Left(ready(Err(refused(applicant, &why, applicant.arrived))));
            }
            // Nothing is held, and it is decided again.
            Decision::NotLoaded | Decision::NotLeased | Decision::Unavailable { .. } => {}
        }
    }
    Either::Right(Box::pin(admit_in_time(worker, applicant, (user, org), standings, open)))
}

impl<'a> Applicant<'a> {
    fn grant(&self) -> &'a Grant {
        self.caller.grant(self.route)
    }

    /// What use beyond its limits does, where it may have to wait at one. Where nothing is refused, nobody waits.
    fn waits_at(&self) -> Option<&'a Beyond> {
        let may_wait = |beyond: &&Beyond| beyond.may_wait && self.live.mode == Mode::Enforce;
        self.grant().beyond.as_deref().filter(may_wait)
    }

    fn terms(&self) -> Terms<'a> {
        let Self { live, route, caller, needs, .. } = *self;
        let checks = match live.mode {
            Mode::Enforce => self.grant().strict_checks(),
            Mode::Observe => &self.grant().checks,
        };
        let warn_at = &live.tier(caller.tier).warn_at;
        Terms { checks, needs, warn_at, mode: live.mode, tracked: &route.tracked }
    }

    /// Counts what would have been refused, and tells of limits that are nearly used up.
    fn tell(&self, is_unenforced: bool, warnings: &[(u8, u8)]) {
        let metrics = &self.live.tiers[self.caller.tier.0].metrics;
        if is_unenforced {
            metrics.unenforced.increment(1);
        }
        for (check, percent) in warnings {
            metrics.warnings.increment(1);
            let limit = &self.grant().limits[usize::from(*check)].policy;
            tracing::info!(user = text(&self.caller.user), limit = &**limit, percent, "quota warning");
        }
    }

    fn open(
        &self,
        hold: Hold,
        standings: &Standings,
        open: impl FnOnce(Hold) -> Result<Admitted, Refusal>,
    ) -> Result<Admitted, Refusal> {
        let graces = self.grant().graces(standings);
        open(hold).map(|admitted| admitted.in_grace(graces))
    }
}

/// As [`admit`], where it takes time.
async fn admit_in_time(
    worker: &Worker,
    applicant: Applicant<'_>,
    (user, org): (Arc<Subject>, Option<Arc<Subject>>),
    standings: &mut Option<Standings>,
    open: impl FnOnce(Hold) -> Result<Admitted, Refusal>,
) -> Result<Admitted, Refusal> {
    let Applicant { caller, arrived, kept_bytes, queued, .. } = applicant;
    let parties = Parties { user: &user, org: org.as_ref() };
    let (grant, terms) = (applicant.grant(), applicant.terms());
    let checks = terms.checks;
    // Without those that it has waited for its turn at; each turn takes one of them out, so there is an end to it.
    let mut passed: Option<Box<[Check]>> = None;
    let mut waiting = match applicant.waits_at() {
        None => None,
        Some(beyond) => {
            let mut waiting = Waiting::new(worker, beyond, (caller, kept_bytes), (parties, terms));
            let next = waiting.behind_others().await;
            queued.set(waiting.position);
            match next {
                Next::Again => {}
                Next::Through(check) => pass(&mut passed, checks, check),
                Next::Refused(why) => {
                    standings.clone_from(&why.standings);
                    return Err(refused(applicant, &why, worker.now()));
                }
            }
            Some(waiting)
        }
    };

    let mut asked = Asked::default();
    let (mut attempt, mut now) = (0, arrived);
    while attempt < ATTEMPTS_MAX {
        attempt += 1;
        let terms = Terms { checks: passed.as_deref().unwrap_or(checks), ..terms };
        match parties.admit_asked(terms, now, asked) {
            Decision::Admitted { hold, standings: standing, unenforced, warnings } => {
                let standings = standings.insert(standing);
                applicant.tell(unenforced.is_some(), &warnings);
                return applicant.open(hold, standings, open);
            }
            Decision::Refused { refusal, standings: standing } => {
                *standings = Some(standing);
                let next = match &mut waiting {
                    None => {
                        let why = Refused { refusal, standings: None, again_after: None };
                        return Err(refused(applicant, &why, now));
                    }
                    Some(waiting) => {
                        let next = waiting.after(&refusal).await;
                        queued.set(waiting.position);
                        next
                    }
                };
                match next {
                    Next::Again => {}
                    Next::Through(check) => pass(&mut passed, checks, check),
                    Next::Refused(why) => {
                        if why.standings.is_some() {
                            standings.clone_from(&why.standings);
                        }
                        return Err(refused(applicant, &why, now));
                    }
                }
                // It has waited for something that has happened: what was asked and tried before counts no more.
                (attempt, asked) = (0, Asked::default());
            }
            Decision::NotLoaded => load(worker, parties, terms, caller).await?,
            Decision::NotLeased => {
                asked = parties.begin_ask(terms, now);
                answered(parties, asked).await?;
            }
            Decision::Unavailable { check } => {
                let limit = &grant.limits[check].policy;
                tracing::debug!(limit = &**limit, "refused: the shared counters are away");
                let message = "how much is left cannot be told at the moment; try again soon";
                return Err(store_unavailable(message));
            }
        }
        now = worker.now();
    }
    Err(store_unavailable("what was used before is not known yet; try again soon"))
}

/// Lets a limit refuse no more.
fn pass(passed: &mut Option<Box<[Check]>>, checks: &[Check], check: usize) {
    let passed = passed.get_or_insert_with(|| checks.into());
    if let Some(check) = passed.get_mut(check) {
        check.hard = false;
    }
}

/// Whose limits hold for the caller, with their windows as the table says.
pub(crate) fn subjects(
    worker: &Worker,
    caller: &Caller,
) -> Result<(Arc<Subject>, Option<Arc<Subject>>), Refusal> {
    let subject = |scope, id| {
        worker.shared.counters.subject(SubjectKey { scope, id }).map_err(|error| {
            tracing::warn!(%error, "request refused");
            overloaded("more customers are active than the gateway has room for; try again soon")
        })
    };
    let user = subject(Scope::User, text(&caller.user))?;
    caller.calendars.apply_to_user(&user);
    let org = caller.org.as_ref().map(|org| subject(Scope::Org, text(org))).transpose()?;
    if let Some(org) = &org {
        caller.calendars.apply_to_org(org);
    }
    Ok((user, org))
}

/// Waits for the shared store to answer what was asked.
pub(crate) async fn answered(parties: Parties<'_>, asked: Asked) -> Result<(), Refusal> {
    let answered = poll_fn(|cx| parties.poll_asked(asked, cx));
    tokio::time::timeout(LOAD_WAIT_MAX, answered)
        .await
        .map_err(|_| store_unavailable("how much is left cannot be told at the moment; try again soon"))
}

/// Asks the ledger for what the counters do not know, or waits for others who asked.
pub(crate) async fn load(
    worker: &Worker,
    parties: Parties<'_>,
    terms: Terms<'_>,
    caller: &Caller,
) -> Result<(), Refusal> {
    let shared = &worker.shared;
    for ticket in parties.begin_load(terms, worker.now()) {
        let subject = match (&ticket.scope, &caller.org) {
            (Scope::Org, Some(org)) => LedgerSubject::Org(text(org).to_owned()),
            (Scope::Org | Scope::User, _) => LedgerSubject::User(text(&caller.user).to_owned()),
        };
        let sums = meters_and_spans(&ticket, &shared.meters);
        // After `begin_load`: all that is older is in the ledger's answer, all that is newer in the ticket.
        let reached = shared.journal.tail();
        let reply = Box::new(move |answer: Result<Loaded, LoadError>| match answer {
            Ok(loaded) => ticket.complete(&loaded.sums, Mark(loaded.watermark.get())),
            // Dropping the ticket tells those who wait.
            Err(error) => tracing::debug!(%error, "counters not loaded"),
        });
        shared.ledger.load(LoadRequest { subject, sums, reached, reply });
    }
    let loaded = poll_fn(|cx| parties.poll_loaded(cx));
    tokio::time::timeout(LOAD_WAIT_MAX, loaded)
        .await
        .map_err(|_| store_unavailable("what was used before is not known yet; try again soon"))
}

fn meters_and_spans(ticket: &LoadTicket, meters: &MeterIds) -> Vec<(String, tollgate_core::Span)> {
    let name = |id| meters.name(id).map(String::from).unwrap_or_default();
    ticket.spans.iter().map(|asked| (name(asked.key.meter), asked.span)).collect()
}

fn refused(applicant: Applicant<'_>, why: &Refused, now: UnixMillis) -> Refusal {
    let Applicant { live, route, caller, needs, .. } = applicant;
    let Refused { refusal, standings: _, again_after } = why;
    explain((live, route, caller), (refusal, needs, *again_after), now)
}

/// Why a limit refuses a request of this caller to this route that needs so much, for the client; and when its turn would
/// come, if it would wait for one.
pub(crate) fn explain(
    (live, route, caller): (&Live, &Route, &Caller),
    (refusal, needs, again_after): (&QuotaRefusal, &Needs, Option<Duration>),
    now: UnixMillis,
) -> Refusal {
    let grant = caller.grant(route);
    let (check, limit) = (&grant.checks[refusal.check], &grant.limits[refusal.check]);
    let charge = &route.charges[limit.charge];
    let tier = live.tier(caller.tier);
    let window = check.counter.window;
    let max = match check.max {
        Max::AtMost(max) => max,
        Max::Unlimited => i64::MAX,
    };
    let used = refusal.standing.usage.total();
    let need = needs.get(limit.charge).copied().unwrap_or(0);
    let seconds = ratelimit::seconds_left(&refusal.standing, now);
    let turn = again_after.map(|after| after.as_secs().saturating_add(1));
    let (code, span, again) = if let Some(seconds) = turn {
        let again = format!("it would have to wait for longer than is sensible; try again in {seconds} s");
        (Code::RateLimited, format!(" per {window} at once"), again)
    } else if check.concurrent {
        (Code::TooManyJobs, " at a time".to_owned(), "try again when one has ended".to_owned())
    } else {
        let code = if window.is_rate() { Code::RateLimited } else { Code::QuotaExceeded };
        let again = match seconds {
            _ if max == 0 => "the tier has none".to_owned(),
            _ if need > max => "it fits into no window: ask for less".to_owned(),
            Some(seconds) => format!("try again in {seconds} s"),
            None => "nothing resets it".to_owned(),
        };
        let span = seconds.map_or(String::new(), |_| format!(" per {window}"));
        (code, span, again)
    };
    let upgrade = live.plans().upgrade_url.as_deref();
    let more = upgrade.map(|url| format!(", or upgrade: {url}")).unwrap_or_default();
    let message = format!(
        "{} of {} {} are used that tier {} allows{span}, and this request may use {}; {again}{more}",
        charge.shown(used),
        charge.shown(max),
        charge.meter,
        tier.name,
        charge.shown(need),
    );
    let reset_at = seconds.and_then(|_| Timestamp::from_millisecond(refusal.standing.span.end.0).ok());
    Refusal::quota(
        code,
        message,
        Quota {
            tier: tier.name.to_string(),
            meter: charge.meter.to_string(),
            window: window.to_string(),
            used,
            limit: max,
            remaining: ratelimit::remaining(check, &refusal.standing),
            reset_at: reset_at.map(|at| at.to_string()),
            retry_after: turn.or(seconds).or(check.concurrent.then_some(RETRY_SECONDS)),
            upgrade_url: upgrade.map(str::to_owned),
        },
    )
}

/// The journal did not take the request: nothing may be forwarded that could not be written down.
pub(crate) fn not_journalled(error: OpenError) -> Refusal {
    match error {
        OpenError::TooManyInFlight => {
            overloaded("as many requests are in flight as the gateway has room for; try again soon")
        }
        OpenError::Full | OpenError::Failed => {
            store_unavailable("usage cannot be recorded at the moment, so nothing is served; try again soon")
        }
    }
}

/// What exists by an id is changed by others, or it cannot be told what it has.
pub(crate) fn not_claimed(error: Unclaimed) -> Refusal {
    match error {
        Unclaimed::Overloaded => {
            overloaded("too many requests change one and the same thing at once; try again soon")
        }
        Unclaimed::Away => {
            store_unavailable("what this has by now cannot be told at the moment; try again soon")
        }
    }
}

/// The answer was there, and could not be made durable.
pub(crate) fn not_synced(_: &SyncFailed) -> Refusal {
    store_unavailable("usage could not be recorded durably")
}

pub(crate) fn overloaded(message: &'static str) -> Refusal {
    Refusal::new(Code::Overloaded, message).retry_after(RETRY_SECONDS)
}

pub(crate) fn store_unavailable(message: &'static str) -> Refusal {
    Refusal::new(Code::StoreUnavailable, message).retry_after(RETRY_SECONDS)
}
