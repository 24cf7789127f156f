//! What resources have, as far as it was asked lately: the ledger knows it, and takes longer.

use std::{
    collections::HashMap,
    hash::BuildHasher,
    sync::{Mutex, MutexGuard, PoisonError},
};

use foldhash::fast::RandomState;
use tollgate_quota::{ClaimName, MeterId};

/// Sizes that are remembered at least, and at most twice as many: some 20 MB with ids of usual length.
const SIZES_MAX: usize = 65_536;
const SHARDS: usize = 16;

/// Sizes by resource and meter. One is right as long as its resource is claimed; who changes it says so.
pub(super) struct Sizes {
    shards: [Mutex<Generations>; SHARDS],
    hasher: RandomState,
}

type Known = HashMap<ClaimName, Vec<(MeterId, i64)>, RandomState>;

/// Those that were used lately, and those before them, which are forgotten when there are many new ones.
#[derive(Default)]
struct Generations {
    young: Known,
    old: Known,
}

impl Sizes {
    pub(super) fn new() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), hasher: RandomState::default() }
    }

    /// What the resource has of the meter, if that is known.
    pub(super) fn get(&self, name: &ClaimName, meter: MeterId) -> Option<i64> {
        let mut shard = self.shard(name);
        if !shard.young.contains_key(name) {
            let sizes = shard.old.remove(name)?;
            shard.put(name.clone(), sizes);
        }
        let sizes = shard.young.get(name)?;
        sizes.iter().find(|(of, _)| *of == meter).map(|(_, size)| *size)
    }

    /// Remembers what the resource has of the meter.
    pub(super) fn set(&self, name: &ClaimName, meter: MeterId, size: i64) {
        let mut shard = self.shard(name);
        if !shard.young.contains_key(name) {
            let sizes = shard.old.remove(name).unwrap_or_default();
            shard.put(name.clone(), sizes);
        }
        let Some(sizes) = shard.young.get_mut(name) else { return };
        match sizes.iter_mut().find(|(of, _)| *of == meter) {
            Some((_, known)) => *known = size,
            None => sizes.push((meter, size)),
        }
    }

    /// From here on somebody else may change it.
    pub(super) fn forget(&self, name: &ClaimName) {
        let mut shard = self.shard(name);
        shard.young.remove(name);
        shard.old.remove(name);
    }

    fn shard(&self, name: &ClaimName) -> MutexGuard<'_, Generations> {
        let shard =
            &self.shards[usize::try_from((self.hasher.hash_one(name) >> 32) % SHARDS as u64).unwrap_or(0)];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn put(&mut self, name: ClaimName, sizes: Vec<(MeterId, i64)>) {
        if self.young.len() >= SIZES_MAX / SHARDS {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(name, sizes);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use tollgate_core::Scope;

    use super::*;

    fn name(id: u32) -> ClaimName {
        ClaimName { scope: Scope::Org, owner: "acme".into(), id: id.to_string().into() }
    }

    #[test]
    fn what_is_used_stays_and_the_rest_is_bounded() {
        let sizes = Sizes::new();
        sizes.set(&name(0), MeterId(1), 7);
        for id in 1..200_000 {
            sizes.set(&name(id), MeterId(1), i64::from(id));
            if id % 1000 == 0 {
                assert_eq!(sizes.get(&name(0), MeterId(1)), Some(7));
            }
        }
        let kept: usize =
            sizes.shards.iter().map(|shard| shard.lock().unwrap()).map(|s| s.young.len() + s.old.len()).sum();
        assert!((SIZES_MAX..=2 * SIZES_MAX).contains(&kept), "{kept}");
        assert_eq!(sizes.get(&name(199_999), MeterId(1)), Some(199_999));
        assert_eq!(sizes.get(&name(1), MeterId(1)), None);
    }

    proptest! {
        #[test]
        fn remembers_what_was_said_last(
            steps in proptest::collection::vec((0..4u32, 0..3u16, prop::option::of(any::<i64>())), 0..60),
        ) {
            let (sizes, mut model) = (Sizes::new(), BTreeMap::new());
            for (id, meter, size) in steps {
                match size {
                    Some(size) => {
                        sizes.set(&name(id), MeterId(meter), size);
                        model.insert((id, meter), size);
                    }
                    None => {
                        sizes.forget(&name(id));
                        model.retain(|(of, _), _| *of != id);
                    }
                }
                for (id, meter) in (0..4).flat_map(|id| (0..3).map(move |meter| (id, meter))) {
                    prop_assert_eq!(sizes.get(&name(id), MeterId(meter)), model.get(&(id, meter)).copied());
                }
            }
        }
    }
}
