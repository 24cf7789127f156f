//! What one request does to a resource.

use std::time::Duration;

use arrayvec::ArrayVec;
use tollgate_core::SETTLEMENT_CHARGES_MAX;

/// What a request does to what a resource has of one meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// It sets what that is.
    Set,
    /// It says that the resource is gone.
    Delete,
    /// It starts a job, which ends by itself after so long.
    Start { time_limit: Duration },
    /// It asks whether a job has ended.
    Ask,
}

/// One of the meters that a request changes a resource's part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Use {
    /// Among the route's charges.
    pub(crate) position: usize,
    pub(crate) act: Act,
}

/// All of them; of one meter each.
pub(crate) type Uses = ArrayVec<Use, SETTLEMENT_CHARGES_MAX>;

/// What the answer says of a use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    /// The upstream's status, 0 for none.
    pub(crate) status: u16,
    /// Whether the charge's conditions hold, and the route charges for such an answer.
    pub(crate) is_charged: bool,
    /// What the resource has now, of [`Act::Set`].
    pub(crate) amount: i64,
    /// Whether the job has ended, of [`Act::Ask`].
    pub(crate) has_ended: bool,
}

impl Act {
    /// What the resource has of the meter now; none where the answer changes nothing.
    pub(crate) fn outcome(self, said: Said) -> Option<i64> {
        let Said { status, is_charged, amount, has_ended } = said;
        let is_success = (200..300).contains(&status);
        // What is gone holds nothing, whoever took it away.
        let is_gone = matches!(status, 404 | 410);
        match self {
            Self::Set => (is_success && is_charged).then_some(amount.max(0)),
            Self::Delete => ((is_success && is_charged) || is_gone).then_some(0),
            Self::Start { .. } => (is_success && is_charged).then_some(1),
            Self::Ask => ((is_success && is_charged && has_ended) || is_gone).then_some(0),
        }
    }

    /// Whether it is claimed before the request is forwarded, where its id is known then: so that changes are settled
    /// in the order in which they are made.
    pub(crate) fn is_ordered(self) -> bool {
        match self {
            Self::Set | Self::Delete | Self::Start { .. } => true,
            // Whoever asks changes nothing, and a job ends once.
            Self::Ask => false,
        }
    }
}

/// What is charged where a resource has `now` what it did not have, or has no more.
pub(crate) fn difference(had: i64, now: Option<i64>) -> i64 {
    now.map_or(0, |now| now.saturating_sub(had))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STATUSES: [u16; 10] = [0, 200, 201, 204, 302, 404, 409, 410, 500, 503];

    fn acts() -> impl Strategy<Value = Act> {
        prop_oneof![
            Just(Act::Set),
            Just(Act::Delete),
            Just(Act::Start { time_limit: Duration::from_secs(1) }),
            Just(Act::Ask),
        ]
    }

    proptest! {
        /// Whatever comes in whatever order, and as often as it likes: all lines of a resource add up to what it has.
        #[test]
        fn lines_add_up_to_what_there_is(
            steps in prop::collection::vec(
                (acts(), prop::sample::select(&STATUSES[..]), any::<bool>(), 0..1_000_000i64, any::<bool>()),
                0..50,
            ),
        ) {
            let (mut has, mut sum) = (0, 0);
            for (act, status, is_charged, amount, has_ended) in steps {
                let said = Said { status, is_charged, amount, has_ended };
                for _ in 0..2 {
                    let now = act.outcome(said);
                    let charged = difference(sum, now);
                    sum += charged;
                    has = now.unwrap_or(has);
                    prop_assert_eq!(sum, has);
                }
                prop_assert!(status >= 200 || act.outcome(said).is_none());
            }
        }
    }

    #[test]
    fn what_is_gone_holds_nothing() {
        let said = |status| Said { status, is_charged: false, amount: 7, has_ended: false };
        for status in [404, 410] {
            assert_eq!(Act::Delete.outcome(said(status)), Some(0));
            assert_eq!(Act::Ask.outcome(said(status)), Some(0));
            assert_eq!(Act::Set.outcome(said(status)), None);
        }
        for status in [0, 200, 409, 500] {
            assert_eq!(Act::Delete.outcome(said(status)), None);
            assert_eq!(Act::Ask.outcome(said(status)), None);
        }
    }
}
