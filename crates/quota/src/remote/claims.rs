//! Claims: what one instance alone may change, for as long as it has it.
//!
//! Contract
//! - At most one instance has a claim, as long as Redis keeps its data; when it loses that, nothing is claimed until
//!   all live instances have brought theirs along into the new epoch.
//! - Whoever claims what it has already, has it: also what an earlier process with the same journal left. What that
//!   left and nobody asks for is let go when the instance has joined its first epoch, which is after the ledger has
//!   taken its journal.
//! - A claim ends by itself after [`CLAIM_MAX`], unless it is renewed, as it is while its instance lives.

use std::{
    collections::HashMap,
    rc::Rc,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use deadpool_redis::redis::{ScriptInvocation, pipe};
use tokio::time::{self, Instant};
use tollgate_core::Scope;

use super::{
    RedisError, Remote,
    broker::Broker,
    call::{CLAIM, UNCLAIM},
    keys,
};

/// How long a claim outlives its instance: longer than one that was killed takes to be started again.
const CLAIM_MAX: Duration = Duration::from_secs(600);
/// A claim is renewed when it is so old: there is time for several attempts.
const RENEW_AFTER: Duration = Duration::from_secs(200);
/// From one look at a claim that others have to the next: at first, and at most.
const LOOK_MIN: Duration = Duration::from_millis(2);
const LOOK_MAX: Duration = Duration::from_millis(50);
/// For how long an instance that was told that others have something is the next to have it: it asks again at least
/// once meanwhile, also when calls are slow. Without that, who lets go and claims again at once would keep it.
const NEXT_MAX: Duration = Duration::from_millis(250);
/// A call that reaches Redis so much later than it was made does nothing: its claim may have been given up. More than
/// clocks differ.
const LATE_MILLIS: i64 = 2000;
/// When a claim is given up that may have been made by a call without an answer: no such call can come after that.
const GIVE_UP_AFTER: Duration = Duration::from_millis(4500);
/// Claims that are renewed or let go of after one sign of life: the next one comes in a second.
const AT_ONCE_MAX: usize = 1000;
/// Claims that could not be let go of while Redis was away; more end by themselves after [`CLAIM_MAX`].
const LOOSE_MAX: usize = 65_536;

/// What is claimed: something of an owner's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimName {
    /// Whose.
    pub scope: Scope,
    /// The owner's id.
    pub owner: Box<str>,
    /// Which of the owner's.
    pub id: Box<str>,
}

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// This instance has it.
    Ours,
    /// Another instance has it, and had it for as long as was waited.
    Taken,
    /// Redis does not answer, or is being rebuilt.
    Away,
}

/// Takes the answer to [`Remote::claim`].
pub type ClaimReply = Box<dyn FnOnce(Claimed) + Send>;

/// What the thread is asked for.
pub(super) enum Order {
    Claim { name: ClaimName, wait_max: Duration, reply: ClaimReply },
    Release { name: ClaimName },
}

/// What is asked for, and what this instance has.
#[derive(Default)]
pub(super) struct Claims {
    orders: Mutex<Vec<Order>>,
    held: Mutex<HashMap<ClaimName, Held>>,
    /// Claims that are to be let go of, and may be Redis's still.
    loose: Mutex<Vec<Loose>>,
}

/// A claim that is to be let go of.
struct Loose {
    name: ClaimName,
    number: u64,
    /// Not before this.
    after: Instant,
}

/// A claim that this instance has.
#[derive(Clone, Copy, Debug)]
struct Held {
    number: u64,
    renewed: Instant,
}

impl Claims {
    pub(super) fn take_orders(&self) -> Vec<Order> {
        std::mem::take(&mut lock(&self.orders))
    }

    fn held_in(&self, broker: &Broker, bucket: usize) -> Vec<(ClaimName, u64)> {
        let held = lock(&self.held);
        let here = held.iter().filter(|(name, _)| broker.counters.bucket(&name.owner) == bucket);
        here.map(|(name, held)| (name.clone(), held.number)).collect()
    }
}

impl Remote {
    /// Claims `name`, waiting for others to let go of it for at most `wait_max`. `reply` is called exactly once, on the
    /// thread that talks to Redis or, when that has ended, on this one; it must not wait for anything.
    ///
    /// How many are asked for at once is for the caller to bound.
    pub fn claim(&self, name: ClaimName, wait_max: Duration, reply: ClaimReply) {
        if self.has_died() {
            return reply(Claimed::Away);
        }
        self.order(Order::Claim { name, wait_max, reply });
    }

    /// Lets go of `name`: at once, or as soon as Redis answers. Claiming it again needs not wait for that.
    pub fn release_claim(&self, name: ClaimName) {
        self.order(Order::Release { name });
    }

    fn order(&self, order: Order) {
        lock(&self.shared.claims.orders).push(order);
        self.shared.gate.queued.notify_one();
    }
}

impl Broker {
    /// Does what was asked.
    pub(super) async fn obey(self: Rc<Self>, order: Order) {
        match order {
            Order::Claim { name, wait_max, reply } => {
                let number = self.next_call().0;
                let claimed = self.claim((&name, number), Instant::now() + wait_max).await;
                if claimed == Claimed::Ours {
                    lock(&self.shared.claims.held).insert(name, Held { number, renewed: Instant::now() });
                }
                reply(claimed);
            }
            Order::Release { name } => {
                let held = lock(&self.shared.claims.held).remove(&name);
                if let Some(Held { number, .. }) = held {
                    self.unclaim(&name, number).await;
                }
            }
        }
    }

    async fn claim(&self, (name, number): (&ClaimName, u64), until: Instant) -> Claimed {
        let bucket = self.counters.bucket(&name.owner);
        let mut pause = LOOK_MIN;
        loop {
            let epoch = match self.epochs.current(bucket) {
                Some(epoch) => epoch,
                None => match self.epochs.wait(self, bucket).await {
                    Some(epoch) => epoch,
                    None => return Claimed::Away,
                },
            };
            match self.try_claim(bucket, (name, number), &epoch).await {
                Err(RedisError::Open) => return Claimed::Away,
                Err(_) => {
                    // It may have been done, or be done yet.
                    self.loosen(name, number, GIVE_UP_AFTER);
                    return Claimed::Away;
                }
                Ok(status) => match &*status {
                    "ok" => return Claimed::Ours,
                    "taken" if Instant::now() + pause > until => return Claimed::Taken,
                    "taken" | "late" => {}
                    _ if Instant::now() > until => return Claimed::Away,
                    _ => {
                        self.epochs.gone(bucket);
                        continue;
                    }
                },
            }
            time::sleep(pause).await;
            pause = (pause * 2).min(LOOK_MAX);
        }
    }

    async fn try_claim(
        &self,
        bucket: usize,
        (name, number): (&ClaimName, u64),
        epoch: &str,
    ) -> Result<String, RedisError> {
        let Ok(_permit) = self.talks.acquire().await else { return Err(RedisError::Open) };
        let status = self.store.call::<String>(&self.claiming(bucket, (name, number), epoch)).await;
        self.note_asked(&status);
        status
    }

    fn claiming(
        &self,
        bucket: usize,
        (name, number): (&ClaimName, u64),
        epoch: &str,
    ) -> ScriptInvocation<'static> {
        let mut script = CLAIM.prepare_invoke();
        script.key(keys::epoch(bucket)).key(keys::claim(bucket, name)).key(keys::next(bucket, name));
        script.key(keys::claims(bucket, &self.instance));
        let given_up_at = self.now().0.saturating_add(LATE_MILLIS);
        script.arg(epoch).arg(&self.instance).arg(number).arg(millis(CLAIM_MAX));
        script.arg(given_up_at).arg(millis(NEXT_MAX));
        script
    }

    /// Lets go of a claim, now or with a later sign of life.
    async fn unclaim(&self, name: &ClaimName, number: u64) {
        let bucket = self.counters.bucket(&name.owner);
        let released = self.unclaim_key(bucket, &keys::claim(bucket, name), &number.to_string()).await;
        if released.is_err() {
            self.loosen(name, number, Duration::ZERO);
        }
    }

    fn loosen(&self, name: &ClaimName, number: u64, after: Duration) {
        let mut loose = lock(&self.shared.claims.loose);
        if loose.len() < LOOSE_MAX {
            loose.push(Loose { name: name.clone(), number, after: Instant::now() + after });
        }
    }

    async fn unclaim_key(&self, bucket: usize, key: &str, number: &str) -> Result<(), RedisError> {
        let Ok(_permit) = self.talks.acquire().await else { return Err(RedisError::Open) };
        let mut script = UNCLAIM.prepare_invoke();
        script.key(key).key(keys::claims(bucket, &self.instance)).arg(&self.instance).arg(number);
        let released = self.store.call::<i64>(&script).await;
        self.note_asked(&released);
        released.map(|_| ())
    }

    /// As [`Broker::note`], unless Redis was not asked.
    fn note_asked<T>(&self, result: &Result<T, RedisError>) {
        if !matches!(result, Err(RedisError::Open)) {
            self.note(result);
        }
    }

    /// Keeps what this instance has, and lets go of what could not be let go of before. Where Redis does not answer, it
    /// is tried again with the next sign of life.
    pub(super) async fn tend_claims(self: Rc<Self>) {
        let loose: Vec<_> = {
            let mut left = 0;
            let now = Instant::now();
            let mut loose = lock(&self.shared.claims.loose);
            let due = loose.extract_if(.., |loose| {
                let is_due = loose.after <= now && left < AT_ONCE_MAX;
                left += usize::from(is_due);
                is_due
            });
            due.collect()
        };
        for Loose { name, number, .. } in loose {
            self.unclaim(&name, number).await;
        }
        let old: Vec<_> = {
            let held = lock(&self.shared.claims.held);
            let due = held.iter().filter(|(_, held)| held.renewed.elapsed() > RENEW_AFTER);
            due.map(|(name, held)| (name.clone(), held.number)).take(AT_ONCE_MAX).collect()
        };
        for (name, number) in old {
            let bucket = self.counters.bucket(&name.owner);
            let Some(epoch) = self.epochs.current(bucket) else { continue };
            if self.try_claim(bucket, (&name, number), &epoch).await.is_ok_and(|status| status == "ok") {
                self.renewed(name, number);
            }
        }
    }

    /// Lets go of what was asked for last, and of what could not be let go of before.
    pub(super) async fn let_go(self: &Rc<Self>) {
        for order in self.shared.claims.take_orders() {
            match order {
                Order::Claim { reply, .. } => reply(Claimed::Away),
                release @ Order::Release { .. } => Rc::clone(self).obey(release).await,
            }
        }
        Rc::clone(self).tend_claims().await;
    }

    fn renewed(&self, name: ClaimName, number: u64) {
        let mut held = lock(&self.shared.claims.held);
        match held.get_mut(&name).filter(|held| held.number == number) {
            Some(held) => held.renewed = Instant::now(),
            // It was let go of meanwhile, perhaps before it was renewed.
            None => {
                drop(held);
                self.loosen(&name, number, Duration::ZERO);
            }
        }
    }

    /// Brings what this instance has into a new epoch.
    pub(super) async fn carry_claims(&self, bucket: usize) -> Result<(), RedisError> {
        for (name, number) in self.shared.claims.held_in(self, bucket) {
            let status = self.store.probe::<String>(&self.claiming(bucket, (&name, number), "")).await;
            self.note(&status);
            if status? != "ok" {
                // As the contract of the module says: only where this instance was cut off while data was lost.
                tracing::warn!(resource = &*name.id, "another gateway has claimed what this one has");
            }
        }
        Ok(())
    }

    /// Lets go of what an earlier process with this journal has left. The ledger has what that journalled.
    pub(super) async fn drop_left_claims(&self, bucket: usize) -> Result<(), RedisError> {
        let mut commands = pipe();
        commands.cmd("SMEMBERS").arg(keys::claims(bucket, &self.instance));
        let (left,) = self.store.pipeline::<(Vec<String>,)>(&commands).await?;
        let held: Vec<_> = self.shared.claims.held_in(self, bucket);
        let held: Vec<_> = held.iter().map(|(name, _)| keys::claim(bucket, name)).collect();
        for key in left.iter().filter(|key| !held.contains(key)) {
            self.unclaim_key(bucket, key, "").await?;
        }
        Ok(())
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
