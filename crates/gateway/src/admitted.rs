//! An admitted request, from its hold to its one settlement.

use std::{
    cell::OnceCell,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use http::{HeaderValue, Method};
use tollgate_core::{Charge, Charges, MeterKind, RequestKey, SettledBy, Settlement, TierIndex, UnixMillis};
use tollgate_ledger::{OpenError, OpenRequest, Outcome, Position};
use tollgate_quota::{Before, Hold, Mark, Mode, Parties};

use crate::{
    admission::Needs,
    amounts::{self, Charged, Heard, Plan, Settling, Stated},
    beyond,
    body::Progress,
    durable::Durable,
    end::End,
    headers::{self, Headers, Known},
    identity::text,
    live::{Grant, Route, RouteCharge, Snapshot},
    llm::{self, Call, CallUsed, Growth, Question, Used, Written},
    measures::{Measures, Model},
    resources::{self, Became, Claimant, Claiming, Kept},
    shared::Shared,
};

/// A request that was admitted: it holds quota, and its place in the journal is reserved.
///
/// It ends in exactly one settlement (promise 3): by [`Admitted::settle`], or, when whoever serves it
/// is cancelled, by being dropped. Neither does I/O: the journal's room was reserved when it opened.
#[must_use]
pub(crate) struct Admitted(Option<Box<Inner>>);

struct Inner {
    request: Admission,
    hold: Hold,
    open: OpenRequest,
    started: Instant,
    /// How far the request got on its way to an upstream; none before it is forwarded.
    progress: Option<Rc<Progress>>,
    /// What was held when it was admitted, by position of the charge.
    first: Needs,
    /// What is held.
    needs: Needs,
    /// What was asked of a shared store for more.
    question: Question,
    /// What the upstream reported, by position of the charge; mostly nothing.
    reported: Vec<(usize, i64)>,
    /// What else its answer's head said that is looked at.
    heard: Option<Box<Heard>>,
    metadata: Option<String>,
    /// What the resource has that is changed, once it is claimed.
    kept: Option<Box<Kept>>,
    /// The limits that it was admitted beyond, one bit each.
    graces: u32,
}

/// What is known of a request when it is admitted.
pub(crate) struct Admission {
    pub(crate) shared: Arc<Shared>,
    pub(crate) live: Rc<Snapshot>,
    pub(crate) route: Arc<Route>,
    pub(crate) tier: TierIndex,
    /// The limits that hold instead of the tier's.
    pub(crate) own: Option<Arc<Grant>>,
    pub(crate) user: HeaderValue,
    pub(crate) org: Option<HeaderValue>,
    pub(crate) method: Method,
    pub(crate) key: RequestKey,
    pub(crate) request_id: HeaderValue,
    /// What a model is asked for.
    pub(crate) call: Option<Box<Call>>,
    /// What the request says of its charges.
    pub(crate) stated: Option<Box<Stated>>,
    /// What the resource has that it changes, where the request names that.
    pub(crate) kept: Option<Box<Kept>>,
}

impl Admitted {
    /// Opens the request in the journal. On an error the hold is given back and nothing was admitted.
    pub(crate) fn open(mut request: Admission, hold: Hold, needs: &Needs) -> Result<Self, OpenError> {
        let open = {
            let held = request.route.charges.iter().zip(needs);
            let owed = held.map(|(charge, need)| Charge {
                meter: &charge.meter,
                amount: charge.unanswered(*need),
                estimated: true,
            });
            let Parties { user, org } = hold.parties();
            let parties = (user.id(), org.map(|org| org.id()));
            let mut opening = request.settlement(parties, hold.at());
            opening.charges.extend(owed);
            request.shared.journal.open_request(&opening)?
        };
        let started = Instant::now();
        let kept = request.kept.take();
        // Written where it stays: it is large.
        let inner = Box::write(
            Box::new_uninit(),
            Inner {
                request,
                hold,
                open,
                started,
                progress: None,
                first: needs.clone(),
                needs: needs.clone(),
                question: Question::default(),
                reported: Vec::new(),
                heard: None,
                metadata: None,
                kept,
                graces: 0,
            },
        );
        Ok(Self(Some(inner)))
    }

    /// It was admitted beyond these limits, one bit each.
    pub(crate) fn in_grace(mut self, graces: u32) -> Self {
        if let Some(inner) = &mut self.0 {
            inner.graces = graces;
        }
        self
    }

    /// From here on the upstream may do the work, whatever becomes of the client: `progress` knows.
    pub(crate) fn forward(&mut self, progress: &Rc<Progress>) {
        if let Some(inner) = &mut self.0 {
            inner.progress = Some(Rc::clone(progress));
        }
    }

    /// What a model is asked for.
    pub(crate) fn call(&self) -> Option<&Call> {
        self.0.as_ref()?.request.call.as_deref()
    }

    /// The route that it was admitted on.
    pub(crate) fn route(&self) -> Option<&Route> {
        self.0.as_ref().map(|inner| &*inner.request.route)
    }

    /// Whether a limit can refuse more of what a model's answer says.
    pub(crate) fn is_limited(&self) -> bool {
        let Some(Inner { request, .. }) = self.0.as_deref() else { return false };
        let mut charges = request.route.charges.iter().enumerate();
        charges.any(|(position, charge)| charge.is_of_model && request.is_limited(position))
    }

    /// Sets more aside where an answer nears what is held for it.
    pub(crate) fn grow(&mut self, written: Written) -> Growth {
        let Some(inner) = self.0.as_deref_mut() else { return Growth::Covered };
        let Inner { request, hold, needs, question, .. } = inner;
        llm::grow(request, hold, needs, question, written)
    }

    /// Whether the shared store has answered what [`Admitted::grow`] asked.
    pub(crate) fn poll_asked(&self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(inner) = self.0.as_deref() else { return Poll::Ready(()) };
        inner.hold.parties().poll_asked(inner.question.asked, cx)
    }

    /// More for the event, as a JSON object.
    pub(crate) fn set_metadata(&mut self, metadata: String) {
        if let Some(inner) = &mut self.0 {
            inner.metadata = Some(metadata);
        }
    }

    /// Whether the answer is worth waiting for when nobody waits for it.
    pub(crate) fn awaits_answer(&self) -> bool {
        let Some(Inner { request, kept, .. }) = self.0.as_deref() else { return false };
        let reads_answer = |plan: &Plan| plan.reads_answer();
        let is_read = request.call.as_ref().is_some_and(|call| call.is_billable())
            || request.route.plan.as_deref().is_some_and(reads_answer);
        // Of what goes on to exist, the status alone says whether it does.
        kept.is_some() || request.route.has_lasting || (is_read && request.route.reads_on())
    }

    /// Claims the resource that only the whole answer names, or that only it changes. What becomes of it is for
    /// [`Admitted::keep`], before the settlement. `None` where there is no such, and where it is claimed already.
    pub(crate) fn claim_late(&self, end: End, measures: &Measures<'_>) -> Option<Claiming> {
        let inner = self.0.as_deref()?;
        if inner.kept.is_some() || !inner.request.route.plan.as_ref()?.has_id {
            return None;
        }
        let Inner { request, hold, started, first, needs, reported, heard, .. } = inner;
        let priced = (request.live.plans(), hold.at());
        let call = request.call.as_deref();
        let call = call.map(|call| CallUsed::of(call, measures.model.answer(), end, priced));
        let mut charged = amounts::Charges::new();
        let settling = Settling {
            route: &request.route,
            end,
            is_charged: request.is_charged(end, true, false),
            took: started.elapsed(),
            measures,
            request_bytes: measures.request_bytes,
            stated: request.stated.as_deref(),
            heard: heard.as_deref(),
            reported,
            call: call.as_ref(),
            first,
            needs,
            // Limits say how much, not of what.
            is_limited: &|_| false,
            counts_missing: false,
        };
        amounts::charge(&settling, &mut charged);
        Some(request.claimant().claim_late(resources::changed(&charged)?))
    }

    /// The resource is claimed, or is not to be had.
    pub(crate) fn keep(&mut self, kept: Option<Kept>) {
        if let Some(inner) = &mut self.0 {
            inner.kept = kept.map(Box::new);
        }
    }

    /// Notes what the upstream says it used in `X-Usage-<meter>`, and in the headers that are looked at.
    pub(crate) fn take_reports(&mut self, headers: &Headers) {
        let Some(inner) = &mut self.0 else { return };
        inner.heard = inner.request.route.plan.as_ref().and_then(|plan| plan.hear(headers));
        if !headers.may_have(Known::Usage) {
            return;
        }
        for (position, charge) in inner.request.route.charges.iter().enumerate() {
            let Some(amount) = reported(headers, charge) else { continue };
            inner.reported.push((position, amount));
        }
    }

    /// Settles; what to wait for before the last byte of the answer leaves, if the journal is to be
    /// synced first.
    pub(crate) fn settle(mut self, end: End, measures: &Measures<'_>) -> Option<Durable> {
        self.0.take().and_then(|inner| inner.settle(end, measures))
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some(inner) = self.0.take() {
            inner.settle(End::ClientGone { status: None }, &Measures::default());
        }
    }
}

impl Inner {
    fn settle(self: Box<Self>, end: End, measures: &Measures<'_>) -> Option<Durable> {
        // What is large stays where it is.
        let Self {
            ref request,
            hold,
            open,
            started,
            ref progress,
            ref first,
            ref needs,
            question: _,
            ref reported,
            ref heard,
            metadata,
            kept,
            graces,
        } = *self;
        let progress = progress.as_deref();
        let priced = (request.live.plans(), hold.at());
        let call = request.call.as_deref();
        let call = call.map(|call| CallUsed::of(call, measures.model.answer(), end, priced));
        let has_failed = call.as_ref().is_some_and(|used| used.has_failed);
        let status = end.status();
        let took = started.elapsed();
        let is_limited = |position| request.is_limited(position);
        let mut charged = amounts::Charges::new();
        let settling = Settling {
            route: &request.route,
            end,
            is_charged: request.is_charged(end, progress.is_some_and(Progress::is_sent_whole), has_failed),
            took,
            measures,
            request_bytes: measures.request_bytes.max(progress.map_or(0, Progress::bytes)),
            stated: request.stated.as_deref(),
            heard: heard.as_deref(),
            reported,
            call: call.as_ref(),
            first,
            needs,
            is_limited: &is_limited,
            counts_missing: true,
        };
        amounts::charge(&settling, &mut charged);
        let own: Option<String>;
        let (mut kept, mut became) = (kept, Became::default());
        let has_ids = request.route.plan.as_ref().is_some_and(|plan| plan.has_id);
        if has_ids {
            let changed = resources::changed(&charged);
            kept = kept.or_else(|| request.claimant().claim_now(changed?).map(Box::new));
            let is_unnamed = changed.is_none() && resources::has_unnamed(&charged);
            own = is_unnamed.then(|| format!("request:{}", text(&request.request_id)));
            became = resources::settle(&mut charged, kept.as_deref(), own.as_deref(), hold.at());
            for charge in became.unnamed.iter().filter_map(|position| request.route.charges.get(*position)) {
                charge.missed();
            }
        }
        let mut charges = Charges::new();
        for (charge, charged) in request.route.charges.iter().zip(&charged) {
            let Charged { amount, estimated, resource: _, job, is_uncertain: _ } = *charged;
            // A slot is free when the answer ends, but for one of a job that goes on.
            let amount = if charge.is_slot() && job.is_none() { 0 } else { amount };
            charges.push(Charge { meter: &charge.meter, amount, estimated });
        }
        let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let metadata = match (metadata, &call, measures.model) {
            (None, _, Model::Said { usage, model, .. }) => {
                let provider = &request.route.upstream.settings.provider;
                Some(llm::metadata(&Used::Said(*usage), model, provider, None, false))
            }
            (None, Some(used), _) => Some(used.metadata(&request.route.upstream.settings.provider, end)),
            (metadata, _, _) => metadata,
        };
        let metadata = metadata.as_deref().or_else(|| end.metadata());
        let with_job = became.job.map(|(_, line)| line.added_to(metadata));
        let mut metadata = with_job.as_deref().or(metadata);
        let marks = OnceCell::new();

        // Journal first: a counter must never know of less than the journal when it is loaded.
        let counted = request.route.charges.iter().zip(&charges);
        let counted = counted.map(|(charge, charged)| (charge.id, charged.amount));
        let (at, mut position) = (hold.at(), Position::default());
        let journal = |before: &Before<'_>| {
            let limits = (request.grant(), &*request.route.charges);
            metadata = beyond::marked((&charges, metadata), &marks, limits, graces, before);
            let outcome = Outcome { status, duration_ms, resource: became.id, metadata, charges: &charges };
            position = open.end(&outcome);
            Mark(position.get())
        };
        hold.settle_after(journal, counted);

        if let Some(used) = &call {
            used.teach(&request.shared.learned);
        }
        request.route.metrics.took(status, took);
        request.route.metrics.settled(charges.iter().any(|charge| charge.estimated));
        let is_logged = request.live.gateway().log.requests;
        if is_logged || has_ids || request.shared.on_settled.is_some() {
            let (resource, parties) = (became.id, request.parties());
            let settlement = Settlement {
                status,
                duration_ms,
                resource,
                metadata,
                charges: charges.clone(),
                ..request.settlement(parties, at)
            };
            if is_logged {
                let Settlement { user_id, tier, route, method, request_id, .. } = settlement;
                tracing::info!(
                    user_id,
                    tier,
                    route,
                    method,
                    status,
                    duration_ms,
                    request_id,
                    "request settled"
                );
            }
            if let Some(observer) = &request.shared.on_settled {
                observer(&settlement);
            }
            if let Some(expiry) = became.expiry(&settlement) {
                request.shared.resources.watch(expiry);
            }
        }
        if let Some(kept) = kept {
            let amount = |position: usize| charges.get(position).map_or(0, |charge| charge.amount);
            kept.settled(&request.shared, amount);
        }
        request.shared.sync_before_answer.then(|| Durable::new(&request.shared.journal, position))
    }
}

impl Admission {
    /// Who its resource may belong to.
    fn claimant(&self) -> Claimant {
        let Self { shared, route, user, org, .. } = self;
        Claimant {
            shared: Arc::clone(shared),
            route: Arc::clone(route),
            user: user.clone(),
            org: org.clone(),
        }
    }

    /// The limits that hold for it.
    pub(crate) fn grant(&self) -> &Grant {
        self.own.as_deref().unwrap_or_else(|| self.route.grant(self.tier))
    }

    /// Whether a limit can refuse more of the charge at `position`.
    fn is_limited(&self, position: usize) -> bool {
        let overdraws = &self.grant().overdraws;
        self.live.mode == Mode::Enforce && overdraws.get(position).is_some_and(Option::is_some)
    }

    /// The user and the organisation.
    fn parties(&self) -> (&str, Option<&str>) {
        (text(&self.user), self.org.as_ref().map(text))
    }

    /// Its settlement, as far as it is known when it is admitted at `at`, without what it is charged.
    fn settlement<'a>(
        &'a self,
        (user_id, org_id): (&'a str, Option<&'a str>),
        at: UnixMillis,
    ) -> Settlement<'a> {
        Settlement {
            key: self.key,
            at,
            user_id,
            org_id,
            tier: &self.live.tier(self.tier).name,
            route: &self.route.name,
            method: self.method.as_str(),
            status: 0,
            duration_ms: 0,
            request_id: text(&self.request_id),
            resource: None,
            metadata: None,
            settled_by: SettledBy::Exchange,
            charges: Charges::new(),
        }
    }

    /// Whether the route charges for this end. A client who hangs up is charged as if they had waited:
    /// the upstream did the work. An answer that says in its middle that the upstream failed is as one of 502.
    fn is_charged(&self, end: End, sent: bool, has_failed: bool) -> bool {
        let charge_on = &self.route.charge_on;
        match end {
            _ if has_failed => charge_on.includes(Some(502)),
            End::Answered { status }
            | End::ReadOn { status }
            | End::Cut { status }
            | End::Limited { status }
            | End::Untold { status } => charge_on.includes(Some(status)),
            End::ClientGone { status: Some(status) } => charge_on.includes(Some(status)),
            End::ClientGone { status: None } => sent,
            End::NoAnswer { .. } => charge_on.includes(None),
        }
    }
}

/// A report that makes sense: an integer, negative only where a level gives back.
fn reported(headers: &Headers, charge: &RouteCharge) -> Option<i64> {
    let mut values = headers.all(charge.usage_header.as_ref()?);
    let amount = headers::text(values.next()?)?.trim().parse::<i64>().ok()?;
    let sensible = values.next().is_none() && (amount >= 0 || charge.kind == MeterKind::Level);
    sensible.then_some(amount)
}
