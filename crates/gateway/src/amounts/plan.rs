//! What a route looks at in requests and answers, collected from its charges.

use bytes::Bytes;
use http::HeaderName;
use tollgate_config::{
    Amount, Condition, Conditions, IdPlace, Job as ConfiguredJob, Measure, Place, RouteCharge,
};
use tollgate_core::{Pointer, Wanted};
use tollgate_usage::{Field, Fields, Want};

use super::{
    condition::Test,
    guard::LookedAt,
    part::{At, IdAt, Job, Measured, Memory, Part, PartAmount, Source},
};
use crate::headers::Headers;

/// What a route looks at.
pub(crate) struct Plan {
    /// In the request's body.
    pub(super) request_fields: Fields,
    /// In the request's head.
    pub(super) request_headers: LookedAt,
    /// In the answer's body.
    pub(crate) response_fields: Fields,
    /// In the answer's head.
    response_headers: Vec<HeaderName>,
    /// Whether something is charged by an id that stands in the path.
    pub(super) has_path_id: bool,
    /// Whether something is charged by an id.
    pub(crate) has_id: bool,
}

/// The headers of an answer that its charges look at.
pub(crate) struct Heard(Vec<Vec<Bytes>>);

impl Heard {
    /// All lines of a header, by its number.
    pub(super) fn all(&self, number: usize) -> impl Iterator<Item = &[u8]> {
        self.0.get(number).into_iter().flatten().map(|value| &**value)
    }
}

impl Plan {
    /// Whether the request's body is looked at.
    pub(crate) fn reads_request(&self) -> bool {
        !self.request_fields.is_empty()
    }

    /// Whether something of the answer is looked at, for which it is awaited.
    pub(crate) fn reads_answer(&self) -> bool {
        !self.response_fields.is_empty() || !self.response_headers.is_empty()
    }

    /// Notes what the answer's head says; nothing is kept where nothing is looked at.
    pub(crate) fn hear(&self, headers: &Headers) -> Option<Box<Heard>> {
        let lines = |name: &HeaderName| headers.all(name).map(Bytes::copy_from_slice).collect();
        let heard = || Box::new(Heard(self.response_headers.iter().map(lines).collect()));
        (!self.response_headers.is_empty()).then(heard)
    }
}

/// Collects what a route looks at while its charges are compiled.
#[derive(Default)]
pub(crate) struct Collector {
    request_fields: Vec<Field>,
    request_headers: LookedAt,
    response_fields: Vec<Field>,
    response_headers: Vec<HeaderName>,
    has_path_id: bool,
    has_id: bool,
    /// Whether anything depends on what a request or an answer says.
    depends: bool,
}

impl Collector {
    /// What the route looks at; `None` where its charges depend on nothing of the kind.
    pub(crate) fn plan(self) -> Option<Box<Plan>> {
        let Self {
            request_fields,
            request_headers,
            response_fields,
            response_headers,
            has_path_id,
            has_id,
            depends,
        } = self;
        depends.then(|| {
            Box::new(Plan {
                request_fields: Fields::of(request_fields),
                request_headers,
                response_fields: Fields::of(response_fields),
                response_headers,
                has_path_id,
                has_id,
            })
        })
    }

    /// Compiles a charge.
    pub(crate) fn part(&mut self, charge: &RouteCharge) -> Part {
        let RouteCharge { meter: _, amount, only_if, unless, resource, job } = charge;
        let part = Part {
            amount: self.amount(amount),
            only_if: self.tests(only_if),
            unless: unless.as_ref().map(|unless| self.tests(unless)).unwrap_or_default(),
            resource: resource.as_ref().map(|id| self.id(id)),
            job: job.as_ref().map(|job| self.job(job)),
        };
        self.has_id |= part.id().is_some();
        self.depends |= !part.only_if.is_empty() || !part.unless.is_empty() || part.id().is_some();
        part
    }

    fn amount(&mut self, amount: &Amount) -> PartAmount {
        let measured = match amount {
            Amount::Constant(amount) => return PartAmount::Constant(*amount),
            Amount::Measured(measured) => measured,
        };
        let source = match &measured.source {
            Measure::Llm(measure) => Source::Llm(*measure),
            Measure::RequestBytes => Source::RequestBytes,
            Measure::ResponseBytes => Source::ResponseBytes,
            Measure::Duration => Source::Duration,
            Measure::Upstream => Source::Upstream,
            Measure::At(place) => {
                self.depends = true;
                Source::At(self.place(place, Want::Amount))
            }
            Measure::MemorySize(size) => {
                self.depends = true;
                let mut field = |pointer: &Pointer, want| number(&mut self.request_fields, pointer, want);
                Source::Memory(Memory {
                    text: field(&size.text, Want::TextBytes),
                    others: [&size.tags, &size.metadata].map(|pointer| field(pointer, Want::JsonBytes)),
                    fixed_bytes: size.fixed_bytes(),
                })
            }
        };
        PartAmount::Measured(Measured {
            source,
            hold: measured.hold,
            conversion: measured.conversion,
            missing: measured.missing,
        })
    }

    fn place(&mut self, place: &Place, want: Want) -> At {
        match place {
            Place::RequestHeader(name) => {
                self.request_headers.add(name);
                At::RequestHeader(name.clone())
            }
            Place::RequestJson(pointer) => At::RequestField(number(&mut self.request_fields, pointer, want)),
            Place::ResponseHeader(name) => At::ResponseHeader(self.response_header(name)),
            Place::ResponseJson(pointer) => {
                At::ResponseField(number(&mut self.response_fields, pointer, want))
            }
        }
    }

    fn response_header(&mut self, name: &HeaderName) -> usize {
        let known = self.response_headers.iter().position(|known| known == name);
        known.unwrap_or_else(|| {
            self.response_headers.push(name.clone());
            self.response_headers.len() - 1
        })
    }

    fn id(&mut self, id: &IdPlace) -> IdAt {
        match id {
            IdPlace::Path => {
                self.has_path_id = true;
                IdAt::Path
            }
            IdPlace::At(place) => IdAt::At(self.place(place, Want::Id)),
        }
    }

    fn job(&mut self, job: &ConfiguredJob) -> Job {
        match job {
            ConfiguredJob::Start { id, time_limit } => {
                Job::Start { id: self.id(id), time_limit: *time_limit }
            }
            ConfiguredJob::Status { id, ended } => Job::Status { id: self.id(id), ended: self.tests(ended) },
        }
    }

    fn tests(&mut self, Conditions(conditions): &Conditions) -> Vec<Test> {
        conditions.iter().map(|condition| self.test(condition)).collect()
    }

    fn test(&mut self, condition: &Condition) -> Test {
        match condition {
            Condition::Method(methods) => Test::Method(methods.clone()),
            Condition::Status(statuses) => Test::Status(*statuses),
            Condition::Value(place, wanted) => self.value(place, wanted),
        }
    }

    fn value(&mut self, place: &Place, wanted: &[Wanted]) -> Test {
        match self.place(place, Want::AnyOf(wanted.into())) {
            At::RequestHeader(name) => Test::RequestHeader(name, wanted.to_vec()),
            At::RequestField(number) => Test::RequestField(number),
            At::ResponseHeader(number) => Test::ResponseHeader(number, wanted.to_vec()),
            At::ResponseField(number) => Test::ResponseField(number),
        }
    }
}

/// The number of a field among `fields`, to which it is added where it is new.
fn number(fields: &mut Vec<Field>, pointer: &Pointer, want: Want) -> usize {
    let field = Field { pointer: pointer.clone(), want };
    fields.iter().position(|known| *known == field).unwrap_or_else(|| {
        fields.push(field);
        fields.len() - 1
    })
}
