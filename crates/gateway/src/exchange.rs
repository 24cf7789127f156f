//! The way of a request: accept → identify → route → tier → hold → forward → measure → settle.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Instant,
};

use bytes::{BufMut as _, Bytes};
use http::{HeaderValue, Method, Response, StatusCode, Version, header};
use http_body::Body as _;
use tollgate_core::{RequestKey, TierIndex, UnixMillis};
use tollgate_quota::{Hold, Standings};

use crate::{
    admission::{self, Applicant, Asking},
    admitted::{Admission, Admitted},
    amounts, api,
    body::{self, BodyEnd, Inbound, Progress, ProxiedParts, RequestBody, ResponseBody},
    connection::{Busy, Connection},
    end::End,
    forwarding::{self, Sender},
    head::{Reply, RequestHead},
    headers::{Headers, Known},
    identity::{self, Caller},
    live::{Grant, Live, Route, Snapshot},
    llm::{self, Answer, Awaited, Call, Conversation, LookBounds, Looked, Parties, Waiting},
    measures::Measures,
    ratelimit,
    refusal::{Code, Refusal},
    resources::Claimant,
    said::{InMap, InText, Lines, Said},
    subjects, target, too_large, upgrade,
    upstream::{Outgoing, SendError, Sent, Upstream, Waiter, send},
    whole::Whole,
    worker::Worker,
};

/// When a request came, and what makes its ids its own.
#[derive(Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) at: UnixMillis,
    pub(crate) random: u128,
}

/// What an answer says about its request, as far as the request got.
pub(crate) struct Context {
    pub(crate) request_id: HeaderValue,
    pub(crate) tier: Option<TierIndex>,
    pub(crate) route: Option<Arc<Route>>,
    pub(crate) standings: Option<Standings>,
    /// The limits that hold instead of the tier's.
    pub(crate) own: Option<Arc<Grant>>,
    /// Its place in the line when it began to wait.
    queued: Cell<Option<usize>>,
    /// Whether the connection can carry no further request.
    close: bool,
}

/// Answers one request. Dropping the future, as happens when the client goes away, ends the exchange: what
/// was admitted is settled, and the upstream's connection is closed. Over HTTP/1 the answer has lines beside its headers.
pub(crate) async fn exchange(connection: Rc<Connection>, parts: Box<RequestHead>, body: Inbound) -> Reply {
    let worker = &connection.worker;
    let live = worker.live();
    let is_h1 = parts.version < Version::HTTP_2;
    let arrival = Arrival { at: worker.now(), random: worker.random() };
    let mut context = Context::new(worker, arrival);
    // A client that waits to be asked for its body is not asked when it is refused.
    let waits = parts.headers.has_known(Known::Expect);
    let mut body = Some(body);
    let served = serve(&connection, &live, arrival, parts, &mut body, &mut context).await;
    if let Some(body) = body.filter(|_| served.is_err() && is_h1) {
        // What comes meanwhile is no head of a next request.
        let _busy = connection.activity.busy();
        context.close |= waits || !body::drain(body).await;
    }
    let mut reply = match served {
        Ok(reply) => reply,
        Err(refusal) => refuse(&connection, &live, &context, refusal).into(),
    };
    let status = reply.head.status;
    if let Some(route) = &context.route {
        route.metrics.answered(status.as_u16());
    }
    context.say(worker, arrival, &mut reply, is_h1);
    let upgraded = status == StatusCode::SWITCHING_PROTOCOLS;
    if is_h1 && !upgraded && (context.close || worker.is_draining()) {
        reply.say_close();
    }
    reply
}

/// Answers what could not be read as a request.
pub(crate) fn turn_away(connection: &Connection, refusal: Refusal) -> Reply {
    let worker = &connection.worker;
    let arrival = Arrival { at: worker.now(), random: worker.random() };
    let context = Context::new(worker, arrival);
    let mut response = refuse(connection, &worker.live(), &context, refusal);
    response.headers_mut().insert(forwarding::REQUEST_ID, context.request_id);
    response.into()
}

/// Counts a refusal and makes an answer of it.
fn refuse(
    connection: &Connection,
    live: &Live,
    context: &Context,
    refusal: Refusal,
) -> Response<ResponseBody> {
    let no_tier = &connection.worker.shared.metrics.no_tier;
    let metrics = context.tier.map_or(no_tier, |tier| &live.tiers[tier.0].metrics);
    metrics.refused(refusal.code);
    let request_id = identity::text(&context.request_id);
    if live.gateway().log.requests {
        let code = refusal.code.name();
        tracing::info!(code, request_id, peer = %connection.peer.ip(), "request refused");
    }
    refusal.into_response(request_id)
}

impl Context {
    fn new(worker: &Worker, arrival: Arrival) -> Self {
        let request_id = worker.request_id(RequestKey::new(arrival.at, arrival.random));
        Self {
            request_id,
            tier: None,
            route: None,
            standings: None,
            own: None,
            queued: Cell::new(None),
            close: false,
        }
    }

    /// Says where the limits stand and what the request is called: in the answer's headers or, over HTTP/1, in lines
    /// beside them.
    fn say(&self, worker: &Worker, arrival: Arrival, reply: &mut Reply, is_h1: bool) {
        let scratch = &mut *worker.scratch.borrow_mut();
        let limits = match (self.tier, &self.route, &self.standings) {
            (Some(tier), Some(route), Some(standings)) => {
                Some((self.own.as_deref().unwrap_or_else(|| route.grant(tier)), standings))
            }
            _ => None,
        };
        if is_h1 {
            reply.said = Said(scratch.text(|text| self.put(&mut InText(text), limits, arrival)));
        } else {
            self.put(&mut InMap { headers: &mut reply.head.headers, scratch }, limits, arrival);
        }
    }

    fn put(&self, lines: &mut impl Lines, limits: Option<(&Grant, &Standings)>, arrival: Arrival) {
        if let Some((grant, standings)) = limits {
            ratelimit::write(lines, grant, standings, arrival.at);
        }
        if let Some(position) = self.queued.get() {
            ratelimit::write_position(lines, position);
        }
        lines.say(&forwarding::REQUEST_ID, |buffer| buffer.put_slice(self.request_id.as_bytes()));
    }
}

async fn serve(
    connection: &Rc<Connection>,
    live: &Rc<Snapshot>,
    arrival: Arrival,
    mut parts: Box<RequestHead>,
    unread: &mut Option<Inbound>,
    context: &mut Context,
) -> Result<Reply, Refusal> {
    let worker = &connection.worker;
    let busy = connection.activity.busy();
    let size = unread.as_ref().map(|body| body.size_hint()).unwrap_or_default();

    // Accept: one normal form of what is asked for.
    check_headers(&parts.headers, live)?;
    target::check_method(&parts.method)?;
    let upgrade = upgrade::is_wanted(&parts.headers, parts.version);
    let host = target::host(&parts.headers, &parts.target, parts.version)?;
    let path = parts.target.normal_path()?;
    let route = live.route(host, &path, &parts.method).cloned();

    // Identify: who is calling; nothing of it is left for the client to say.
    let claimed = identity::identify(&mut parts.headers, connection.peer.ip(), live);
    if let Some(served) = live.api.as_ref().filter(|api| path.starts_with(&*api.path)) {
        let _busy = busy;
        let request = api::Request { worker, live, served, arrival, path: &path, parts: &parts, claimed };
        return Box::pin(api::answer(request, unread, context)).await.map(Reply::from);
    }
    let claimed = claimed?;
    if let Some(id) = claimed.request_id() {
        context.request_id = id.clone();
    }
    context.tier = claimed.tier();

    // Route: what matches nothing is not served.
    let route = route.ok_or_else(|| no_route(&parts))?;
    // Borrowed from the request's head, unless a charge looks at it.
    let looked_path = route.plan.as_ref().map(|_| Box::<str>::from(&*path));
    if let Some(redirected) = forwarding::redirected(worker, &route, (&parts.target, &path))? {
        parts.target.set(redirected);
    }
    context.route = Some(Arc::clone(&route));

    // Tier: what the trusted peer says, or else the table of subjects; and what may be sent at all.
    let caller = subjects::caller(worker, live, &route, claimed).await?;
    context.tier = Some(caller.tier);
    context.own.clone_from(&caller.own);
    let body_bytes_max = live.tier(caller.tier).max_body_bytes.unwrap_or(u64::MAX);
    if size.lower() > body_bytes_max {
        return Err(too_large::refusal(live, caller.tier, body_bytes_max));
    }

    // Look: what the request says, and what a model is asked for, says what it may cost.
    let mut looked = Looked::default();
    let mut call = Call::new(&route, &parts.method, &parts.target, upgrade);
    // Behind the body a client who hangs up while it waits is noticed; a long one is not worth keeping for that.
    let may_wait = caller.grant(&route).beyond.as_ref().is_some_and(|beyond| beyond.may_wait);
    let says = call.is_some() || route.plan.as_ref().is_some_and(|plan| plan.reads_request());
    if let (true, Some(body)) = (says || may_wait, unread.as_mut()) {
        let bounds = if says { LookBounds::new } else { LookBounds::watched };
        let bounds = bounds(live, &route, body_bytes_max);
        let too_large = || too_large::refusal(live, caller.tier, body_bytes_max);
        Box::pin(llm::look(worker, body, &mut looked, bounds, too_large)).await?;
    }
    let stated = match (&route.plan, looked_path) {
        (Some(plan), Some(path)) => {
            let bytes_max = live.gateway().llm.look_bytes_max;
            let body = amounts::Body::of(&mut looked, unread.is_some(), bytes_max);
            let (method, headers) = (&parts.method, &parts.headers);
            let sender = amounts::Sender { method, headers, path: &path, body };
            Some(Box::pin(amounts::ask(&route, plan, &sender)).await?)
        }
        (_, _) => None,
    };
    if let Some(call) = call.as_mut().filter(|_| unread.is_some()) {
        Box::pin(call.read(live, &route, &mut parts.headers, &mut looked)).await;
    }

    // Claim: what exists by an id is changed by one request at a time.
    let mut kept = None;
    if let (Some(plan), Some(stated)) = (&route.plan, &stated)
        && plan.has_id
    {
        let (shared, route) = (Arc::clone(&worker.shared), Arc::clone(&route));
        let claimant = Claimant { shared, route, user: caller.user.clone(), org: caller.org.clone() };
        kept = Box::pin(claimant.claim(stated)).await.map_err(admission::not_claimed)?.map(Box::new);
    }

    // Hold: admitted by every limit, or refused by one.
    let admitted = if route.is_metered() {
        let (shared, at, grant) = (&*worker.shared, arrival.at, caller.grant(&route));
        let (model, said, has) = (call.as_deref(), stated.as_deref(), kept.as_deref());
        let asking = Asking { live, shared, route: &route, grant, call: model, stated: said, kept: has, at };
        let needs = admission::needs(&asking, &size);
        let (caller, needs) = (&caller, &needs);
        let (arrived, queued) = (arrival.at, &context.queued);
        let kept_bytes = looked.bytes();
        let applicant = Applicant { live, route: &route, caller, needs, arrived, kept_bytes, queued };
        let open = |hold: Hold| {
            let admission = Admission {
                shared: Arc::clone(&worker.shared),
                live: Rc::clone(live),
                route: Arc::clone(&route),
                tier: caller.tier,
                own: caller.own.clone(),
                user: caller.user.clone(),
                org: caller.org.clone(),
                method: parts.method.clone(),
                // The ids of its events say when it was admitted, to the millisecond.
                key: RequestKey::new(hold.at(), arrival.random),
                request_id: context.request_id.clone(),
                call,
                stated,
                kept,
            };
            Admitted::open(admission, hold, needs).map_err(admission::not_journalled)
        };
        Some(admission::admit(worker, applicant, &mut context.standings, open).await?)
    } else {
        None
    };

    // Forward: the request as the upstream is to see it.
    let key = RequestKey::new(arrival.at, arrival.random);
    let sender = Sender { connection, live, caller: &caller, key, request_id: &context.request_id };
    if let Some(plan) = &route.plan {
        plan.guard(&mut parts.headers);
    }
    forwarding::dress(&mut parts, &sender);
    let (caller, request_id) = (&caller, &context.request_id);
    let exchange = Exchange { connection, live, route: &route, caller, request_id, body_bytes_max };
    exchange.forward(parts, (looked, unread.take()), upgrade, admitted, busy).await
}

/// What forwarding needs to know of the request.
struct Exchange<'a> {
    connection: &'a Rc<Connection>,
    live: &'a Rc<Snapshot>,
    route: &'a Arc<Route>,
    caller: &'a Caller,
    request_id: &'a HeaderValue,
    body_bytes_max: u64,
}

impl Exchange<'_> {
    /// Sends the request on and hands back the answer; from its head on, the body measures and settles.
    async fn forward(
        &self,
        mut parts: Box<RequestHead>,
        (looked, body): (Looked, Option<Inbound>),
        upgrade: bool,
        mut admitted: Option<Admitted>,
        busy: Busy,
    ) -> Result<Reply, Refusal> {
        let worker = &self.connection.worker;
        let untimed = admitted.is_none().then(|| (Arc::clone(self.route), Instant::now()));
        let upstream = &self.route.upstream;
        let settings = &upstream.settings;
        let deadline = worker.deadlines.add();
        if let Some(total) = settings.total_timeout {
            deadline.set_end(total);
        }
        let progress = Rc::new(Progress::new(deadline, settings.idle_timeout, settings.response_timeout));
        let body = RequestBody::new((body, looked), self.live, self.route, &progress, self.body_bytes_max);
        if upgrade {
            upgrade::ask(&mut parts.headers);
            if admitted.as_ref().is_some_and(|admitted| admitted.call().is_some()) {
                // What is compressed cannot be read.
                parts.headers.remove(&header::SEC_WEBSOCKET_EXTENSIONS);
            }
        }
        if let Some(admitted) = &mut admitted {
            admitted.forward(&progress);
        }

        let request = Outgoing { parts, body };
        // Large: made where it is awaited.
        let sending =
            || sending(Rc::clone(self.connection), Arc::clone(upstream), request, Rc::clone(&progress));
        // What says what is charged is awaited and read all the same when the client leaves.
        let sent = match admitted.take_if(|admitted| admitted.awaits_answer()) {
            None => sending().await,
            Some(held) => {
                let (connection, progress) = (Rc::clone(self.connection), Rc::clone(&progress));
                let waiting = Waiting { connection, progress, admitted: held };
                let (sent, waiting) = Awaited::new(sending(), waiting).await;
                admitted = waiting.map(|waiting| waiting.admitted);
                sent
            }
        };
        let Sent { mut head, body: mut inner, lease } = match sent {
            Ok(sent) => sent,
            Err(error) => return Err(self.no_answer(error, &progress, admitted)),
        };
        if let Some(admitted) = &mut admitted {
            admitted.take_reports(&head.headers);
        }
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            let conversation = self.conversation(&admitted);
            let upgraded = upgrade::Switch { head, inner, lease, admitted, conversation, busy };
            return upgrade::switch(self.connection, upgrade, upgraded, settings.idle_timeout);
        }
        let mut answer =
            admitted.as_ref().and_then(|admitted| Answer::of(admitted, &mut head.headers, self.connection));
        forwarding::undress(&mut head.headers);

        let status = head.status.as_u16();
        let whole = match &answer {
            None => inner.take_whole(),
            Some(_) => inner.is_end_stream().then(Bytes::new),
        };
        if let Some(data) = whole {
            if let Some((route, started)) = untimed {
                route.metrics.took(status, started.elapsed());
            }
            // Nothing more comes, and nothing was held back.
            let _ = answer.as_mut().map(|answer| answer.finish());
            let measures = Measures {
                request_bytes: progress.bytes(),
                response_bytes: data.len() as u64,
                ..Measures::of_answer(answer.as_deref())
            };
            // An upstream that has not read the request cannot serve another on this connection.
            if progress.end() == BodyEnd::Complete {
                lease.finish(&mut inner);
            }
            let end = End::Answered { status };
            let claiming = admitted.as_ref().and_then(|admitted| admitted.claim_late(end, &measures));
            if let Some(claiming) = claiming {
                admitted = Whole { admitted, status, measures }.claimed(claiming).await;
            }
            if let Some(durable) = admitted.and_then(|a| a.settle(end, &measures)) {
                poll_fn(|cx| durable.poll(cx)).await.map_err(|error| admission::not_synced(&error))?;
            }
            let body = if data.is_empty() { ResponseBody::empty() } else { ResponseBody::full(data) };
            return Ok(Reply::new(head, body));
        }
        let reads_on = admitted.as_ref().is_some_and(Admitted::awaits_answer);
        let reads_on = reads_on.then(|| Rc::clone(self.connection));
        let parts =
            ProxiedParts { inner, status, progress, answer, admitted, untimed, lease, busy, reads_on };
        Ok(Reply::new(head, ResponseBody::proxied(parts)))
    }

    /// What is charged for in a tunnel to a model.
    fn conversation(&self, admitted: &Option<Admitted>) -> Option<Rc<Conversation>> {
        admitted.as_ref()?.call().filter(|call| call.is_conversation())?;
        Some(Conversation::new(Parties {
            connection: Rc::clone(self.connection),
            live: Rc::clone(self.live),
            route: Arc::clone(self.route),
            caller: self.caller.clone(),
            method: Method::GET,
            request_id: self.request_id.clone(),
        }))
    }

    /// Settles a request that got no answer, and says why; whose fault it is decides the status.
    fn no_answer(
        &self,
        error: Option<SendError>,
        progress: &Progress,
        admitted: Option<Admitted>,
    ) -> Refusal {
        let refusal = match (progress.end(), error) {
            (BodyEnd::TooLarge, _) => too_large::refusal(self.live, self.caller.tier, self.body_bytes_max),
            (BodyEnd::Broken, _) => {
                Refusal::new(Code::BadRequest, "the request's body ended before its end").closing()
            }
            (BodyEnd::Open, None) if progress.is_starved() => {
                Refusal::new(Code::RequestTimeout, "the request's body stopped coming").closing()
            }
            // A body that the upstream does not take is the upstream's affair too.
            (BodyEnd::Open | BodyEnd::Complete, None) => {
                Refusal::new(Code::UpstreamTimeout, "the service did not answer in time; try again")
            }
            (BodyEnd::Open | BodyEnd::Complete, Some(error)) => self.upstream_failed(&error),
        };
        if let Some(admitted) = admitted {
            let measures = Measures { request_bytes: progress.bytes(), ..Measures::default() };
            let end = match progress.end() {
                BodyEnd::Broken => End::ClientGone { status: None },
                BodyEnd::Open | BodyEnd::Complete | BodyEnd::TooLarge => {
                    End::NoAnswer { status: refusal.code.status().as_u16() }
                }
            };
            // Nothing of a refusal waits for the disk: the event says that nothing was answered.
            let _ = admitted.settle(end, &measures);
        }
        refusal
    }

    fn upstream_failed(&self, error: &SendError) -> Refusal {
        let settings = &self.route.upstream.settings;
        tracing::debug!(upstream = &*settings.name, %error, "no answer from the upstream");
        match error {
            SendError::NoneAvailable => {
                Refusal::new(Code::UpstreamUnavailable, "the service is away; try again soon")
                    .retry_after(settings.eject_for.as_secs().max(1))
            }
            SendError::Connect { error, .. } if error.is_timeout() => {
                Refusal::new(Code::UpstreamTimeout, "the service could not be reached in time; try again")
            }
            SendError::Connect { error, .. } if error.is_overload() => Refusal::new(
                Code::Overloaded,
                "the service has as many connections as it may; try again soon",
            )
            .retry_after(1),
            SendError::Connect { error, .. } if error.is_absence() => {
                Refusal::new(Code::UpstreamUnavailable, "the service is away; try again soon").retry_after(1)
            }
            SendError::Connect { .. } => {
                Refusal::new(Code::UpstreamError, "the service could not be reached; try again soon")
            }
            SendError::Failed { .. } => {
                Refusal::new(Code::UpstreamError, "the service ended the connection without an answer")
            }
        }
    }
}

/// Sends the request within its time; no error means that the time is over.
async fn sending(
    connection: Rc<Connection>,
    upstream: Arc<Upstream>,
    request: Outgoing,
    progress: Rc<Progress>,
) -> Result<Sent, Option<SendError>> {
    let waiter = Waiter { client: &connection, progress: &progress };
    let mut sending = pin!(send(waiter, &upstream, request));
    poll_fn(|cx| match sending.as_mut().poll(cx) {
        Poll::Ready(result) => Poll::Ready(result.map_err(Some)),
        Poll::Pending if progress.deadline.poll_passed(cx) => Poll::Ready(Err(None)),
        Poll::Pending => Poll::Pending,
    })
    .await
}

fn check_headers(headers: &Headers, live: &Live) -> Result<(), Refusal> {
    let max = live.gateway().listen.headers_max;
    if headers.len() > max {
        let message = format!("the request has more than {max} header lines");
        return Err(Refusal::new(Code::HeadersTooLarge, message).closing());
    }
    Ok(())
}

fn no_route(parts: &RequestHead) -> Refusal {
    let method = parts.method.as_str();
    let method = if method.len() <= 16 { method } else { "this method" };
    Refusal::new(Code::NoRoute, format!("no route matches {method} on this path"))
}
