//! What holds when Redis, an instance, or an answer is lost.

use tollgate_core::{Scope, Window};
use tollgate_testkit::{BOUND, Redis, eventually};

use crate::instance::{Ask, Backend, CALLS, Instance, No, TOKENS, check, instances, lock, patiently};

const LIMIT: i64 = 300;

fn drain(instances: &[Instance], ask: &Ask<'_>, bound: usize) -> usize {
    (0..bound).take_while(|turn| patiently(|| instances[turn % instances.len()].spend(ask)).is_ok()).count()
}

#[test]
fn a_flushed_redis_gives_no_second_budget_and_refuses_nobody_falsely() {
    let redis = Redis::start();
    let instances = instances(Backend::Leases, Some(&redis), 3);
    let checks = [check(CALLS, Window::Lifetime, Scope::User, LIMIT)];
    let ask = Ask { user: "ann", org: None, checks: &checks, needs: [1, 0, 0] };
    let held: Vec<_> = instances.iter().map(|instance| instance.take_patiently(&ask)).collect();
    for turn in 0..100 {
        assert_eq!(patiently(|| instances[turn % 3].spend(&ask)), Ok(()));
        if turn % 30 == 17 {
            let _ = redis.command(&["FLUSHALL"]);
        }
    }
    for (instance, held) in instances.iter().zip(held) {
        instance.settle(held, vec![(CALLS, 1)]);
    }
    assert_eq!(drain(&instances, &ask, 1000), 197);
    assert_eq!(lock(&instances[0].books).total(Scope::User, "ann", CALLS), LIMIT);
}

#[test]
fn a_restarted_redis_is_rebuilt_from_the_ledger() {
    let mut redis = Redis::start();
    let instances = instances(Backend::Leases, Some(&redis), 2);
    let checks = [check(TOKENS, Window::Lifetime, Scope::User, LIMIT)];
    let ask = Ask { user: "ann", org: None, checks: &checks, needs: [0, 1, 0] };
    assert_eq!(drain(&instances, &ask, 120), 120);
    redis.restart();
    assert_eq!(drain(&instances, &ask, 1000), 180);
    assert_eq!(lock(&instances[0].books).total(Scope::User, "ann", TOKENS), LIMIT);
}

#[test]
fn a_crashed_instance_finds_what_it_had() {
    let redis = Redis::start();
    let mut instances = instances(Backend::Leases, Some(&redis), 2);
    let checks = [check(CALLS, Window::Lifetime, Scope::User, LIMIT)];
    let ask = Ask { user: "ann", org: None, checks: &checks, needs: [1, 0, 0] };
    assert_eq!(drain(&instances, &ask, 40), 40);
    let crashed = instances.pop().unwrap();
    let books = std::sync::Arc::clone(&crashed.books);
    let number = crashed.crash();
    let got = drain(&instances, &ask, 1000);
    assert!(got < 260, "what the dead one had is not given to others");
    instances.push(Instance::start(Backend::Leases, Some(&redis), number, &books));
    // It takes a moment until the other one sees that it is back.
    let back = || instances[0].spend(&ask).is_ok();
    assert!(eventually(BOUND, back), "what it had and did not spend is there again");
    assert_eq!(got + 1 + drain(&instances, &ask, 1000), 260);
    assert_eq!(lock(&books).total(Scope::User, "ann", CALLS), LIMIT);
}

#[test]
fn a_redis_that_hangs_neither_hangs_nor_refuses() {
    let redis = Redis::start();
    let instances = instances(Backend::Leases, Some(&redis), 2);
    let checks = [check(CALLS, Window::Lifetime, Scope::User, LIMIT)];
    let ask = Ask { user: "ann", org: None, checks: &checks, needs: [1, 0, 0] };
    assert_eq!(drain(&instances, &ask, 30), 30);
    redis.pause();
    let mut answers = Vec::new();
    for turn in 0..100 {
        answers.push(instances[turn % 2].spend(&ask));
    }
    assert!(!answers.contains(&Err(No::Refused)), "nothing is used up: {answers:?}");
    assert!(answers.contains(&Err(No::Unavailable)), "leases are not endless");
    let admitted = answers.iter().filter(|answer| answer.is_ok()).count();
    let down = || instances.iter().all(|i| i.remote.as_ref().unwrap().status().down_seconds.is_some());
    assert!(eventually(BOUND, down), "the breaker opens");
    redis.resume();
    assert_eq!(drain(&instances, &ask, 1000), 270 - admitted);
    assert_eq!(lock(&instances[0].books).total(Scope::User, "ann", CALLS), LIMIT);
}

#[test]
fn without_the_ledger_a_lost_redis_grants_nothing() {
    let redis = Redis::start();
    let instances = instances(Backend::Leases, Some(&redis), 1);
    let checks = [check(CALLS, Window::Lifetime, Scope::User, 10)];
    let ask = Ask { user: "ann", org: None, checks: &checks, needs: [1, 0, 0] };
    assert_eq!(drain(&instances, &ask, 8), 8);
    lock(&instances[0].books).away = true;
    let _ = redis.command(&["FLUSHALL"]);
    let rebuilding = || instances[0].remote.as_ref().unwrap().status().rebuilding;
    assert!(eventually(BOUND, rebuilding));
    assert_eq!(instances[0].spend(&ask), Err(No::Unavailable));
    lock(&instances[0].books).away = false;
    assert_eq!(drain(&instances, &ask, 100), 2);
}

#[test]
fn a_steady_caller_asks_redis_rarely() {
    let redis = Redis::start();
    let instances = instances(Backend::Leases, Some(&redis), 1);
    let checks = [
        check(CALLS, Window::Lifetime, Scope::User, 10_000_000),
        check(TOKENS, Window::Month, Scope::User, 100_000_000),
    ];
    let ask = Ask { user: "ann", org: None, checks: &checks, needs: [1, 50, 0] };
    let calls = || instances[0].remote.as_ref().unwrap().status().calls;
    assert_eq!(drain(&instances, &ask, 1), 1);
    let before = calls();
    assert_eq!(drain(&instances, &ask, 10_000), 10_000);
    let per_thousand = (calls() - before) / 10;
    assert!(per_thousand <= 10, "{per_thousand} calls per 1,000 requests");
}
