//! An admitted request, from its hold to its one settlement.

use std::{rc::Rc, sync::Arc, time::Instant};

use arrayvec::ArrayVec;
use http::{HeaderMap, HeaderValue, Method};
use tollgate_config::{Amount, Measure};
use tollgate_core::{
    Charge, Charges, MeterKind, RequestKey, SETTLEMENT_CHARGES_MAX, SettledBy, Settlement, TierIndex,
};
use tollgate_ledger::{OpenError, OpenRequest, Position};
use tollgate_quota::{Hold, Mark};

use crate::{
    admission::makes_tokens,
    body::Progress,
    durable::Durable,
    identity::text,
    live::{Route, RouteCharge, Snapshot},
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
    /// What the upstream reported, by position of the charge.
    reported: ArrayVec<(usize, i64), SETTLEMENT_CHARGES_MAX>,
    metadata: Option<String>,
}

/// What is known of a request when it is admitted.
pub(crate) struct Admission {
    pub(crate) shared: Arc<Shared>,
    pub(crate) live: Rc<Snapshot>,
    pub(crate) route: Arc<Route>,
    pub(crate) tier: TierIndex,
    pub(crate) user: HeaderValue,
    pub(crate) org: Option<HeaderValue>,
    pub(crate) method: Method,
    pub(crate) key: RequestKey,
    pub(crate) request_id: HeaderValue,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The upstream's answer is whole.
    Answered { status: u16 },
    /// The upstream's answer stopped before its end.
    Cut { status: u16 },
    /// The client went away, before or after the answer's head.
    ClientGone { status: Option<u16> },
    /// There is no upstream's answer; the client is told `status` by the gateway.
    NoAnswer { status: u16 },
}

/// What was seen of an exchange.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measures {
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    pub(crate) tokens: Option<i64>,
}

impl Admitted {
    /// Opens the request in the journal. On an error the hold is given back and nothing was admitted.
    pub(crate) fn open(request: Admission, hold: Hold, needs: &[i64]) -> Result<Self, OpenError> {
        let open = {
            let held = request.route.charges.iter().zip(needs);
            let held =
                held.map(|(charge, need)| Charge { meter: &charge.meter, amount: *need, estimated: true });
            request.shared.journal.open_request(&request.settlement(&hold, held.collect(), 0, 0, None))?
        };
        let started = Instant::now();
        let reported = ArrayVec::new();
        let inner = Inner { request, hold, open, started, progress: None, reported, metadata: None };
        Ok(Self(Some(Box::new(inner))))
    }

    /// From here on the upstream may do the work, whatever becomes of the client: `progress` knows.
    pub(crate) fn forward(&mut self, progress: &Rc<Progress>) {
        if let Some(inner) = &mut self.0 {
            inner.progress = Some(Rc::clone(progress));
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
    pub(crate) fn settle(mut self, end: End, measures: &Measures) -> Option<Durable> {
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
    fn settle(self: Box<Self>, end: End, measures: &Measures) -> Option<Durable> {
        let Self { request, hold, open, started, progress, reported, metadata } = *self;
        let progress = progress.as_deref();
        let charged = request.is_charged(end, progress.is_some_and(Progress::is_sent_whole));
        let measures = &Measures {
            request_bytes: measures.request_bytes.max(progress.map_or(0, Progress::bytes)),
            ..*measures
        };
        let status = end.status();
        let outcome = Outcome {
            whole: matches!(end, End::Answered { .. }),
            success: (200..300).contains(&end.answered_with()),
            makes_tokens: makes_tokens(&request.method) && !(400..600).contains(&end.answered_with()),
        };
        let charges: Charges<'_> = request
            .route
            .charges
            .iter()
            .enumerate()
            .map(|(position, charge)| {
                let report = reported.iter().find(|(at, _)| *at == position).map(|(_, amount)| *amount);
                let (amount, estimated) =
                    if charged { amount(charge, report, measures, &outcome) } else { (0, false) };
                Charge { meter: &charge.meter, amount, estimated }
            })
            .collect();
        let took = started.elapsed();
        let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let metadata = metadata.as_deref().or_else(|| end.metadata());
        let settlement = request.settlement(&hold, charges, status, duration_ms, metadata);

        // Journal first: a counter must never know of less than the journal when it is loaded.
        let counted = request.route.charges.iter().zip(&settlement.charges);
        let counted = counted.filter(|(charge, _)| charge.kind != MeterKind::Concurrent);
        let mut position = Position::default();
        let journal = || {
            position = open.settle(&settlement);
            Mark(position.get())
        };
        hold.settle(journal, counted.map(|(charge, charged)| (charge.id, charged.amount)));

        request.route.metrics.took(status, took);
        request.route.metrics.settled(settlement.charges.iter().any(|charge| charge.estimated));
        if request.live.gateway().log.requests {
            let Settlement { user_id, tier, route, method, request_id, .. } = settlement;
            tracing::info!(user_id, tier, route, method, status, duration_ms, request_id, "request settled");
        }
        if let Some(observer) = &request.shared.on_settled {
            observer(&settlement);
        }
        request.shared.sync_before_answer.then(|| Durable::new(&request.shared.journal, position))
    }
}

impl Admission {
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

    /// Whether the route charges for this end. A client who hangs up is charged as if they had waited:
    /// the upstream did the work.
    fn is_charged(&self, end: End, sent: bool) -> bool {
        let charge_on = &self.route.charge_on;
        match end {
            End::Answered { status } | End::Cut { status } => charge_on.includes(Some(status)),
            End::ClientGone { status: Some(status) } => charge_on.includes(Some(status)),
            End::ClientGone { status: None } => sent,
            End::NoAnswer { .. } => charge_on.includes(None),
        }
    }
}

impl End {
    /// As in the ledger; 499 is what nginx calls a client that went away before the answer.
    fn status(self) -> u16 {
        match self {
            Self::Answered { status } | Self::Cut { status } | Self::NoAnswer { status } => status,
            Self::ClientGone { status } => status.unwrap_or(499),
        }
    }

    /// The upstream's status, 0 if there was none.
    fn answered_with(self) -> u16 {
        match self {
            Self::Answered { status } | Self::Cut { status } => status,
            Self::ClientGone { status } => status.unwrap_or(0),
            Self::NoAnswer { .. } => 0,
        }
    }

    fn metadata(self) -> Option<&'static str> {
        match self {
            Self::Answered { .. } => None,
            Self::Cut { .. } => Some(r#"{"end":"upstream_cut"}"#),
            Self::ClientGone { .. } => Some(r#"{"end":"client_gone"}"#),
            Self::NoAnswer { .. } => Some(r#"{"end":"no_answer"}"#),
        }
    }
}

/// What an exchange's end says about its amounts.
struct Outcome {
    /// Whether all of the answer was seen.
    whole: bool,
    /// Whether the service says that it did what was asked.
    success: bool,
    /// Whether a model may have worked, even if the answer does not say how much.
    makes_tokens: bool,
}

/// What is charged, and whether it is an estimate.
fn amount(charge: &RouteCharge, report: Option<i64>, measures: &Measures, outcome: &Outcome) -> (i64, bool) {
    if let Some(report) = report {
        return (report, false);
    }
    let bytes = |bytes: u64| (i64::try_from(bytes).unwrap_or(i64::MAX), false);
    match charge.amount {
        // What was not stored takes no room, and what was not deleted gives none back.
        Amount::Constant(_) if charge.kind == MeterKind::Level && !outcome.success => (0, false),
        Amount::Constant(amount) => (amount, false),
        Amount::Measured { source, hold } => match source {
            Measure::RequestBytes => bytes(measures.request_bytes),
            Measure::ResponseBytes => bytes(measures.response_bytes),
            Measure::LlmTotalTokens if !outcome.makes_tokens => (0, false),
            Measure::LlmTotalTokens => match measures.tokens {
                Some(tokens) => (tokens, !outcome.whole),
                None => (hold, true),
            },
            // Their amounts are not taken from answers yet.
            Measure::LlmInputTokens
            | Measure::LlmOutputTokens
            | Measure::LlmCachedTokens
            | Measure::LlmReasoningTokens
            | Measure::LlmCost => (if outcome.makes_tokens { hold } else { 0 }, outcome.makes_tokens),
            Measure::Upstream => (hold, hold != 0),
        },
    }
}

/// A report that makes sense: an integer, negative only where a level gives back.
fn reported(headers: &HeaderMap, charge: &RouteCharge) -> Option<i64> {
    let mut values = headers.get_all(charge.usage_header.as_ref()?).iter();
    let amount = values.next()?.to_str().ok()?.trim().parse::<i64>().ok()?;
    let sensible = values.next().is_none() && (amount >= 0 || charge.kind == MeterKind::Level);
    sensible.then_some(amount)
}
