//! What holds of every store that quotas are counted in.

use std::{
    sync::atomic::{AtomicI64, AtomicUsize, Ordering},
    thread,
};

use tollgate_core::{Scope, Window};
use tollgate_testkit::{Redis, RedisCluster, RedisSentinel};

use crate::instance::{
    Ask, Backend, CALLS, Held, Instance, JOBS, No, Place, TOKENS, check, instances, lock, patiently,
};

/// Takes what is there, as soon as the store answers.
fn hold(instance: &Instance, ask: &Ask<'_>) -> Held {
    let mut held = None;
    let _ = patiently(|| instance.take(ask).map(|taken| held = Some(taken)));
    held.unwrap()
}

/// Runs `test` on instances of every backend, and leases on every kind of Redis.
fn on_all(many: usize, test: impl Fn(Backend, &[Instance])) {
    let on = |backend, place: Option<&dyn Place>| test(backend, &instances(backend, place, many));
    thread::scope(|scope| {
        // These take their time, while others are tested.
        let cluster = scope.spawn(RedisCluster::start);
        let sentinel = scope.spawn(RedisSentinel::start);
        on(Backend::InProcess, None);
        on(Backend::Redis, Some(&Redis::start()));
        on(Backend::Leases, Some(&Redis::start()));
        on(Backend::Sentinel, Some(&sentinel.join().unwrap()));
        on(Backend::Cluster, Some(&cluster.join().unwrap()));
    });
}

fn of(instances: &[Instance], turn: usize) -> &Instance {
    &instances[turn % instances.len()]
}

#[test]
fn a_limit_is_reached_exactly_and_never_passed() {
    on_all(3, |backend, instances| {
        let checks = [check(CALLS, Window::Lifetime, Scope::User, 50)];
        let ask = Ask { user: "ann", org: None, checks: &checks, needs: [1, 0, 0] };
        let statuses: Vec<_> = (0..80).map(|turn| patiently(|| of(instances, turn).spend(&ask))).collect();
        let admitted = statuses.iter().filter(|status| status.is_ok()).count();
        assert_eq!(admitted, 50, "{backend:?}");
        assert!(statuses[50..].iter().all(|status| *status == Err(No::Refused)), "{backend:?}: {statuses:?}");
    });
}

#[test]
fn a_request_takes_from_all_limits_or_from_none() {
    on_all(2, |backend, instances| {
        let checks = [
            check(CALLS, Window::Lifetime, Scope::User, 10),
            check(TOKENS, Window::Month, Scope::User, 100),
            check(TOKENS, Window::Lifetime, Scope::Org, 150),
        ];
        let ask = |user, tokens| Ask { user, org: Some("acme"), checks: &checks, needs: [1, tokens, 0] };
        let spend = |turn, user, tokens| patiently(|| of(instances, turn).spend(&ask(user, tokens)));
        assert_eq!(spend(0, "ann", 90), Ok(()), "{backend:?}");
        for turn in 0..5 {
            assert_eq!(spend(turn, "ann", 20), Err(No::Refused), "{backend:?}: her tokens are used up");
        }
        assert_eq!(spend(1, "ann", 10), Ok(()), "{backend:?}: what was refused took nothing");
        assert_eq!(spend(0, "bob", 60), Err(No::Refused), "{backend:?}: acme has 50 left");
        assert_eq!(spend(1, "bob", 50), Ok(()), "{backend:?}");
        for turn in 0..7 {
            assert_eq!(spend(turn, "ann", 0), Ok(()), "{backend:?}: two of ten calls were used");
        }
    });
}

#[test]
fn what_is_held_and_not_used_is_there_for_others() {
    on_all(2, |backend, instances| {
        let checks = [check(TOKENS, Window::Lifetime, Scope::User, 1000)];
        let ask = |tokens| Ask { user: "ann", org: None, checks: &checks, needs: [0, tokens, 0] };
        let held = hold(&instances[0], &ask(900));
        assert_eq!(patiently(|| of(instances, 1).spend(&ask(200))), Err(No::Refused), "{backend:?}");
        instances[0].settle(held, vec![(TOKENS, 300)]);
        assert_eq!(patiently(|| of(instances, 1).spend(&ask(700))), Ok(()), "{backend:?}");
        assert_eq!(patiently(|| of(instances, 0).spend(&ask(1))), Err(No::Refused), "{backend:?}");
        drop(instances[0].take(&ask(0)));
    });
}

#[test]
fn what_is_given_back_can_be_used_again() {
    on_all(2, |backend, instances| {
        let checks = [check(TOKENS, Window::Lifetime, Scope::User, 100)];
        let ask = |tokens| Ask { user: "ann", org: None, checks: &checks, needs: [0, tokens, 0] };
        assert_eq!(patiently(|| of(instances, 0).spend(&ask(100))), Ok(()), "{backend:?}");
        assert_eq!(patiently(|| of(instances, 1).spend(&ask(1))), Err(No::Refused), "{backend:?}");
        let held = hold(of(instances, 1), &ask(0));
        of(instances, 1).settle(held, vec![(TOKENS, -40)]);
        assert_eq!(patiently(|| of(instances, 0).spend(&ask(40))), Ok(()), "{backend:?}");
        assert_eq!(patiently(|| of(instances, 1).spend(&ask(1))), Err(No::Refused), "{backend:?}");
    });
}

#[test]
fn slots_are_free_again_when_a_job_ends() {
    on_all(2, |backend, instances| {
        let checks = [check(JOBS, Window::Lifetime, Scope::User, 2)];
        let ask = Ask { user: "ann", org: None, checks: &checks, needs: [0, 0, 1] };
        let one = hold(of(instances, 0), &ask);
        let two = hold(of(instances, 1), &ask);
        for turn in 0..2 {
            assert_eq!(patiently(|| of(instances, turn).spend(&ask)), Err(No::Refused), "{backend:?}");
        }
        of(instances, 0).settle(one, Vec::new());
        let three = of(instances, 1).take(&ask);
        assert!(three.is_ok(), "{backend:?}: a slot that is free here is free everywhere");
        of(instances, 1).settle(two, Vec::new());
        assert_eq!(patiently(|| of(instances, 0).spend(&ask)), Ok(()), "{backend:?}");
    });
}

/// Promises 1 and 2: many at once, in several processes, of several users with random needs. As long as
/// somebody asks for one unit, the last unit is used.
#[test]
fn many_at_once_use_all_there_is_and_no_more() {
    const USERS: usize = 8;
    const LIMIT: i64 = 200;
    on_all(3, |backend, instances| {
        let checks = [
            check(TOKENS, Window::Lifetime, Scope::User, LIMIT),
            check(CALLS, Window::Month, Scope::User, 1_000_000),
        ];
        let users: Vec<String> = (0..USERS).map(|n| format!("user-{n}")).collect();
        let (unavailable, turn) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for client in 0..12 {
                let (users, checks, unavailable, turn) = (&users, &checks, &unavailable, &turn);
                scope.spawn(move || {
                    let mut random = fastrand::Rng::with_seed(client);
                    for _ in 0..250 {
                        let user = &users[random.usize(..USERS)];
                        let needs = [1, random.i64(1..=7), 0];
                        let instance = of(instances, turn.fetch_add(1, Ordering::Relaxed));
                        if instance.spend(&Ask { user, org: None, checks, needs }) == Err(No::Unavailable) {
                            unavailable.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        // Whoever still asks for single units gets each that is left.
        for (number, user) in users.iter().enumerate() {
            let ask = Ask { user, org: None, checks: &checks, needs: [1, 1, 0] };
            let used = || lock(&instances[0].books).total(Scope::User, user, TOKENS);
            for turn in 0..usize::try_from(LIMIT).unwrap() {
                if patiently(|| of(instances, turn + number).spend(&ask)).is_err() {
                    break;
                }
            }
            assert_eq!(used(), LIMIT, "{backend:?} {user}");
        }
        println!("{backend:?}: {} unavailable", unavailable.load(Ordering::Relaxed));
    });
}

#[test]
fn user_and_organisation_stay_exact_together_under_threads() {
    on_all(3, |backend, instances| {
        let checks =
            [check(CALLS, Window::Lifetime, Scope::User, 60), check(CALLS, Window::Month, Scope::Org, 150)];
        let admitted = AtomicI64::new(0);
        thread::scope(|scope| {
            for client in 0..9usize {
                let (checks, admitted) = (&checks, &admitted);
                scope.spawn(move || {
                    let user = format!("user-{}", client % 3);
                    let ask = Ask { user: &user, org: Some("acme"), checks, needs: [1, 0, 0] };
                    for turn in 0..60 {
                        if patiently(|| of(instances, client + turn).spend(&ask)).is_ok() {
                            admitted.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(admitted.load(Ordering::Relaxed), 150, "{backend:?}");
        assert_eq!(lock(&instances[0].books).total(Scope::Org, "acme", CALLS), 150, "{backend:?}");
    });
}
