//! Who may change what: one at a time for each name, in the order in which they asked.

use std::{
    collections::{HashMap, hash_map},
    hash::BuildHasher,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use foldhash::fast::RandomState;
use tokio::sync::{Mutex as Place, OwnedMutexGuard};
use tollgate_quota::ClaimName;

/// Names that are claimed at once, of all owners together: as many requests as there can be in flight at most, and
/// what waits for the ledger before others may have it.
const NAMES_MAX: usize = 65_536;
/// Requests that have or want the same name at once. Who comes behind so many would not get it in time.
const USERS_MAX: usize = 64;
/// Spreads the locks of the table, which are held for a look-up, over the threads.
const SHARDS: usize = 16;

/// What whoever has a name leaves behind.
pub(super) trait Leave: Default {
    /// Whether it is left when nobody wants the name any more, who was next having given up.
    fn is_left(&self) -> bool;
}

/// The names that are claimed, each with a `T` for whoever has it.
///
/// Who asks waits in a queue of its own for each name (first come, first served), on whatever thread. A name that
/// nobody has or wants is not in the table, and its `T` is forgotten.
pub(super) struct Table<T> {
    shards: [Mutex<HashMap<ClaimName, Entry<T>, RandomState>>; SHARDS],
    hasher: RandomState,
    names: AtomicUsize,
    /// Names whose last user has left something; each at most once for each turn.
    left: Mutex<Vec<ClaimName>>,
}

struct Entry<T> {
    place: Arc<Place<T>>,
    users: usize,
}

/// A name that is claimed: whoever has this, alone has the name.
pub(super) struct Taken<T: Leave> {
    /// First, so that the next one has it before it is said that one less wants it.
    guard: OwnedMutexGuard<T>,
    user: User<T>,
}

/// One who has or wants a name.
pub(super) struct User<T: Leave> {
    table: Arc<Table<T>>,
    name: ClaimName,
    place: Arc<Place<T>>,
}

/// There is no room for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl<T: Leave> Table<T> {
    pub(super) fn new() -> Arc<Self> {
        let shard = |_| Mutex::new(HashMap::default());
        let hasher = RandomState::default();
        Arc::new(Self {
            shards: std::array::from_fn(shard),
            hasher,
            names: AtomicUsize::new(0),
            left: Mutex::default(),
        })
    }

    /// Lines up for `name`.
    pub(super) fn enter(self: &Arc<Self>, name: &ClaimName) -> Result<User<T>, Full> {
        let mut shard = self.shard(name);
        let place = match shard.get_mut(name) {
            Some(entry) if entry.users >= USERS_MAX => return Err(Full),
            Some(entry) => {
                entry.users += 1;
                Arc::clone(&entry.place)
            }
            None => {
                if self.names.fetch_add(1, Relaxed) >= NAMES_MAX {
                    self.names.fetch_sub(1, Relaxed);
                    return Err(Full);
                }
                let place = Arc::new(Place::new(T::default()));
                shard.insert(name.clone(), Entry { place: Arc::clone(&place), users: 1 });
                place
            }
        };
        drop(shard);
        Ok(User { table: Arc::clone(self), name: name.clone(), place })
    }

    /// The names that something was left of.
    pub(super) fn take_left(&self) -> Vec<ClaimName> {
        std::mem::take(&mut *self.left.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many names are claimed.
    pub(super) fn names(&self) -> usize {
        self.names.load(Relaxed)
    }

    fn shard(&self, name: &ClaimName) -> MutexGuard<'_, HashMap<ClaimName, Entry<T>, RandomState>> {
        let hash = self.hasher.hash_one(name);
        // The map uses the other bits.
        let shard = &self.shards[usize::try_from((hash >> 32) % SHARDS as u64).unwrap_or(0)];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Leave> User<T> {
    /// Waits for its turn. Dropping the future leaves the queue.
    pub(super) async fn turn(self) -> Taken<T> {
        let guard = Arc::clone(&self.place).lock_owned().await;
        Taken { guard, user: self }
    }

    /// Has the name, if nobody has it or is before this one.
    pub(super) fn turn_now(self) -> Option<Taken<T>> {
        let guard = Arc::clone(&self.place).try_lock_owned().ok()?;
        Some(Taken { guard, user: self })
    }
}

impl<T: Leave> Taken<T> {
    pub(super) fn name(&self) -> &ClaimName {
        &self.user.name
    }

    /// Whether others want the name.
    pub(super) fn is_wanted(&self) -> bool {
        let shard = self.user.table.shard(&self.user.name);
        shard.get(&self.user.name).is_some_and(|entry| entry.users > 1)
    }
}

impl<T: Leave> std::ops::Deref for Taken<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T: Leave> std::ops::DerefMut for Taken<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

impl<T: Leave> Drop for User<T> {
    fn drop(&mut self) {
        let mut shard = self.table.shard(&self.name);
        if let hash_map::Entry::Occupied(mut entry) = shard.entry(self.name.clone()) {
            entry.get_mut().users -= 1;
            if entry.get().users == 0 {
                entry.remove();
                self.table.names.fetch_sub(1, Relaxed);
                if self.place.try_lock().is_ok_and(|place| place.is_left()) {
                    let mut left = self.table.left.lock().unwrap_or_else(PoisonError::into_inner);
                    left.push(self.name.clone());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        pin::pin,
        task::{Context, Poll, Waker},
        thread,
        time::Duration,
    };

    use proptest::prelude::*;
    use tokio::time::timeout;
    use tollgate_core::Scope;

    use super::*;

    impl Leave for u64 {
        fn is_left(&self) -> bool {
            false
        }
    }

    impl Leave for () {
        fn is_left(&self) -> bool {
            true
        }
    }

    impl<T> Leave for Vec<T> {
        fn is_left(&self) -> bool {
            false
        }
    }

    fn name(id: usize) -> ClaimName {
        ClaimName { scope: Scope::User, owner: "ann".into(), id: id.to_string().into() }
    }

    /// How a user of the test ends.
    #[derive(Clone, Copy, Debug)]
    enum Act {
        /// Waits for its turn, and works.
        Wait,
        /// Tries once.
        Try,
        /// Gives up while it waits.
        GiveUp,
    }

    fn acts() -> impl Strategy<Value = Vec<(usize, Act)>> {
        let act = prop_oneof![3 => Just(Act::Wait), 1 => Just(Act::Try), 1 => Just(Act::GiveUp)];
        proptest::collection::vec((0..3usize, act), 1..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        /// Threads with runtimes of their own, as workers are: never two at once, nothing is left, everybody who waits
        /// has a turn.
        #[test]
        fn one_at_a_time_whatever_the_threads_do(threads in proptest::collection::vec(acts(), 2..8)) {
            let table = Table::<u64>::new();
            let inside = [const { AtomicUsize::new(0) }; 3];
            let turns = AtomicUsize::new(0);
            thread::scope(|scope| {
                for acts in &threads {
                    let (table, inside, turns) = (&table, &inside, &turns);
                    scope.spawn(move || {
                        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                        runtime.block_on(async move {
                            for (which, act) in acts {
                                let user = table.enter(&name(*which)).unwrap();
                                let taken = match act {
                                    Act::Wait => Some(user.turn().await),
                                    Act::Try => user.turn_now(),
                                    Act::GiveUp => timeout(Duration::ZERO, user.turn()).await.ok(),
                                };
                                let Some(mut taken) = taken else { continue };
                                assert_eq!(inside[*which].fetch_add(1, Relaxed), 0, "two have it");
                                *taken += 1;
                                tokio::task::yield_now().await;
                                turns.fetch_add(1, Relaxed);
                                inside[*which].fetch_sub(1, Relaxed);
                            }
                        });
                    });
                }
            });
            let waited = threads.iter().flatten().filter(|(_, act)| matches!(act, Act::Wait)).count();
            prop_assert!(turns.load(Relaxed) >= waited);
            prop_assert_eq!(table.names(), 0);
            prop_assert!(table.shards.iter().all(|shard| shard.lock().unwrap().is_empty()));
        }
    }

    #[test]
    fn who_asks_first_is_first() {
        let table = Table::<Vec<usize>>::new();
        let first = table.enter(&name(0)).unwrap().turn_now().unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let mut waiting: Vec<_> =
            (1..6).map(|number| (number, Box::pin(table.enter(&name(0)).unwrap().turn()))).collect();
        for (_, turn) in &mut waiting {
            assert!(turn.as_mut().poll(&mut context).is_pending());
        }
        assert!(first.is_wanted());
        // One gives up, and nobody comes before those who wait.
        drop(waiting.remove(2));
        drop(first);
        assert!(table.enter(&name(0)).unwrap().turn_now().is_none());
        let mut order = Vec::new();
        for (number, mut turn) in waiting {
            let Poll::Ready(mut taken) = turn.as_mut().poll(&mut context) else {
                panic!("it is the turn of {number}")
            };
            taken.push(number);
            order.clone_from(&taken);
        }
        assert_eq!(order, [1, 2, 4, 5]);
        assert_eq!(table.names(), 0);
    }

    #[test]
    fn there_is_a_last_place() {
        let table = Table::<()>::new();
        let _users: Vec<_> = (0..USERS_MAX).map(|_| table.enter(&name(0)).unwrap()).collect();
        assert!(table.enter(&name(0)).is_err());
        assert!(table.enter(&name(1)).is_ok());
        let mut pinned = pin!(table.enter(&name(2)).unwrap().turn());
        assert!(pinned.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    }

    #[test]
    fn what_is_left_is_known() {
        let table = Table::<()>::new();
        let mut context = Context::from_waker(Waker::noop());
        let first = table.enter(&name(0)).unwrap().turn_now().unwrap();
        let mut second = Box::pin(table.enter(&name(0)).unwrap().turn());
        assert!(second.as_mut().poll(&mut context).is_pending());
        drop(first);
        assert_eq!(table.take_left(), []);
        // It was its turn, and it does not come.
        drop(second);
        assert_eq!(table.take_left(), [name(0)]);
    }
}
