//! What is admitted beyond a limit, what settlements know, and who is told of slots.

use std::{
    future::Future as _,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
};

use tollgate_core::{Grace, Scope, UnixMillis, Window};
use tollgate_quota::{Admission, Check, Counters, Hold, Mark, Mode, Parties, Subject, SubjectKey, Terms};
use tollgate_testkit::Redis;

use crate::instance::{Ask, Backend, CALLS, Instance, JOBS, No, TOKENS, check, instances, patiently};

/// The first millisecond of a day in UTC.
const MIDNIGHT: UnixMillis = UnixMillis(1_795_046_400_000);
const HOUR_MS: i64 = 3_600_000;

fn on_each(many: usize, test: impl Fn(Backend, &[Instance])) {
    test(Backend::InProcess, &instances(Backend::InProcess, None, many));
    for backend in [Backend::Redis, Backend::Leases] {
        let redis = Redis::start();
        test(backend, &instances(backend, Some(&redis), many));
    }
}

#[test]
fn grace_is_an_exact_bound() {
    on_each(2, |backend, instances| {
        let limit = check(CALLS, Window::Lifetime, Scope::User, 50);
        let checks = [Check { grace: Grace::Units(7), ..limit }];
        let ask = Ask { user: "ann", org: None, checks: &checks, needs: [1, 0, 0] };
        let admitted = AtomicUsize::new(0);
        thread::scope(|scope| {
            for turn in 0..8 {
                let (instance, ask, admitted) = (&instances[turn % instances.len()], &ask, &admitted);
                scope.spawn(move || {
                    for _ in 0..10 {
                        if patiently(|| instance.spend(ask)).is_ok() {
                            admitted.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(admitted.into_inner(), 57, "{backend:?}");
        // Who has no grace finds the limit where it is.
        let strict = Ask { checks: &[limit], ..ask };
        assert_eq!(patiently(|| instances[0].spend(&strict)), Err(No::Refused), "{backend:?}");
    });
}

#[test]
fn a_time_of_grace_has_no_other_bound() {
    on_each(1, |backend, instances| {
        let limit = check(CALLS, Window::Lifetime, Scope::User, 20);
        let checks = [Check { grace: Grace::Millis(HOUR_MS), ..limit }];
        let ask = Ask { user: "ann", org: None, checks: &checks, needs: [1, 0, 0] };
        for _ in 0..45 {
            assert_eq!(patiently(|| instances[0].spend(&ask)), Ok(()), "{backend:?}");
        }
        let over = [Check { grace: Grace::Millis(1), ..limit }];
        let over = Ask { checks: &over, ..ask };
        let mut last = Ok(());
        let refused = tollgate_testkit::eventually(tollgate_testkit::BOUND, || {
            last = patiently(|| instances[0].spend(&over));
            last.is_err()
        });
        assert!(refused, "{backend:?}: {last:?}");
    });
}

/// One user in this process, by given time.
struct Alone {
    user: Arc<Subject>,
}

impl Alone {
    fn new() -> Self {
        let counters = Counters::new(10);
        Self { user: counters.subject(SubjectKey { scope: Scope::User, id: "ann" }).unwrap() }
    }

    fn parties(&self) -> Parties<'_> {
        Parties { user: &self.user, org: None }
    }

    fn take(&self, checks: &[Check], needs: [i64; 3], at: i64) -> Option<Hold> {
        let terms = Terms { checks, needs: &needs, warn_at: &[], mode: Mode::Enforce, tracked: &[] };
        let now = UnixMillis(MIDNIGHT.0 + at);
        loop {
            match self.parties().admit(terms, now) {
                Admission::Admitted { hold, .. } => return Some(hold),
                Admission::Refused { .. } => return None,
                Admission::NotLoaded => {
                    for ticket in self.parties().begin_load(terms, now) {
                        let zeros = vec![0; ticket.spans.len()];
                        ticket.complete(&zeros, Mark(0));
                    }
                }
                Admission::NotLeased | Admission::Unavailable { .. } => panic!("there is no store"),
            }
        }
    }

    /// Whether `amount` calls more were admitted, and settled.
    fn spend(&self, checks: &[Check], amount: i64, at: i64) -> bool {
        let held = self.take(checks, [amount, 0, 0], at);
        let is_admitted = held.is_some();
        if let Some(hold) = held {
            hold.settle(|| Mark(1), [(CALLS, amount)].into_iter());
        }
        is_admitted
    }
}

#[test]
fn a_time_of_grace_begins_at_the_first_that_does_not_fit() {
    let alone = Alone::new();
    let checks = [Check { grace: Grace::Millis(3 * HOUR_MS), ..check(CALLS, Window::Day, Scope::User, 10) }];
    assert!(alone.spend(&checks, 9, 0));
    assert!(alone.spend(&checks, 1, 5 * HOUR_MS), "the last that fits begins nothing");
    assert!(alone.spend(&checks, 1, 6 * HOUR_MS));
    assert!(alone.spend(&checks, 0, 8 * HOUR_MS), "what needs nothing ends nothing");
    assert!(alone.spend(&checks, 100, 9 * HOUR_MS - 1));
    assert!(!alone.spend(&checks, 1, 9 * HOUR_MS), "three hours are over");
    assert!(!alone.spend(&checks, 1, 23 * HOUR_MS));
    assert!(alone.spend(&checks, 10, 24 * HOUR_MS), "a new day");
    assert!(alone.spend(&checks, 1, 30 * HOUR_MS), "with a grace of its own");
    assert!(!alone.spend(&checks, 1, 33 * HOUR_MS));
}

#[test]
fn a_time_of_grace_is_forgotten_when_a_request_fits_again() {
    let alone = Alone::new();
    let checks = [Check { grace: Grace::Millis(HOUR_MS), ..check(CALLS, Window::Lifetime, Scope::User, 10) }];
    assert!(alone.spend(&checks, 8, 0));
    assert!(alone.spend(&checks, 3, 1), "11 of 10");
    let back = alone.take(&checks, [0, 0, 0], 2).unwrap();
    back.settle(|| Mark(2), [(CALLS, -5)].into_iter());
    assert!(alone.spend(&checks, 4, 2 * HOUR_MS), "it fits");
    assert!(alone.spend(&checks, 1, 3 * HOUR_MS), "the hour begins again");
    assert!(!alone.spend(&checks, 1, 4 * HOUR_MS));
    // A higher limit on the same counter has its own time, and leaves this one's alone.
    let higher = [Check { max: tollgate_core::Max::AtMost(100), ..checks[0] }];
    assert!(alone.spend(&higher, 1, 4 * HOUR_MS));
    assert!(!alone.spend(&checks, 1, 4 * HOUR_MS));
}

#[test]
fn a_refusal_tells_whether_others_refuse_too() {
    let alone = Alone::new();
    let checks = [check(CALLS, Window::Day, Scope::User, 1), check(JOBS, Window::Lifetime, Scope::User, 1)];
    let held = alone.take(&checks, [0, 0, 1], 0).unwrap();
    let refused = |needs: [i64; 3]| {
        let terms = Terms { checks: &checks, needs: &needs, warn_at: &[], mode: Mode::Enforce, tracked: &[] };
        match alone.parties().admit(terms, MIDNIGHT) {
            Admission::Refused { refusal, .. } => (refusal.check, refusal.is_only),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused([1, 0, 1]), (1, true));
    assert_eq!(refused([2, 0, 1]), (1, false));
    assert_eq!(refused([2, 0, 0]), (0, true));
    drop(held);
}

#[test]
fn settlements_know_what_was_settled_before_them() {
    let alone = Alone::new();
    let checks = [
        Check { hard: false, ..check(TOKENS, Window::Day, Scope::User, 10) },
        Check { hard: false, ..check(TOKENS, Window::Lifetime, Scope::User, 10) },
    ];
    let settle = |hold: Hold, amount: i64| {
        let mut seen = Vec::new();
        let journal = |before: &tollgate_quota::Before<'_>| {
            seen = (0..3).map(|check| before.settled(check)).collect();
            Mark(1)
        };
        hold.settle_after(journal, [(TOKENS, amount)].into_iter());
        seen
    };
    let take = |at| alone.take(&checks, [0, 4, 0], at).unwrap();
    let (first, late, later, latest) = (take(0), take(1), take(2), take(3));
    assert_eq!(settle(first, 7), [Some(0), Some(0), None]);
    assert_eq!(settle(take(HOUR_MS), 5), [Some(7), Some(7), None]);
    assert_eq!(settle(take(25 * HOUR_MS), 1), [Some(0), Some(12), None], "the next day");
    assert_eq!(settle(late, 2), [Some(12), Some(13), None], "of the day before");
    assert_eq!(settle(later, 2), [Some(14), Some(15), None]);
    assert_eq!(settle(take(49 * HOUR_MS), 1), [Some(0), Some(17), None]);
    assert_eq!(settle(latest, 2), [None, Some(18), None], "too long ago");
}

#[test]
fn who_waits_for_a_slot_is_told_when_one_is_free() {
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let alone = Alone::new();
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&count));
    let mut cx = Context::from_waker(&waker);
    let checks = [check(JOBS, Window::Lifetime, Scope::User, 1), check(CALLS, Window::Day, Scope::User, 10)];
    let held = alone.take(&checks, [0, 0, 1], 0).unwrap();
    let seen = alone.parties().freed();
    assert!(alone.take(&checks, [0, 0, 1], 0).is_none());
    let parties = alone.parties();
    let mut freed = parties.until_freed(seen);
    assert!(Pin::new(&mut freed).poll(&mut cx).is_pending());
    assert!(alone.spend(&checks, 1, 0), "a call is no slot");
    assert!(Pin::new(&mut freed).poll(&mut cx).is_pending());
    assert_eq!(count.0.load(Ordering::Relaxed), 0);
    drop(held);
    assert_eq!(count.0.load(Ordering::Relaxed), 1, "once, however often it asked");
    assert_eq!(Pin::new(&mut freed).poll(&mut cx), Poll::Ready(()));
    // What ran on beyond its request ends by giving back.
    let seen = alone.parties().freed();
    let ends = alone.take(&checks, [0, 0, 0], 0).unwrap();
    let mut freed = parties.until_freed(seen);
    assert!(Pin::new(&mut freed).poll(&mut cx).is_pending());
    ends.settle(|| Mark(2), [(JOBS, -1)].into_iter());
    assert_eq!(Pin::new(&mut freed).poll(&mut cx), Poll::Ready(()));
}

#[test]
fn who_waits_no_longer_for_a_slot_leaves_nothing_behind() {
    struct Task;
    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }
    let alone = Alone::new();
    let org = Arc::clone(alone.parties().user);
    let other = Alone::new();
    let parties = Parties { org: Some(&org), ..other.parties() };
    let mut stays = parties.until_freed(parties.freed());
    let staying = Arc::new(Task);
    let waker = Waker::from(Arc::clone(&staying));
    assert!(Pin::new(&mut stays).poll(&mut Context::from_waker(&waker)).is_pending());
    let task = Arc::new(Task);
    let waker = Waker::from(Arc::clone(&task));
    for _ in 0..100 {
        let mut leaves = parties.until_freed(parties.freed());
        assert!(Pin::new(&mut leaves).poll(&mut Context::from_waker(&waker)).is_pending());
        assert!(Pin::new(&mut leaves).poll(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!(Arc::strong_count(&task), 4, "one for each of whom it waits for");
    }
    assert_eq!((Arc::strong_count(&task), Arc::strong_count(&staying)), (2, 4));
}
