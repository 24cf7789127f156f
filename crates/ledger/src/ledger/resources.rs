//! What a batch adds to resources.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::totals::clamp;

/// What a sum is kept for, in the order in which rows are locked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) meter: String,
    pub(super) resource: String,
    pub(super) user_id: String,
    /// Empty for none.
    pub(super) org_id: String,
}

/// What is added to the sum of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) key: Key,
    pub(super) amount: i64,
    /// The id of the first line.
    pub(super) first: u128,
}

/// The lines that name a resource: ids and amounts.
#[derive(Debug, Default)]
pub(super) struct Resources(HashMap<Key, Vec<(u128, i64)>, RandomState>);

impl Resources {
    /// Adds a line.
    pub(super) fn add(&mut self, key: Key, id: u128, amount: i64) {
        self.0.entry(key).or_default().push((id, amount));
    }

    /// Takes a line back that was added.
    pub(super) fn take_back(&mut self, key: &Key, id: u128) {
        if let Some(lines) = self.0.get_mut(key) {
            lines.retain(|(of, _)| *of != id);
        }
    }

    /// What they come to, in the order of the keys.
    pub(super) fn into_changes(self) -> Vec<Change> {
        let change = |(key, lines): (Key, Vec<(u128, i64)>)| {
            let first = lines.iter().map(|(id, _)| *id).min()?;
            let amount = clamp(lines.iter().map(|(_, amount)| i128::from(*amount)).sum());
            Some(Change { key, amount, first })
        };
        let mut changes: Vec<_> = self.0.into_iter().filter_map(change).collect();
        changes.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        changes
    }
}
