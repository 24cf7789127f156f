//! Instances of a gateway without the gateway: counters, a journal and a ledger in memory.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tollgate_core::{Grace, Max, OnStoreFailure, Scope, Span, UnixMillis, Window};
use tollgate_quota::{
    Admission, Check, CounterKey, Counters, Extension, Hold, Kind, Kinds, LedgerSums, Mark, MeterId, Mode,
    Parties, RedisAddress, Remote, RemoteOptions, Replay, Reply, Source, SubjectKey, Terms, Tracked,
};
use tollgate_testkit::{BOUND, Redis, RedisCluster, RedisSentinel, eventually};

pub(crate) const CALLS: MeterId = MeterId(0);
pub(crate) const TOKENS: MeterId = MeterId(1);
pub(crate) const JOBS: MeterId = MeterId(2);
const METERS: [&str; 3] = ["calls", "tokens", "jobs"];

/// How long a request tries before it is told that the store is away, as a gateway does.
const TRY_MAX: Duration = Duration::from_secs(3);

/// One settlement in a journal or the ledger.
#[derive(Clone, Debug)]
struct Line {
    mark: Mark,
    user: String,
    org: Option<String>,
    at: UnixMillis,
    charges: Vec<(MeterId, i64)>,
}

/// The ledger that all instances ship to, and their journals, which survive them.
#[derive(Debug, Default)]
pub(crate) struct Books {
    ledger: Vec<Line>,
    journals: Vec<Vec<Line>>,
    /// Of each journal, how many lines are in the ledger.
    shipped: Vec<usize>,
    alive: Vec<bool>,
    /// Milliseconds that each instance's wall clock is wrong by.
    pub(crate) skews: Vec<i64>,
    /// Whether the ledger does not answer.
    pub(crate) away: bool,
}

impl Books {
    fn ship(&mut self, instance: usize) {
        let from = self.shipped[instance];
        let new = self.journals[instance][from..].to_vec();
        self.shipped[instance] += new.len();
        self.ledger.extend(new);
    }

    /// All that was ever settled of a meter, shipped or not.
    pub(crate) fn total(&self, scope: Scope, id: &str, meter: MeterId) -> i64 {
        self.total_in(scope, id, meter, Span::ALWAYS)
    }

    /// The same of what was used in a span.
    pub(crate) fn total_in(&self, scope: Scope, id: &str, meter: MeterId, span: Span) -> i64 {
        let lines = self.journals.iter().flatten();
        lines.map(|line| line.amount((scope, id), meter, span)).sum()
    }
}

impl Line {
    fn amount(&self, (scope, id): (Scope, &str), meter: MeterId, span: Span) -> i64 {
        let whose = match scope {
            Scope::User => self.user == id,
            Scope::Org => self.org.as_deref() == Some(id),
        };
        let charges = self.charges.iter().filter(|(m, _)| *m == meter).map(|(_, amount)| amount);
        if whose && span.contains(self.at) { charges.sum() } else { 0 }
    }
}

/// Where instances count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    InProcess,
    /// Every request asks Redis.
    Redis,
    Leases,
    /// Leases from a master that a Sentinel knows.
    Sentinel,
    /// Leases from a Redis Cluster.
    Cluster,
}

/// Servers to count on.
pub(crate) trait Place {
    fn address(&self) -> RedisAddress;
}

impl Place for Redis {
    fn address(&self) -> RedisAddress {
        RedisAddress::Single(self.url())
    }
}

impl Place for RedisCluster {
    fn address(&self) -> RedisAddress {
        RedisAddress::Cluster(self.urls())
    }
}

impl Place for RedisSentinel {
    fn address(&self) -> RedisAddress {
        let (urls, master) = (self.urls(), self.master_name().to_owned());
        RedisAddress::Sentinel { urls, master, password: None, tls: false }
    }
}

/// One instance.
pub(crate) struct Instance {
    number: usize,
    pub(crate) counters: Arc<Counters>,
    pub(crate) remote: Option<Remote>,
    pub(crate) books: Arc<Mutex<Books>>,
}

/// A request that was admitted.
pub(crate) struct Held {
    hold: Option<Hold>,
    user: String,
    org: Option<String>,
}

/// Why a request was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum No {
    Refused,
    Unavailable,
}

/// What a request is checked against and needs.
#[derive(Clone, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) user: &'a str,
    pub(crate) org: Option<&'a str>,
    pub(crate) checks: &'a [Check],
    /// By meter.
    pub(crate) needs: [i64; 3],
}

pub(crate) fn check(meter: MeterId, window: Window, scope: Scope, max: i64) -> Check {
    Check {
        counter: CounterKey { meter, window },
        scope,
        max: Max::AtMost(max),
        hard: true,
        concurrent: meter == JOBS,
        need: usize::from(meter.0),
        on_store_failure: OnStoreFailure::Lease,
        overdraw: 0,
        grace: Grace::None,
    }
}

/// Several instances that count in one place; in the process there is one.
pub(crate) fn instances(backend: Backend, redis: Option<&dyn Place>, many: usize) -> Vec<Instance> {
    let many = if backend == Backend::InProcess { 1 } else { many };
    let books = Books { journals: vec![Vec::new(); many], shipped: vec![0; many], ..Books::default() };
    let books = Arc::new(Mutex::new(Books { alive: vec![false; many], skews: vec![0; many], ..books }));
    (0..many).map(|number| Instance::start(backend, redis, number, &books)).collect()
}

impl Instance {
    /// Starts the instance whose journal has this number.
    pub(crate) fn start(
        backend: Backend,
        redis: Option<&dyn Place>,
        number: usize,
        books: &Arc<Mutex<Books>>,
    ) -> Self {
        let books = Arc::clone(books);
        if backend == Backend::InProcess {
            return Self { number, counters: Arc::new(Counters::new(10_000)), remote: None, books };
        }
        let address = redis.unwrap().address();
        let counters = Arc::new(Counters::leased(10_000, Remote::gate(&address)));
        lock(&books).alive[number] = true;
        let replay = replay(&lock(&books), number);
        let options = RemoteOptions {
            address,
            source: Arc::new(Memory { number, books: Arc::clone(&books) }),
            replay,
            kinds: kinds(),
            exact: backend == Backend::Redis,
        };
        let remote = Remote::start(Arc::clone(&counters), options).unwrap();
        Self { number, counters, remote: Some(remote), books }
    }

    /// Tries to get what `ask` needs, as a gateway does.
    pub(crate) fn take(&self, ask: &Ask<'_>) -> Result<Held, No> {
        self.take_within(ask, u32::MAX)
    }

    fn take_within(&self, ask: &Ask<'_>, asks_max: u32) -> Result<Held, No> {
        let subject = |scope, id| self.counters.subject(SubjectKey { scope, id }).unwrap();
        let user = subject(Scope::User, ask.user);
        let org = ask.org.map(|org| subject(Scope::Org, org));
        let parties = Parties { user: &user, org: org.as_ref() };
        let tracked = tracked();
        let tracked = if self.remote.is_some() { &*tracked } else { &[] };
        let terms =
            Terms { checks: ask.checks, needs: &ask.needs, warn_at: &[], mode: Mode::Enforce, tracked };
        let mut asked = tollgate_quota::Asked::default();
        let started = Instant::now();
        let mut asks = 0;
        while started.elapsed() < TRY_MAX && asks <= asks_max {
            match parties.admit_asked(terms, self.now(), asked) {
                Admission::Admitted { hold, .. } => {
                    let org = ask.org.map(str::to_owned);
                    return Ok(Held { hold: Some(hold), user: ask.user.to_owned(), org });
                }
                Admission::Refused { .. } => return Err(No::Refused),
                Admission::Unavailable { .. } => return Err(No::Unavailable),
                Admission::NotLoaded => self.load(parties, terms, ask),
                Admission::NotLeased => {
                    asks += 1;
                    asked = parties.begin_ask(terms, self.now());
                    if !wait(|cx| parties.poll_asked(asked, cx)) {
                        return Err(No::Unavailable);
                    }
                }
            }
        }
        Err(No::Unavailable)
    }

    /// Has `held` grow by what `ask` needs, as a gateway does.
    pub(crate) fn extend(&self, held: &mut Held, ask: &Ask<'_>) -> Result<(), No> {
        self.extend_within(held, ask, u32::MAX)
    }

    /// As [`Instance::extend`], for a request that asks the store only so often.
    pub(crate) fn extend_within(&self, held: &mut Held, ask: &Ask<'_>, asks_max: u32) -> Result<(), No> {
        let hold = held.hold.as_mut().unwrap();
        let mode = Mode::Enforce;
        let terms = Terms { checks: ask.checks, needs: &ask.needs, warn_at: &[], mode, tracked: &[] };
        let mut asked = tollgate_quota::Asked::default();
        let started = Instant::now();
        let mut asks = 0;
        while started.elapsed() < TRY_MAX && asks <= asks_max {
            match hold.extend(terms, asked) {
                Extension::Held => return Ok(()),
                Extension::Refused { .. } => return Err(No::Refused),
                Extension::Unavailable { .. } => return Err(No::Unavailable),
                Extension::NotLoaded => self.load(hold.parties(), terms, ask),
                Extension::NotLeased => {
                    asks += 1;
                    asked = hold.begin_ask(terms, asked);
                    if !wait(|cx| hold.parties().poll_asked(asked, cx)) {
                        return Err(No::Unavailable);
                    }
                }
            }
        }
        Err(No::Unavailable)
    }

    /// As [`Instance::extend`]; tries again while it cannot be told, as Redis may be slow on a busy machine.
    pub(crate) fn extend_patiently(&self, held: &mut Held, ask: &Ask<'_>) -> Result<(), No> {
        patiently(|| self.extend(held, ask))
    }

    /// What `ask` needs; tries again while that cannot be told, as Redis may be slow on a busy machine.
    pub(crate) fn take_patiently(&self, ask: &Ask<'_>) -> Held {
        let mut held = None;
        let _ = eventually(BOUND, || {
            held = Some(self.take(ask));
            !matches!(held, Some(Err(No::Unavailable)))
        });
        match held {
            Some(Ok(held)) => held,
            Some(Err(no)) => panic!("{no:?}"),
            None => panic!("not tried"),
        }
    }

    /// Takes and settles as much as was held; whether it was admitted.
    pub(crate) fn spend(&self, ask: &Ask<'_>) -> Result<(), No> {
        self.spend_within(ask, u32::MAX)
    }

    /// As [`Instance::spend`], for a request that asks the store only so often.
    pub(crate) fn spend_within(&self, ask: &Ask<'_>, asks_max: u32) -> Result<(), No> {
        let held = self.take_within(ask, asks_max)?;
        let charges = (0..3).map(|m| (MeterId(m), ask.needs[usize::from(m)])).filter(|(m, _)| *m != JOBS);
        self.settle(held, charges.collect());
        Ok(())
    }

    pub(crate) fn settle(&self, held: Held, charges: Vec<(MeterId, i64)>) {
        self.settle_at(held, None, charges);
    }

    fn settle_at(&self, mut held: Held, at: Option<UnixMillis>, charges: Vec<(MeterId, i64)>) {
        let hold = held.hold.take().unwrap();
        let at = at.unwrap_or(hold.at());
        let journal = || {
            let mut books = lock(&self.books);
            let mark = Mark(books.journals[self.number].len() as u64);
            let (user, org) = (held.user.clone(), held.org.clone());
            let line = Line { mark, user, org, at, charges: charges.clone() };
            books.journals[self.number].push(line);
            mark
        };
        hold.settle_at(at, journal, charges.iter().copied());
    }

    /// Settles what `ask` says, as used so long ago; beyond limits, too.
    pub(crate) fn settle_late(&self, ask: &Ask<'_>, ago: Duration) {
        let held = self.take_patiently(&Ask { checks: &[], ..ask.clone() });
        let charges = (0..3).map(|m| (MeterId(m), ask.needs[usize::from(m)])).collect();
        let at = UnixMillis(self.now().0 - i64::try_from(ago.as_millis()).unwrap());
        self.settle_at(held, Some(at), charges);
    }

    /// What requests in flight hold, as the counters have it.
    pub(crate) fn held(&self) -> i64 {
        self.counters.readings().iter().map(|reading| reading.usage.held).sum()
    }

    /// Ends as `kill -9` ends a process: nothing is given back, the journal stays.
    pub(crate) fn crash(self) -> usize {
        let Self { number, counters, remote, books } = self;
        lock(&books).alive[number] = false;
        // The thread cannot be killed: it is left without anything to talk about.
        let remote = remote.unwrap();
        remote.abandon();
        drop(counters);
        number
    }

    pub(crate) fn now(&self) -> UnixMillis {
        let offset = self.counters.gate().map_or(0, |gate| gate.clock_offset());
        UnixMillis(wall().0 + lock(&self.books).skews[self.number] + offset)
    }

    fn load(&self, parties: Parties<'_>, terms: Terms<'_>, ask: &Ask<'_>) {
        for ticket in parties.begin_load(terms, self.now()) {
            let mut books = lock(&self.books);
            books.ship(self.number);
            let id = if ticket.scope == Scope::Org { ask.org.unwrap_or(ask.user) } else { ask.user };
            let sum = |asked: &tollgate_quota::LoadSpan| {
                let amount = |line: &Line| line.amount((ticket.scope, id), asked.key.meter, asked.span);
                books.ledger.iter().map(amount).sum()
            };
            let sums: Vec<i64> = ticket.spans.iter().map(sum).collect();
            let watermark = Mark(books.shipped[self.number] as u64);
            drop(books);
            ticket.complete(&sums, watermark);
        }
    }
}

/// The journal and the ledger of one instance.
struct Memory {
    number: usize,
    books: Arc<Mutex<Books>>,
}

impl Source for Memory {
    fn instance(&self) -> String {
        format!("instance{}", self.number)
    }

    fn now(&self) -> UnixMillis {
        UnixMillis(wall().0 + lock(&self.books).skews[self.number])
    }

    fn tail(&self) -> Mark {
        Mark(lock(&self.books).journals[self.number].len() as u64)
    }

    fn flush(&self, reply: Reply<()>) {
        let mut books = lock(&self.books);
        if !books.away {
            books.ship(self.number);
        }
        reply((!books.away).then_some(()));
    }

    fn sums(&self, (scope, id): (Scope, &str), sums: Vec<(MeterId, Span)>, reply: Reply<LedgerSums>) {
        let books = lock(&self.books);
        let sum = |(meter, span): &(MeterId, Span)| {
            books.ledger.iter().map(|line| line.amount((scope, id), *meter, *span)).sum()
        };
        let sums = sums.iter().map(sum).collect();
        let mark = |(number, shipped): (usize, &usize)| (format!("instance{number}"), Mark(*shipped as u64));
        let watermarks = books.shipped.iter().enumerate().map(mark).collect();
        reply((!books.away).then_some(LedgerSums { sums, watermarks }));
    }

    fn instances(&self, reply: Reply<Vec<String>>) {
        let books = lock(&self.books);
        let alive = books.alive.iter().enumerate().filter(|(_, alive)| **alive);
        let alive = alive.map(|(number, _)| format!("instance{number}")).collect();
        reply((!books.away).then_some(alive));
    }

    fn meter(&self, id: MeterId) -> Option<Box<str>> {
        METERS.get(usize::from(id.0)).map(|name| (*name).into())
    }
}

fn replay(books: &Books, number: usize) -> Replay {
    let journal = &books.journals[number];
    let mut replay = Replay::new(Mark(0), Mark(journal.len() as u64));
    for Line { mark, user, org, at, charges } in journal {
        for (meter, amount) in charges {
            let meter = METERS[usize::from(meter.0)];
            replay.add((Scope::User, user), meter, *at, *mark, *amount);
            if let Some(org) = org {
                replay.add((Scope::Org, org), meter, *at, *mark, *amount);
            }
        }
    }
    replay
}

const WINDOWS: [Window; 3] = [Window::Minute, Window::Month, Window::Lifetime];

fn keys(meter: MeterId) -> Box<[CounterKey]> {
    let windows = if meter == JOBS { &WINDOWS[2..] } else { &WINDOWS[..] };
    windows.iter().map(|window| CounterKey { meter, window: *window }).collect()
}

fn kinds() -> Kinds {
    let kind = |meter: MeterId| {
        keys(meter).into_iter().map(move |key| Kind {
            meter: METERS[usize::from(meter.0)].into(),
            key,
            concurrent: meter == JOBS,
        })
    };
    [CALLS, TOKENS, JOBS].into_iter().flat_map(kind).collect()
}

fn tracked() -> Vec<Tracked> {
    let one =
        |meter| Tracked { meter, plan: 1, concurrent: meter == JOBS, user: keys(meter), org: keys(meter) };
    [CALLS, TOKENS, JOBS].into_iter().map(one).collect()
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

fn wall() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    UnixMillis(i64::try_from(since.as_millis()).unwrap())
}

/// Blocks until `poll` is ready; whether it was in time.
fn wait(mut poll: impl FnMut(&mut Context<'_>) -> Poll<()>) -> bool {
    struct Unpark(thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    let end = Instant::now() + TRY_MAX;
    while poll(&mut cx).is_pending() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        thread::park_timeout(left);
    }
    true
}

/// Tries until the answer is another one than "unavailable".
pub(crate) fn patiently(mut spend: impl FnMut() -> Result<(), No>) -> Result<(), No> {
    let mut last = Err(No::Unavailable);
    let _ = eventually(BOUND, || {
        last = spend();
        last != Err(No::Unavailable)
    });
    last
}
