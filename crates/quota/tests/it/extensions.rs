//! Extensions of holds that are counted in the process, against a model, under threads, and at the edges.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    thread,
};

use jiff::tz::TimeZone;
use proptest::prelude::*;
use tollgate_core::{Calendar, Scope, UnixMillis, Window};
use tollgate_quota::{
    Admission, Asked, Check, Counters, Extension, Hold, Mark, Mode, Parties, Subject, SubjectKey, Terms,
};

use crate::instance::{CALLS, JOBS, TOKENS, check};

const NOW: UnixMillis = UnixMillis(1_795_000_000_000);
const DAY_MS: i64 = 86_400_000;

fn terms<'a>(checks: &'a [Check], needs: &'a [i64]) -> Terms<'a> {
    Terms { checks, needs, warn_at: &[], mode: Mode::Enforce, tracked: &[] }
}

fn subject(counters: &Counters, scope: Scope, id: &str) -> Arc<Subject> {
    counters.subject(SubjectKey { scope, id }).unwrap()
}

fn load(parties: Parties<'_>, terms: Terms<'_>, now: UnixMillis, used: i64) {
    for ticket in parties.begin_load(terms, now) {
        let sums = vec![used; ticket.spans.len()];
        ticket.complete(&sums, Mark(0));
    }
}

fn try_hold(parties: Parties<'_>, terms: Terms<'_>, now: UnixMillis) -> Option<Hold> {
    loop {
        match parties.admit(terms, now) {
            Admission::Admitted { hold, .. } => return Some(hold),
            Admission::Refused { .. } => return None,
            Admission::NotLoaded => load(parties, terms, now, 0),
            Admission::NotLeased | Admission::Unavailable { .. } => panic!("counted in the process"),
        }
    }
}

fn extend(hold: &mut Hold, checks: &[Check], needs: &[i64]) -> Extension {
    hold.extend(terms(checks, needs), Asked::default())
}

fn used(counters: &Counters, id: &str, window: Window) -> (i64, i64) {
    let readings = counters.readings();
    let reading = readings.iter().find(|r| *r.subject == *id && r.key.window == window).unwrap();
    (reading.usage.settled, reading.usage.held)
}

#[derive(Clone, Debug)]
enum Step {
    Admit { user: usize, needs: [i64; 2] },
    Extend { which: usize, needs: [i64; 2] },
    Settle { which: usize, percent: i64 },
    Abandon { which: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let needs = || (0..3i64, 0..40i64).prop_map(|(calls, tokens)| [calls, tokens]);
    let step = prop_oneof![
        4 => (0..3usize, needs()).prop_map(|(user, needs)| Step::Admit { user, needs }),
        6 => (any::<usize>(), needs()).prop_map(|(which, needs)| Step::Extend { which, needs }),
        2 => (any::<usize>(), 0..=130i64).prop_map(|(which, percent)| Step::Settle { which, percent }),
        1 => any::<usize>().prop_map(|which| Step::Abandon { which }),
    ];
    prop::collection::vec(step, 1..150)
}

/// A request in flight.
struct Open {
    hold: Hold,
    user: usize,
    held: [i64; 2],
}

/// What is used, settled and held together, by user.
#[derive(Debug, Default)]
struct Model([[i64; 2]; 3]);

const CALLS_MAX: i64 = 9;
const TOKENS_MAX: i64 = 150;
const ORG_MAX: i64 = 300;
const SOFT_MAX: i64 = 20;

impl Model {
    /// Which check refuses; of several the one that resets last.
    fn refuses(&self, user: usize, [calls, tokens]: [i64; 2], overdraw: i64) -> Option<usize> {
        let [had_calls, had_tokens] = self.0[user];
        let org = self.0.iter().map(|used| used[1]).sum::<i64>();
        let full = [
            calls > 0 && had_calls + calls > CALLS_MAX,
            tokens > 0 && had_tokens + tokens > TOKENS_MAX + overdraw,
            tokens > 0 && org + tokens > ORG_MAX + 2 * overdraw,
        ];
        full.iter().rposition(|full| *full)
    }

    fn add(&mut self, user: usize, needs: [i64; 2]) {
        for (used, need) in self.0[user].iter_mut().zip(needs) {
            *used += need;
        }
    }
}

proptest! {
    /// Promises 1, 2 and 5 for holds that grow: the implementation decides as a plain model of the limits
    /// does, a refusal changes nothing, and what is held comes back.
    #[test]
    fn extends_what_the_model_extends(steps in steps(), overdraw in prop_oneof![Just(0), 1..60i64]) {
        let counters = Counters::new(100);
        let org = subject(&counters, Scope::Org, "acme");
        let users: Vec<_> = (0..3).map(|n| subject(&counters, Scope::User, &format!("user-{n}"))).collect();
        let checks = [
            check(CALLS, Window::Minute, Scope::User, CALLS_MAX),
            Check { overdraw, ..check(TOKENS, Window::Day, Scope::User, TOKENS_MAX) },
            Check { overdraw: 2 * overdraw, ..check(TOKENS, Window::Month, Scope::Org, ORG_MAX) },
            Check { hard: false, ..check(TOKENS, Window::Hour, Scope::User, SOFT_MAX) },
        ];
        let (mut model, mut open, mut mark) = (Model::default(), Vec::new(), 0);
        for step in steps {
            match step {
                Step::Admit { user, needs } => {
                    let parties = Parties { user: &users[user], org: Some(&org) };
                    let hold = try_hold(parties, terms(&checks, &needs), NOW);
                    prop_assert_eq!(hold.is_some(), model.refuses(user, needs, 0).is_none());
                    if let Some(hold) = hold {
                        model.add(user, needs);
                        open.push(Open { hold, user, held: needs });
                    }
                }
                Step::Extend { which, needs } if !open.is_empty() => {
                    let at = which % open.len();
                    let Open { hold, user, held } = &mut open[at];
                    let expected = match model.refuses(*user, needs, overdraw) {
                        Some(check) => Extension::Refused { check },
                        None => Extension::Held,
                    };
                    prop_assert_eq!(extend(hold, &checks, &needs), expected);
                    if expected == Extension::Held {
                        model.add(*user, needs);
                        *held = [held[0] + needs[0], held[1] + needs[1]];
                    }
                }
                Step::Settle { which, percent } if !open.is_empty() => {
                    let Open { hold, user, held } = open.swap_remove(which % open.len());
                    let used = [held[0], held[1] * percent / 100];
                    mark += 1;
                    hold.settle(|| Mark(mark), [(CALLS, used[0]), (TOKENS, used[1])].into_iter());
                    model.add(user, [0, used[1] - held[1]]);
                }
                Step::Abandon { which } if !open.is_empty() => {
                    let Open { hold, user, held } = open.swap_remove(which % open.len());
                    drop(hold);
                    model.add(user, held.map(|amount| -amount));
                }
                Step::Extend { .. } | Step::Settle { .. } | Step::Abandon { .. } => {}
            }
            // At every moment, not only where something was decided.
            for reading in counters.readings() {
                let total = reading.usage.total();
                let expected = match (reading.scope, reading.key.meter) {
                    (Scope::Org, _) => model.0.iter().map(|used| used[1]).sum::<i64>(),
                    (Scope::User, meter) => {
                        let user = (0..3).find(|n| *reading.subject == *format!("user-{n}")).unwrap();
                        model.0[user][usize::from(meter.0)]
                    }
                };
                prop_assert_eq!(total, expected);
            }
        }
        drop(open);
        for reading in counters.readings() {
            prop_assert_eq!(reading.usage.held, 0);
        }
    }
}

/// Promises 1 and 5 under threads: users of one organisation whose requests grow until something refuses.
#[test]
fn many_threads_extend_to_the_limit_and_not_beyond() {
    const LIMIT: i64 = 20_000;
    const OVERDRAW: i64 = 777;
    let counters = Counters::new(100);
    let org = subject(&counters, Scope::Org, "acme");
    let users: Vec<_> = (0..4).map(|n| subject(&counters, Scope::User, &format!("user-{n}"))).collect();
    let checks = [
        check(CALLS, Window::Lifetime, Scope::User, i64::MAX),
        Check { overdraw: OVERDRAW, ..check(TOKENS, Window::Month, Scope::Org, LIMIT) },
    ];
    for user in &users {
        load(Parties { user, org: Some(&org) }, terms(&checks, &[1, 1]), NOW, 0);
    }
    let (settled, calls, mark) = (AtomicI64::new(0), AtomicI64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for thread in 0..8usize {
            let (users, org, counters) = (&users, &org, &counters);
            let (checks, settled, calls, mark) = (&checks, &settled, &calls, &mark);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(thread as u64);
                for _ in 0..400 {
                    let parties = Parties { user: &users[thread % 4], org: Some(org) };
                    let mut size = random.i64(1..20);
                    let Some(mut hold) = try_hold(parties, terms(checks, &[1, size]), NOW) else { continue };
                    let mut made = 1;
                    for _ in 0..random.i64(0..8) {
                        let more = random.i64(1..40);
                        match extend(&mut hold, checks, &[1, more]) {
                            Extension::Held => {
                                size += more;
                                made += 1;
                            }
                            other => assert_eq!(other, Extension::Refused { check: 1 }),
                        }
                    }
                    let (was_settled, held) = used(counters, "acme", Window::Month);
                    assert!(was_settled + held <= LIMIT + OVERDRAW, "{was_settled} settled, {held} held");
                    let spent = random.i64(0..=size);
                    settled.fetch_add(spent, Ordering::Relaxed);
                    calls.fetch_add(made, Ordering::Relaxed);
                    let mark = Mark(mark.fetch_add(1, Ordering::Relaxed));
                    hold.settle(|| mark, [(CALLS, made), (TOKENS, spent)].into_iter());
                }
            });
        }
    });
    let settled = settled.into_inner();
    assert_eq!(used(&counters, "acme", Window::Month), (settled, 0));
    assert!((LIMIT / 2..=LIMIT + OVERDRAW).contains(&settled), "{settled} is no test of {LIMIT}");
    let by_user = (0..4).map(|n| used(&counters, &format!("user-{n}"), Window::Lifetime));
    let (by_user, held) = by_user.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    assert_eq!((by_user, held), (calls.into_inner(), 0), "who was refused took nothing of other limits");
}

/// Two limits that count on one counter are both looked at, and it is taken from once.
#[test]
fn two_limits_on_one_counter_take_once() {
    let counters = Counters::new(10);
    let user = subject(&counters, Scope::User, "u");
    let parties = Parties { user: &user, org: None };
    let checks = [check(TOKENS, Window::Day, Scope::User, 100), check(TOKENS, Window::Day, Scope::Org, 50)];
    let mut hold = try_hold(parties, terms(&checks, &[0, 10]), NOW).unwrap();
    assert_eq!(extend(&mut hold, &checks, &[0, 20]), Extension::Held);
    assert_eq!(used(&counters, "u", Window::Day), (0, 30));
    assert_eq!(extend(&mut hold, &checks, &[0, 21]), Extension::Refused { check: 1 });
    drop(hold);
    assert_eq!(used(&counters, "u", Window::Day), (0, 0));
}

/// What is used of a day that is over refuses nothing any more, and the new day is not charged for it.
#[test]
fn a_window_that_has_turned_is_left_alone() {
    let counters = Counters::new(10);
    let user = subject(&counters, Scope::User, "u");
    let parties = Parties { user: &user, org: None };
    let checks =
        [check(TOKENS, Window::Day, Scope::User, 5), check(TOKENS, Window::Lifetime, Scope::User, 20)];
    let mut old = try_hold(parties, terms(&checks, &[0, 5]), NOW).unwrap();
    assert_eq!(extend(&mut old, &checks, &[0, 1]), Extension::Refused { check: 0 });
    let tomorrow = UnixMillis(NOW.0 + DAY_MS);
    let new = try_hold(parties, terms(&checks, &[0, 5]), tomorrow).unwrap();
    assert_eq!(extend(&mut old, &checks, &[0, 10]), Extension::Held);
    assert_eq!(used(&counters, "u", Window::Day), (0, 5), "of the new day");
    assert_eq!(used(&counters, "u", Window::Lifetime), (0, 20));
    assert_eq!(
        extend(&mut old, &checks, &[0, 1]),
        Extension::Refused { check: 1 },
        "a lifetime does not turn"
    );
    old.settle(|| Mark(1), [(TOKENS, 15)].into_iter());
    new.settle(|| Mark(2), [(TOKENS, 4)].into_iter());
    assert_eq!(used(&counters, "u", Window::Day), (4, 0));
    assert_eq!(used(&counters, "u", Window::Lifetime), (19, 0));
}

/// Whoever gets another calendar is not extended by what was used in the old one's window.
#[test]
fn a_new_calendar_is_asked_of_the_ledger() {
    let counters = Counters::new(10);
    let user = subject(&counters, Scope::User, "u");
    let parties = Parties { user: &user, org: None };
    let checks = [check(TOKENS, Window::Day, Scope::User, 100)];
    let mut hold = try_hold(parties, terms(&checks, &[0, 10]), NOW).unwrap();
    user.follow(1, || Calendar::new(TimeZone::get("Asia/Kathmandu").unwrap(), None));
    let more = terms(&checks, &[0, 10]);
    assert_eq!(hold.extend(more, Asked::default()), Extension::NotLoaded);
    load(hold.parties(), more, NOW, 85);
    assert_eq!(hold.extend(more, Asked::default()), Extension::Refused { check: 0 });
    assert_eq!(extend(&mut hold, &checks, &[0, 5]), Extension::Held);
    assert_eq!(used(&counters, "u", Window::Day), (85, 15));
    drop(hold);
    assert_eq!(used(&counters, "u", Window::Day), (85, 0));
}

/// Where nothing refuses, holds grow without end; slots are not taken twice.
#[test]
fn what_does_not_refuse_at_admission_does_not_later() {
    let counters = Counters::new(10);
    let user = subject(&counters, Scope::User, "u");
    let parties = Parties { user: &user, org: None };
    let slots = check(JOBS, Window::Lifetime, Scope::User, 1);
    let hard = check(TOKENS, Window::Day, Scope::User, 10);
    let needs = [0, 10, 1];
    for (tokens, mode, expected) in [
        (hard, Mode::Enforce, Extension::Refused { check: 1 }),
        (hard, Mode::Observe, Extension::Held),
        (Check { hard: false, ..hard }, Mode::Enforce, Extension::Held),
    ] {
        let checks = [slots, tokens];
        let mut hold = try_hold(parties, terms(&checks, &needs), NOW).unwrap();
        let more = Terms { mode, ..terms(&checks, &[0, 1000, 0]) };
        assert_eq!(hold.extend(more, Asked::default()), expected);
    }
    assert!(counters.readings().iter().all(|reading| reading.usage.held == 0));
}

/// A request for which a meter does not count is not kept out by its limit, however far that is passed.
#[test]
fn needs_of_zero_fit_everywhere() {
    let counters = Counters::new(10);
    let user = subject(&counters, Scope::User, "u");
    let parties = Parties { user: &user, org: None };
    let checks = [check(CALLS, Window::Day, Scope::User, 10), check(TOKENS, Window::Day, Scope::User, 10)];
    let hold = try_hold(parties, terms(&checks, &[1, 10]), NOW).unwrap();
    hold.settle(|| Mark(1), [(CALLS, 1), (TOKENS, 50)].into_iter());
    assert!(try_hold(parties, terms(&checks, &[1, 1]), NOW).is_none());
    let mut hold = try_hold(parties, terms(&checks, &[1, 0]), NOW).unwrap();
    assert_eq!(extend(&mut hold, &checks, &[1, 0]), Extension::Held);
    assert_eq!(extend(&mut hold, &checks, &[0, 1]), Extension::Refused { check: 1 });
}
