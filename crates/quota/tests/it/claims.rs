//! Claims: what one instance alone may change.

use std::{
    sync::{
        atomic::{AtomicI64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use tollgate_core::Scope;
use tollgate_quota::{ClaimName, Claimed};
use tollgate_testkit::{BOUND, Redis, RedisCluster, eventually};

use crate::instance::{Backend, Instance, Place, instances};

/// Longer than any claim of these tests is kept.
const WAIT: Duration = Duration::from_secs(20);

fn name(owner: &str, id: &str) -> ClaimName {
    ClaimName { scope: Scope::User, owner: owner.into(), id: id.into() }
}

fn claim_within(instance: &Instance, name: &ClaimName, wait: Duration) -> Claimed {
    let (reply, answer) = mpsc::channel();
    let reply = Box::new(move |claimed| reply.send(claimed).unwrap());
    instance.remote.as_ref().unwrap().claim(name.clone(), wait, reply);
    answer.recv_timeout(BOUND * 2).unwrap()
}

/// As a gateway that tries again while Redis is rebuilt.
fn claim(instance: &Instance, name: &ClaimName) {
    assert!(eventually(BOUND, || claim_within(instance, name, WAIT) == Claimed::Ours), "{name:?}");
}

fn release(instance: &Instance, name: &ClaimName) {
    instance.remote.as_ref().unwrap().release_claim(name.clone());
}

fn exclusive_on(place: &dyn Place, backend: Backend, strike: impl Fn()) {
    let instances = instances(backend, Some(place), 3);
    let names = [name("ann", "a:b"), name("ann:a", "b"), name("ben", "a:b")];
    let inside = [const { AtomicI64::new(0) }; 3];
    thread::scope(|scope| {
        for instance in &instances {
            let (names, inside) = (&names, &inside);
            scope.spawn(move || {
                for turn in 0..40 {
                    let which = (turn * 7) % names.len();
                    claim(instance, &names[which]);
                    assert_eq!(
                        inside[which].fetch_add(1, Ordering::SeqCst),
                        0,
                        "two have {:?}",
                        names[which]
                    );
                    thread::yield_now();
                    inside[which].fetch_sub(1, Ordering::SeqCst);
                    release(instance, &names[which]);
                }
            });
        }
        strike();
    });
}

#[test]
fn only_one_instance_has_a_claim() {
    exclusive_on(&Redis::start(), Backend::Leases, || {});
}

#[test]
fn only_one_instance_has_a_claim_in_a_cluster() {
    exclusive_on(&RedisCluster::start(), Backend::Cluster, || {});
}

#[test]
fn only_one_instance_has_a_claim_while_redis_loses_its_data() {
    let redis = Redis::start();
    exclusive_on(&redis, Backend::Leases, || {
        for _ in 0..5 {
            // The fault itself, a few times while they work; nothing is waited for.
            thread::sleep(Duration::from_millis(30));
            let _ = redis.command(&["FLUSHALL"]);
        }
    });
}

#[test]
fn a_claim_that_is_held_outlives_a_flushed_redis() {
    let redis = Redis::start();
    let instances = instances(Backend::Leases, Some(&redis), 2);
    let doc = name("ann", "doc");
    claim(&instances[0], &doc);
    let _ = redis.command(&["FLUSHALL"]);
    let told = || claim_within(&instances[1], &doc, Duration::ZERO);
    for _ in 0..20 {
        assert_ne!(told(), Claimed::Ours);
    }
    assert!(eventually(BOUND, || told() == Claimed::Taken), "the epoch is there again");
    release(&instances[0], &doc);
    claim(&instances[1], &doc);
}

#[test]
fn what_an_instance_had_when_it_died_is_free_when_it_is_back() {
    let redis = Redis::start();
    let mut instances = instances(Backend::Leases, Some(&redis), 2);
    let (doc, other) = (name("ann", "doc"), name("ann", "other"));
    for name in [&doc, &other] {
        claim(&instances[1], name);
    }
    let crashed = instances.pop().unwrap();
    let books = std::sync::Arc::clone(&crashed.books);
    let number = crashed.crash();
    assert_eq!(claim_within(&instances[0], &doc, Duration::ZERO), Claimed::Taken);
    instances.push(Instance::start(Backend::Leases, Some(&redis), number, &books));
    claim(&instances[0], &doc);
    claim(&instances[1], &other);
    assert_eq!(claim_within(&instances[0], &other, Duration::ZERO), Claimed::Taken);
}

#[test]
fn a_redis_that_is_away_is_told_in_time() {
    let redis = Redis::start();
    let instances = instances(Backend::Leases, Some(&redis), 1);
    let (doc, other) = (name("ann", "doc"), name("ann", "other"));
    claim(&instances[0], &doc);
    redis.pause();
    assert!(eventually(BOUND, || claim_within(&instances[0], &other, WAIT) == Claimed::Away));
    release(&instances[0], &doc);
    redis.resume();
    claim(&instances[0], &other);
    claim(&instances[0], &doc);
}
