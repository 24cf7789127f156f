//! What holds of every store that quotas are counted in.

use std::{
    sync::atomic::{AtomicI64, AtomicUsize, Ordering},
    thread,
};

use tollgate_core::{Scope, Window};
use tollgate_quota::Check;
use tollgate_testkit::{Redis, RedisCluster, RedisSentinel};

use crate::instance::{
    Ask, Backend, CALLS, Instance, JOBS, No, Place, TOKENS, check, instances, lock, patiently,
};

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
        let held = instances[0].take_patiently(&ask(900));
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
        let held = of(instances, 1).take_patiently(&ask(0));
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
        let one = of(instances, 0).take_patiently(&ask);
        let two = of(instances, 1).take_patiently(&ask);
        for turn in 0..2 {
            assert_eq!(patiently(|| of(instances, turn).spend(&ask)), Err(No::Refused), "{backend:?}");
        }
        of(instances, 0).settle(one, Vec::new());
        // A slot that is free here is free everywhere.
        let _three = of(instances, 1).take_patiently(&ask);
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

#[test]
fn what_needs_nothing_of_a_limit_is_not_refused_by_it() {
    on_all(2, |backend, instances| {
        let tokens = check(TOKENS, Window::Lifetime, Scope::User, 10);
        let checks = [check(CALLS, Window::Month, Scope::User, 100), Check { overdraw: 5, ..tokens }];
        let ask = |tokens| Ask { user: "ann", org: None, checks: &checks, needs: [1, tokens, 0] };
        let held = of(instances, 0).take_patiently(&ask(10));
        for turn in 0..2 {
            assert_eq!(patiently(|| of(instances, turn).spend(&ask(0))), Ok(()), "{backend:?}: all is held");
        }
        of(instances, 0).settle(held, vec![(TOKENS, 40)]);
        for turn in 0..2 {
            let mut held = of(instances, turn).take_patiently(&ask(0));
            assert_eq!(of(instances, turn).extend_patiently(&mut held, &ask(0)), Ok(()), "{backend:?}");
            let one = Ask { needs: [0, 1, 0], ..ask(0) };
            assert_eq!(
                of(instances, turn).extend_patiently(&mut held, &one),
                Err(No::Refused),
                "{backend:?}"
            );
            assert_eq!(patiently(|| of(instances, turn).spend(&ask(1))), Err(No::Refused), "{backend:?}");
        }
    });
}

#[test]
fn a_hold_grows_to_the_limit_and_as_far_beyond_as_that_says() {
    on_all(2, |backend, instances| {
        let tokens = check(TOKENS, Window::Lifetime, Scope::User, 100);
        let checks = [Check { overdraw: 20, ..tokens }];
        let ask = |tokens| Ask { user: "ann", org: None, checks: &checks, needs: [0, tokens, 0] };
        let mut one = of(instances, 0).take_patiently(&ask(60));
        let mut two = of(instances, 1).take_patiently(&ask(30));
        let mut extend = |which: usize, tokens| {
            let held = if which == 0 { &mut one } else { &mut two };
            of(instances, which).extend_patiently(held, &ask(tokens))
        };
        let full = |when: &str| {
            for turn in 0..2 {
                let spent = patiently(|| of(instances, turn).spend(&ask(1)));
                assert_eq!(spent, Err(No::Refused), "{backend:?}: {when}");
            }
        };
        assert_eq!(extend(0, 10), Ok(()), "{backend:?}");
        full("100 of 100 are held");
        assert_eq!(extend(1, 21), Err(No::Refused), "{backend:?}");
        assert_eq!(extend(1, 15), Ok(()), "{backend:?}");
        full("115 of 100 are held");
        assert_eq!(extend(0, 6), Err(No::Refused), "{backend:?}");
        assert_eq!(extend(0, 5), Ok(()), "{backend:?}");
        assert_eq!(extend(1, 1), Err(No::Refused), "{backend:?}");
        // 75 and 45 are held.
        of(instances, 1).settle(two, vec![(TOKENS, 25)]);
        full("75 of 100 are held, 25 used");
        of(instances, 0).settle(one, vec![(TOKENS, 40)]);
        assert_eq!(patiently(|| of(instances, 1).spend(&ask(35))), Ok(()), "{backend:?}");
        full("100 of 100 are used");
    });
}

#[test]
fn an_extension_takes_from_all_limits_or_from_none() {
    on_all(2, |backend, instances| {
        let checks = [
            check(CALLS, Window::Lifetime, Scope::User, 10),
            check(TOKENS, Window::Month, Scope::User, 100),
            check(TOKENS, Window::Lifetime, Scope::Org, 150),
        ];
        let ask =
            |user, calls, tokens| Ask { user, org: Some("acme"), checks: &checks, needs: [calls, tokens, 0] };
        let mut ann = of(instances, 0).take_patiently(&ask("ann", 1, 60));
        let mut bob = of(instances, 1).take_patiently(&ask("bob", 1, 60));
        for _ in 0..3 {
            let no = of(instances, 0).extend_patiently(&mut ann, &ask("ann", 9, 31));
            assert_eq!(no, Err(No::Refused), "{backend:?}: acme has 30 left");
        }
        let yes = of(instances, 1).extend_patiently(&mut bob, &ask("bob", 9, 30));
        assert_eq!(yes, Ok(()), "{backend:?}: what was refused took nothing");
        let no = of(instances, 0).extend_patiently(&mut ann, &ask("ann", 9, 1));
        assert_eq!(no, Err(No::Refused), "{backend:?}");
        of(instances, 1).settle(bob, vec![(CALLS, 1), (TOKENS, 50)]);
        let yes = of(instances, 0).extend_patiently(&mut ann, &ask("ann", 9, 40));
        assert_eq!(yes, Ok(()), "{backend:?}: what bob had too much is there for ann");
        of(instances, 0).settle(ann, vec![(CALLS, 10), (TOKENS, 100)]);
    });
}

/// Promises 1 and 2: a hard budget of which little is left, and many streams of one subject that outgrow
/// their holds.
#[test]
fn many_streams_at_the_end_of_a_budget_never_pass_it_and_strand_nothing() {
    const STREAMS: usize = 200;
    const SLICE: i64 = 5;
    const LIMIT: i64 = 10_000;
    on_all(2, |backend, instances| {
        let checks = [check(TOKENS, Window::Month, Scope::User, LIMIT)];
        let ask = |tokens| Ask { user: "ann", org: None, checks: &checks, needs: [0, tokens, 0] };
        assert_eq!(patiently(|| of(instances, 0).spend(&ask(LIMIT - 603))), Ok(()), "{backend:?}");
        let (cut, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let total = || lock(&instances[0].books).total(Scope::User, "ann", TOKENS);
        thread::scope(|scope| {
            for stream in 0..STREAMS {
                let (cut, refused, ask) = (&cut, &refused, &ask);
                scope.spawn(move || {
                    let instance = of(instances, stream);
                    let Ok(mut held) = instance.take(&ask(SLICE)) else {
                        refused.fetch_add(1, Ordering::Relaxed);
                        return;
                    };
                    let mut size = SLICE;
                    while size < 4 * SLICE {
                        if instance.extend(&mut held, &ask(SLICE)).is_err() {
                            cut.fetch_add(1, Ordering::Relaxed);
                            break;
                        }
                        size += SLICE;
                    }
                    instance.settle(held, vec![(TOKENS, size - i64::try_from(stream % 5).unwrap())]);
                });
            }
        });
        assert!(total() <= LIMIT, "{backend:?}: {} of {LIMIT}", total());
        let (cut, refused) = (cut.into_inner(), refused.into_inner());
        assert!(cut + refused > 0, "{backend:?}: there was not enough for all");
        for turn in 0..1000 {
            if patiently(|| of(instances, turn).spend(&ask(1))).is_err() {
                break;
            }
        }
        assert_eq!(total(), LIMIT, "{backend:?}: what was held too much is usable again");
        println!("{backend:?}: {cut} cut, {refused} refused");
    });
}
