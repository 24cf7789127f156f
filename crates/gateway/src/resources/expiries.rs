//! When what is open is ended without a request: jobs and holds, in the order of their ends.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tollgate_core::UnixMillis;

/// Jobs and holds that this gateway watches. Of more, those that end last are found in the ledger when it is looked
/// through again.
const WATCHED_MAX: usize = 65_536;

/// Why something is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Why {
    /// It had so much time.
    Expired,
    /// Its service has said that it has ended, and that could not be settled with the answer.
    Finished,
}

/// Something that is ended without a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Expiry {
    pub(crate) at: UnixMillis,
    pub(crate) why: Why,
    pub(crate) meter: Box<str>,
    pub(crate) resource: Box<str>,
    pub(crate) user: Box<str>,
    pub(crate) org: Option<Box<str>>,
    pub(crate) tier: Box<str>,
    pub(crate) route: Box<str>,
}

/// What is watched.
#[derive(Debug, Default)]
pub(super) struct Expiries(Mutex<BTreeSet<Expiry>>);

impl Expiries {
    /// Watches one more.
    pub(super) fn add(&self, expiry: Expiry) {
        let mut watched = self.lock();
        watched.insert(expiry);
        if watched.len() > WATCHED_MAX {
            watched.pop_last();
        }
    }

    /// Those that end at `now` or earlier, at most `many`; they are not watched any more.
    pub(super) fn take_due(&self, now: UnixMillis, many: usize) -> Vec<Expiry> {
        let mut watched = self.lock();
        let due = watched.iter().take_while(|expiry| expiry.at <= now).take(many).count();
        (0..due).filter_map(|_| watched.pop_first()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Expiry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expiry(at: i64, resource: usize) -> Expiry {
        let text = |text: &str| text.into();
        let resource = resource.to_string().into();
        let (meter, user, tier, route) = (text("jobs"), text("ann"), text("pro"), text("jobs"));
        Expiry { at: UnixMillis(at), why: Why::Expired, meter, resource, user, org: None, tier, route }
    }

    #[test]
    fn what_ends_first_comes_first_and_once() {
        let expiries = Expiries::default();
        for at in [30, 10, 20, 10] {
            expiries.add(expiry(at, 0));
        }
        assert_eq!(expiries.take_due(UnixMillis(9), 10), []);
        assert_eq!(expiries.take_due(UnixMillis(20), 1), [expiry(10, 0)]);
        assert_eq!(expiries.take_due(UnixMillis(20), 10), [expiry(20, 0)]);
        assert_eq!(expiries.take_due(UnixMillis(30), 10), [expiry(30, 0)]);
        assert_eq!(expiries.take_due(UnixMillis::MAX, 10), []);
    }

    #[test]
    fn the_last_to_end_are_left_to_the_ledger() {
        let expiries = Expiries::default();
        for number in 0..WATCHED_MAX + 10 {
            expiries.add(expiry(i64::try_from(number).unwrap(), number));
        }
        assert_eq!(expiries.lock().len(), WATCHED_MAX);
        assert_eq!(expiries.take_due(UnixMillis::MAX, 1), [expiry(0, 0)]);
    }
}
