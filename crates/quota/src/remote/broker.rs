//! The thread: who is to be asked about, and what has to be given back.

use std::{
    cell::{Cell, RefCell},
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
    CALL_MAX, HEARTBEAT_PERIOD, PROBE_PERIOD, RedisError, RemoteOptions, Shared, Source, epochs::Epochs,
    keys, lock, replay::Replay, signs::Signs, store::Store,
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
    pub(super) signs: Signs,
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
        signs: Signs::new(),
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
                _ = tick.tick() => {
                    self.tend();
                    tokio::task::spawn_local(Rc::clone(&self).tend_claims());
                }
                () = self.shared.stopped.notified() => {}
            }
            if self.shared.stop.load(Ordering::Acquire) {
                break;
            }
            if tasks.iter().any(tokio::task::JoinHandle::is_finished) {
                // By a panic: without them nothing here can be relied on.
                return;
            }
            for order in self.shared.claims.take_orders() {
                tokio::task::spawn_local(Rc::clone(&self).obey(order));
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

    /// Looks at the epoch. Apart from the signs of life, as the ledger may take its time.
    async fn watch(self: Rc<Self>) {
        loop {
            self.look.notified().await;
            // Who does something before it has said that it lives would be taken for dead.
            if self.signs.are_heard() && !self.store.is_open() {
                self.epochs.look(&self).await;
            }
        }
    }

    /// Remembers whether the store answers.
    pub(super) fn note<T>(&self, result: &Result<T, RedisError>) {
        self.signs.note(result.is_ok());
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
    async fn say_farewell(self: &Rc<Self>) {
        self.let_go().await;
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
