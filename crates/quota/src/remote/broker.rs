//! The thread: who is to be asked about, what has to be given back, and signs of life.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    panic::AssertUnwindSafe,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use deadpool_redis::redis::{Value, pipe};
use futures_util::{FutureExt, StreamExt, stream};
use tokio::{
    sync::{Notify, Semaphore},
    time,
};
use tollgate_core::UnixMillis;

use super::{
    CALL_MAX, DEAD_AFTER, HEARTBEAT_PERIOD, PROBE_PERIOD, RedisError, RemoteOptions, Shared, Source,
    call::{self, BEAT},
    epochs::{self, Epochs},
    keys, lock,
    replay::Replay,
    store::Store,
};
use crate::{
    Counters, Gate, Mark, Subject, SubjectKey,
    ask::enqueue,
    counter::Counter,
    lease::{CallId, Lease},
    subject::Book,
};

/// Calls under way at once: Redis works through them one after the other, and what waits there waits on the
/// clock of [`CALL_MAX`].
const TALKS_MAX: usize = 32;
/// A subject that nothing was admitted for in this time gives back what it has.
const IDLE_MILLIS: i64 = 10_000;
/// What was spent is told at least this often, so that a crash leaves little to be found in the journal.
const TELL_MILLIS: i64 = 60_000;
/// What may be given back at the end.
const FAREWELL_MAX: Duration = Duration::from_secs(2);

/// All that the thread knows.
pub(super) struct Broker {
    pub(super) shared: Arc<Shared>,
    pub(super) gate: Arc<Gate>,
    pub(super) counters: Arc<Counters>,
    pub(super) source: Arc<dyn Source>,
    pub(super) store: Store,
    pub(super) replay: Replay,
    pub(super) epochs: Epochs,
    pub(super) instance: String,
    pub(super) exact: bool,
    next_call: Cell<u64>,
    /// Who had said that it lives, and how long ago (ms), at an instant: no clock that can be set has a say.
    instances: RefCell<(time::Instant, HashMap<String, i64>)>,
    /// Those of them that the ledger's database has heard of, since Redis has not heard of all; none while
    /// that is not known.
    elsewhere: RefCell<Option<Vec<String>>>,
    /// Whether the ledger is being asked who lives.
    asks_ledger: Cell<bool>,
    /// Since when Redis has answered without a break: who could not say that it lives may live.
    answers_since: Cell<Option<time::Instant>>,
    active: RefCell<Vec<Arc<Subject>>>,
    pub(super) talks: Semaphore,
    pub(super) look: Notify,
}

/// Runs until told to stop.
pub(super) fn run(shared: Arc<Shared>, counters: Arc<Counters>, options: RemoteOptions) {
    let RemoteOptions { address, source, replay, kinds: _, exact } = options;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default());
    let (runtime, store) = match (runtime, Store::new(address, CALL_MAX)) {
        (Ok(runtime), Ok(store)) => (runtime, store),
        (Err(error), _) => {
            return tracing::error!(%error, "no counters: the thread that talks to Redis cannot run");
        }
        (_, Err(error)) => {
            return tracing::error!(%error, "no counters: this is no address of Redis");
        }
    };
    // Unlike a number that begins at one, unlike any call of an earlier process.
    let first_call = u64::try_from(source.now().0).unwrap_or(0).saturating_mul(1000);
    let broker = Rc::new(Broker {
        gate: Arc::clone(&shared.gate),
        epochs: Epochs::new(shared.gate.buckets()),
        shared,
        counters,
        instance: source.instance(),
        source,
        store,
        replay,
        exact,
        next_call: Cell::new(first_call),
        instances: RefCell::new((time::Instant::now(), HashMap::new())),
        elsewhere: RefCell::default(),
        asks_ledger: Cell::new(false),
        answers_since: Cell::new(None),
        active: RefCell::default(),
        talks: Semaphore::new(TALKS_MAX),
        look: Notify::new(),
    });
    runtime.block_on(broker.run());
}

impl Broker {
    async fn run(self: Rc<Self>) {
        let tasks = [
            tokio::task::spawn_local(Rc::clone(&self).live()),
            tokio::task::spawn_local(Rc::clone(&self).watch()),
            tokio::task::spawn_local(Rc::clone(&self).listen()),
        ];
        let mut tick = time::interval(HEARTBEAT_PERIOD);
        tick.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.gate.queued.notified() => {}
                _ = tick.tick() => self.tend(),
                () = self.shared.stopped.notified() => {}
            }
            if self.shared.stop.load(Ordering::Acquire) {
                break;
            }
            if tasks.iter().any(tokio::task::JoinHandle::is_finished) {
                // By a panic: without them nothing here can be relied on.
                return;
            }
            for subject in self.gate.take_asking() {
                tokio::task::spawn_local(Rc::clone(&self).serve(subject));
            }
        }
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
        if !self.shared.abandoned.load(Ordering::Acquire) {
            let _ = time::timeout(FAREWELL_MAX, self.say_farewell()).await;
        }
    }

    /// Makes up the subject's mind about a call, and wakes those who wait for it.
    async fn serve(self: Rc<Self>, subject: Arc<Subject>) {
        self.serve_one(&subject, false).await;
    }

    async fn serve_one(&self, subject: &Arc<Subject>, farewell: bool) {
        let (number, asked) = {
            let mut book = subject.lock();
            book.calls.queued = false;
            book.calls.talking = true;
            book.calls.begun += 1;
            let number = book.calls.begun;
            let mut asked = false;
            for counter in &mut book.counters {
                if let Some(lease) = counter.lease_mut() {
                    lease.begin();
                    asked |= lease.asks();
                }
            }
            (number, asked)
        };
        // Whatever goes wrong with one subject, those who wait for it hear of it.
        let talk = AssertUnwindSafe(self.talk(subject, number, farewell)).catch_unwind();
        let talked = talk.await.unwrap_or(false);
        let mut book = subject.lock();
        for counter in &mut book.counters {
            if let Some(lease) = counter.lease_mut() {
                lease.end();
            }
        }
        book.calls.ended = number;
        if !talked {
            book.calls.failed = number;
        }
        book.calls.talking = false;
        // Heard of by the answer; whoever has just been granted something answers when it is used.
        let owes = |counter: &Counter| counter.lease().is_some_and(Lease::owes_answer);
        if !asked && !farewell && talked && book.counters.iter().any(owes) {
            book.calls.queued = true;
        }
        let has_some = |counter: &Counter| counter.lease().is_some_and(|l| !l.is_settled(counter.usage.held));
        if !book.calls.active && book.counters.iter().any(has_some) {
            // Nobody may come to use what was granted.
            book.calls.active = true;
            self.gate.activate(Arc::clone(subject));
        }
        book.wake_waiters();
        if book.calls.queued {
            self.gate.ask(Arc::clone(subject));
        }
    }

    /// Gives back what idle subjects have, and tells what has not been told for long.
    fn tend(&self) {
        let mut active = self.active.borrow_mut();
        active.extend(self.gate.take_active());
        let now = self.now();
        active.retain(|subject| {
            let Some(member) = &subject.member else { return false };
            let mut book = subject.lock();
            let idle = now.since(book.horizon) > IDLE_MILLIS;
            let told = book.calls.told_at.is_some_and(|at| now.since(at) < TELL_MILLIS);
            let settled = book
                .counters
                .iter()
                .all(|counter| counter.lease().is_none_or(|lease| lease.is_settled(counter.usage.held)));
            if settled && book.holds == 0 && !book.calls.queued && !book.calls.talking {
                book.calls.active = false;
                return false;
            }
            if !settled && (idle || !told) {
                book.calls.give_back = idle;
                if !self.gate.is_down() && member.generation() > 0 {
                    enqueue(subject, &mut book);
                }
            }
            true
        });
    }

    /// Says that this instance lives, for as long as it does.
    async fn live(self: Rc<Self>) {
        loop {
            let period = if self.store.is_open() { PROBE_PERIOD } else { HEARTBEAT_PERIOD };
            let next = time::Instant::now() + period;
            let beat = self.beat().await;
            self.note(&beat);
            if beat.is_ok() {
                self.look_for_silent();
                self.store.check_master().await;
                self.look.notify_one();
            }
            time::sleep_until(next).await;
        }
    }

    /// Looks at the epoch. Apart from the signs of life, as the ledger may take its time.
    async fn watch(self: Rc<Self>) {
        loop {
            self.look.notified().await;
            // Who does something before it has said that it lives would be taken for dead.
            let has_said = !self.instances.borrow().1.is_empty();
            if has_said && !self.store.is_open() {
                self.epochs.look(&self).await;
            }
        }
    }

    /// Remembers whether the store answers.
    pub(super) fn note<T>(&self, result: &Result<T, RedisError>) {
        match result {
            Ok(_) if self.answers_since.get().is_none() => self.answers_since.set(Some(time::Instant::now())),
            Ok(_) => {}
            Err(_) => self.answers_since.set(None),
        }
        self.gate.set_failing(result.is_err());
        let was_down = self.gate.is_down();
        let is_down = self.store.is_open();
        {
            let mut status = lock(&self.shared.status);
            status.calls = status.calls.saturating_add(1);
            if let Err(error) = result {
                status.failures = status.failures.saturating_add(1);
                status.last_error = Some(error.to_string());
            }
        }
        if was_down == is_down {
            return;
        }
        self.gate.set_down(is_down);
        match result {
            Err(error) => tracing::error!(%error, "Redis does not answer: limits follow on_store_failure"),
            Ok(_) => tracing::info!("Redis answers again"),
        }
    }

    async fn beat(&self) -> Result<(), RedisError> {
        let sent = time::Instant::now();
        let mut script = BEAT.prepare_invoke();
        script.key(keys::INSTANCES).arg(&self.instance);
        let (is_new, silences) = call::silences(&self.store.probe::<Value>(&script).await?)?;
        if is_new {
            // The node that has this, and may have no counters, was emptied: others are not heard of yet.
            self.answers_since.set(None);
        }
        self.instances.replace((sent, silences));
        Ok(())
    }

    /// Asks the ledger about instances that Redis does not hear of. Where one lives, this may be a master that
    /// was replaced, and the others have found its successor.
    fn look_for_silent(self: &Rc<Self>) {
        if !self.instances.borrow().1.keys().any(|id| self.is_silent(id)) {
            self.elsewhere.replace(None);
            return;
        }
        if self.asks_ledger.replace(true) {
            return;
        }
        let broker = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let alive = epochs::who_lives(&broker).await.ok();
            broker.elsewhere.replace(alive);
            broker.asks_ledger.set(false);
        });
    }

    fn is_silent(&self, instance: &str) -> bool {
        let (heard, silences) = &*self.instances.borrow();
        let since = i64::try_from(heard.elapsed().as_millis()).unwrap_or(i64::MAX);
        let after = i64::try_from(DEAD_AFTER.as_millis()).unwrap_or(i64::MAX);
        silences.get(instance).is_none_or(|silence| silence.saturating_add(since) >= after)
    }

    /// Whether an instance may still be at work.
    pub(super) fn is_alive(&self, instance: &str) -> bool {
        if self.answers_since.get().is_none_or(|since| since.elapsed() < DEAD_AFTER) {
            return true;
        }
        if !self.is_silent(instance) {
            return true;
        }
        // One that has said farewell is not among the instances, and has nothing.
        let known = self.instances.borrow().1.contains_key(instance);
        let elsewhere = self.elsewhere.borrow();
        known && elsewhere.as_ref().is_none_or(|alive| alive.iter().any(|id| id == instance))
    }

    /// Those that are known and not alive.
    pub(super) fn dead(&self) -> String {
        let (_, silences) = &*self.instances.borrow();
        let dead = silences.keys().filter(|id| !self.is_alive(id) && **id != self.instance);
        dead.map(String::as_str).collect::<Vec<_>>().join(" ")
    }

    /// Hears what others want back, and of new epochs.
    async fn listen(self: Rc<Self>) {
        loop {
            if let Ok(Ok(mut listener)) =
                time::timeout(HEARTBEAT_PERIOD, self.store.listen(&[keys::RECALL, keys::EPOCH])).await
            {
                let mut messages = listener.on_message();
                loop {
                    // A server that was left may be silent for ever.
                    let message = tokio::select! {
                        message = messages.next() => message,
                        () = self.store.reconnected.notified() => None,
                    };
                    let Some(message) = message else { break };
                    if message.get_channel_name() == keys::EPOCH {
                        self.look.notify_one();
                    } else if let Ok(text) = message.get_payload::<String>() {
                        self.recall(&text);
                    }
                }
            }
            time::sleep(PROBE_PERIOD).await;
        }
    }

    /// A message names who has something, which recall it is, and of which counter.
    fn recall(&self, message: &str) {
        let Some((holders, rest)) = message.split_once('\n') else { return };
        let Some((number, key)) = rest.split_once('\n') else { return };
        let Ok(number) = number.parse() else { return };
        if !holders.split(' ').any(|holder| holder == self.instance) {
            return;
        }
        let Some(parsed) = keys::parse(key) else { return };
        let kind = lock(&self.shared.kinds).find(parsed.meter, parsed.window).cloned();
        let Some(kind) = kind else { return };
        // An earlier process may have left something of a subject that this one never saw.
        let subject = self.counters.subject(SubjectKey { scope: parsed.scope, id: parsed.id });
        let Ok(subject) = subject else { return };
        let mut book = subject.lock();
        let position = book.position_or_new(kind.key, kind.concurrent, true);
        let Book { calendar, counters, .. } = &mut *book;
        let counter = &mut counters[position];
        counter.turn_to(self.now(), calendar);
        if keys::start(counter.span) != parsed.start {
            return;
        }
        if let Some(lease) = counter.lease_mut() {
            lease.recall(number);
            let mut status = lock(&self.shared.status);
            status.recalls = status.recalls.saturating_add(1);
        }
        book.calls.give_back = true;
        enqueue(&subject, &mut book);
    }

    /// Returns everything, and says that this instance is gone.
    async fn say_farewell(&self) {
        let mut subjects = self.active.take();
        subjects.extend(self.gate.take_active());
        stream::iter(subjects)
            .for_each_concurrent(TALKS_MAX, async |subject| {
                if !self.store.is_open() {
                    subject.lock().calls.give_back = true;
                    self.serve_one(&subject, true).await;
                }
            })
            .await;
        if self.store.is_open() {
            return;
        }
        let mut commands = pipe();
        commands.cmd("HDEL").arg(keys::INSTANCES).arg(&self.instance);
        let _ = self.store.pipeline::<Value>(&commands).await;
    }

    /// The time, as Redis tells it.
    pub(super) fn now(&self) -> UnixMillis {
        UnixMillis(self.source.now().0.saturating_add(self.gate.clock_offset()))
    }

    pub(super) fn next_call(&self) -> CallId {
        self.next_call.set(self.next_call.get() + 1);
        CallId(self.next_call.get())
    }

    pub(super) fn tail(&self) -> Mark {
        self.source.tail()
    }
}
