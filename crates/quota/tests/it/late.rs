//! What is told of long after it was used counts in the windows in which it was used, once.

use std::{sync::Arc, time::Duration};

use tollgate_core::{Calendar, Scope, Window};
use tollgate_testkit::{BOUND, Redis, eventually};

use crate::instance::{Ask, Backend, CALLS, Instance, check, instances, lock, patiently};

const LIMIT: i64 = 400;
const LAST_MONTH: Duration = Duration::from_secs(31 * 86_400);

fn drain(instances: &[Instance], ask: &Ask<'_>) -> usize {
    (0..1000).take_while(|turn| patiently(|| instances[turn % instances.len()].spend(ask)).is_ok()).count()
}

/// Requests and late events in turn, on instances in turn; `fault` comes between.
fn all_are_counted_once(backend: Backend, many: usize, fault: impl Fn(u64, &mut Vec<Instance>, &Redis)) {
    let redis = Redis::start();
    let mut instances = instances(backend, Some(&redis), many);
    let always = [check(CALLS, Window::Lifetime, Scope::User, LIMIT)];
    let month = [check(CALLS, Window::Month, Scope::User, LIMIT)];
    let both = [always[0], month[0]];
    let ask = |checks| Ask { user: "ann", org: None, checks, needs: [1, 0, 0] };
    for turn in 0..90u64 {
        let instance = &instances[usize::try_from(turn).unwrap() % instances.len()];
        match turn % 3 {
            0 => assert_eq!(patiently(|| instance.spend(&ask(&both))), Ok(())),
            1 => instance.settle_late(&ask(&[]), Duration::from_millis(turn * 7)),
            _ => instance.settle_late(&ask(&[]), LAST_MONTH + Duration::from_secs(turn)),
        }
        fault(turn, &mut instances, &redis);
    }
    let total = |span| lock(&instances[0].books).total_in(Scope::User, "ann", CALLS, span);
    let this_month = Window::Month.span(instances[0].now(), &Calendar::default());
    // What was used in this month is known for one window, all of it for the other.
    let left = usize::try_from(LIMIT - 90).unwrap();
    assert_eq!(drain(&instances, &ask(&always)), left);
    assert_eq!(total(tollgate_core::Span::ALWAYS), LIMIT);
    let before = total(this_month);
    assert_eq!(drain(&instances, &ask(&month)), usize::try_from(LIMIT - before).unwrap());
    assert_eq!(total(this_month), LIMIT);
}

#[test]
fn late_events_count_once_in_the_process() {
    all_are_counted_once(Backend::InProcess, 1, |_, _, _| {});
}

#[test]
fn late_events_count_once_with_leases() {
    all_are_counted_once(Backend::Leases, 2, |_, _, _| {});
}

#[test]
fn late_events_count_once_though_redis_is_flushed() {
    all_are_counted_once(Backend::Leases, 2, |turn, _, redis| {
        if turn % 20 == 7 {
            let _ = redis.command(&["FLUSHALL"]);
        }
    });
}

#[test]
fn late_events_count_once_though_instances_crash() {
    all_are_counted_once(Backend::Leases, 2, |turn, instances, redis| {
        if turn % 30 == 17 {
            let crashed = instances.remove(0);
            let books = Arc::clone(&crashed.books);
            let number = crashed.crash();
            if turn == 47 {
                let _ = redis.command(&["FLUSHALL"]);
            }
            instances.push(Instance::start(Backend::Leases, Some(redis), number, &books));
            let is_up = || instances.iter().all(|i| !i.remote.as_ref().unwrap().status().rebuilding);
            assert!(eventually(BOUND, is_up));
        }
    });
}
