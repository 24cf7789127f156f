//! A request to a model: what it says it may cost, and what is held for it.

use bytes::Bytes;
use http::{HeaderName, Method, header};
use tollgate_config::LlmMeasure;
use tollgate_core::{Plans, UnixMillis};
use tollgate_usage::{Asked, IncludeUsage, Request, Response, Scanner, ask};

use super::Looked;
use crate::{
    admission::Asking,
    amounts::Measured,
    headers::Headers,
    live::{Live, Route},
    target::Target,
};

/// Headers that are no longer true when a byte of the body is another.
const DIGESTS: [HeaderName; 5] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("x-amz-content-sha256"),
];
/// Longer bodies are read on another thread: what takes a millisecond here keeps all others of this worker waiting.
pub(crate) const READ_HERE_BYTES_MAX: usize = 128 << 10;
/// How an `Authorization` begins that signs the body too (AWS Signature Version 4).
const SIGNED: &str = "AWS4-";

/// A request to a model, as far as it says what it asks for.
pub(crate) struct Call {
    method: Method,
    /// As the upstream is sent it.
    target: Target,
    /// Whether a model has to work for the answer: not for polls, counts and cancellations.
    is_billable: bool,
    /// Whether the answers come over a WebSocket.
    is_conversation: bool,
    asked: Option<Asked>,
    bound: Option<Bound>,
    /// Whether it reads more than is in it, of which no bound may be known.
    reads_unbounded: bool,
    /// Whether the client asked for usage.
    wants_usage: bool,
    /// Whether usage was asked for in the client's name, so that the answer has an event more.
    adds_usage: bool,
}

/// Tokens that a call uses at most, as far as it can be known beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) input: i64,
    /// Of all its choices together.
    pub(crate) output: i64,
}

impl Call {
    /// What can be told from the head. `None` when the route charges nothing that a model's answer says.
    pub(crate) fn new(
        route: &Route,
        method: &Method,
        target: &Target,
        is_upgrade: bool,
    ) -> Option<Box<Self>> {
        route.llm.as_ref()?;
        // The paths of a service whose answers have a shape of their own say nothing.
        let is_billable = match route.shape {
            Some(_) => method == Method::POST,
            None => Request { method: method.as_str(), path: target.path() }.is_billable(),
        };
        Some(Box::new(Self {
            method: method.clone(),
            target: target.clone(),
            is_billable,
            is_conversation: is_upgrade,
            asked: None,
            bound: None,
            reads_unbounded: false,
            wants_usage: false,
            adds_usage: false,
        }))
    }

    /// Whether a model has to work for the answer.
    pub(crate) fn is_billable(&self) -> bool {
        self.is_billable
    }

    /// Whether the answers come over a WebSocket, if the upstream agrees.
    pub(crate) fn is_conversation(&self) -> bool {
        self.is_conversation
    }

    /// Reads what the body asks for, and asks for usage where the answer would not say it.
    pub(crate) async fn read(
        &mut self,
        live: &Live,
        route: &Route,
        headers: &mut Headers,
        looked: &mut Looked,
    ) {
        let (Some(options), Some(text)) = (&route.llm, looked.text()) else { return };
        if is_coded(headers) {
            return;
        }
        let content_type = headers.text(&header::CONTENT_TYPE);
        let Some(mut asked) = self.asked_in(content_type, text).await else { return };
        // Where the path alone would say that nothing is written, what the body says bounds nothing.
        self.bound = bound(live, options.max_output_tokens, &asked).filter(|_| self.request().is_billable());
        self.reads_unbounded = asked.reads_elsewhere && !has_context(live, &asked);
        self.wants_usage = asked.is_stream && asked.include_usage.is_none();
        if let Some(edit) = asked.include_usage.take().filter(|_| options.include_usage)
            && !is_sealed(headers)
        {
            self.add_usage(&edit, headers, looked);
        }
        self.asked = Some(asked);
    }

    /// What `text` asks for; read on another thread if it is long.
    async fn asked_in(&self, content_type: Option<&str>, text: Bytes) -> Option<Asked> {
        if text.len() <= READ_HERE_BYTES_MAX {
            return ask(self.request(), content_type, &text);
        }
        let (method, target) = (self.method.clone(), self.target.clone());
        let content_type = content_type.map(str::to_owned);
        let reading = tokio::task::spawn_blocking(move || {
            let request = Request { method: method.as_str(), path: target.path() };
            ask(request, content_type.as_deref(), &text)
        });
        reading.await.ok().flatten()
    }

    fn add_usage(&mut self, edit: &IncludeUsage, headers: &mut Headers, looked: &mut Looked) {
        let Some(text) = looked.text().map(|text| edit.apply(&text)) else { return };
        if headers.has(&header::CONTENT_LENGTH) {
            headers.insert(&header::CONTENT_LENGTH, &text.len().into());
        }
        // The event that is taken out again has to be readable.
        headers.remove(&header::ACCEPT_ENCODING);
        looked.replace(text);
        self.adds_usage = true;
    }

    fn request(&self) -> Request<'_> {
        Request { method: self.method.as_str(), path: self.target.path() }
    }

    /// The model that the request names.
    pub(crate) fn model(&self) -> Option<&str> {
        self.asked.as_ref()?.model.as_deref()
    }

    /// Tokens that it uses at most.
    pub(crate) fn bound(&self) -> Option<Bound> {
        self.bound
    }

    /// Whether a stream was asked for.
    pub(crate) fn is_stream(&self) -> bool {
        self.asked.as_ref().is_some_and(|asked| asked.is_stream)
    }

    /// Whether the client asked for usage at the end of a stream.
    pub(crate) fn wants_usage(&self) -> bool {
        self.wants_usage
    }

    /// Whether the answer has an event that the client did not ask for.
    pub(crate) fn adds_usage(&self) -> bool {
        self.adds_usage
    }

    /// The reader of an answer with these headers. `None` when it has nothing to be charged, or cannot be read.
    pub(crate) fn scanner(&self, route: &Route, headers: &Headers) -> Option<Scanner> {
        if !self.is_billable {
            return None;
        }
        let response = Response {
            content_type: headers.text(&header::CONTENT_TYPE),
            content_encoding: headers.text(&header::CONTENT_ENCODING),
        };
        match &route.shape {
            Some(shape) => Scanner::with_pointers(shape, response),
            None => Scanner::of(self.request(), response),
        }
    }

    /// What is held of a part of a charge that the answer will say: the most that it can be, or what is usual where
    /// limits may be passed by what turns out.
    pub(crate) fn need(
        &self,
        asking: &Asking<'_>,
        position: usize,
        (measure, measured): (LlmMeasure, &Measured),
    ) -> i64 {
        let Asking { live, shared, route, grant, at, .. } = asking;
        let flat = measured.hold;
        // A conversation begins when there is something left, and is charged as it goes on.
        if !(self.is_billable || self.is_conversation) || !route.charges[position].counts_model(self.model())
        {
            return 0;
        }
        let Some(bound) = self.bound else { return flat };
        let priced = (live.plans(), self.model(), *at);
        let amount = |bound: Bound| {
            bound.amount(measure, priced).map(|amount| measured.conversion.apply_whole(amount))
        };
        let Some(most) = amount(bound) else { return flat };
        let usual = || {
            let output = shared.learned.usual(self.model()?)?;
            amount(Bound { output: bound.output.min(output), ..bound })
        };
        // What may be passed is passed once, not by each part.
        let has_parts = route.charges[position].parts.len() > 1;
        let need = match grant.overdraws[position] {
            // Only a stream can be ended where the overdraw ends.
            Some(overdraw) if overdraw == 0 || has_parts || !self.is_stream() => most,
            Some(overdraw) => {
                usual().map_or(most, |usual| usual.max(most.saturating_sub(overdraw)).min(most))
            }
            None => usual().unwrap_or(most),
        };
        let counts_input = !matches!(measure, LlmMeasure::OutputTokens | LlmMeasure::ReasoningTokens);
        // Of what it reads elsewhere nothing is known but what the route says.
        need.saturating_add(if self.reads_unbounded && counts_input { flat } else { 0 }).max(1)
    }
}

/// How much of `measure` so many tokens are that were written, whatever was read for them.
pub(crate) fn written(output: i64, measure: LlmMeasure, priced: (&Plans, Option<&str>, UnixMillis)) -> i64 {
    Bound { input: 0, output }.amount(measure, priced).unwrap_or(0)
}

impl Bound {
    /// How much of `measure` it is at most. `None` when that is not known.
    pub(super) fn amount(
        self,
        measure: LlmMeasure,
        (plans, model, at): (&Plans, Option<&str>, UnixMillis),
    ) -> Option<i64> {
        match measure {
            LlmMeasure::TotalTokens => Some(self.input.saturating_add(self.output)),
            LlmMeasure::InputTokens | LlmMeasure::CachedTokens => Some(self.input),
            LlmMeasure::OutputTokens | LlmMeasure::ReasoningTokens => Some(self.output),
            LlmMeasure::Cost => plans.prices.as_ref()?.cost_max(model?, at, self.input, self.output),
        }
    }
}

/// Whether the headers of a message say something of each byte of its body.
fn is_sealed(headers: &Headers) -> bool {
    let authorization = headers.get(&header::AUTHORIZATION).unwrap_or_default();
    DIGESTS.iter().any(|name| headers.has(name)) || authorization.starts_with(SIGNED.as_bytes())
}

/// Whether the body of a message is compressed.
pub(super) fn is_coded(headers: &Headers) -> bool {
    let mut codings = headers.all(&header::CONTENT_ENCODING);
    codings.any(|coding| !coding.trim_ascii().eq_ignore_ascii_case(b"identity"))
}

/// Takes from a message what is no longer true when its body is edited.
pub(super) fn unseal(headers: &mut Headers) {
    headers.remove(&header::CONTENT_LENGTH);
    for name in &DIGESTS {
        headers.remove(name);
    }
}

/// Whether it is known how much the model can take.
fn has_context(live: &Live, asked: &Asked) -> bool {
    let limits = asked.model.as_deref().and_then(|model| live.gateway().model_limits(model));
    limits.is_some_and(|limits| limits.context.is_some())
}

/// `None` when the request says neither which model it is for nor how much may be written: it may have any shape.
fn bound(live: &Live, max_output_tokens: i64, asked: &Asked) -> Option<Bound> {
    if asked.model.is_none() && asked.output_tokens.is_none() {
        return None;
    }
    let limits = asked.model.as_deref().and_then(|model| live.gateway().model_limits(model));
    let context = limits.and_then(|limits| limits.context).unwrap_or(i64::MAX);
    let max_output = limits.and_then(|limits| limits.max_output).unwrap_or(i64::MAX);
    let output = asked.output_tokens.unwrap_or(max_output_tokens).min(max_output).min(context);
    // What it reads elsewhere has no bound but the model's.
    let input = match limits.and_then(|limits| limits.context) {
        Some(context) if asked.reads_elsewhere => context,
        Some(_) | None => asked.input_tokens,
    };
    Some(Bound { input, output: output.saturating_mul(asked.choices.max(1)) })
}
