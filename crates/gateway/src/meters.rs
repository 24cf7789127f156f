//! Numbers for meters that outlive configuration reloads.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use tollgate_quota::MeterId;

/// Every meter name that some configuration of this process had.
#[derive(Debug, Default)]
pub(crate) struct MeterIds {
    ids: Mutex<HashMap<Box<str>, MeterId>>,
}

impl MeterIds {
    /// The number of the meter called `name`. Beyond 65,536 different names in one process's life, all
    /// further ones would share a number; a configuration file cannot hold so many.
    pub(crate) fn of(&self, name: &str) -> MeterId {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let next = MeterId(u16::try_from(ids.len()).unwrap_or(u16::MAX));
        *ids.entry(name.into()).or_insert(next)
    }

    /// The name of a meter.
    pub(crate) fn name(&self, id: MeterId) -> Option<Box<str>> {
        let ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.iter().find(|(_, known)| **known == id).map(|(name, _)| name.clone())
    }
}
