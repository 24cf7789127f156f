//! Jobs that run longer than their requests: never more than the limit, and no slot that stays taken.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use serde_json::Value;
use tollgate_testkit::{BOUND, Gateway, Response, eventually};

use crate::{
    books::{self, Books, Line},
    resources::store::{JOBS_MAX, Op, Store, gateway},
    scene::assert_refusal,
};

/// Jobs that run, as the counter has it.
fn settled(gateway: &Gateway, user: &str) -> i64 {
    let counters = gateway.admin_get("/admin/counters").json();
    let of_user = |counter: &&Value| counter["subject"] == user && counter["meter"] == "jobs";
    let counters = counters["counters"].as_array().unwrap();
    counters.iter().filter(of_user).map(|counter| counter["settled"].as_i64().unwrap()).sum()
}

fn start(gateway: &Gateway, user: &str, id: &str) -> Response {
    Op::start(user, id).send(gateway.address()).unwrap()
}

fn state(gateway: &Gateway, user: &str, id: &str) -> Response {
    Op::state(user, id).send(gateway.address()).unwrap()
}

/// The lines that changed what runs, with what they say of the job.
fn lines(gateway: &Gateway) -> Vec<(i64, String)> {
    let books = Books::settled(gateway);
    let changed = books.0.iter().filter(|line| line.meter == "jobs" && line.amount != 0);
    let said = |line: &Line| {
        let metadata: Value = serde_json::from_str(line.metadata.as_deref().unwrap()).unwrap();
        (line.amount, metadata["job"].as_str().unwrap().to_owned())
    };
    changed.map(said).collect()
}

/// Fails unless counter and ledger say that as many jobs run as the service has.
fn assert_true(gateway: &Gateway, store: &Store, users: &[&str]) {
    for user in users {
        let running = store.running(user);
        let agrees =
            || (settled(gateway, user), Books::settled(gateway).sum(user, "jobs")) == (running, running);
        let agreed = eventually(BOUND, agrees);
        assert!(
            agreed,
            "{user}: {running} run, {} counted: {:#?}",
            settled(gateway, user),
            Books::settled(gateway)
        );
    }
    assert_eq!(books::held(gateway), 0);
    books::assert_clean(gateway);
}

#[test]
fn a_job_keeps_its_slot_until_it_is_told_to_have_ended() {
    let store = Store::start();
    let gateway = gateway(&store, "storage", "1h");
    for id in ["a", "b", "c"] {
        assert_eq!(start(&gateway, "ann", id).status, 202);
    }
    assert_refusal(&start(&gateway, "ann", "d"), 429, "too_many_jobs");
    assert_eq!(start(&gateway, "ben", "d").status, 202, "of another user");
    assert_eq!(state(&gateway, "ann", "a").status, 200, "who asks takes no slot");
    assert_refusal(&start(&gateway, "ann", "d"), 429, "too_many_jobs");
    store.finish("ann", "a");
    for _ in 0..3 {
        assert_eq!(state(&gateway, "ann", "a").status, 200);
    }
    assert_eq!(start(&gateway, "ann", "d").status, 202);
    assert_refusal(&start(&gateway, "ann", "e"), 429, "too_many_jobs");
    assert_true(&gateway, &store, &["ann", "ben"]);
    let mut said = lines(&gateway);
    said.sort();
    let started = (1, "started".to_owned());
    let mut expected = vec![(-1, "finished".to_owned())];
    expected.extend(vec![started; 5]);
    assert_eq!(said, expected);
}

#[test]
fn a_job_that_the_service_does_not_know_has_ended() {
    let store = Store::start();
    let gateway = gateway(&store, "storage", "1h");
    assert_eq!(start(&gateway, "ann", "a").status, 202);
    store.things().jobs.clear();
    assert_eq!(state(&gateway, "ann", "a").status, 404);
    assert_true(&gateway, &store, &["ann"]);
}

#[test]
fn what_does_not_start_takes_no_slot() {
    let store = Store::start();
    let gateway = gateway(&store, "storage", "1h");
    for _ in 0..5 {
        let failed = Op::start("ann", "a").with("X-Fail: 422").send(gateway.address()).unwrap();
        assert_eq!(failed.status, 422);
    }
    for _ in 0..5 {
        assert_eq!(start(&gateway, "ann", "a").status, 202, "the same job takes one slot");
    }
    assert_true(&gateway, &store, &["ann"]);
}

#[test]
fn a_stuck_job_is_freed_told_and_in_the_ledger() {
    let store = Store::start();
    let mut gateway = gateway(&store, "storage", "2s");
    for id in ["a", "b"] {
        assert_eq!(start(&gateway, "ann", id).status, 202);
    }
    let expired = |gateway: &Gateway| gateway.metric("tollgate_jobs_expired_total").unwrap_or(0.0);
    assert!(eventually(BOUND, || settled(&gateway, "ann") == 0), "{:?}", lines(&gateway));
    assert!(eventually(BOUND, || expired(&gateway) >= 2.0));
    assert_eq!(lines(&gateway).iter().filter(|(_, job)| job == "expired").count(), 2);
    // What the service says later of a job that has ended changes nothing.
    store.finish("ann", "a");
    assert_eq!(state(&gateway, "ann", "a").status, 200);
    assert_eq!(settled(&gateway, "ann"), 0);
    books::assert_clean(&gateway);
    // One that was started before is ended by the next process, too.
    assert_eq!(start(&gateway, "ann", "c").status, 202);
    gateway.kill_9();
    gateway.restart();
    let ended = || lines(&gateway).iter().filter(|(_, job)| job == "expired").count() == 3;
    assert!(eventually(BOUND, ended), "{:?}", lines(&gateway));
    books::assert_clean(&gateway);
}

#[test]
fn a_job_outlives_the_gateway_that_started_it() {
    let store = Store::start();
    let mut gateway = gateway(&store, "storage", "1h");
    for id in ["a", "b", "c"] {
        assert_eq!(start(&gateway, "ann", id).status, 202);
    }
    gateway.kill_9();
    gateway.restart();
    assert_refusal(&start(&gateway, "ann", "d"), 429, "too_many_jobs");
    store.finish("ann", "b");
    assert_eq!(state(&gateway, "ann", "b").status, 200);
    assert_eq!(start(&gateway, "ann", "d").status, 202);
    assert_true(&gateway, &store, &["ann"]);
}

/// Clients start jobs, ask for them, and go away; jobs end; the gateway is killed. What the service has is what is
/// counted, and never more than there may be.
fn churn(kills: usize) {
    let store = Store::start();
    let mut gateway = gateway(&store, "storage", "1h");
    let (address, stop, answered) = (gateway.address(), AtomicBool::new(false), AtomicUsize::new(0));
    let users = ["ann", "ben"];
    thread::scope(|scope| {
        for client in 0..6usize {
            let (stop, answered, store) = (&stop, &answered, &store);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(client as u64);
                let user = users[client % 2];
                for number in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let id = format!("job-{client}-{number}");
                    // Only without kills the gateway knows what becomes of those who leave.
                    if kills == 0 && random.u8(..5) == 0 {
                        Op::start(user, &id).abandon(address, Duration::from_millis(random.u64(..4)));
                    } else {
                        // Who has no answer asks again for the same job.
                        Op::start(user, &id).insist(address);
                    }
                    let running = store.running(user);
                    assert!(running <= JOBS_MAX + allowance(kills), "{running} jobs of {user} run");
                    thread::sleep(Duration::from_millis(random.u64(..3)));
                    let is_there = store.things().jobs.contains_key(&(user.to_owned(), id.clone()));
                    if is_there {
                        store.finish(user, &id);
                    }
                    Op::state(user, &id).insist(address);
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for round in 0..kills.max(1) {
            let moment = answered.load(Ordering::SeqCst) + fastrand::usize(20..60);
            assert!(
                eventually(BOUND, || answered.load(Ordering::SeqCst) >= moment),
                "round {round} stands still"
            );
            if kills > 0 {
                gateway.kill_9();
                gateway.restart();
            }
        }
        stop.store(true, Ordering::SeqCst);
    });
    // Who left may have started one after its client asked for its state.
    for user in users {
        let ids: Vec<_> =
            store.things().jobs.keys().filter(|(of, _)| of == user).map(|(_, id)| id.clone()).collect();
        for id in ids {
            store.finish(user, &id);
            Op::state(user, &id).insist(address);
        }
    }
    assert_true(&gateway, &store, &users);
    for user in users {
        for id in ["x", "y", "z"] {
            assert_eq!(start(&gateway, user, id).status, 202, "no slot has leaked");
        }
        assert_refusal(&start(&gateway, user, "over"), 429, "too_many_jobs");
    }
}

/// A start that a kill interrupted runs at the service and is in no ledger, until its client asks again.
fn allowance(kills: usize) -> i64 {
    if kills == 0 { 0 } else { 3 }
}

#[test]
fn jobs_never_pass_the_limit_and_leave_no_slot_taken() {
    churn(0);
}

#[test]
fn jobs_leave_no_slot_taken_whatever_is_killed() {
    churn(6);
}
