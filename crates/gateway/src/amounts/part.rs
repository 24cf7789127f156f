//! One part of what a meter is charged, compiled for the request path.

use std::time::Duration;

use http::HeaderName;
use tollgate_config::{LlmMeasure, Missing};
use tollgate_core::Conversion;

use super::condition::Test;

/// A part of what a meter is charged.
pub(crate) struct Part {
    pub(crate) amount: PartAmount,
    /// All must hold.
    pub(super) only_if: Vec<Test>,
    /// If all hold, nothing is charged; there are none where nothing is exempt.
    pub(super) unless: Vec<Test>,
    /// Whose size the amount is.
    pub(crate) resource: Option<IdAt>,
    pub(crate) job: Option<Job>,
}

pub(crate) enum PartAmount {
    Constant(i64),
    Measured(Measured),
}

/// An amount that turns out.
pub(crate) struct Measured {
    pub(crate) source: Source,
    /// What is held where the request does not say it, in the meter's unit.
    pub(crate) hold: i64,
    pub(crate) conversion: Conversion,
    pub(crate) missing: Missing,
}

/// Where an amount comes from.
pub(crate) enum Source {
    Llm(LlmMeasure),
    RequestBytes,
    ResponseBytes,
    Duration,
    Upstream,
    At(At),
    Memory(Memory),
}

/// Where a value stands.
pub(crate) enum At {
    RequestHeader(HeaderName),
    /// Of the request's body, by number.
    RequestField(usize),
    /// Of the headers that are noted, by number.
    ResponseHeader(usize),
    /// Of the answer's body, by number.
    ResponseField(usize),
}

/// Where an id stands.
pub(crate) enum IdAt {
    Path,
    At(At),
}

/// What a memory is made of, by numbers of fields of the request's body.
pub(crate) struct Memory {
    pub(super) text: usize,
    pub(super) others: [usize; 2],
    pub(super) fixed_bytes: i64,
}

/// A job, as the request is about it.
pub(crate) enum Job {
    Start { id: IdAt, time_limit: Duration },
    Status { id: IdAt, ended: Vec<Test> },
}

impl At {
    pub(super) fn is_of_request(&self) -> bool {
        match self {
            Self::RequestHeader(_) | Self::RequestField(_) => true,
            Self::ResponseHeader(_) | Self::ResponseField(_) => false,
        }
    }
}

impl IdAt {
    /// Whether it is known before a request is forwarded.
    pub(super) fn is_of_request(&self) -> bool {
        match self {
            Self::Path => true,
            Self::At(at) => at.is_of_request(),
        }
    }
}

impl Part {
    /// What of a model's answer it counts, and how.
    pub(crate) fn of_model(&self) -> Option<(LlmMeasure, &Measured)> {
        match &self.amount {
            PartAmount::Measured(measured @ Measured { source: Source::Llm(measure), .. }) => {
                Some((*measure, measured))
            }
            PartAmount::Measured(_) | PartAmount::Constant(_) => None,
        }
    }

    /// Whether somebody has to say how much it is.
    pub(crate) fn may_be_missing(&self) -> bool {
        match &self.amount {
            PartAmount::Measured(measured) => {
                matches!(measured.source, Source::Upstream | Source::At(_) | Source::Memory(_))
            }
            PartAmount::Constant(_) => false,
        }
    }

    /// How much it is, where nothing that is said or happens changes that.
    pub(crate) fn constant(&self) -> Option<i64> {
        let Self { amount, only_if, unless, resource, job } = self;
        let is_plain = only_if.is_empty() && unless.is_empty() && resource.is_none() && job.is_none();
        match amount {
            PartAmount::Constant(amount) if is_plain => Some(*amount),
            PartAmount::Constant(_) | PartAmount::Measured(_) => None,
        }
    }

    /// What is held where the request says nothing of it.
    pub(crate) fn flat_need(&self) -> i64 {
        match (&self.job, &self.amount) {
            (Some(Job::Status { .. }), _) => 0,
            (_, PartAmount::Constant(amount)) => *amount,
            (_, PartAmount::Measured(measured)) => measured.hold,
        }
    }

    /// Whether something has it by an id.
    pub(crate) fn has_id(&self) -> bool {
        self.id().is_some()
    }

    /// Whether it changes what an id has by being sent: who asks for a job's state does not.
    pub(super) fn is_change(&self) -> bool {
        !matches!(self.job, Some(Job::Status { .. }))
    }

    /// Where its id stands, whatever it is of.
    pub(super) fn id(&self) -> Option<&IdAt> {
        match &self.job {
            Some(Job::Start { id, .. } | Job::Status { id, .. }) => Some(id),
            None => self.resource.as_ref(),
        }
    }
}
