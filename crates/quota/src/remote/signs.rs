//! Signs of life: this instance's own, and what is known of the others.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
};

use deadpool_redis::redis::Value;
use tokio::time::{self, Instant};

use super::{
    DEAD_AFTER, HEARTBEAT_PERIOD, PROBE_PERIOD, RedisError,
    broker::Broker,
    call::{self, BEAT},
    epochs, keys,
};

/// Who has said that it lives.
pub(super) struct Signs {
    /// How long ago each had said so (ms), at an instant: no clock that can be set has a say.
    instances: RefCell<(Instant, HashMap<String, i64>)>,
    /// Those of them that the ledger's database has heard of, since Redis has not heard of all; none while
    /// that is not known.
    elsewhere: RefCell<Option<Vec<String>>>,
    /// Whether the ledger is being asked who lives.
    asks_ledger: Cell<bool>,
    /// Since when Redis has answered without a break: who could not say that it lives may live.
    answers_since: Cell<Option<Instant>>,
}

impl Signs {
    pub(super) fn new() -> Self {
        Self {
            instances: RefCell::new((Instant::now(), HashMap::new())),
            elsewhere: RefCell::default(),
            asks_ledger: Cell::new(false),
            answers_since: Cell::new(None),
        }
    }

    /// Remembers whether Redis has answered.
    pub(super) fn note(&self, answered: bool) {
        let since = self.answers_since.get().unwrap_or_else(Instant::now);
        self.answers_since.set(answered.then_some(since));
    }

    /// Whether any instance has been heard of: this one, if none else, once it has said that it lives.
    pub(super) fn are_heard(&self) -> bool {
        !self.instances.borrow().1.is_empty()
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

    /// Those that are known and not alive, but for this `instance`.
    pub(super) fn dead(&self, instance: &str) -> String {
        let (_, silences) = &*self.instances.borrow();
        let dead = silences.keys().filter(|id| !self.is_alive(id) && **id != instance);
        dead.map(String::as_str).collect::<Vec<_>>().join(" ")
    }
}

impl Broker {
    /// Says that this instance lives, for as long as it does.
    pub(super) async fn live(self: Rc<Self>) {
        loop {
            let period = if self.store.is_open() { PROBE_PERIOD } else { HEARTBEAT_PERIOD };
            let next = Instant::now() + period;
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

    async fn beat(&self) -> Result<(), RedisError> {
        let sent = Instant::now();
        let mut script = BEAT.prepare_invoke();
        script.key(keys::INSTANCES).arg(&self.instance);
        let (is_new, silences) = call::silences(&self.store.probe::<Value>(&script).await?)?;
        if is_new {
            // The node that has this, and may have no counters, was emptied: others are not heard of yet.
            self.signs.answers_since.set(None);
        }
        self.signs.instances.replace((sent, silences));
        Ok(())
    }

    /// Asks the ledger about instances that Redis does not hear of. Where one lives, this may be a master that
    /// was replaced, and the others have found its successor.
    fn look_for_silent(self: &Rc<Self>) {
        let signs = &self.signs;
        if !signs.instances.borrow().1.keys().any(|id| signs.is_silent(id)) {
            signs.elsewhere.replace(None);
            return;
        }
        if signs.asks_ledger.replace(true) {
            return;
        }
        let broker = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let alive = epochs::who_lives(&broker).await.ok();
            broker.signs.elsewhere.replace(alive);
            broker.signs.asks_ledger.set(false);
        });
    }
}
