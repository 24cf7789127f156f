//! What holds when one of several Redis servers dies, hangs, or comes back with less than it knew.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use tollgate_core::{Scope, Window};
use tollgate_quota::survey;
use tollgate_testkit::{BOUND, Redis, RedisCluster, RedisSentinel, eventually};

use crate::instance::{Ask, Backend, CALLS, Instance, No, Place, check, instances, lock, patiently};

const LIMIT: i64 = 300;
const CLIENTS: usize = 6;
/// A client that is told to try again later leaves the machine to others.
const RETRY_AFTER: Duration = Duration::from_millis(5);
const BUCKETS: usize = 64;

/// Clients spend all that `users` have, each until it is refused; `fault` strikes when a third is spent.
/// Nobody gets more than the limit, and nobody is refused while there is anything left.
fn spend_all_during(instances: &[Instance], users: &[&str], fault: impl FnOnce()) {
    let checks = [check(CALLS, Window::Lifetime, Scope::User, LIMIT)];
    let (admitted, unavailable) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let struck = AtomicBool::new(false);
    let all = usize::try_from(LIMIT).unwrap() * users.len();
    let used = |user: &str| lock(&instances[0].books).total(Scope::User, user, CALLS);
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (checks, admitted, unavailable, struck) = (&checks, &admitted, &unavailable, &struck);
            scope.spawn(move || {
                for (turn, user) in (0..).zip(users.iter().cycle().skip(client)) {
                    // The last third is for after the fault.
                    if admitted.load(Ordering::Relaxed) > all * 2 / 3 {
                        assert!(eventually(BOUND, || struck.load(Ordering::Acquire)), "the fault has struck");
                    }
                    let ask = Ask { user, org: None, checks, needs: [1, 0, 0] };
                    match instances[(client + turn) % instances.len()].spend(&ask) {
                        Ok(()) => _ = admitted.fetch_add(1, Ordering::Relaxed),
                        Err(No::Unavailable) => {
                            unavailable.fetch_add(1, Ordering::Relaxed);
                            thread::sleep(RETRY_AFTER);
                        }
                        Err(No::Refused) => {
                            // What is used is journalled but for what runs at this moment.
                            let used = used(user);
                            assert!(
                                used >= LIMIT - i64::try_from(CLIENTS).unwrap(),
                                "{user} is refused after {used}"
                            );
                            if users.iter().all(|user| full(instances, user)) {
                                return;
                            }
                        }
                    }
                }
            });
        }
        assert!(eventually(BOUND, || admitted.load(Ordering::Relaxed) > all / 3));
        fault();
        struck.store(true, Ordering::Release);
    });
    for user in users {
        assert_eq!(used(user), LIMIT, "{user}");
    }
    println!("{all} admitted, {} times unavailable", unavailable.load(Ordering::Relaxed));
}

/// Whether the last unit is used, or about to be.
fn full(instances: &[Instance], user: &str) -> bool {
    lock(&instances[0].books).total(Scope::User, user, CALLS) >= LIMIT
}

#[test]
fn a_replica_takes_over_from_a_master_that_dies() {
    let mut redis = RedisSentinel::start();
    let instances = instances(Backend::Leases, Some(&redis), 3);
    spend_all_during(&instances, &["ann", "bob"], || {
        redis.master().kill();
        redis.wait_until_failed_over();
    });
}

#[test]
fn a_replica_takes_over_from_a_master_that_hangs_and_comes_back() {
    let mut redis = RedisSentinel::start();
    let instances = instances(Backend::Leases, Some(&redis), 3);
    spend_all_during(&instances, &["ann", "bob"], || {
        redis.master().pause();
        redis.wait_until_failed_over();
        redis.master().resume();
    });
}

/// The epoch is there, and counters are, but not the last ones.
#[test]
fn a_server_that_comes_back_with_old_data_grants_nothing_of_it() {
    let mut redis = Redis::start();
    let instances = instances(Backend::Leases, Some(&redis), 3);
    let checks = [check(CALLS, Window::Lifetime, Scope::User, LIMIT)];
    let ask = Ask { user: "ann", org: None, checks: &checks, needs: [1, 0, 0] };
    for turn in 0..30 {
        assert_eq!(patiently(|| instances[turn % 3].spend(&ask)), Ok(()));
    }
    assert!(redis.command(&["SAVE"]).contains("OK"));
    // The third instance has said nothing since, so what it knows is what the old data has.
    for turn in 0..200 {
        assert_eq!(patiently(|| instances[turn % 2].spend(&ask)), Ok(()));
    }
    redis.restart();
    assert!(redis.command(&["EXISTS", "tollgate:1:{0}:epoch"]).contains(":1"), "it has old data");
    let spend = |turn: usize| patiently(|| instances[2 - turn % 3].spend(&ask)).is_ok();
    assert_eq!((0..1000).take_while(|turn| spend(*turn)).count(), 70);
    assert_eq!(lock(&instances[0].books).total(Scope::User, "ann", CALLS), LIMIT);
}

#[test]
fn a_master_of_a_cluster_that_is_emptied_is_rebuilt_alone() {
    let mut redis = RedisCluster::start();
    let instances = instances(Backend::Leases, Some(&redis), 2);
    let checks = [check(CALLS, Window::Lifetime, Scope::User, 20)];
    let users: Vec<String> = (0..24).map(|number| format!("user-{number}")).collect();
    let ask = |user| Ask { user, org: None, checks: &checks, needs: [1, 0, 0] };
    for user in &users {
        for turn in 0..10 {
            assert_eq!(patiently(|| instances[turn % 2].spend(&ask(user))), Ok(()));
        }
    }
    let before = epochs(&mut redis);
    redis.masters()[1].restart();
    for user in &users {
        let spend = |turn: usize| patiently(|| instances[turn % 2].spend(&ask(user))).is_ok();
        assert_eq!((0..100).take_while(|turn| spend(*turn)).count(), 10, "{user}");
    }
    redis.wait_until_ready();
    let mut after = epochs(&mut redis);
    assert!(eventually(BOUND, || {
        after = epochs(&mut redis);
        after.iter().all(|(_, (_, epoch))| epoch.is_some())
    }));
    for (bucket, (node, epoch)) in before {
        assert_eq!(after[&bucket].1 == epoch, node != 1, "bucket {bucket} on node {node}");
    }
}

#[test]
fn a_replica_takes_over_from_a_master_of_a_cluster() {
    let mut redis = RedisCluster::start_with_replicas();
    let instances = instances(Backend::Leases, Some(&redis), 3);
    let users = ["ann", "bob", "cid", "dan", "eve", "fay", "gus", "hal"];
    spend_all_during(&instances, &users, || {
        redis.masters()[0].kill();
        // Its replica takes its slots, and the others learn of it.
        redis.wait_until_failed_over(0);
    });
}

#[test]
fn counters_are_surveyed_wherever_they_are() {
    let (single, sentinel, cluster) = (Redis::start(), RedisSentinel::start(), RedisCluster::start());
    for place in [&single as &dyn Place, &sentinel, &cluster] {
        let instances = instances(Backend::Leases, Some(place), 2);
        let checks = [check(CALLS, Window::Lifetime, Scope::User, 100)];
        let users: Vec<String> = (0..20).map(|number| format!("user-{number}")).collect();
        for (turn, user) in users.iter().cycle().take(60).enumerate() {
            let ask = Ask { user, org: None, checks: &checks, needs: [1, 0, 0] };
            assert_eq!(patiently(|| instances[turn % 2].spend(&ask)), Ok(()));
        }
        // Once more if an instance was slow to give back.
        let mut settled = BTreeMap::new();
        let expected: BTreeMap<_, _> = users.iter().map(|user| (user.clone(), 3)).collect();
        let agrees = eventually(BOUND, || {
            let counters = survey(&place.address()).unwrap();
            let calls = counters.into_iter().filter(|c| c.meter == "calls" && c.window == "lifetime");
            settled = calls.map(|counter| (counter.id, counter.settled)).collect();
            settled == expected
        });
        assert!(agrees, "{:?}: {settled:?}", place.address());
    }
}

/// Of each bucket, the node that has it, and its epoch there.
fn epochs(redis: &mut RedisCluster) -> BTreeMap<usize, (usize, Option<String>)> {
    let mut epochs = BTreeMap::new();
    for (node, redis) in redis.masters().iter().enumerate() {
        for bucket in 0..BUCKETS {
            let answer = redis.command(&["HGET", &format!("tollgate:1:{{{bucket}}}:epoch"), "id"]);
            if !answer.starts_with('-') {
                let epoch = answer.lines().nth(1).map(str::to_owned);
                epochs.insert(bucket, (node, epoch));
            }
        }
    }
    epochs
}
