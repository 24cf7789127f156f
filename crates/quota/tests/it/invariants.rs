//! The promises of admission, checked against a model and under threads.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    thread,
};

use proptest::prelude::*;
use tollgate_core::{Grace, Max, OnStoreFailure, Scope, Span, UnixMillis, Window};
use tollgate_quota::{
    Admission, Check, CounterKey, Counters, Hold, LoadTicket, Mark, MeterId, Mode, Parties, Subject,
    SubjectKey, Terms,
};

const CALLS: MeterId = MeterId(0);
const TOKENS: MeterId = MeterId(1);
const NOW: UnixMillis = UnixMillis(1_795_000_000_000);
const DAY_MS: i64 = 86_400_000;

fn check(meter: MeterId, window: Window, scope: Scope, max: i64) -> Check {
    Check {
        counter: CounterKey { meter, window },
        scope,
        max: Max::AtMost(max),
        hard: true,
        concurrent: false,
        need: usize::from(meter.0),
        on_store_failure: OnStoreFailure::Lease,
        overdraw: 0,
        grace: Grace::None,
    }
}

fn terms<'a>(checks: &'a [Check], needs: &'a [i64]) -> Terms<'a> {
    Terms { checks, needs, warn_at: &[], mode: Mode::Enforce, tracked: &[] }
}

fn subject(counters: &Counters, scope: Scope, id: &str) -> Arc<Subject> {
    counters.subject(SubjectKey { scope, id }).unwrap()
}

/// Answers every load with "nothing was used before".
fn load_empty(tickets: Vec<LoadTicket>) {
    for ticket in tickets {
        let zeros = vec![0; ticket.spans.len()];
        ticket.complete(&zeros, Mark(0));
    }
}

fn admit_loaded(parties: Parties<'_>, terms: Terms<'_>, now: UnixMillis) -> Admission {
    match parties.admit(terms, now) {
        Admission::NotLoaded => {
            load_empty(parties.begin_load(terms, now));
            parties.admit(terms, now)
        }
        decided => decided,
    }
}

fn try_hold(parties: Parties<'_>, terms: Terms<'_>) -> Option<Hold> {
    match admit_loaded(parties, terms, NOW) {
        Admission::Admitted { hold, .. } => Some(hold),
        Admission::Refused { .. } => None,
        Admission::NotLoaded | Admission::NotLeased | Admission::Unavailable { .. } => {
            panic!("loaded counters are known")
        }
    }
}

fn used(counters: &Counters, id: &str, meter: MeterId) -> (i64, i64) {
    let readings = counters.readings();
    let reading = readings.iter().find(|r| *r.subject == *id && r.key.meter == meter).unwrap();
    (reading.usage.settled, reading.usage.held)
}

#[derive(Clone, Debug)]
enum Step {
    Admit { user: usize, calls: i64, tokens: i64 },
    Settle { which: usize, tokens_of_hold_percent: i64 },
    Abandon { which: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3usize, 0..3i64, 0..40i64).prop_map(|(user, calls, tokens)| Step::Admit { user, calls, tokens }),
        2 => (any::<usize>(), 0..=100i64)
            .prop_map(|(which, tokens_of_hold_percent)| Step::Settle { which, tokens_of_hold_percent }),
        1 => any::<usize>().prop_map(|which| Step::Abandon { which }),
    ];
    prop::collection::vec(step, 1..120)
}

proptest! {
    /// Promises 1, 2 and 5: the implementation admits exactly what a plain model of the limits admits,
    /// a refusal changes nothing, and what is held comes back.
    #[test]
    fn admits_what_the_model_admits(steps in steps()) {
        let counters = Counters::new(100);
        let org = subject(&counters, Scope::Org, "acme");
        let users: Vec<_> = (0..3).map(|n| subject(&counters, Scope::User, &format!("user-{n}"))).collect();
        let checks = [
            check(CALLS, Window::Day, Scope::User, 10),
            check(CALLS, Window::Minute, Scope::User, 7),
            check(TOKENS, Window::Day, Scope::User, 150),
            check(TOKENS, Window::Month, Scope::Org, 300),
        ];
        let mut calls = [0i64; 3];
        let mut tokens = [0i64; 3];
        let mut open: Vec<(Hold, usize, i64, i64)> = Vec::new();
        let mut mark = 0;
        for step in steps {
            match step {
                Step::Admit { user, calls: c, tokens: t } => {
                    let parties = Parties { user: &users[user], org: Some(&org) };
                    let needs = [c, t];
                    let hold = try_hold(parties, terms(&checks, &needs));
                    let fits = (c == 0 || calls[user] + c <= 7)
                        && (t == 0 || (tokens[user] + t <= 150 && tokens.iter().sum::<i64>() + t <= 300));
                    prop_assert_eq!(hold.is_some(), fits);
                    if let Some(hold) = hold {
                        calls[user] += c;
                        tokens[user] += t;
                        open.push((hold, user, c, t));
                    }
                }
                Step::Settle { which, tokens_of_hold_percent } if !open.is_empty() => {
                    let (hold, user, c, t) = open.swap_remove(which % open.len());
                    let used = t * tokens_of_hold_percent / 100;
                    mark += 1;
                    hold.settle(|| Mark(mark), [(CALLS, c), (TOKENS, used)].into_iter());
                    tokens[user] += used - t;
                }
                Step::Abandon { which } if !open.is_empty() => {
                    let (hold, user, c, t) = open.swap_remove(which % open.len());
                    drop(hold);
                    calls[user] -= c;
                    tokens[user] -= t;
                }
                Step::Settle { .. } | Step::Abandon { .. } => {}
            }
        }
        drop(open);
        for reading in counters.readings() {
            prop_assert_eq!(reading.usage.held, 0);
        }
    }

    /// A load that runs among settlements counts each of them once, wherever the watermark falls.
    #[test]
    fn loads_are_exact(
        amounts in prop::collection::vec(1..100i64, 1..30),
        begun_after in 0..30usize,
        watermark_after in 0..30usize,
    ) {
        let counters = Counters::new(10);
        let user = subject(&counters, Scope::User, "u");
        let parties = Parties { user: &user, org: None };
        // A limit on the day is known from the start; one on the month appears in the middle.
        let day = [check(CALLS, Window::Day, Scope::User, i64::MAX)];
        let month = [check(CALLS, Window::Month, Scope::User, i64::MAX)];
        let begun_after = begun_after.min(amounts.len());
        let watermark_after = watermark_after.clamp(begun_after, amounts.len());
        let mut ticket = None;
        for (index, amount) in amounts.iter().enumerate() {
            if index == begun_after {
                ticket = Some(parties.begin_load(terms(&month, &[0]), NOW));
            }
            let hold = try_hold(parties, terms(&day, &[*amount])).unwrap();
            hold.settle(|| Mark(index as u64), [(CALLS, *amount)].into_iter());
        }
        let tickets = ticket.unwrap_or_else(|| parties.begin_load(terms(&month, &[0]), NOW));
        let sum = amounts[..watermark_after].iter().sum::<i64>();
        for ticket in tickets {
            ticket.complete(&[sum], Mark(watermark_after as u64));
        }
        let readings = counters.readings();
        let month = readings.iter().find(|r| r.key.window == Window::Month).unwrap();
        prop_assert_eq!(month.usage.settled, amounts.iter().sum::<i64>());
    }
}

/// Promises 1, 2 and 5 under threads: the admitted are exactly what fits, and the losers took nothing
/// from the limits that had room.
#[test]
fn many_threads_admit_exactly_the_limit() {
    const LIMIT: i64 = 5_000;
    let counters = Arc::new(Counters::new(100));
    let org = subject(&counters, Scope::Org, "acme");
    let users: Vec<_> = (0..4).map(|n| subject(&counters, Scope::User, &format!("user-{n}"))).collect();
    let checks = [
        check(CALLS, Window::Lifetime, Scope::User, i64::MAX),
        check(TOKENS, Window::Month, Scope::Org, LIMIT),
    ];
    for user in &users {
        load_empty(Parties { user, org: Some(&org) }.begin_load(terms(&checks, &[1, 1]), NOW));
    }
    let admitted = AtomicI64::new(0);
    let mark = AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..8usize {
            let (users, org, checks, admitted, mark) = (&users, &org, &checks, &admitted, &mark);
            scope.spawn(move || {
                for _ in 0..2_000 {
                    let parties = Parties { user: &users[thread % 4], org: Some(org) };
                    if let Some(hold) = try_hold(parties, terms(checks, &[1, 1])) {
                        admitted.fetch_add(1, Ordering::Relaxed);
                        let mark = Mark(mark.fetch_add(1, Ordering::Relaxed));
                        hold.settle(|| mark, [(CALLS, 1), (TOKENS, 1)].into_iter());
                    }
                }
            });
        }
    });
    assert_eq!(admitted.load(Ordering::Relaxed), LIMIT);
    assert_eq!(used(&counters, "acme", TOKENS), (LIMIT, 0));
    let by_user: i64 = (0..4).map(|n| used(&counters, &format!("user-{n}"), CALLS).0).sum();
    assert_eq!(by_user, LIMIT, "refused requests must take nothing from other limits");
}

/// A hundred at once at limit − 1: one is admitted.
#[test]
fn one_of_a_hundred_gets_the_last() {
    let counters = Counters::new(10);
    let user = subject(&counters, Scope::User, "u");
    let checks = [check(CALLS, Window::Day, Scope::User, 100)];
    let parties = Parties { user: &user, org: None };
    try_hold(parties, terms(&checks, &[99])).unwrap().settle(|| Mark(1), [(CALLS, 99)].into_iter());
    let admitted = AtomicI64::new(0);
    thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| {
                if let Some(hold) = try_hold(Parties { user: &user, org: None }, terms(&checks, &[1])) {
                    admitted.fetch_add(1, Ordering::Relaxed);
                    hold.settle(|| Mark(2), [(CALLS, 1)].into_iter());
                }
            });
        }
    });
    assert_eq!(admitted.load(Ordering::Relaxed), 1);
}

/// A hold taken before the reset is charged to the window it was taken in, and does not disturb the
/// next one.
#[test]
fn a_hold_that_outlives_its_window_leaves_the_next_alone() {
    let counters = Counters::new(10);
    let user = subject(&counters, Scope::User, "u");
    let parties = Parties { user: &user, org: None };
    let checks = [check(CALLS, Window::Day, Scope::User, 5)];
    let old = try_hold(parties, terms(&checks, &[5])).unwrap();
    let tomorrow = UnixMillis(NOW.0 + DAY_MS);
    let Admission::Admitted { hold: new, .. } = admit_loaded(parties, terms(&checks, &[5]), tomorrow) else {
        panic!("a new day has room");
    };
    old.settle(|| Mark(1), [(CALLS, 5)].into_iter());
    assert_eq!(used(&counters, "u", CALLS), (0, 5));
    new.settle(|| Mark(2), [(CALLS, 4)].into_iter());
    assert_eq!(used(&counters, "u", CALLS), (4, 0));
}

/// A clock that steps back an hour at a reset gives no second budget: the old day is asked of the
/// ledger again.
#[test]
fn a_clock_set_back_asks_the_ledger() {
    let counters = Counters::new(10);
    let user = subject(&counters, Scope::User, "u");
    let parties = Parties { user: &user, org: None };
    let checks = [check(CALLS, Window::Day, Scope::User, 5)];
    let midnight = Window::Day.span(NOW, &tollgate_core::Calendar::default()).end;
    let (before, after) = (UnixMillis(midnight.0 - 60_000), UnixMillis(midnight.0 + 60_000));
    for now in [before, after] {
        let Admission::Admitted { hold, .. } = admit_loaded(parties, terms(&checks, &[5]), now) else {
            panic!("each day has its own budget");
        };
        hold.settle(|| Mark(1), [(CALLS, 5)].into_iter());
    }
    for (now, used_then) in [(before, 5), (after, 5)] {
        assert!(matches!(parties.admit(terms(&checks, &[1]), now), Admission::NotLoaded));
        for ticket in parties.begin_load(terms(&checks, &[1]), now) {
            ticket.complete(&[used_then], Mark(9));
        }
        assert!(matches!(parties.admit(terms(&checks, &[1]), now), Admission::Refused { .. }));
    }
}

/// A subject that holds something, waits for something or is not in the ledger yet is not forgotten.
#[test]
fn sweeping_forgets_only_what_the_ledger_knows() {
    let counters = Counters::new(2);
    let checks = [check(CALLS, Window::Day, Scope::User, 5)];
    let user = subject(&counters, Scope::User, "busy");
    let hold = try_hold(Parties { user: &user, org: None }, terms(&checks, &[1])).unwrap();
    drop(user);
    subject(&counters, Scope::User, "idle");
    assert!(counters.subject(SubjectKey { scope: Scope::User, id: "third" }).is_err());
    assert_eq!(counters.sweep(Mark(u64::MAX), 0), 1, "only the idle one goes");
    assert!(counters.subject(SubjectKey { scope: Scope::User, id: "third" }).is_ok());
    hold.settle(|| Mark(7), [(CALLS, 1)].into_iter());
    assert_eq!(counters.sweep(Mark(6), 0), 1, "the settled one is not shipped yet");
    assert_eq!(counters.sweep(Mark(7), 0), 1);
    assert!(counters.is_empty());
}

/// Concurrent meters count what is in flight beside what the ledger says that runs on.
#[test]
fn concurrent_meters_count_what_runs() {
    let counters = Counters::new(10);
    let user = subject(&counters, Scope::User, "u");
    let parties = Parties { user: &user, org: None };
    let checks = [Check { concurrent: true, ..check(CALLS, Window::Lifetime, Scope::User, 2) }];
    let one = admit_loaded(parties, terms(&checks, &[1]), NOW);
    let two = parties.admit(terms(&checks, &[1]), NOW);
    let (Admission::Admitted { hold: one, .. }, Admission::Admitted { hold: _two, .. }) = (one, two) else {
        panic!("two slots");
    };
    assert!(matches!(parties.admit(terms(&checks, &[1]), NOW), Admission::Refused { .. }));
    one.settle(|| Mark(1), [(TOKENS, 0)].into_iter());
    assert!(matches!(parties.admit(terms(&checks, &[1]), NOW), Admission::Admitted { .. }));
    assert_eq!(counters.readings()[0].span, Span::ALWAYS);
}
