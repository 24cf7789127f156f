//! Asking what a subject has used.

use std::fmt;

use tollgate_core::Span;

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
    /// The sums contain exactly the settlements whose position is less than this.
    pub watermark: Position,
}

/// Why a load has no answer. Neither is the caller's fault, and both are worth trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Too many wait already.
    #[error("too many requests wait for the ledger")]
    Overloaded,
    /// The ledger fails, is too far behind, or is shut down.
    #[error("the ledger is unavailable")]
    Unavailable,
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
