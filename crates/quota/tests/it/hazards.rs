//! What may befall counters that instances share, one thing at a time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use tollgate_core::{OnStoreFailure, Scope, Window};
use tollgate_quota::{Check, Kind};
use tollgate_testkit::{BOUND, Redis, eventually};

use crate::instance::{Ask, Backend, CALLS, Instance, JOBS, No, TOKENS, check, instances, lock, patiently};

fn drain(instance: &Instance, ask: &Ask<'_>, bound: usize) -> usize {
    (0..bound).take_while(|_| patiently(|| instance.spend(ask)).is_ok()).count()
}

#[test]
fn a_subject_with_more_counters_than_a_call_takes_is_served() {
    let redis = Redis::start();
    let instances = instances(Backend::Leases, Some(&redis), 1);
    for days in 2..60 {
        let checks = [check(CALLS, Window::Days(days), Scope::User, 100)];
        let ask = Ask { user: "ann", org: None, checks: &checks, needs: [1, 0, 0] };
        assert_eq!(patiently(|| instances[0].spend(&ask)), Ok(()), "{days} days");
    }
}

#[test]
fn what_was_granted_to_a_request_that_another_limit_refuses_is_given_back() {
    let redis = Redis::start();
    let mut instances = instances(Backend::Leases, Some(&redis), 2);
    let own = [check(CALLS, Window::Lifetime, Scope::User, 50)];
    let both = [own[0], check(TOKENS, Window::Lifetime, Scope::Org, 5)];
    let ask = |org, checks| Ask { user: "ann", org, checks, needs: [1, 1, 0] };
    let others = Ask { user: "bob", ..ask(Some("acme"), &both[..]) };
    assert_eq!(drain(&instances[0], &others, 100), 5, "the organisation's are used up");
    let ends = instances.pop().unwrap();
    assert_eq!(patiently(|| ends.spend(&ask(Some("acme"), &both[..]))), Err(No::Refused));
    ends.remote.as_ref().unwrap().stop();
    assert_eq!(drain(&instances[0], &ask(None, &own[..]), 100), 50);
}

/// Promise 1 when a tier's limit is lowered below what is in use: what requests from before give back is not
/// there to be used again.
#[test]
fn a_limit_that_is_lowered_is_not_passed_by_what_was_held_before() {
    let redis = Redis::start();
    let instances = instances(Backend::Leases, Some(&redis), 1);
    let limit = |max| [check(TOKENS, Window::Lifetime, Scope::User, max)];
    let (high, low) = (limit(200), limit(100));
    let ask = |checks, tokens| Ask { user: "ann", org: None, checks, needs: [0, tokens, 0] };
    let held = instances[0].take_patiently(&ask(&high, 150));
    assert_eq!(patiently(|| instances[0].spend(&ask(&low, 1))), Err(No::Refused));
    instances[0].settle(held, vec![(TOKENS, 10)]);
    assert_eq!(patiently(|| instances[0].spend(&ask(&low, 91))), Err(No::Refused));
    assert_eq!(patiently(|| instances[0].spend(&ask(&low, 90))), Ok(()));
}

/// Many that are refused at a limit, and a request that runs and may go beyond it: each gets its answer.
#[test]
fn who_may_go_beyond_a_limit_is_not_starved_by_those_who_may_not() {
    let redis = Redis::start();
    let instances = instances(Backend::Leases, Some(&redis), 1);
    let checks = [Check { overdraw: 100, ..check(TOKENS, Window::Lifetime, Scope::User, 10) }];
    let ask = Ask { user: "ann", org: None, checks: &checks, needs: [0, 1, 0] };
    let mut held = instances[0].take_patiently(&Ask { needs: [0, 10, 0], ..ask.clone() });
    let failures = || instances[0].remote.as_ref().unwrap().status().failures;
    let (done, before) = (AtomicBool::new(false), failures());
    let (extended, refused) = thread::scope(|scope| {
        let refused: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    let mut refused = 0;
                    while !done.load(Ordering::Relaxed) {
                        assert!(instances[0].take(&ask).is_err(), "admitted beyond the limit");
                        refused += 1;
                    }
                    refused
                })
            })
            .collect();
        // No more often than a gateway tries.
        let extended = (0..40).filter(|_| instances[0].extend_within(&mut held, &ask, 16).is_ok());
        let extended = extended.count() as u64;
        done.store(true, Ordering::Relaxed);
        (extended, refused.into_iter().map(|thread| thread.join().unwrap()).sum::<u32>())
    });
    // A machine that is busy may not answer in time.
    let failed = failures() - before;
    assert!(extended + failed >= 40, "{extended} of 40, {failed} calls failed, {refused} refused meanwhile");
    assert!(refused > 6, "{refused}");
}

/// Promise 1 when an instance crashes that has settled a request from before the epoch and has not told yet.
#[test]
fn what_was_settled_late_and_not_told_is_found_after_a_crash() {
    let redis = Redis::start();
    let mut instances = instances(Backend::Leases, Some(&redis), 2);
    let checks = [check(TOKENS, Window::Lifetime, Scope::User, 40)];
    let ask = |tokens| Ask { user: "ann", org: None, checks: &checks, needs: [0, tokens, 0] };
    let held = instances[0].take_patiently(&ask(7));
    let _ = redis.command(&["FLUSHALL"]);
    // In a new epoch, in which the first has to hold that it brought along.
    assert_eq!(patiently(|| instances[1].spend(&ask(1))), Ok(()));
    instances[0].settle(held, vec![(TOKENS, 5)]);
    // What the first does not need is recalled for this.
    assert_eq!(patiently(|| instances[1].spend(&ask(34))), Ok(()));
    let crashed = instances.remove(0);
    let books = Arc::clone(&crashed.books);
    let again = Instance::start(Backend::Leases, Some(&redis), crashed.crash(), &books);
    for instance in [&again, &instances[0]] {
        assert_eq!(patiently(|| instance.spend(&ask(1))), Err(No::Refused));
    }
    assert_eq!(lock(&books).total(Scope::User, "ann", TOKENS), 40);
}

#[test]
fn a_silent_holder_is_no_reason_to_go_beyond_a_limit() {
    let redis = Redis::start();
    let instances = instances(Backend::Leases, Some(&redis), 1);
    let mut limit = check(CALLS, Window::Lifetime, Scope::User, 10);
    limit.on_store_failure = OnStoreFailure::Allow { seconds_max: 60 };
    let checks = [limit];
    let ask = Ask { user: "ann", org: None, checks: &checks, needs: [1, 0, 0] };
    assert_eq!(patiently(|| instances[0].spend(&ask)), Ok(()));
    // Another one, which lives and does not give back.
    let key = redis.command(&["KEYS", "tollgate:1:*:counter:u:calls:lifetime:*:ann"]);
    let key = key.lines().find(|line| line.starts_with("tollgate")).unwrap().to_owned();
    let _ = redis.command(&["HSET", &key, "i:other", "3 1 0 0"]);
    let _ = redis.command(&["HSET", "tollgate:1:instances", "other", "9000000000000"]);
    let failures = || instances[0].remote.as_ref().unwrap().status().failures;
    let before = failures();
    let admitted = 1 + (0..30).filter(|_| instances[0].spend(&ask).is_ok()).count() as u64;
    // A machine that is busy may not answer in time, which is what the policy is for.
    let failed = failures() - before;
    assert!(
        (7..=7 + failed).contains(&admitted),
        "{admitted} of 10 while another has 3, {failed} calls failed"
    );
}

#[test]
fn a_full_counter_does_not_starve_another() {
    let redis = Redis::start();
    let instances = instances(Backend::Leases, Some(&redis), 1);
    let (calls, tokens) = (
        [check(CALLS, Window::Lifetime, Scope::User, 3)],
        [check(TOKENS, Window::Lifetime, Scope::User, 100_000)],
    );
    let full = Ask { user: "ann", org: None, checks: &calls, needs: [1, 0, 0] };
    assert_eq!(drain(&instances[0], &full, 10), 3);
    let done = AtomicBool::new(false);
    let undecided = thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let _ = instances[0].spend(&full);
                }
            });
        }
        // More than is granted ahead, so that each has to ask.
        let asks = (1..40).map(|n| Ask { user: "ann", org: None, checks: &tokens, needs: [0, n * 16, 0] });
        let undecided = asks.filter(|ask| instances[0].spend_within(ask, 4).is_err()).count();
        done.store(true, Ordering::Relaxed);
        undecided
    });
    assert_eq!(undecided, 0);
}

#[test]
fn a_clock_that_jumps_gives_no_second_budget() {
    let redis = Redis::start();
    let instances = instances(Backend::Leases, Some(&redis), 2);
    let checks = [check(CALLS, Window::Month, Scope::User, 100)];
    let ask = Ask { user: "ann", org: None, checks: &checks, needs: [1, 0, 0] };
    assert_eq!(drain(&instances[0], &ask, 14), 14);
    // Two months ahead, and back as soon as Redis tells the time.
    lock(&instances[0].books).skews[0] = 62 * 86_400_000;
    assert_eq!(14 + drain(&instances[0], &ask, 30) + drain(&instances[1], &ask, 200), 100);
    assert_eq!(drain(&instances[0], &ask, 200), 0);
}

#[test]
fn a_clock_that_jumps_declares_nobody_dead() {
    let redis = Redis::start();
    let instances = instances(Backend::Leases, Some(&redis), 2);
    let checks = [check(JOBS, Window::Lifetime, Scope::User, 1)];
    let ask = Ask { user: "ann", org: None, checks: &checks, needs: [0, 0, 1] };
    let job = instances[0].take_patiently(&ask);
    // So long that the other could know who is dead.
    let calls = || instances[1].remote.as_ref().unwrap().status().calls;
    assert!(eventually(BOUND, || calls() > 18));
    lock(&instances[0].books).skews[1] = 3_600_000;
    assert_eq!(instances[1].take(&ask).err(), Some(No::Refused), "one job runs");
    drop(job);
    assert!(eventually(BOUND, || instances[1].take(&ask).is_ok()));
}

#[test]
fn what_a_crash_left_in_the_journal_counts_in_an_epoch_that_began_without_it() {
    let redis = Redis::start();
    let mut instances = instances(Backend::Leases, Some(&redis), 2);
    let checks = [check(CALLS, Window::Lifetime, Scope::User, 300)];
    let ask = Ask { user: "ann", org: None, checks: &checks, needs: [1, 0, 0] };
    assert_eq!(drain(&instances[1], &ask, 40), 40);
    let crashed = instances.pop().unwrap();
    let books = Arc::clone(&crashed.books);
    let number = crashed.crash();
    let _ = redis.command(&["FLUSHALL"]);
    assert_eq!(drain(&instances[0], &ask, 100), 100);
    let back = Instance::start(Backend::Leases, Some(&redis), number, &books);
    let got = drain(&back, &ask, 1000) + drain(&instances[0], &ask, 1000);
    assert_eq!(got, 160, "what the crashed one had spent is spent");
}

#[test]
fn what_an_instance_did_not_count_before_its_reload_counts_in_a_new_window() {
    let redis = Redis::start();
    let instances = instances(Backend::Leases, Some(&redis), 2);
    let week = check(CALLS, Window::Week, Scope::User, 10);
    let (old, new) = ([check(CALLS, Window::Month, Scope::User, 1000)], [week]);
    let ask = |checks| Ask { user: "ann", org: None, checks, needs: [1, 0, 0] };
    let reload = |instance: &Instance| {
        let kind = Kind { meter: "calls".into(), key: week.counter, concurrent: false };
        instance.remote.as_ref().unwrap().set_kinds([kind].into_iter().collect());
    };
    let epochs = |many| instances.iter().all(|i| i.remote.as_ref().unwrap().status().epochs >= many);
    assert!(eventually(BOUND, || epochs(1)));
    reload(&instances[0]);
    assert!(eventually(BOUND, || epochs(2)));
    assert_eq!(patiently(|| instances[0].spend(&ask(&new[..]))), Ok(()));
    for _ in 0..4 {
        assert_eq!(patiently(|| instances[1].spend(&ask(&old[..]))), Ok(()));
    }
    reload(&instances[1]);
    assert!(eventually(BOUND, || epochs(3)), "they agree anew");
    assert_eq!(drain(&instances[0], &ask(&new[..]), 100), 5, "of ten, five are used");
}

#[test]
fn who_used_more_than_was_set_aside_gets_what_is_left() {
    let redis = Redis::start();
    let instances = instances(Backend::Leases, Some(&redis), 1);
    let checks = [check(TOKENS, Window::Lifetime, Scope::User, 20)];
    let ask = |need| Ask { user: "ann", org: None, checks: &checks, needs: [0, need, 0] };
    let held = instances[0].take_patiently(&ask(2));
    instances[0].settle(held, vec![(TOKENS, 8)]);
    assert_eq!(instances[0].spend(&ask(13)), Err(No::Refused));
    let held = instances[0].take_patiently(&ask(2));
    instances[0].settle(held, vec![(TOKENS, 9)]);
    assert_eq!(instances[0].spend(&ask(3)), Ok(()), "17 of 20 are used");
    assert_eq!(instances[0].spend(&ask(1)), Err(No::Refused));
}
