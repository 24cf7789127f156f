//! Promises 1 and 2 whatever happens in whatever order, to a few instances that share one Redis.

use std::sync::Arc;

use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use tollgate_core::{Scope, Window};
use tollgate_quota::Check;
use tollgate_testkit::Redis;

use crate::instance::{Ask, Backend, Held, Instance, JOBS, No, TOKENS, check, instances, lock, patiently};

const INSTANCES: usize = 3;
const LIMIT: i64 = 40;
/// Each takes a fraction of a second.
const CASES: u32 = 16;

#[derive(Clone, Debug)]
enum Step {
    Take {
        at: usize,
        need: i64,
    },
    Extend {
        which: usize,
        need: i64,
    },
    /// In percent of what was held; may be more than that, or give back.
    Settle {
        which: usize,
        percent: i64,
    },
    Abandon {
        which: usize,
    },
    /// All connections to Redis break, and with them answers are lost.
    Cut,
    Flush,
    Crash {
        at: usize,
    },
    /// A machine's wall clock jumps by so many hours.
    Clock {
        at: usize,
        hours: i64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (0..INSTANCES, 1..9i64).prop_map(|(at, need)| Step::Take { at, need }),
        6 => (any::<usize>(), 1..9i64).prop_map(|(which, need)| Step::Extend { which, need }),
        8 => (any::<usize>(), prop_oneof![Just(100), Just(0), 1..100i64, Just(150), Just(-50)])
            .prop_map(|(which, percent)| Step::Settle { which, percent }),
        2 => any::<usize>().prop_map(|which| Step::Abandon { which }),
        1 => Just(Step::Cut),
        1 => Just(Step::Flush),
        1 => (0..INSTANCES).prop_map(|at| Step::Crash { at }),
        1 => (0..INSTANCES, prop_oneof![Just(0i64), Just(1), Just(-1), Just(800)])
            .prop_map(|(at, hours)| Step::Clock { at, hours }),
    ];
    prop::collection::vec(step, 10..60)
}

struct World {
    redis: Redis,
    instances: Vec<Instance>,
    /// At which instance, and how much.
    open: Vec<(usize, i64, Held)>,
    /// What requests used beyond what they had held.
    beyond: i64,
    /// How far beyond the limit requests that run may go.
    overdraw: i64,
    user: String,
}

impl World {
    fn checks(&self) -> [Check; 3] {
        let overdrawn =
            |window, max| Check { overdraw: self.overdraw, ..check(TOKENS, window, Scope::User, max) };
        [
            overdrawn(Window::Lifetime, LIMIT),
            overdrawn(Window::Month, LIMIT + 15),
            check(JOBS, Window::Lifetime, Scope::User, 1000),
        ]
    }

    fn take(&mut self, at: usize, need: i64) -> Result<(), No> {
        let checks = self.checks();
        let ask = Ask { user: &self.user, org: None, checks: &checks, needs: [0, need, 1] };
        let held = self.instances[at].take(&ask)?;
        self.open.push((at, need, held));
        self.assert_not_over();
        Ok(())
    }

    fn extend(&mut self, which: usize, more: i64) {
        if self.open.is_empty() {
            return;
        }
        let (checks, which) = (self.checks(), which % self.open.len());
        let (at, need, held) = &mut self.open[which];
        let ask = Ask { user: &self.user, org: None, checks: &checks, needs: [0, more, 0] };
        if self.instances[*at].extend(held, &ask).is_ok() {
            *need += more;
            self.assert_not_over();
        }
    }

    fn assert_not_over(&self) {
        let used = self.total() + self.open.iter().map(|(_, need, _)| need).sum::<i64>();
        let Self { beyond, overdraw, .. } = self;
        let max = LIMIT + beyond + overdraw;
        assert!(used <= max, "{used} used and held of {LIMIT} and {overdraw}, {beyond} beyond");
    }

    fn total(&self) -> i64 {
        lock(&self.instances[0].books).total(Scope::User, &self.user, TOKENS)
    }

    fn settle(&mut self, which: usize, percent: i64) {
        if self.open.is_empty() {
            return;
        }
        let (at, need, held) = self.open.swap_remove(which % self.open.len());
        let used = need * percent / 100;
        self.beyond += (used - need).max(0);
        self.instances[at].settle(held, vec![(TOKENS, used)]);
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Take { at, need } => {
                let _ = self.take(at, need);
            }
            Step::Extend { which, need } => self.extend(which, need),
            Step::Settle { which, percent } => self.settle(which, percent),
            Step::Abandon { which } if !self.open.is_empty() => {
                self.open.swap_remove(which % self.open.len());
            }
            Step::Abandon { .. } => {}
            Step::Cut => {
                let _ = self.redis.command(&["CLIENT", "KILL", "TYPE", "normal"]);
            }
            Step::Flush => {
                let _ = self.redis.command(&["FLUSHALL"]);
            }
            Step::Crash { at } => {
                self.open.retain(|(of, _, _)| *of != at);
                let crashed = self.instances.remove(at);
                let books = Arc::clone(&crashed.books);
                let number = crashed.crash();
                let again = Instance::start(Backend::Leases, Some(&self.redis), number, &books);
                self.instances.insert(at, again);
            }
            Step::Clock { at, hours } => {
                lock(&self.instances[0].books).skews[at] = hours * 3_600_000;
            }
        }
    }
}

#[test]
fn whatever_happens_the_limit_is_reached_exactly() {
    let redis = Redis::start();
    let instances = instances(Backend::Leases, Some(&redis), INSTANCES);
    let mut world = World { redis, instances, open: Vec::new(), beyond: 0, overdraw: 0, user: String::new() };
    let mut runner = TestRunner::default();
    for case in 0..CASES {
        let steps = steps().new_tree(&mut runner).unwrap().current();
        world.user = format!("user-{case}");
        world.beyond = 0;
        world.overdraw = i64::from(case % 2) * 10;
        let told = format!("case {case}: {steps:?}");
        let guard = Tell(told);
        for step in &steps {
            world.step(step);
        }
        while !world.open.is_empty() {
            world.settle(0, 100);
        }
        for round in 0..2 {
            for at in 0..INSTANCES {
                while patiently(|| world.take(at, 1)).is_ok() {
                    world.settle(0, 100);
                }
                assert!(world.take(at, 1).is_err(), "refused, and then admitted: round {round}");
            }
        }
        let total = world.total();
        let max = LIMIT + world.beyond + world.overdraw;
        assert!((LIMIT..=max).contains(&total), "{total} used of {LIMIT}");
        assert!(world.instances.iter().all(|instance| instance.held() == 0));
        drop(guard);
    }
}

/// Says what was done when it goes wrong.
struct Tell(String);

impl Drop for Tell {
    #[allow(clippy::print_stdout, reason = "what a failure is about")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.0);
        }
    }
}
