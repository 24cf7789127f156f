//! The epoch of each bucket: joined, activated, lost.

use std::{cell::RefCell, collections::VecDeque, sync::Arc, time::Duration};

use deadpool_redis::redis::{ScriptInvocation, Value};
use futures_util::future::join_all;
use tokio::{
    sync::{Notify, OnceCell, oneshot},
    time,
};
use tollgate_core::UnixMillis;

use super::{
    RedisError,
    broker::Broker,
    call::{CARRY, EPOCH, EpochView},
    keys::{self, Kinds},
    lock,
};
use crate::{Mark, Subject};

/// From one step of a new epoch to the next.
const STEP: Duration = Duration::from_millis(20);
/// Longest time that a subject's talk waits for a new epoch.
const WAIT_MAX: Duration = Duration::from_millis(1500);
/// Longest time for the ledger to say who lives.
const LEDGER_MAX: Duration = Duration::from_secs(5);
/// Epochs that are remembered: more than begin while a server hangs.
const LEFT_MAX: usize = 64;
/// Counters that are brought along in one script.
const CARRIED_MAX: usize = 500;

/// Why a step towards a new epoch was not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error("the ledger does not answer")]
    Ledger,
    #[error("this is a master that was replaced and does not know it")]
    Replaced,
}

/// What is known of the buckets' epochs.
pub(super) struct Epochs {
    states: RefCell<Vec<State>>,
    changed: Notify,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// The epoch that this instance has joined.
    id: String,
    active: bool,
    /// What this instance counted when it joined.
    kinds: Kinds,
    /// The epochs that it has left, the newest last. None comes again, but on a master that hung or was cut
    /// off while another took its place.
    left: VecDeque<String>,
}

/// The instances that are alive, asked for once in a round of steps.
type Alive = OnceCell<Vec<String>>;

/// A counter of a request in flight, brought along into a new epoch.
struct Carried {
    subject: Arc<Subject>,
    position: usize,
    turn: u32,
    name: String,
    held: i64,
    end: i64,
}

impl Epochs {
    pub(super) fn new(buckets: usize) -> Self {
        Self { states: RefCell::new(vec![State::default(); buckets]), changed: Notify::new() }
    }

    /// The epoch in force, if it is known to be.
    pub(super) fn current(&self, bucket: usize) -> Option<String> {
        let states = self.states.borrow();
        states.get(bucket).filter(|state| state.active).map(|state| state.id.clone())
    }

    /// The epoch in force, as soon as there is one; none if there is none soon.
    pub(super) async fn wait(&self, broker: &Broker, bucket: usize) -> Option<String> {
        // What has taken longer than that already is not waited for by everybody anew.
        let end = time::Instant::now() + WAIT_MAX.saturating_sub(broker.gate.rebuilding());
        loop {
            let changed = self.changed.notified();
            if let Some(epoch) = self.current(bucket) {
                return Some(epoch);
            }
            if broker.store.is_open() {
                return None;
            }
            broker.look.notify_one();
            time::timeout_at(end, changed).await.ok()?;
        }
    }

    /// The epoch is not the one that was known.
    pub(super) fn gone(&self, bucket: usize) {
        if let Some(state) = self.states.borrow_mut().get_mut(bucket) {
            state.active = false;
        }
    }

    /// Redis has lost what it knew, and does not know it.
    pub(super) async fn invalidate(&self, broker: &Broker, bucket: usize) {
        let Some(id) = self.current(bucket) else { return };
        tracing::warn!(bucket, "Redis has lost counters: they are rebuilt from the ledger");
        self.gone(bucket);
        let kinds = lock(&broker.shared.kinds).joined_with("");
        let formed = self.form(broker, bucket, &id, &kinds).await;
        broker.note(&formed);
        broker.look.notify_one();
    }

    /// Makes one step towards an active epoch in each bucket, and has the next one made soon.
    pub(super) async fn look(&self, broker: &Broker) {
        let mut rebuilding = false;
        let alive = OnceCell::new();
        // All at once: a cluster's node that is away must not hold up what lies on others.
        let steps = (0..broker.gate.buckets()).map(|bucket| self.step(broker, bucket, &alive));
        for (bucket, step) in join_all(steps).await.into_iter().enumerate() {
            match step {
                Ok(true) => {}
                Ok(false) => rebuilding = true,
                Err(error) => {
                    tracing::debug!(bucket, %error, "no epoch");
                    rebuilding = true;
                }
            }
        }
        lock(&broker.shared.status).rebuilding = rebuilding;
        broker.gate.set_rebuilding(rebuilding);
        self.changed.notify_waiters();
        if rebuilding && !broker.store.is_open() {
            time::sleep(STEP).await;
            broker.look.notify_one();
        }
    }

    /// Whether the bucket's epoch is active.
    async fn step(&self, broker: &Broker, bucket: usize, alive: &Alive) -> Result<bool, StepError> {
        let mut look = EPOCH.prepare_invoke();
        look.key(keys::epoch(bucket)).arg("look");
        let mut view = self.view(broker, &look).await?;
        if self.has_left(bucket, &view.id) {
            self.gone(bucket);
            broker.store.leave();
            return Err(StepError::Replaced);
        }
        let kinds = lock(&broker.shared.kinds).clone();
        // What this instance has not counted from the epoch's beginning, others may have begun to count.
        let counts_more = self.states.borrow().get(bucket).is_some_and(|state| {
            state.id == view.id && !state.id.is_empty() && !state.kinds.contains_all(&kinds)
        });
        if view.id.is_empty() || counts_more || !kinds.are_in(&view.kinds) {
            let all = kinds.joined_with(&view.kinds);
            view = self.form(broker, bucket, &view.id, &all).await?;
        }
        let joined = self.states.borrow().get(bucket).is_some_and(|state| state.id == view.id);
        if view.active {
            if !joined {
                self.bring_over(broker, bucket, (&view.id, &kinds), false).await?;
            }
            self.enter(broker, bucket, &view);
            return Ok(true);
        }
        self.gone(bucket);
        if !joined {
            self.bring_over(broker, bucket, (&view.id, &kinds), true).await?;
        }
        let mut activate = EPOCH.prepare_invoke();
        activate.key(keys::epoch(bucket)).arg("activate").arg(&view.id).arg(&broker.instance);
        for instance in alive.get_or_try_init(|| who_lives(broker)).await? {
            activate.arg(instance);
        }
        let view = self.view(broker, &activate).await?;
        if view.active {
            self.enter(broker, bucket, &view);
        } else {
            tracing::debug!(bucket, waiting_for = view.missing, "an epoch forms");
        }
        Ok(view.active)
    }

    fn has_left(&self, bucket: usize, id: &str) -> bool {
        self.states.borrow().get(bucket).is_some_and(|state| state.left.iter().any(|left| left == id))
    }

    fn enter(&self, broker: &Broker, bucket: usize, view: &EpochView) {
        let mut states = self.states.borrow_mut();
        let Some(state) = states.get_mut(bucket) else { return };
        if state.id == view.id && !state.active {
            broker.gate.open(bucket, view.since);
            state.active = true;
            let mut status = lock(&broker.shared.status);
            status.epochs = status.epochs.saturating_add(1);
        } else if broker.gate.since(bucket) == UnixMillis::MAX {
            broker.gate.open(bucket, view.since);
        }
    }

    async fn view(&self, broker: &Broker, script: &ScriptInvocation<'_>) -> Result<EpochView, RedisError> {
        let sent = (time::Instant::now(), broker.source.now());
        let result = broker.store.probe::<Value>(script).await.and_then(|value| EpochView::read(&value));
        broker.note(&result);
        if let Ok(view) = &result {
            broker.set_clock(sent, view.now, false);
        }
        result
    }

    async fn form(
        &self,
        broker: &Broker,
        bucket: usize,
        old: &str,
        kinds: &str,
    ) -> Result<EpochView, RedisError> {
        let id = format!("{}-{}", broker.instance, broker.next_call().0);
        let mut form = EPOCH.prepare_invoke();
        form.key(keys::epoch(bucket)).arg("form").arg(old).arg(id).arg(kinds);
        self.view(broker, &form).await
    }

    /// Voids all leases of the bucket, has the ledger take all that is journalled, brings along what is
    /// held, and joins.
    async fn bring_over(
        &self,
        broker: &Broker,
        bucket: usize,
        (epoch, kinds): (&str, &Kinds),
        forming: bool,
    ) -> Result<(), StepError> {
        broker.gate.freeze(bucket);
        // What is settled from here on may be in the ledger's sums or not.
        let mark = broker.tail();
        let first = self.states.borrow().get(bucket).is_none_or(|state| state.id.is_empty());
        let (carried, horizon) = void(broker, bucket, first);
        if !broker.flush().await {
            return Err(StepError::Ledger);
        }
        broker.carry_claims(bucket).await?;
        let is_first = self.states.borrow().get(bucket).is_some_and(|state| state.id.is_empty());
        if is_first {
            broker.drop_left_claims(bucket).await?;
        }
        if forming {
            self.carry(broker, (bucket, epoch), mark, &carried).await?;
            let mut join = EPOCH.prepare_invoke();
            join.key(keys::epoch(bucket)).arg("join").arg(epoch).arg(&broker.instance);
            join.arg(horizon.0.max(0));
            self.view(broker, &join).await?;
        }
        if let Some(state) = self.states.borrow_mut().get_mut(bucket) {
            let old = std::mem::replace(&mut state.id, epoch.to_owned());
            state.active = false;
            state.kinds = kinds.clone();
            state.left.extend(Some(old).filter(|old| !old.is_empty()));
            if state.left.len() > LEFT_MAX {
                state.left.pop_front();
            }
        }
        Ok(())
    }

    async fn carry(
        &self,
        broker: &Broker,
        (bucket, epoch): (usize, &str),
        mark: Mark,
        carried: &[Carried],
    ) -> Result<(), RedisError> {
        let id = broker.next_call();
        for some in carried.chunks(CARRIED_MAX) {
            let mut script = CARRY.prepare_invoke();
            script.key(keys::epoch(bucket)).arg(&broker.instance).arg(epoch).arg(id.0).arg(mark.0);
            for counter in some {
                script.key(&counter.name).arg(counter.held).arg(counter.end);
            }
            let result = broker.store.probe::<Value>(&script).await;
            broker.note(&result);
            result?;
            for Carried { subject, position, turn, .. } in some {
                let mut book = subject.lock();
                if let Some(counter) = book.counters.get_mut(*position)
                    && counter.generation == *turn
                    && let Some(lease) = counter.lease_mut()
                {
                    lease.carried_over(id, broker.gate.generation(bucket));
                }
            }
        }
        Ok(())
    }
}

/// What requests in flight hold in the bucket, and when the latest was admitted; nothing else counts
/// any longer.
fn void(broker: &Broker, bucket: usize, first: bool) -> (Vec<Carried>, UnixMillis) {
    let (mut carried, mut horizon) = (Vec::new(), UnixMillis::MIN);
    broker.counters.for_each(|subject| {
        let Some(member) = subject.member.as_ref().filter(|member| member.bucket == bucket) else {
            return;
        };
        let mut book = subject.lock();
        horizon = horizon.max(book.horizon);
        for (position, counter) in book.counters.iter_mut().enumerate() {
            let (held, span, key, turn) = (counter.usage.held, counter.span, counter.key, counter.generation);
            counter.earlier = None;
            let Some(lease) = counter.lease_mut() else { continue };
            lease.carry_over(held, first);
            let kinds = lock(&broker.shared.kinds);
            let Some(meter) = kinds.meter(key.meter).filter(|_| held > 0) else { continue };
            let name = keys::counter(bucket, (member.scope, &member.id), meter, key.window, span);
            let subject = Arc::clone(subject);
            carried.push(Carried { subject, position, turn, name, held, end: keys::end(span) });
        }
    });
    (carried, horizon)
}

/// The instances that are alive, as far as the ledger's database knows.
pub(super) async fn who_lives(broker: &Broker) -> Result<Vec<String>, StepError> {
    let (reply, answer) = oneshot::channel();
    broker.source.instances(Box::new(move |alive| {
        let _ = reply.send(alive);
    }));
    let alive = time::timeout(LEDGER_MAX, answer).await.ok().and_then(Result::ok).flatten();
    alive.ok_or(StepError::Ledger)
}
