//! What a ledger is asked of requests with an idempotency key.
//!
//! Contract
//! - Of all that begin under one scope and key, one is told to do it: [`Begun::New`]. The others hear that
//!   it runs, what was answered, or that the key was used for another body.
//! - A key is remembered for 25 hours at least from when it was begun, whoever dies meanwhile.
//! - A gateway that dies leaves its key running. Who knows that it is gone, or that its own attempt ended
//!   without an answer, takes it over and does it again with the first attempt's request key: events have
//!   the same ids then, and each is in the ledger once.

use std::{fmt, time::Duration};

use tollgate_core::RequestKey;
use uuid::Uuid;

use super::LoadError;

/// Longest scope or key, in bytes: whoever asks refuses longer ones.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 512;
/// Longest answer that is kept, in bytes: thousands may wait to be written. A longer one is an error.
pub const IDEMPOTENT_ANSWER_BYTES_MAX: usize = 16 * 1024;
/// How long keys are remembered: a day, and some for clocks and patience.
pub(super) const KEPT: Duration = Duration::from_secs(25 * 3600);
/// Old keys that each new one takes away: more than one, so that they become fewer.
pub(super) const SWEPT_PER_KEY: i64 = 4;

/// Begins a request with an idempotency key.
pub struct BeginIdempotent {
    /// Whose key it is: keys of different scopes have nothing to do with each other.
    pub scope: String,
    /// The key.
    pub key: String,
    /// Of all that makes the request what it is.
    pub body_sha256: [u8; 32],
    /// What the ids of its events derive from, if it is new.
    pub request_key: RequestKey,
    /// The gateway whose attempt is known to have ended without an answer, by its journal's id.
    pub takes_over: Option<Uuid>,
    /// Called exactly once, on the shipping thread or, when the request is turned away, at once. It must
    /// not wait for anything. After an error the key may be begun or not.
    pub reply: BeginReply,
}

/// Takes the answer to a [`BeginIdempotent`].
pub type BeginReply = Box<dyn FnOnce(Result<Begun, LoadError>) + Send>;

/// What became of a request that begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// The asker does it, and then calls [`crate::Ledger::finish_idempotent`].
    New {
        /// What the ids of its events derive from: the asker's, or the first attempt's.
        request_key: RequestKey,
    },
    /// Somebody does it.
    Running {
        /// What the ids of its events derive from.
        request_key: RequestKey,
        /// The gateway that does it.
        journal: Uuid,
    },
    /// It was done.
    Done {
        /// The answer's status.
        status: u16,
        /// And body.
        answer: Vec<u8>,
    },
    /// The key was used for another request.
    OtherBody,
}

/// Ends a request that was begun.
pub struct FinishIdempotent {
    /// As it was begun.
    pub scope: String,
    /// As it was begun.
    pub key: String,
    /// As [`Begun::New`] said: of another attempt nothing is changed.
    pub request_key: RequestKey,
    /// Status and body; none when nothing was done: the key is forgotten then.
    pub answer: Option<(u16, Vec<u8>)>,
    /// Called exactly once, as of [`BeginIdempotent`]. After an error the answer may be kept or not.
    pub reply: FinishReply,
}

/// Takes the answer to a [`FinishIdempotent`].
pub type FinishReply = Box<dyn FnOnce(Result<(), LoadError>) + Send>;

/// What is kept of a key.
pub(super) struct Kept {
    pub(super) body_sha256: Vec<u8>,
    pub(super) request_key: Uuid,
    pub(super) journal: Uuid,
    pub(super) answer: Option<(i64, Vec<u8>)>,
}

impl Kept {
    /// What the row means for who begins; it is not the asker's to do.
    pub(super) fn begun(self, body_sha256: &[u8]) -> Begun {
        let Self { body_sha256: kept, request_key, journal, answer } = self;
        match answer {
            _ if kept != body_sha256 => Begun::OtherBody,
            Some((status, answer)) => Begun::Done { status: u16::try_from(status).unwrap_or(0), answer },
            None => Begun::Running { request_key: RequestKey::from_bits(request_key.as_u128()), journal },
        }
    }
}

impl BeginIdempotent {
    pub(super) fn is_too_long(&self) -> bool {
        self.scope.len().max(self.key.len()) > IDEMPOTENCY_KEY_BYTES_MAX
    }
}

impl FinishIdempotent {
    pub(super) fn is_too_long(&self) -> bool {
        self.answer.as_ref().is_some_and(|(_, body)| body.len() > IDEMPOTENT_ANSWER_BYTES_MAX)
    }
}

impl fmt::Debug for BeginIdempotent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scope, key, body_sha256: _, request_key, takes_over, reply: _ } = self;
        f.debug_struct("BeginIdempotent")
            .field("scope", scope)
            .field("key", key)
            .field("request_key", request_key)
            .field("takes_over", takes_over)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for FinishIdempotent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The answer is the caller's.
        let Self { scope, key, request_key, answer: _, reply: _ } = self;
        f.debug_struct("FinishIdempotent")
            .field("scope", scope)
            .field("key", key)
            .field("request_key", request_key)
            .finish_non_exhaustive()
    }
}
