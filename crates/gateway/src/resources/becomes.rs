//! What an exchange makes of a resource.

use std::time::Duration;

use arrayvec::ArrayVec;
use tollgate_core::{SETTLEMENT_CHARGES_MAX, Settlement, UnixMillis};

use super::{Expiry, JobLine, Kept, expiries::Why};
use crate::amounts::{Charged, Charges, Id, JobChange};

/// What an exchange made of its resource, once what it is charged are differences.
#[derive(Default)]
pub(crate) struct Became<'a> {
    /// Which.
    pub(crate) id: Option<&'a str>,
    /// What is said of a job, with the position of its meter.
    pub(crate) job: Option<(usize, JobLine)>,
    /// The position of a job's meter that has ended, where it is not known whether it ran.
    unended: Option<usize>,
    /// Positions whose charges should name this id, and name none or another.
    pub(crate) unnamed: ArrayVec<usize, SETTLEMENT_CHARGES_MAX>,
}

impl Became<'_> {
    /// When the job that a settlement is about is ended without a request: when its time is over, or at once where it
    /// has ended and nobody knew whether it ran.
    pub(crate) fn expiry(&self, settlement: &Settlement<'_>) -> Option<Expiry> {
        let (position, at, why) = match (self.job, self.unended) {
            (Some((position, JobLine::Started { expires_at })), _) => (position, expires_at, Why::Expired),
            (_, Some(position)) => (position, settlement.at, Why::Finished),
            (_, None) => return None,
        };
        Some(Expiry {
            at,
            since: settlement.at,
            why,
            meter: settlement.charges.get(position)?.meter.into(),
            resource: self.id?.into(),
            user: settlement.user_id.into(),
            org: settlement.org_id.map(Box::from),
            tier: settlement.tier.into(),
            route: settlement.route.into(),
        })
    }
}

/// What a resource becomes of one meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Becomes {
    /// It has so much.
    Be(i64),
    /// It is a job that runs, for at most so long.
    Run(Duration),
    /// It is a job that has ended.
    End,
}

impl Becomes {
    fn of<'a>(charged: &Charged<'a>) -> Option<(Id<'a>, Self)> {
        match (charged.job, charged.resource) {
            (Some(JobChange::Started { id, time_limit }), _) => Some((id, Self::Run(time_limit))),
            (Some(JobChange::Ended { id }), _) => Some((id, Self::End)),
            (None, Some(id)) => Some((id, Self::Be(charged.amount.max(0)))),
            (None, None) => None,
        }
    }

    /// What is charged where it `had` something.
    fn difference(self, had: i64) -> i64 {
        let now = match self {
            Self::Be(amount) => amount,
            Self::Run(_) => 1,
            Self::End => 0,
        };
        now.saturating_sub(had)
    }

    /// What is said of it, when so much was charged at `at`.
    fn line(self, charged: i64, at: UnixMillis) -> Option<JobLine> {
        match self {
            Self::Run(time_limit) if charged > 0 => {
                let limit = i64::try_from(time_limit.as_millis()).unwrap_or(i64::MAX);
                Some(JobLine::Started { expires_at: UnixMillis(at.0.saturating_add(limit)) })
            }
            Self::End if charged < 0 => Some(JobLine::Finished),
            Self::Run(_) | Self::End | Self::Be(_) => None,
        }
    }
}

/// The id of the resource that an exchange changes, if it says one.
pub(crate) fn changed<'a>(charged: &Charges<'a>) -> Option<&'a str> {
    let named = |charged: &Charged<'a>| match Becomes::of(charged)?.0 {
        Id::Named(id) => Some(id),
        Id::Unnamed => None,
    };
    charged.iter().find_map(named)
}

/// Whether something is there from now on whose id should have been said, and was not.
pub(crate) fn has_unnamed(charged: &Charges<'_>) -> bool {
    let is_unnamed = |(id, becomes): (Id<'_>, Becomes)| id == Id::Unnamed && becomes.difference(0) > 0;
    charged.iter().filter_map(Becomes::of).any(is_unnamed)
}

/// Makes of what a resource is to have of each meter what is charged for it: the difference to what it had, as `kept`
/// knows. Where that does not, it counts as new, and as estimated. What nobody named has the id `own`, so that it is not
/// free and can be given back.
pub(crate) fn settle<'c: 'a, 'a>(
    charged: &mut Charges<'c>,
    kept: Option<&Kept>,
    own: Option<&'a str>,
    at: UnixMillis,
) -> Became<'a> {
    // One settlement has one resource.
    let named = changed(charged);
    let own = own.filter(|_| named.is_none());
    let mut became = Became { id: named.or(own), ..Became::default() };
    let kept = kept.filter(|kept| Some(kept.id()) == became.id);
    for (position, charged) in charged.iter_mut().enumerate() {
        let Some((id, becomes)) = Becomes::of(charged) else { continue };
        let is_named = named.is_some_and(|known| id == Id::Named(known));
        if !is_named {
            became.unnamed.push(position);
        }
        if !is_named && (own.is_none() || becomes.difference(0) <= 0) {
            charged.amount = 0;
            continue;
        }
        let had = kept.and_then(|kept| kept.had(position));
        charged.amount = becomes.difference(had.unwrap_or(0));
        if charged.is_uncertain {
            charged.amount = charged.amount.max(0);
        }
        charged.estimated = charged.amount != 0 && (charged.estimated || had.is_none());
        if becomes == Becomes::End && had.is_none() {
            became.unended = Some(position);
        }
        let line = becomes.line(charged.amount, at);
        became.job = became.job.or(line.map(|line| (position, line)));
    }
    became
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn becomes() -> impl Strategy<Value = Becomes> {
        prop_oneof![
            (0..1_000_000i64).prop_map(Becomes::Be),
            Just(Becomes::Run(Duration::from_secs(1))),
            Just(Becomes::End),
        ]
    }

    proptest! {
        /// Whatever comes in whatever order, and as often as it likes: all lines of a resource add up to what it has.
        #[test]
        fn lines_add_up_to_what_there_is(steps in prop::collection::vec(becomes(), 0..50)) {
            let mut sum = 0;
            for becomes in steps {
                let now = match becomes {
                    Becomes::Be(amount) => amount,
                    Becomes::Run(_) => 1,
                    Becomes::End => 0,
                };
                for repeat in [false, true] {
                    let charged = becomes.difference(sum);
                    sum += charged;
                    prop_assert_eq!(sum, now);
                    prop_assert!(!repeat || (charged == 0 && becomes.line(charged, UnixMillis(0)).is_none()));
                }
            }
        }
    }

    fn part(amount: i64, id: Id<'_>) -> Charged<'_> {
        Charged { amount, resource: Some(id), ..Charged::default() }
    }

    fn settled<'a>(
        parts: impl IntoIterator<Item = Charged<'a>>,
        own: Option<&'a str>,
    ) -> (Charges<'a>, Option<&'a str>, Vec<usize>) {
        let mut charged: Charges<'_> = parts.into_iter().collect();
        assert_eq!(has_unnamed(&charged), own.is_some());
        let became = settle(&mut charged, None, own, UnixMillis(0));
        (charged, became.id, became.unnamed.to_vec())
    }

    #[test]
    fn what_nobody_names_is_charged_by_a_name_of_its_own() {
        let plain = Charged { amount: 1, ..Charged::default() };
        let (charged, id, unnamed) = settled([part(5, Id::Unnamed), plain], Some("request:1"));
        assert_eq!((id, &*unnamed), (Some("request:1"), &[0][..]));
        assert_eq!([charged[0].amount, charged[1].amount], [5, 1]);
        assert_eq!([charged[0].estimated, charged[1].estimated], [true, false]);

        let (charged, id, unnamed) = settled([part(0, Id::Unnamed)], None);
        assert_eq!((charged[0].amount, id, &*unnamed), (0, None, &[0][..]), "what is gone has no name");
    }

    #[test]
    fn what_may_not_have_happened_gives_nothing_back() {
        let uncertain = Charged { is_uncertain: true, ..part(-3, Id::Named("a")) };
        assert_eq!(settled([uncertain], None).0[0].amount, 0);
    }

    #[test]
    fn one_settlement_has_one_resource() {
        let plain = Charged { amount: 1, ..Charged::default() };
        let parts = [part(5, Id::Named("a")), part(7, Id::Named("b")), plain];
        let (charged, id, unnamed) = settled(parts, None);
        assert_eq!((id, &*unnamed), (Some("a"), &[1][..]));
        assert_eq!([charged[0].amount, charged[1].amount, charged[2].amount], [5, 0, 1]);
        let estimated = [charged[0].estimated, charged[1].estimated];
        assert_eq!(estimated, [true, false], "as what it had is not known");
    }
}
