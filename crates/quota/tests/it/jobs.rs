//! Slots: for requests in flight, and for jobs that outlive them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};

use proptest::prelude::*;
use tollgate_core::{Scope, UnixMillis, Window};
use tollgate_quota::{
    Admission, Check, Counters, Hold, LoadTicket, Mark, Mode, Parties, Subject, SubjectKey, Terms,
};
use tollgate_testkit::{BOUND, Redis, eventually};

use crate::instance::{Ask, Backend, Held, Instance, JOBS, No, check, instances, lock, patiently};

const NOW: UnixMillis = UnixMillis(1_795_000_000_000);

fn slots(max: i64) -> [Check; 1] {
    [check(JOBS, Window::Lifetime, Scope::User, max)]
}

fn ask(checks: &[Check], slots: i64) -> Ask<'_> {
    Ask { user: "ann", org: None, checks, needs: [0, 0, slots] }
}

/// Starts a job: it runs on when its request has ended.
fn start(instance: &Instance, checks: &[Check]) -> Result<(), No> {
    let held = instance.take(&ask(checks, 1))?;
    instance.settle(held, vec![(JOBS, 1)]);
    Ok(())
}

/// A request that tells of a job's end.
fn end(instance: &Instance, checks: &[Check]) {
    let held = instance.take_patiently(&ask(checks, 0));
    instance.settle(held, vec![(JOBS, -1)]);
}

fn end_request(instance: &Instance, held: Held) {
    instance.settle(held, vec![(JOBS, 0)]);
}

fn settled(instance: &Instance) -> i64 {
    lock(&instance.books).total(Scope::User, "ann", JOBS)
}

/// How many slots there are: takes all of them, and frees them again.
fn free(instances: &[Instance], checks: &[Check]) -> usize {
    let mut held = Vec::new();
    'all: loop {
        for instance in instances {
            let mut taken = None;
            match patiently(|| instance.take(&ask(checks, 1)).map(|held| taken = Some(held))) {
                Ok(()) => held.extend(taken.map(|held| (instance, held))),
                Err(_) => break 'all,
            }
        }
    }
    let free = held.len();
    held.into_iter().for_each(|(instance, held)| end_request(instance, held));
    free
}

/// Clients take slots, start jobs and end them, each on the instance whose turn it is. However they meet, no
/// more run than there are slots, and at the end those are free that no job has.
fn never_more_than_the_limit(backend: Backend, many: usize, turns: u64) {
    const SLOTS: i64 = 4;
    let redis = (backend != Backend::InProcess).then(Redis::start);
    let place = redis.as_ref().map(|redis| redis as &dyn crate::instance::Place);
    let instances = instances(backend, place, many);
    let checks = slots(SLOTS);
    let (running, jobs) = (AtomicI64::new(0), AtomicI64::new(0));
    let (admitted, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let flush = |turn| {
        if let Some(redis) = redis.as_ref().filter(|_| turn % 40 == 17) {
            let _ = redis.command(&["FLUSHALL"]);
        }
    };
    let number = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                loop {
                    let turn = number.fetch_add(1, Ordering::Relaxed);
                    if turn >= turns {
                        break;
                    }
                    flush(turn);
                    let instance = &instances[usize::try_from(turn).unwrap() % instances.len()];
                    let is_ending = turn % 3 == 2
                        && jobs
                            .try_update(Ordering::SeqCst, Ordering::SeqCst, |n| (n > 0).then(|| n - 1))
                            .is_ok();
                    if is_ending {
                        // It runs no longer when that is settled: until then its slot is taken.
                        running.fetch_sub(1, Ordering::SeqCst);
                        end(instance, &checks);
                        continue;
                    }
                    match instance.take(&ask(&checks, 1)) {
                        Ok(held) => {
                            admitted.fetch_add(1, Ordering::Relaxed);
                            let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                            assert!(now <= SLOTS, "{now} run");
                            if turn.is_multiple_of(2) {
                                instance.settle(held, vec![(JOBS, 1)]);
                                jobs.fetch_add(1, Ordering::SeqCst);
                            } else {
                                running.fetch_sub(1, Ordering::SeqCst);
                                end_request(instance, held);
                            }
                        }
                        Err(No::Refused) => _ = refused.fetch_add(1, Ordering::Relaxed),
                        Err(No::Unavailable) => {}
                    }
                }
            });
        }
    });
    let left = jobs.load(Ordering::SeqCst);
    assert_eq!(settled(&instances[0]), left);
    assert_eq!(free(&instances, &checks), usize::try_from(SLOTS - left).unwrap());
    (0..left).for_each(|job| end(&instances[usize::try_from(job).unwrap() % instances.len()], &checks));
    assert_eq!(free(&instances, &checks), usize::try_from(SLOTS).unwrap());
    assert!(admitted.load(Ordering::Relaxed) > 10, "{admitted:?} admitted, {refused:?} refused");
}

#[test]
fn never_more_slots_than_the_limit_in_the_process() {
    never_more_than_the_limit(Backend::InProcess, 1, 20_000);
}

#[test]
fn never_more_slots_than_the_limit_with_two_instances_on_redis() {
    never_more_than_the_limit(Backend::Leases, 2, 1500);
}

#[test]
fn never_more_slots_than_the_limit_where_every_request_asks_redis() {
    never_more_than_the_limit(Backend::Redis, 2, 600);
}

/// What a dead instance had in flight is free once it is known to be dead; the jobs that it started run on,
/// and end once, wherever that is told.
#[test]
fn a_dead_instance_leaves_its_jobs_and_no_slot() {
    let redis = Redis::start();
    let mut instances = instances(Backend::Leases, Some(&redis), 2);
    let checks = slots(4);
    assert_eq!(patiently(|| start(&instances[1], &checks)), Ok(()));
    let _in_flight = [(); 2].map(|()| instances[1].take_patiently(&ask(&checks, 1)));
    let held = instances[0].take_patiently(&ask(&checks, 1));
    assert_eq!(patiently(|| start(&instances[0], &checks)), Err(No::Refused));
    end_request(&instances[0], held);
    // The job was told of before.
    let has_told = || {
        let fields = redis.command(&["EVAL", SETTLED, "0"]);
        fields.trim().ends_with('1')
    };
    assert!(eventually(BOUND, has_told));
    let dead = instances.pop().unwrap();
    let books = Arc::clone(&dead.books);
    let number = dead.crash();
    assert!(
        eventually(BOUND * 2, || free(&instances, &checks) == 3),
        "two in flight have ended, a job has not"
    );
    end(&instances[0], &checks);
    assert!(eventually(BOUND, || free(&instances, &checks) == 4));
    assert_eq!(patiently(|| start(&instances[0], &checks)), Ok(()));
    instances.push(Instance::start(Backend::Leases, Some(&redis), number, &books));
    assert!(eventually(BOUND, || free(&instances, &checks) == 3), "what it had is not there twice");
    end(&instances[1], &checks);
    assert!(eventually(BOUND, || free(&instances, &checks) == 4));
    assert_eq!(settled(&instances[0]), 0);
}

/// What all counters of jobs in Redis have settled.
const SETTLED: &str = "local sum = 0 \
    for _, key in ipairs(redis.call('KEYS', '*counter*jobs*')) do \
    sum = sum + (tonumber(redis.call('HGET', key, 's')) or 0) end return sum";

/// A job that was started, and not told of, when its instance died: it is told when that comes back.
#[test]
fn a_job_that_was_not_told_of_counts_when_its_instance_is_back() {
    let redis = Redis::start();
    let mut instances = instances(Backend::Leases, Some(&redis), 2);
    let checks = slots(3);
    let held = instances[1].take_patiently(&ask(&checks, 1));
    // It dies between the journal and Redis.
    instances[1].remote.as_ref().unwrap().abandon();
    instances[1].settle(held, vec![(JOBS, 1)]);
    let dead = instances.pop().unwrap();
    let books = Arc::clone(&dead.books);
    let number = dead.crash();
    // Nobody can know of the job now.
    assert!(eventually(BOUND * 2, || free(&instances, &checks) == 3));
    instances.push(Instance::start(Backend::Leases, Some(&redis), number, &books));
    assert_eq!(free(&instances[1..], &checks), 2, "the job is known of");
    // It takes a moment until the other one sees that it is back.
    assert!(eventually(BOUND, || free(&instances[..1], &checks) == 2));
}

#[test]
fn jobs_survive_a_flushed_redis_through_the_ledger() {
    let redis = Redis::start();
    let instances = instances(Backend::Leases, Some(&redis), 2);
    let checks = slots(5);
    for turn in 0..3 {
        assert_eq!(patiently(|| start(&instances[turn % 2], &checks)), Ok(()));
    }
    let held = instances[0].take_patiently(&ask(&checks, 1));
    let _ = redis.command(&["FLUSHALL"]);
    assert_eq!(free(&instances, &checks), 1);
    // It was admitted before, and starts a job afterwards.
    instances[0].settle(held, vec![(JOBS, 1)]);
    assert_eq!(free(&instances, &checks), 1);
    let _ = redis.command(&["FLUSHALL"]);
    (0..4).for_each(|turn| end(&instances[turn % 2], &checks));
    assert_eq!(free(&instances, &checks), 5);
    assert_eq!(settled(&instances[0]), 0);
}

/// One subject in the process, and all that is known of it without asking it.
struct World {
    counters: Counters,
    user: Arc<Subject>,
    /// In the journal's order: a change's place is its mark.
    changes: Vec<i64>,
    open: Vec<Hold>,
    loads: Vec<(LoadTicket, usize)>,
}

const MAX: i64 = 4;

impl World {
    /// So many jobs run already.
    fn new(jobs: i64) -> Self {
        let counters = Counters::new(4);
        let user = counters.subject(SubjectKey { scope: Scope::User, id: "u" }).unwrap();
        let changes = (0..jobs).map(|_| 1).collect();
        Self { counters, user, changes, open: Vec::new(), loads: Vec::new() }
    }

    /// Only the journal is left.
    fn restart(&mut self) {
        self.counters = Counters::new(4);
        self.user = self.counters.subject(SubjectKey { scope: Scope::User, id: "u" }).unwrap();
    }

    fn jobs(&self) -> i64 {
        self.changes.iter().sum()
    }

    fn admit(&mut self, need: i64) {
        let checks = [Check { need: 0, ..slots(MAX)[0] }];
        let (user, needs) = (Arc::clone(&self.user), [need]);
        let parties = Parties { user: &user, org: None };
        let terms = Terms { checks: &checks, needs: &needs, warn_at: &[], mode: Mode::Enforce, tracked: &[] };
        let fits = need == 0 || self.jobs() + i64::try_from(self.open.len()).unwrap() < MAX;
        match parties.admit(terms, NOW) {
            Admission::Admitted { hold, .. } if need == 0 => self.settle_now(hold, -1),
            Admission::Admitted { hold, .. } => {
                assert!(fits, "more than there is");
                self.open.push(hold);
            }
            Admission::Refused { .. } => assert!(!fits, "refused with a slot free"),
            Admission::NotLoaded => {
                let reached = self.changes.len();
                self.loads.extend(parties.begin_load(terms, NOW).into_iter().map(|ticket| (ticket, reached)));
            }
            Admission::NotLeased | Admission::Unavailable { .. } => panic!("counted in the process"),
        }
    }

    fn settle_now(&mut self, hold: Hold, change: i64) {
        let mark = Mark(self.changes.len() as u64);
        self.changes.push(change);
        hold.settle(|| mark, [(JOBS, change)].into_iter());
    }

    fn answer(&mut self, which: usize, watermark: usize) {
        if self.loads.is_empty() {
            return;
        }
        let (ticket, reached) = self.loads.swap_remove(which % self.loads.len());
        let watermark = reached + watermark % (self.changes.len() - reached + 1);
        let sums = vec![self.changes[..watermark].iter().sum(); ticket.spans.len()];
        ticket.complete(&sums, Mark(watermark as u64));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Take,
    /// A request in flight ends; a job that it started runs on.
    End {
        which: usize,
        job: bool,
    },
    Abandon {
        which: usize,
    },
    JobEnds,
    Answer {
        which: usize,
        watermark: usize,
    },
    Fail,
    /// Memory is cleared of what nobody needs, as by a restart.
    Forget,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => Just(Step::Take),
        5 => (any::<usize>(), any::<bool>()).prop_map(|(which, job)| Step::End { which, job }),
        1 => any::<usize>().prop_map(|which| Step::Abandon { which }),
        3 => Just(Step::JobEnds),
        6 => (any::<usize>(), any::<usize>()).prop_map(|(which, watermark)| Step::Answer { which, watermark }),
        1 => Just(Step::Fail),
        1 => Just(Step::Forget),
    ];
    prop::collection::vec(step, 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Slots are those that neither a request in flight nor a job has, whatever comes between: never one more,
    /// and none that is refused while it is free.
    #[test]
    fn slots_are_what_neither_requests_nor_jobs_have(jobs in 0..=MAX, steps in steps()) {
        let mut world = World::new(jobs);
        for step in steps {
            match step {
                Step::Take => world.admit(1),
                Step::End { which, job } if !world.open.is_empty() => {
                    let hold = world.open.swap_remove(which % world.open.len());
                    world.settle_now(hold, i64::from(job));
                }
                Step::Abandon { which } if !world.open.is_empty() => {
                    drop(world.open.swap_remove(which % world.open.len()));
                }
                Step::JobEnds if world.jobs() > 0 => world.admit(0),
                Step::Answer { which, watermark } => world.answer(which, watermark),
                Step::Fail => _ = world.loads.pop(),
                Step::Forget if world.open.is_empty() && world.loads.is_empty() => world.restart(),
                Step::End { .. } | Step::Abandon { .. } | Step::JobEnds | Step::Forget => {}
            }
        }
        while !world.loads.is_empty() {
            world.answer(0, 0);
        }
        world.open.clear();
        for _ in 0..2 {
            world.admit(1);
            while !world.loads.is_empty() {
                world.answer(0, 0);
            }
        }
        let held = i64::try_from(world.open.len()).unwrap();
        for reading in world.counters.readings() {
            prop_assert_eq!((reading.usage.settled, reading.usage.held), (world.jobs(), held));
        }
    }
}
