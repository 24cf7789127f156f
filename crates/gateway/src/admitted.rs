//! An admitted request, from its hold to its one settlement.

use std::{
    cell::OnceCell,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use arrayvec::ArrayVec;
use http::{HeaderMap, HeaderValue, Method};
use tollgate_config::{Amount, Measure, Measured};
use tollgate_core::{
    Charge, Charges, MeterKind, RequestKey, SETTLEMENT_CHARGES_MAX, SettledBy, Settlement, TierIndex,
};
use tollgate_ledger::{OpenError, OpenRequest, Position};
use tollgate_quota::{Before, Hold, Mark, Mode};
use tollgate_usage::TokenUsage;

use crate::{
    admission::Needs,
    beyond,
    body::Progress,
    durable::Durable,
    end::End,
    identity::text,
    live::{Grant, Route, RouteCharge, Snapshot},
    llm::{self, Answer, Call, Extent, Growth, Owed, Question, Used, Written},
    resources::{Act, Claiming, Held, Kept, Known, Parties, Said, Use},
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
    /// What the upstream reported, by position of the charge.
    reported: ArrayVec<(usize, i64), SETTLEMENT_CHARGES_MAX>,
    metadata: Option<String>,
    /// What it does to a resource.
    held: Option<Box<Held>>,
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
    /// What it does to a resource.
    pub(crate) held: Option<Box<Held>>,
}

/// What was seen of an exchange.
#[derive(Clone, Copy, Default)]
pub(crate) struct Measures<'a> {
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    pub(crate) model: Model<'a>,
}

/// What was seen of a model.
#[derive(Clone, Copy, Default)]
pub(crate) enum Model<'a> {
    /// Nothing.
    #[default]
    Unseen,
    /// Its answer.
    Answer(&'a Answer),
    /// What it said in the midst of a conversation, and what is charged for that.
    Said { usage: &'a TokenUsage, model: Option<&'a str>, amounts: &'a Needs },
    /// The end of a conversation.
    Owed(&'a Owed),
}

impl<'a> Measures<'a> {
    pub(crate) fn of_model(model: Model<'a>) -> Self {
        Self { model, ..Self::default() }
    }
}

impl<'a> Model<'a> {
    fn answer(self) -> Option<&'a Answer> {
        match self {
            Self::Answer(answer) => Some(answer),
            Self::Unseen | Self::Said { .. } | Self::Owed(_) => None,
        }
    }
}

impl Admitted {
    /// Opens the request in the journal. On an error the hold is given back and nothing was admitted.
    pub(crate) fn open(mut request: Admission, hold: Hold, needs: &Needs) -> Result<Self, OpenError> {
        let open = {
            let held = request.route.charges.iter().zip(needs).enumerate();
            let owed = held.map(|(position, (charge, need))| {
                // Of a resource, nobody could ever give it back.
                let is_lost = request.act(position).is_some();
                let amount = if is_lost { 0 } else { charge.unanswered(*need) };
                Charge { meter: &charge.meter, amount, estimated: true }
            });
            request.shared.journal.open_request(&request.settlement(&hold, owed.collect(), 0, 0, None))?
        };
        let started = Instant::now();
        let held = request.held.take();
        let reported = ArrayVec::new();
        let (first, needs) = (needs.clone(), needs.clone());
        let inner = Inner {
            request,
            hold,
            open,
            started,
            progress: None,
            first,
            needs,
            question: Question::default(),
            reported,
            metadata: None,
            held,
            graces: 0,
        };
        Ok(Self(Some(Box::new(inner))))
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
        charges.any(|(position, charge)| charge.is_of_model() && request.is_limited(position))
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

    /// Whether it may change a resource: then its answer matters, also to a client who has left.
    pub(crate) fn has_resource(&self) -> bool {
        self.0.as_deref().is_some_and(|inner| inner.held.is_some())
    }

    /// Claims the resource that only the whole answer names, if it is changed. What becomes of it is for
    /// [`Admitted::keep`], before the settlement.
    pub(crate) fn claim_late(&mut self, end: End, measures: &Measures<'_>) -> Option<Claiming> {
        let Inner { request, held, .. } = self.0.as_deref_mut()?;
        let held = held.as_mut()?;
        held.find(request.late_id(held, measures));
        let charged = request.is_charged(end, true, false);
        held.claim_late(|| request.parties(), |of| request.said(of, (end, charged), 0, measures))
    }

    /// The resource is claimed, or is not to be had.
    pub(crate) fn keep(&mut self, kept: Option<Kept>) {
        if let Some(held) = self.0.as_deref_mut().and_then(|inner| inner.held.as_mut()) {
            held.keep(kept);
        }
    }

    /// More for the event, as a JSON object.
    pub(crate) fn set_metadata(&mut self, metadata: String) {
        if let Some(inner) = &mut self.0 {
            inner.metadata = Some(metadata);
        }
    }

    /// Notes what the upstream says it used in `X-Usage-<meter>`.
    pub(crate) fn take_reports(&mut self, headers: &HeaderMap) {
        let Some(inner) = &mut self.0 else { return };
        for (position, charge) in inner.request.route.charges.iter().enumerate() {
            let Some(amount) = reported(headers, charge) else { continue };
            let _ = inner.reported.try_push((position, amount));
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
        let Self {
            request,
            hold,
            open,
            started,
            progress,
            first,
            needs,
            question: _,
            reported,
            metadata,
            mut held,
            graces,
        } = *self;
        let progress = progress.as_deref();
        let measures = &Measures {
            request_bytes: measures.request_bytes.max(progress.map_or(0, Progress::bytes)),
            ..*measures
        };
        let call = request.call.as_deref().map(|call| request.used(call, end, measures.model.answer()));
        let has_failed = call.as_ref().is_some_and(|used| used.has_failed);
        let charged = request.is_charged(end, progress.is_some_and(Progress::is_sent_whole), has_failed);
        let status = end.status();
        let success = (200..300).contains(&end.answered_with());
        let mut charges: Charges<'_> = request
            .route
            .charges
            .iter()
            .zip(first.iter().zip(&needs))
            .enumerate()
            .map(|(position, (charge, (first, need)))| {
                let report = reported.iter().find(|(at, _)| *at == position).map(|(_, amount)| *amount);
                let (amount, estimated) = match (report, &call) {
                    _ if let Model::Said { amounts, .. } = measures.model => {
                        (amounts.get(position).copied().unwrap_or(0), false)
                    }
                    _ if !charged || charge.is_slot() => (0, false),
                    (None, _) if let (Model::Owed(owed), true) = (measures.model, charge.is_of_model()) => {
                        let owes = owed.amounts.get(position).copied().unwrap_or(0);
                        if owed.has_unread { (owes.max(*need), true) } else { (owes, false) }
                    }
                    (_, Some(used)) if !charge.counts_model(used.asked.or(used.model)) => (0, false),
                    (Some(report), _) => (report, false),
                    (None, Some(used)) if charge.is_of_model() => {
                        let (amount, estimated) = request.amount(charge, *first, used, &hold);
                        // What nobody counted is not said to have passed a limit.
                        let is_held = matches!(end, End::Limited { .. } | End::Untold { .. })
                            || (estimated && request.is_limited(position));
                        (if is_held { amount.min(*need) } else { amount }, estimated)
                    }
                    (None, _) => amount(charge, *need, measures, success),
                };
                Charge { meter: &charge.meter, amount, estimated }
            })
            .collect();
        let took = started.elapsed();
        let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let metadata = match (metadata, &call, measures.model) {
            (None, _, Model::Said { usage, model, .. }) => {
                let provider = &request.route.upstream.settings.provider;
                Some(llm::metadata(&Used::Said(*usage), model, provider, None, false))
            }
            (None, Some(used), _) => Some(request.metadata(used, end)),
            (metadata, _, _) => metadata,
        };
        let metadata = metadata.as_deref().or_else(|| end.metadata());
        if let Some(held) = &mut held {
            held.find(request.late_id(held, measures));
            held.claim_now(|| request.parties());
        }
        let said = |of: Use, amount| request.said(of, (end, charged), amount, measures);
        let job = held.as_deref().and_then(|held| held.adjust(&mut charges, said, hold.at()));
        let kept = held.as_mut().and_then(|held| held.take_kept());
        let with_job = job.map(|(_, line)| line.added_to(metadata));
        let metadata = with_job.as_deref().or(metadata);
        let marks = OnceCell::new();
        let mut settlement = Settlement {
            resource: held.as_deref().and_then(Held::id),
            ..request.settlement(&hold, charges, status, duration_ms, metadata)
        };

        // Journal first: a counter must never know of less than the journal when it is loaded.
        let counted = request.route.charges.iter().zip(settlement.charges.clone());
        let mut position = Position::default();
        let journal = |before: &Before<'_>| {
            beyond::mark(&mut settlement, &marks, (request.grant(), &request.route.charges), graces, before);
            position = open.settle(&settlement);
            Mark(position.get())
        };
        hold.settle_after(journal, counted.map(|(charge, charged)| (charge.id, charged.amount)));

        if let Some(used) = &call {
            request.learn(used);
        }
        request.route.metrics.took(status, took);
        request.route.metrics.settled(settlement.charges.iter().any(|charge| charge.estimated));
        if request.live.gateway().log.requests {
            let Settlement { user_id, tier, route, method, request_id, .. } = settlement;
            tracing::info!(user_id, tier, route, method, status, duration_ms, request_id, "request settled");
        }
        if let Some(observer) = &request.shared.on_settled {
            observer(&settlement);
        }
        if let Some(kept) = kept {
            let charged =
                |position: usize| settlement.charges.get(position).map_or(0, |charge| charge.amount);
            kept.settled(&request.shared, charged);
        }
        if let (Some(held), Some(job)) = (&held, job)
            && let Some(expiry) = held.expiry(job, &settlement)
        {
            request.shared.resources.watch(expiry);
        }
        request.shared.sync_before_answer.then(|| Durable::new(&request.shared.journal, position))
    }
}

impl Admission {
    /// What it does to a resource's part of the meter at `position`.
    fn act(&self, position: usize) -> Option<Act> {
        self.held.as_deref()?.act(position)
    }

    /// What the answer says of a resource.
    fn said(&self, of: Use, (end, charged): (End, bool), amount: i64, measures: &Measures<'_>) -> Said {
        let planned = self.route.planned.as_ref();
        let has_ended = planned.is_some_and(|planned| planned.has_ended(of, &self.facts(measures)));
        Said { status: end.answered_with(), is_charged: charged, amount, has_ended }
    }

    /// The id that the answer names.
    fn late_id(&self, held: &Held, measures: &Measures<'_>) -> Option<Box<str>> {
        let planned = self.route.planned.as_ref().filter(|_| held.id().is_none())?;
        planned.late_id(held.uses(), &self.facts(measures)).map(Box::from)
    }

    fn facts(&self, _: &Measures<'_>) -> Known<'_> {
        Known { method: &self.method, headers: None }
    }

    fn parties(&self) -> Parties {
        let Self { shared, route, user, org, .. } = self;
        Parties { shared: Arc::clone(shared), route: Arc::clone(route), user: user.clone(), org: org.clone() }
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

    fn settlement<'a>(
        &'a self,
        hold: &Hold,
        charges: Charges<'a>,
        status: u16,
        duration_ms: u64,
        metadata: Option<&'a str>,
    ) -> Settlement<'a> {
        Settlement {
            key: self.key,
            at: hold.at(),
            user_id: text(&self.user),
            org_id: self.org.as_ref().map(text),
            tier: &self.live.tier(self.tier).name,
            route: &self.route.name,
            method: self.method.as_str(),
            status,
            duration_ms,
            request_id: text(&self.request_id),
            resource: None,
            metadata,
            settled_by: SettledBy::Exchange,
            charges,
        }
    }

    /// What a call to a model used, as far as its answer was read.
    fn used<'a>(&'a self, call: &'a Call, end: End, answer: Option<&'a Answer>) -> CallUsed<'a> {
        let extent = match end {
            _ if (400..600).contains(&end.answered_with()) => Extent::Refused,
            End::Answered { .. } | End::ReadOn { .. } => Extent::Whole,
            End::Cut { .. } | End::Limited { .. } | End::Untold { .. } | End::ClientGone { .. } => {
                Extent::Cut
            }
            End::NoAnswer { .. } => Extent::None,
        };
        let named = answer.and_then(Answer::model);
        CallUsed {
            used: Used::of(call, answer, extent),
            asked: call.model(),
            model: named.or(call.model()),
            has_failed: answer.is_some_and(Answer::has_failed),
            written: answer.map_or(0, Answer::written),
        }
    }

    /// What is charged of what a model's answer says, and whether it is an estimate. Where it says nothing, what was
    /// held for it, or what was written where that is more; not what was set aside ahead of it.
    fn amount(&self, charge: &RouteCharge, first: i64, call: &CallUsed<'_>, hold: &Hold) -> (i64, bool) {
        let (plans, at) = (self.live.plans(), hold.at());
        let Some(measure) = charge.llm_measure() else { return (first, true) };
        match call.used.amount(measure, call.model, (plans, at)) {
            Some(amount) => (amount, call.used.is_estimated()),
            None => (first.max(llm::written(call.written, measure, (plans, call.asked, at))), true),
        }
    }

    fn metadata(&self, call: &CallUsed<'_>, end: End) -> String {
        let provider = &self.route.upstream.settings.provider;
        llm::metadata(&call.used, call.model, provider, end.name(), call.has_failed)
    }

    fn learn(&self, call: &CallUsed<'_>) {
        if let (Some(model), Some(output)) = (call.asked.or(call.model), call.used.output_said()) {
            self.shared.learned.note(model, output);
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

/// What a call to a model used.
struct CallUsed<'a> {
    used: Used,
    /// The model that the request names.
    asked: Option<&'a str>,
    /// The model that answered, or else that was asked for.
    model: Option<&'a str>,
    /// Whether the answer says that the upstream failed.
    has_failed: bool,
    /// Tokens that were seen to be written.
    written: i64,
}

/// What is charged where no model's answer says it, and whether it is an estimate.
fn amount(charge: &RouteCharge, need: i64, measures: &Measures<'_>, success: bool) -> (i64, bool) {
    let bytes = |bytes: u64| (i64::try_from(bytes).unwrap_or(i64::MAX), false);
    match &charge.amount {
        // What was not stored takes no room, and what was not deleted gives none back.
        Amount::Constant(_) if charge.kind == MeterKind::Level && !success => (0, false),
        Amount::Constant(amount) => (*amount, false),
        Amount::Measured(Measured { source: Measure::RequestBytes, .. }) => bytes(measures.request_bytes),
        Amount::Measured(Measured { source: Measure::ResponseBytes, .. }) => bytes(measures.response_bytes),
        Amount::Measured(_) => (need, need != 0),
    }
}

/// A report that makes sense: an integer, negative only where a level gives back.
fn reported(headers: &HeaderMap, charge: &RouteCharge) -> Option<i64> {
    let mut values = headers.get_all(charge.usage_header.as_ref()?).iter();
    let amount = values.next()?.to_str().ok()?.trim().parse::<i64>().ok()?;
    let sensible = values.next().is_none() && (amount >= 0 || charge.kind == MeterKind::Level);
    sensible.then_some(amount)
}
