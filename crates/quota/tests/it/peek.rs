//! Decisions that take nothing, and charges that ask nobody.

use proptest::prelude::*;
use tollgate_core::{Grace, Max, OnStoreFailure, Scope, UnixMillis, Window};
use tollgate_quota::{
    Admission, Asked, Before, Check, CounterKey, Counters, Mark, MeterId, Mode, Parties, Peek, SubjectKey,
    Terms,
};

const CALLS: MeterId = MeterId(0);
const NOW: UnixMillis = UnixMillis(1_795_000_000_000);
const DAY_MS: i64 = 86_400_000;

fn check(window: Window, scope: Scope, max: i64) -> Check {
    Check {
        counter: CounterKey { meter: CALLS, window },
        scope,
        max: Max::AtMost(max),
        hard: true,
        concurrent: false,
        need: 0,
        on_store_failure: OnStoreFailure::Lease,
        overdraw: 0,
        grace: Grace::None,
    }
}

fn terms<'a>(checks: &'a [Check], needs: &'a [i64]) -> Terms<'a> {
    Terms { checks, needs, warn_at: &[50], mode: Mode::Enforce, tracked: &[] }
}

fn load(parties: Parties<'_>, terms: Terms<'_>) {
    for ticket in parties.begin_load(terms, NOW) {
        let zeros = vec![0; ticket.spans.len()];
        ticket.complete(&zeros, Mark(0));
    }
}

proptest! {
    /// What is said without taking is what is then decided, and nothing has changed by saying it.
    #[test]
    fn a_peek_says_what_is_decided_and_takes_nothing(
        steps in proptest::collection::vec((0..3u8, 1..40i64, 0..5i64), 1..40),
        (day, month, org) in (1..60i64, 1..90i64, 1..120i64),
    ) {
        let counters = Counters::new(10);
        let user = counters.subject(SubjectKey { scope: Scope::User, id: "ann" }).unwrap();
        let acme = counters.subject(SubjectKey { scope: Scope::Org, id: "acme" }).unwrap();
        let parties = Parties { user: &user, org: Some(&acme) };
        let checks = [
            check(Window::Day, Scope::User, day),
            check(Window::Month, Scope::User, month),
            check(Window::Lifetime, Scope::Org, org),
        ];
        prop_assert!(matches!(parties.peek(terms(&checks, &[1]), NOW, Asked::default()), Peek::NotLoaded));
        load(parties, terms(&checks, &[0]));
        let mut holds = Vec::new();
        for (number, (kind, amount, days_ago)) in (1..).zip(steps) {
            match kind {
                0 => parties.record(
                    (UnixMillis(NOW.0 - days_ago * DAY_MS), &[], &[]),
                    |_| Mark(number),
                    [(CALLS, amount)].into_iter(),
                ),
                1 => drop(holds.pop()),
                _ => {}
            }
            let needs = [amount];
            let terms = terms(&checks, &needs);
            let before = counters.readings();
            let peek = parties.peek(terms, NOW, Asked::default());
            prop_assert_eq!(counters.readings(), before);
            match (peek, parties.admit(terms, NOW)) {
                (Peek::Fits { .. }, Admission::Admitted { hold, warnings, .. }) => {
                    holds.push(hold);
                    prop_assert!(warnings.len() <= checks.len());
                }
                (Peek::Refused { refusal, standings }, Admission::Refused { refusal: other, standings: others }) => {
                    prop_assert_eq!(refusal, other);
                    prop_assert_eq!(standings, others);
                }
                (peek, admission) => prop_assert!(false, "{peek:?}, then {admission:?}"),
            }
        }
    }

    /// Every charge counts in the windows of its time, and in no other.
    #[test]
    fn what_is_recorded_counts_when_it_happened(
        charges in proptest::collection::vec((0..40i64, 1..1000i64), 1..30),
    ) {
        let counters = Counters::new(10);
        let user = counters.subject(SubjectKey { scope: Scope::User, id: "ann" }).unwrap();
        let parties = Parties { user: &user, org: None };
        let checks = [Window::Day, Window::Month, Window::Lifetime].map(|window| check(window, Scope::User, 1));
        let none = terms(&checks, &[0]);
        load(parties, none);
        for (number, (days_ago, amount)) in (1..).zip(&charges) {
            let at = UnixMillis(NOW.0 - days_ago * DAY_MS);
            let before: i64 = charges[..usize::try_from(number - 1).unwrap()].iter().map(|(_, amount)| amount).sum();
            let journal = |known: &Before<'_>| {
                assert_eq!(known.settled(2), Some(before), "of all time, all is known");
                Mark(number)
            };
            parties.record((at, &checks, &[]), journal, [(CALLS, *amount)].into_iter());
        }
        let peek = parties.peek(none, NOW, Asked::default());
        let Peek::Fits { standings, .. } = peek else { panic!("nothing is needed: {peek:?}") };
        for standing in standings {
            let within = |(days_ago, _): &&(i64, i64)| {
                standing.span.contains(UnixMillis(NOW.0 - days_ago * DAY_MS))
            };
            let used: i64 = charges.iter().filter(within).map(|(_, amount)| amount).sum();
            prop_assert_eq!((standing.usage.settled, standing.usage.held), (used, 0));
        }
    }
}

#[test]
fn a_peek_uses_up_no_warning() {
    let counters = Counters::new(10);
    let user = counters.subject(SubjectKey { scope: Scope::User, id: "ann" }).unwrap();
    let parties = Parties { user: &user, org: None };
    let checks = [check(Window::Lifetime, Scope::User, 10)];
    let needs = [6];
    load(parties, terms(&checks, &needs));
    for _ in 0..3 {
        assert!(matches!(parties.peek(terms(&checks, &needs), NOW, Asked::default()), Peek::Fits { .. }));
    }
    let Admission::Admitted { warnings, .. } = parties.admit(terms(&checks, &needs), NOW) else {
        panic!("it fits");
    };
    assert_eq!(warnings.as_slice(), [(0, 50)]);
}
