//! What a request says of its own charges, before it is forwarded.

use std::borrow::Cow;

use bytes::Bytes;
use http::{Method, header::CONTENT_ENCODING};
use tollgate_config::Missing;
use tollgate_core::Decimal;
use tollgate_usage::{FieldReader, Said};

use super::{
    Measured, Part, PartAmount, Plan, Source,
    condition::Test,
    header,
    part::{At, IdAt, Memory},
};
use crate::{
    headers::{self, Headers},
    live::{Route, RouteCharge},
    llm::{Looked, READ_HERE_BYTES_MAX},
    refusal::Refusal,
    resources,
};

/// What a request says of its own charges, by number of the part.
pub(crate) struct Stated(Box<[StatedPart]>);

/// What is known of a part when the request is admitted.
#[derive(Default)]
pub(super) struct StatedPart {
    /// It is not charged, whatever comes.
    pub(super) is_off: bool,
    /// What is true of requests that are exempt may still turn out to be true.
    pub(super) may_be_exempt: bool,
    /// How much, where the request says it.
    pub(super) amount: Option<StatedAmount>,
    /// Of what, where the request says it.
    pub(super) id: Option<Box<str>>,
}

/// How much the request says.
#[derive(Clone, Copy)]
pub(super) struct StatedAmount {
    pub(super) amount: i64,
    pub(super) is_estimated: bool,
    /// Whether it said nothing, or nothing that makes sense.
    pub(super) is_missing: bool,
}

/// A request, as far as it is looked at.
pub(crate) struct Sender<'a> {
    pub(crate) method: &'a Method,
    pub(crate) headers: &'a Headers,
    /// In normal form.
    pub(crate) path: &'a str,
    pub(crate) body: Body,
}

/// What is known of a body.
pub(crate) enum Body {
    /// All of it.
    Whole(Bytes),
    /// It is too long to be looked at.
    TooLong { bytes_max: u64 },
    /// The gateway keeps as many bodies as it can.
    NoRoom,
}

impl Stated {
    pub(super) fn part(&self, number: usize) -> Option<&StatedPart> {
        self.0.get(number)
    }

    /// What a part needs; `None` where the request does not say it.
    pub(crate) fn need(&self, number: usize) -> Option<i64> {
        let part = self.0.get(number)?;
        if part.is_off { Some(0) } else { part.amount.map(|stated| stated.amount) }
    }

    /// The id whose part of the charge's meter the request changes, where it says that.
    pub(crate) fn changed(&self, charge: &RouteCharge) -> Option<&str> {
        let stated = self.0.get(charge.first_part..)?.iter();
        let mut parts = stated.zip(&charge.parts).filter(|(stated, part)| !stated.is_off && part.is_change());
        parts.find_map(|(stated, _)| stated.id.as_deref())
    }
}

impl Body {
    /// What was kept of a body of which at most so many bytes are looked at.
    pub(crate) fn of(looked: &mut Looked, is_there: bool, bytes_max: u64) -> Self {
        match looked.text() {
            Some(text) => Self::Whole(text),
            None if !is_there => Self::Whole(Bytes::new()),
            None if looked.bytes() == 0 || looked.bytes() > bytes_max => Self::TooLong { bytes_max },
            None => Self::NoRoom,
        }
    }
}

/// Notes what a request says. Refuses what must be said and is not.
pub(crate) async fn ask(route: &Route, plan: &Plan, sender: &Sender<'_>) -> Result<Box<Stated>, Refusal> {
    let body = read(plan, sender).await;
    let asking = Asking { route, plan, sender, body: body.as_ref() };
    let parts = route.charges.iter().flat_map(|charge| &charge.parts);
    let parts = parts.map(|part| asking.part(part)).collect::<Result<_, _>>()?;
    Ok(Box::new(Stated(parts)))
}

/// Reads the body; on another thread if it is long. `None` when nothing of it can be told.
async fn read(plan: &Plan, sender: &Sender<'_>) -> Option<FieldReader> {
    let Body::Whole(text) = &sender.body else { return None };
    let mut codings = sender.headers.all(&CONTENT_ENCODING);
    let coding = match codings.next() {
        None => None,
        Some(coding) => Some(headers::text(coding)?),
    };
    let reader = plan.request_fields.reader(coding).filter(|_| codings.next().is_none());
    let mut reader = reader.filter(|_| plan.reads_request())?;
    if text.len() <= READ_HERE_BYTES_MAX {
        reader.feed(text);
        reader.end();
        return Some(reader);
    }
    let text = text.clone();
    let reading = tokio::task::spawn_blocking(move || {
        reader.feed(&text);
        reader.end();
        reader
    });
    reading.await.ok()
}

pub(super) struct Asking<'a> {
    route: &'a Route,
    pub(super) plan: &'a Plan,
    pub(super) sender: &'a Sender<'a>,
    body: Option<&'a FieldReader>,
}

/// Why there is no value.
pub(super) enum Flaw {
    Missing,
    Wrong,
}

impl Asking<'_> {
    fn part(&self, part: &Part) -> Result<StatedPart, Refusal> {
        let is = |test: &Test| test.of_request(self.sender.method, self.sender.headers, self.body);
        let of_request = |tests: &[Test], truth| {
            tests.iter().filter(|test| test.is_of_request()).all(|test| is(test) == truth)
        };
        let refutes = |test: &Test| test.is_of_request() && is(test) == Some(false);
        let may_be_exempt = !part.unless.is_empty() && of_request(&part.unless, Some(true));
        let is_exempt = may_be_exempt && part.unless.iter().all(Test::is_of_request);
        if is_exempt || part.only_if.iter().any(refutes) {
            return Ok(StatedPart { is_off: true, ..StatedPart::default() });
        }
        let amount = match &part.amount {
            PartAmount::Measured(measured) => self.amount(measured)?,
            PartAmount::Constant(_) => None,
        };
        let id = self.id(part).map(Box::from);
        // Whose id is not said would be free, and nobody could ever give it back.
        if id.is_none()
            && part.is_change()
            && let Some(at) = part.id().filter(|at| at.is_of_request())
        {
            return Err(self.no_id(at));
        }
        Ok(StatedPart { is_off: false, may_be_exempt, amount, id })
    }

    fn amount(&self, measured: &Measured) -> Result<Option<StatedAmount>, Refusal> {
        let value = match &measured.source {
            Source::At(at) if at.is_of_request() => self.value(at),
            Source::Memory(memory) => self.memory(memory),
            Source::Llm(_)
            | Source::RequestBytes
            | Source::ResponseBytes
            | Source::Duration
            | Source::Upstream
            | Source::At(_) => return Ok(None),
        };
        // Giving back is the route's to say, with a negative `scale`.
        let said = value.and_then(|value| {
            let amount = Some(value)
                .filter(|value| !value.is_negative())
                .and_then(|value| measured.conversion.apply(value));
            amount.ok_or(Flaw::Wrong)
        });
        let known = |amount| StatedAmount { amount, is_estimated: false, is_missing: false };
        Ok(Some(match (said, measured.missing) {
            (Ok(amount), _) => known(amount),
            (Err(flaw), Missing::Refuse) => return Err(self.no_amount(&measured.source, &flaw)),
            (Err(_), Missing::Instead(amount)) => known(amount),
            (Err(_), Missing::Nothing) => StatedAmount { is_missing: true, ..known(0) },
            (Err(_), Missing::Hold) => {
                StatedAmount { amount: measured.hold, is_estimated: true, is_missing: true }
            }
        }))
    }

    fn value(&self, at: &At) -> Result<Decimal, Flaw> {
        match at {
            At::RequestHeader(name) => said(Some(header::number(self.sender.headers.all(name)))),
            At::RequestField(number) => said(self.body.map(|body| body.amount(*number))),
            At::ResponseHeader(_) | At::ResponseField(_) => Err(Flaw::Missing),
        }
    }

    fn memory(&self, memory: &Memory) -> Result<Decimal, Flaw> {
        let bytes = |number| said(self.body.map(|body| body.bytes(number)));
        let mut sum = bytes(memory.text)?.saturating_add(memory.fixed_bytes);
        for number in memory.others {
            sum = sum.saturating_add(match bytes(number) {
                Ok(bytes) => bytes,
                // A memory may be without tags.
                Err(Flaw::Missing) => 0,
                Err(Flaw::Wrong) => return Err(Flaw::Wrong),
            });
        }
        Ok(Decimal::from(sum))
    }

    fn id(&self, part: &Part) -> Option<Cow<'_, str>> {
        let id = match part.id()? {
            IdAt::Path if self.plan.has_path_id => {
                return self
                    .route
                    .first_segment(self.sender.path)
                    .map(resources::decoded)
                    .and_then(resources::named);
            }
            IdAt::At(At::RequestHeader(name)) => header::id(self.sender.headers.all(name)),
            IdAt::At(At::RequestField(number)) => match self.body?.id(*number) {
                Said::Value(id) => Some(id),
                Said::Missing | Said::Wrong => None,
            },
            IdAt::Path | IdAt::At(At::ResponseHeader(_) | At::ResponseField(_)) => None,
        };
        id.and_then(resources::named).map(Cow::Borrowed)
    }
}

fn said<T>(said: Option<Said<T>>) -> Result<T, Flaw> {
    match said {
        Some(Said::Value(value)) => Ok(value),
        Some(Said::Missing) => Err(Flaw::Missing),
        Some(Said::Wrong) | None => Err(Flaw::Wrong),
    }
}
