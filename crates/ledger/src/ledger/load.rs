//! What a ledger is asked: what a subject has used, to have all of the journal, who else ships to it, and what
//! `resource` and `idempotency` say.

use std::{fmt, time::Duration};

use tollgate_core::Span;
use uuid::Uuid;

use super::{BeginIdempotent, FinishIdempotent, OpenResourcesRequest, ResourceRequest};
use crate::Position;

/// Who is charged.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The user with this id.
    User(String),
    /// The organisation with this id: what all its users have used.
    Org(String),
}

/// Asks what a subject has used.
pub struct LoadRequest {
    /// Whose use.
    pub subject: Subject,
    /// Which meters, each in which span.
    pub sums: Vec<(String, Span)>,
    /// The sums shall cover the journal up to here at least, as [`crate::Journal::tail`] gave it.
    pub reached: Position,
    /// Called exactly once, on the shipping thread or, when the request is turned away, at once. It must
    /// not wait for anything.
    pub reply: LoadReply,
}

/// Takes the answer to a [`LoadRequest`].
pub type LoadReply = Box<dyn FnOnce(Result<Loaded, LoadError>) + Send>;

/// What a subject has used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// One sum for each that was asked for, in their order; beyond 64 bits it stays at the bound.
    pub sums: Vec<i64>,
    /// The sums contain exactly the settlements of this process's journal whose position is less than this.
    pub watermark: Position,
    /// The same for every journal that the ledger knows, this one included, in the order of their ids; as
    /// of the same instant as the sums.
    pub watermarks: Vec<(Uuid, Position)>,
}

/// Takes the answer to [`crate::Ledger::flush`].
pub type FlushReply = Box<dyn FnOnce(Result<(), LoadError>) + Send>;

/// Takes the answer to [`crate::Ledger::instances`].
pub type InstancesReply = Box<dyn FnOnce(Result<Vec<Uuid>, LoadError>) + Send>;

/// A question to the ledger. Each is answered exactly once.
pub(super) enum Ask {
    Load(LoadRequest),
    Flush { reached: Position, reply: FlushReply },
    Instances { fresh: Duration, reply: InstancesReply },
    Resource(ResourceRequest),
    OpenResources(OpenResourcesRequest),
    Begin(BeginIdempotent),
    Finish(FinishIdempotent),
}

impl Ask {
    /// How far the journal must be shipped before the answer.
    pub(super) fn reached(&self) -> Position {
        match self {
            Self::Load(LoadRequest { reached, .. })
            | Self::Flush { reached, .. }
            | Self::Resource(ResourceRequest { reached, .. })
            | Self::OpenResources(OpenResourcesRequest { reached, .. }) => *reached,
            Self::Instances { .. } | Self::Begin(_) | Self::Finish(_) => Position::default(),
        }
    }

    /// Answers that there is no answer.
    pub(super) fn refuse(self, error: LoadError) {
        match self {
            Self::Load(LoadRequest { reply, .. }) => reply(Err(error)),
            Self::Flush { reply, .. } => reply(Err(error)),
            Self::Instances { reply, .. } => reply(Err(error)),
            Self::Resource(ResourceRequest { reply, .. }) => reply(Err(error)),
            Self::OpenResources(OpenResourcesRequest { reply, .. }) => reply(Err(error)),
            Self::Begin(BeginIdempotent { reply, .. }) => reply(Err(error)),
            Self::Finish(FinishIdempotent { reply, .. }) => reply(Err(error)),
        }
    }
}

/// Answers that the ledger is unavailable.
pub(super) fn refuse(asks: impl IntoIterator<Item = Ask>) {
    asks.into_iter().for_each(|ask| ask.refuse(LoadError::Unavailable));
}

/// Why a question has no answer. Only the last is the caller's fault; the others are worth trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Too many wait already.
    #[error("too many requests wait for the ledger")]
    Overloaded,
    /// The ledger fails, is too far behind, or is shut down.
    #[error("the ledger is unavailable")]
    Unavailable,
    /// What is to be kept is longer than what the ledger keeps.
    #[error("it is longer than what the ledger keeps")]
    TooLong,
}

impl fmt::Debug for LoadRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, sums, reached, reply: _ } = self;
        f.debug_struct("LoadRequest")
            .field("subject", subject)
            .field("sums", sums)
            .field("reached", reached)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(load) => load.fmt(f),
            Self::Flush { reached, reply: _ } => write!(f, "Flush({reached:?})"),
            Self::Instances { fresh, reply: _ } => write!(f, "Instances({fresh:?})"),
            Self::Resource(asked) => asked.fmt(f),
            Self::OpenResources(asked) => asked.fmt(f),
            Self::Begin(begin) => begin.fmt(f),
            Self::Finish(finish) => finish.fmt(f),
        }
    }
}
