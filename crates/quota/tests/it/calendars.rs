//! Calendars that change between requests, against a model that knows every charge and every hold.

use std::sync::Arc;

use jiff::tz::TimeZone;
use proptest::prelude::*;
use tollgate_core::{Calendar, Grace, Max, OnStoreFailure, Scope, Span, UnixMillis, Window};
use tollgate_quota::{
    Admission, Check, CounterKey, Counters, Hold, LoadTicket, Mark, MeterId, Mode, Parties, Subject,
    SubjectKey, Terms,
};

const CALLS: MeterId = MeterId(0);
/// Sunday 2026-11-22, late in the evening in UTC.
const NOW: UnixMillis = UnixMillis(1_795_390_000_000);
const HOUR_MS: i64 = 3_600_000;
const LIMITS: [(Window, i64); 4] =
    [(Window::Hour, 30), (Window::Day, 60), (Window::Days(7), 150), (Window::BillingMonth, 220)];

fn checks() -> Vec<Check> {
    let check = |(window, max): (Window, i64)| Check {
        counter: CounterKey { meter: CALLS, window },
        scope: Scope::User,
        max: Max::AtMost(max),
        hard: true,
        concurrent: false,
        need: 0,
        on_store_failure: OnStoreFailure::Lease,
        overdraw: 0,
        grace: Grace::None,
    };
    LIMITS.into_iter().map(check).collect()
}

fn calendars() -> Vec<Calendar> {
    let zoned = |zone: &str, anchor| Calendar::new(TimeZone::get(zone).unwrap(), anchor);
    vec![
        Calendar::default(),
        zoned("Europe/Berlin", None),
        zoned("Asia/Kathmandu", Some(UnixMillis(NOW.0 - 40 * HOUR_MS))),
        zoned("Pacific/Honolulu", Some(UnixMillis(NOW.0 - 500 * HOUR_MS))),
        zoned("Pacific/Kiritimati", Some(NOW)),
    ]
}

/// A request in flight.
struct Open {
    hold: Hold,
    at: UnixMillis,
    amount: i64,
}

/// The subject under test, and all that is known of it without asking it.
struct World {
    counters: Counters,
    user: Arc<Subject>,
    calendars: Vec<Calendar>,
    calendar: usize,
    version: u64,
    now: UnixMillis,
    /// In the journal's order: a charge's place is its mark.
    charges: Vec<(UnixMillis, i64)>,
    open: Vec<Open>,
    /// Loads that wait for an answer, each with how much of the journal it has to cover.
    loads: Vec<(LoadTicket, usize)>,
}

impl World {
    /// A subject that was charged before, so many hours ago and so much.
    fn new(history: &[(i64, i64)]) -> Self {
        let counters = Counters::new(10);
        let user = counters.subject(SubjectKey { scope: Scope::User, id: "u" }).unwrap();
        let (loads, open) = Default::default();
        let charges = history.iter().map(|(hours, amount)| (UnixMillis(NOW.0 - hours * HOUR_MS), *amount));
        let charges = charges.collect();
        let calendars = calendars();
        Self { counters, user, calendars, calendar: 0, version: 0, now: NOW, charges, open, loads }
    }

    fn settled_in(&self, span: Span, before: usize) -> i64 {
        self.charges[..before].iter().filter(|(at, _)| span.contains(*at)).map(|(_, amount)| amount).sum()
    }

    fn admit(&mut self, amount: i64) {
        let (user, checks) = (Arc::clone(&self.user), checks());
        let parties = Parties { user: &user, org: None };
        let needs = [amount];
        let terms = Terms { checks: &checks, needs: &needs, warn_at: &[], mode: Mode::Enforce, tracked: &[] };
        let spans = LIMITS.map(|(window, max)| (window.span(self.now, &self.calendars[self.calendar]), max));
        let settled = |span| self.settled_in(span, self.charges.len());
        let held = |span: Span| -> i64 {
            self.open.iter().filter(|open| span.contains(open.at)).map(|open| open.amount).sum()
        };
        let held_by_all: i64 = self.open.iter().map(|open| open.amount).sum();
        match parties.admit(terms, self.now) {
            Admission::Admitted { hold, .. } => {
                for (span, max) in spans {
                    let used = settled(span) + held(span);
                    assert!(used + amount <= max, "{amount} more than {used} of {max} admitted");
                }
                self.open.push(Open { hold, at: self.now, amount });
            }
            Admission::Refused { .. } => {
                let full = |(span, max): (Span, i64)| settled(span) + held_by_all + amount > max;
                assert!(spans.into_iter().any(full), "refused with room in every window");
            }
            Admission::NotLeased | Admission::Unavailable { .. } => panic!("counted in the process"),
            Admission::NotLoaded => {
                for ticket in parties.begin_load(terms, self.now) {
                    self.loads.push((ticket, self.charges.len()));
                }
            }
        }
    }

    fn settle(&mut self, which: usize, percent: i64) {
        if self.open.is_empty() {
            return;
        }
        let Open { hold, at, amount } = self.open.swap_remove(which % self.open.len());
        let used = amount * percent / 100;
        let mark = Mark(self.charges.len() as u64);
        self.charges.push((at, used));
        hold.settle(|| mark, [(CALLS, used)].into_iter());
    }

    /// Something is told of that was used before, within limits or not.
    fn late(&mut self, minutes: i64, amount: i64) {
        let user = Arc::clone(&self.user);
        let terms = Terms { checks: &[], needs: &[], warn_at: &[], mode: Mode::Observe, tracked: &[] };
        let Admission::Admitted { hold, .. } = (Parties { user: &user, org: None }).admit(terms, self.now)
        else {
            panic!("nothing is asked for");
        };
        let at = UnixMillis(self.now.0 - minutes * 60_000);
        let mark = Mark(self.charges.len() as u64);
        self.charges.push((at, amount));
        hold.settle_at(at, || mark, [(CALLS, amount)].into_iter());
    }

    /// The ledger answers a load with some watermark that covers what it has to.
    fn answer(&mut self, which: usize, watermark: usize) {
        if self.loads.is_empty() {
            return;
        }
        let (ticket, reached) = self.loads.swap_remove(which % self.loads.len());
        let watermark = reached + watermark % (self.charges.len() - reached + 1);
        let sums: Vec<_> = ticket.spans.iter().map(|asked| self.settled_in(asked.span, watermark)).collect();
        ticket.complete(&sums, Mark(watermark as u64));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Admit { amount: i64 },
    Settle { which: usize, percent: i64 },
    Abandon { which: usize },
    Late { minutes: i64, amount: i64 },
    Answer { which: usize, watermark: usize },
    Fail { which: usize },
    Calendar { which: usize },
    Wait { minutes: i64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (1..25i64).prop_map(|amount| Step::Admit { amount }),
        4 => (any::<usize>(), 0..=100i64).prop_map(|(which, percent)| Step::Settle { which, percent }),
        1 => any::<usize>().prop_map(|which| Step::Abandon { which }),
        2 => (prop_oneof![0..120i64, 0..44_640i64], 1..20i64)
            .prop_map(|(minutes, amount)| Step::Late { minutes, amount }),
        8 => (any::<usize>(), any::<usize>()).prop_map(|(which, watermark)| Step::Answer { which, watermark }),
        1 => any::<usize>().prop_map(|which| Step::Fail { which }),
        2 => any::<usize>().prop_map(|which| Step::Calendar { which }),
        2 => prop_oneof![0..30i64, 60..2000i64].prop_map(|minutes| Step::Wait { minutes }),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Promises 1 and 2 while the calendar changes among requests, settlements, late ones too, and loads that take
    /// their time: never more than the limit in the window of the day, and no refusal while what is settled in it
    /// and held at all leaves room.
    #[test]
    fn a_calendar_that_changes_gives_no_second_budget_and_loses_nothing(
        history in prop::collection::vec((0..60i64, 1..20i64), 0..8),
        steps in steps(),
    ) {
        let mut world = World::new(&history);
        for step in steps {
            match step {
                Step::Admit { amount } => world.admit(amount),
                Step::Settle { which, percent } => world.settle(which, percent),
                Step::Abandon { which } if !world.open.is_empty() => {
                    let at = which % world.open.len();
                    drop(world.open.swap_remove(at).hold);
                }
                Step::Late { minutes, amount } => world.late(minutes, amount),
                Step::Answer { which, watermark } => world.answer(which, watermark),
                Step::Fail { which } if !world.loads.is_empty() => {
                    let at = which % world.loads.len();
                    drop(world.loads.swap_remove(at));
                }
                Step::Calendar { which } => {
                    world.calendar = which % world.calendars.len();
                    world.version += 1;
                    world.user.follow(world.version, || world.calendars[world.calendar].clone());
                    // Who still goes by an older version changes nothing.
                    world.user.follow(world.version - 1, Calendar::default);
                }
                Step::Wait { minutes } => world.now = UnixMillis(world.now.0 + minutes * 60_000),
                Step::Abandon { .. } | Step::Fail { .. } => {}
            }
        }
        // At rest, what is in memory is what the model says, to the unit.
        world.open.clear();
        for _ in 0..2 {
            world.admit(1);
            while !world.loads.is_empty() {
                world.answer(0, 0);
            }
        }
        let readings = world.counters.readings();
        prop_assert_eq!(readings.len(), LIMITS.len());
        for reading in readings {
            let used = (reading.usage.settled, reading.usage.held);
            let held: i64 = world.open.iter().map(|open| open.amount).sum();
            prop_assert_eq!(used, (world.settled_in(reading.span, world.charges.len()), held));
        }
    }
}

/// One subject with ten units in a billing month, and what it was charged.
struct Mover {
    user: Arc<Subject>,
    moves: u64,
    charges: Vec<(UnixMillis, i64)>,
}

impl Mover {
    fn new(charges: &[(&str, i64)]) -> Self {
        let user = Counters::new(1).subject(SubjectKey { scope: Scope::User, id: "u" }).unwrap();
        Self { user, moves: 0, charges: charges.iter().map(|(at, amount)| (instant(at), *amount)).collect() }
    }

    /// Uses what is left at `now` in `zone`, at most so much; how much that was.
    fn uses(&mut self, zone: &str, now: &str, most: i64) -> i64 {
        self.moves += 1;
        let anchor = Some(instant("2026-01-31T12:00:00Z"));
        self.user.follow(self.moves, || Calendar::new(TimeZone::get(zone).unwrap(), anchor));
        let counter = CounterKey { meter: CALLS, window: Window::BillingMonth };
        let checks = [Check { counter, max: Max::AtMost(10), ..checks()[0] }];
        let terms = Terms { checks: &checks, needs: &[1], warn_at: &[], mode: Mode::Enforce, tracked: &[] };
        let parties = Parties { user: &self.user, org: None };
        let now = instant(now);
        let mut used = 0;
        while used < most {
            match parties.admit(terms, now) {
                Admission::Admitted { hold, .. } => {
                    let mark = Mark(self.charges.len() as u64);
                    self.charges.push((now, 1));
                    hold.settle(|| mark, [(CALLS, 1)].into_iter());
                    used += 1;
                }
                Admission::NotLoaded => {
                    for ticket in parties.begin_load(terms, now) {
                        let charged =
                            |span: Span| self.charges.iter().filter(move |(at, _)| span.contains(*at));
                        let sum = |span| charged(span).map(|(_, amount)| amount).sum();
                        let sums: Vec<i64> = ticket.spans.iter().map(|asked| sum(asked.span)).collect();
                        ticket.complete(&sums, Mark(self.charges.len() as u64));
                    }
                }
                Admission::Refused { .. } => break,
                Admission::NotLeased | Admission::Unavailable { .. } => panic!("counted in the process"),
            }
        }
        used
    }
}

fn instant(text: &str) -> UnixMillis {
    UnixMillis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

const BERLIN: &str = "Europe/Berlin";
const TOKYO: &str = "Asia/Tokyo";
const LOS_ANGELES: &str = "America/Los_Angeles";

/// Who moves has what is left of the window of where it is; who moves back finds what it left.
#[test]
fn a_subject_that_moves_has_no_budget_twice() {
    // Where, when, how much at most, and how much that is.
    type Use = (&'static str, &'static str, i64, i64);
    type Case = (&'static [(&'static str, i64)], &'static [Use]);
    let cases: [Case; 4] = [
        // To the west: back into the window that was over, with all that was used since.
        (
            &[("2026-02-20T12:00:00Z", 6), ("2026-02-28T01:00:00Z", 3)],
            &[(BERLIN, "2026-02-28T03:00:00Z", 1, 1), (LOS_ANGELES, "2026-02-28T03:00:00Z", 99, 0)],
        ),
        (
            &[("2026-02-20T12:00:00Z", 2), ("2026-02-28T01:00:00Z", 3)],
            &[
                (LOS_ANGELES, "2026-02-28T03:00:00Z", 99, 5),
                // It begins anew there, where it begins: that is in the new window of the other place, too.
                (LOS_ANGELES, "2026-02-28T08:00:00Z", 4, 4),
                (BERLIN, "2026-02-28T08:00:00Z", 99, 0),
            ],
        ),
        // To the east: what was used since the window there began counts in it, and there and back gives nothing.
        (
            &[("2026-02-20T12:00:00Z", 7), ("2026-02-27T16:00:00Z", 2)],
            &[
                (TOKYO, "2026-02-27T20:00:00Z", 99, 8),
                (LOS_ANGELES, "2026-02-27T20:00:00Z", 99, 0),
                (TOKYO, "2026-02-27T20:00:01Z", 99, 0),
                (BERLIN, "2026-02-27T20:00:02Z", 99, 0),
                (BERLIN, "2026-02-27T23:00:00Z", 99, 10),
                (TOKYO, "2026-02-27T23:00:00Z", 99, 0),
            ],
        ),
        // The clocks change: the window ends by the new ones, and begins once.
        (
            &[("2026-03-28T23:30:00Z", 9)],
            &[
                (BERLIN, "2026-03-30T21:59:59Z", 99, 1),
                (BERLIN, "2026-03-30T22:00:00Z", 99, 10),
                (BERLIN, "2026-03-30T23:00:00Z", 99, 0),
            ],
        ),
    ];
    for (charges, uses) in cases {
        let mut mover = Mover::new(charges);
        for (zone, now, most, wanted) in uses {
            assert_eq!(mover.uses(zone, now, *most), *wanted, "{zone} at {now}, after {charges:?}");
        }
    }
}
