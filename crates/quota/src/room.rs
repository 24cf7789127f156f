//! Whether there is room in a lease for what a request needs.

use tollgate_core::OnStoreFailure;

use crate::{Subject, counter::Counter};

/// Whether there is room for a need.
pub(crate) enum Room {
    Fits,
    /// Nothing is left anywhere; a store has been asked.
    Full,
    /// The store has to be asked.
    Ask,
    /// The store was asked, and does not answer.
    Unavailable,
}

/// What a request wants of one counter.
pub(crate) struct Wanted {
    pub(crate) need: i64,
    /// How much may be used; none where nothing is refused, and what the store says only shows.
    pub(crate) max: Option<i64>,
    pub(crate) policy: OnStoreFailure,
    /// The call to the store that was waited for, 0 for none, and whether it got no answer.
    pub(crate) asked: u64,
    pub(crate) failed: bool,
}

impl Wanted {
    /// What the lease of `counter` has to say.
    pub(crate) fn of(&self, counter: &Counter, subject: &Subject) -> Room {
        let Self { need, max, policy, asked, failed } = *self;
        let (Some(lease), Some(member)) = (counter.lease(), &subject.member) else { return Room::Fits };
        let Some(max) = max else {
            let is_known = failed || lease.is_valid(member.generation());
            return if is_known { Room::Fits } else { Room::Ask };
        };
        if need > 0 && policy == OnStoreFailure::Deny && member.gate.is_down() {
            return Room::Unavailable;
        }
        if lease.fits(member.generation(), need, max, counter.usage.held) {
            return Room::Fits;
        }
        if lease.is_denied(asked, need, max) {
            return Room::Full;
        }
        match policy {
            _ if !failed => Room::Ask,
            OnStoreFailure::Allow { seconds_max }
                if member.gate.useless_seconds().is_some_and(|seconds| seconds <= seconds_max.into()) =>
            {
                Room::Fits
            }
            OnStoreFailure::Allow { .. } | OnStoreFailure::Lease | OnStoreFailure::Deny => Room::Unavailable,
        }
    }
}
