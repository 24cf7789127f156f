//! Limits of a subject's own: what the table has instead of the tier's.
//!
//! A user's row replaces the limits of a meter that are the user's own; an organisation's row those that an organisation
//! shares. Without an organisation all limits are the user's, and so the user's row replaces them all. What has a mistake
//! changes nothing: it is logged once for each version of the row and each configuration, and counted.
//!
//! What a row and a configuration make of a route is compiled once and kept with the row; a subject without overrides
//! pays for one look at an `Option`.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tollgate_config::{Override, overrides};
use tollgate_core::{Limit, MeterIndex, Plans, Scope, UnixMillis};

use super::Profile;
use crate::{
    identity::Caller,
    kinds,
    live::{Grant, Live, Route},
    worker::Worker,
};

/// Compiled limits kept with one row: more routes and tiers than one subject uses at a time.
const GRANTS_MAX: usize = 64;

/// What a row's overrides have been compiled to lately.
#[derive(Debug, Default)]
pub(super) struct Own(Mutex<Compiled>);

#[derive(Debug, Default)]
struct Compiled {
    /// Of which configuration.
    live: u64,
    overrides: Option<Arc<[Override]>>,
    grants: HashMap<Key, Kept>,
}

/// What decides on the limits, beside the row and the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    /// The address of the route, which lives as long as its configuration.
    route: usize,
    tier: usize,
    /// Version of the organisation's row if that has overrides as well, and whether there is an organisation.
    org: (u64, bool),
}

#[derive(Clone, Debug)]
struct Kept {
    /// None where the tier's limits hold.
    grant: Option<Arc<Grant>>,
    until: UnixMillis,
}

/// The limits of `caller` on a route, where the table has others than the tier.
pub(crate) fn grant_for(
    worker: &Worker,
    live: &Live,
    route: &Arc<Route>,
    caller: &Caller,
) -> Option<Arc<Grant>> {
    let has_some = |row: &&Profile| row.overrides.is_some();
    let user = caller.calendars.user.as_deref().filter(has_some);
    let org = caller.calendars.org.as_deref().filter(has_some);
    let row = user.or(org)?;
    let key = Key {
        route: Arc::as_ptr(route).addr(),
        tier: caller.tier.0,
        org: (user.and(org).map_or(0, |org| org.version), caller.org.is_some()),
    };
    let now = worker.now();
    if let Some(kept) = row.own.find(live, key).filter(|kept| now < kept.until) {
        return kept.grant;
    }
    let read = |row: Option<&Profile>, scope| row.map(|row| row.own_overrides(worker, live, scope));
    let (user, org) = (read(user, Scope::User), read(org, Scope::Org));
    let parties = Rows { user: user.as_deref().unwrap_or_default(), org: org.as_deref().unwrap_or_default() };
    let kept = parties.compile(worker, live, route, caller, now);
    row.own.keep(live, key, kept.clone());
    kept.grant
}

/// What `json` overrides in a row of this scope, and what is wrong with it. Counters that are shared count only what the
/// tiers name: others are not told of what one gateway counts for one subject.
pub(crate) fn read(json: &str, scope: Scope, plans: &Plans, is_shared: bool) -> (Vec<Override>, Vec<String>) {
    let (mut read, mistakes) = overrides(json, scope, plans);
    let mut mistakes: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    read.retain(|one| {
        let windows = one.limits.iter().flat_map(Limit::parts).map(|(window, _)| window);
        let mut unknown = windows.filter(|window| is_shared && !kinds::counts(plans, one.meter, scope, *window));
        let Some(window) = unknown.next() else { return true };
        let name = &plans.meters[one.meter.0].name;
        mistakes.push(format!(
            "overrides: {name}: no tier counts it per {window}, and so counters in Redis do not; write \"unlimited/{window}\" \
             in a tier for it to be counted"
        ));
        false
    });
    (read, mistakes)
}

impl Own {
    fn find(&self, live: &Live, key: Key) -> Option<Kept> {
        let compiled = self.lock();
        if compiled.live == live.number { compiled.grants.get(&key).cloned() } else { None }
    }

    fn keep(&self, live: &Live, key: Key, kept: Kept) {
        let mut compiled = self.lock();
        if compiled.live != live.number {
            *compiled = Compiled { live: live.number, ..Compiled::default() };
        }
        if compiled.grants.len() >= GRANTS_MAX {
            compiled.grants.clear();
        }
        compiled.grants.insert(key, kept);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Compiled> {
        // Nothing that runs under the lock can leave it half written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Profile {
    /// What the row overrides under a configuration; mistakes are told when it is read for the first time.
    fn own_overrides(&self, worker: &Worker, live: &Live, scope: Scope) -> Arc<[Override]> {
        let mut compiled = self.own.lock();
        if compiled.live != live.number {
            *compiled = Compiled { live: live.number, ..Compiled::default() };
        }
        if let Some(known) = &compiled.overrides {
            return Arc::clone(known);
        }
        let shared = &worker.shared;
        let json = self.overrides.as_deref().unwrap_or_default();
        let (read, mistakes) = read(json, scope, live.plans(), shared.remote.is_some());
        for mistake in mistakes {
            shared.subjects.tell_wrong(&self.subject, &mistake);
        }
        let read: Arc<[Override]> = read.into();
        compiled.overrides = Some(Arc::clone(&read));
        read
    }
}

/// What the rows of a request override.
struct Rows<'a> {
    user: &'a [Override],
    org: &'a [Override],
}

impl Rows<'_> {
    fn compile(&self, worker: &Worker, live: &Live, route: &Route, caller: &Caller, now: UnixMillis) -> Kept {
        let (tier, has_org) = (live.tier(caller.tier), caller.org.is_some());
        let in_force = |rows: &'_ [Override], meter: MeterIndex| -> Option<Vec<Limit>> {
            let is_meant = |one: &&Override| one.meter == meter && one.until.is_none_or(|until| now < until);
            rows.iter().find(is_meant).map(|one| one.limits.clone())
        };
        let mut differs = false;
        let mut limits_of = |meter: MeterIndex| {
            let (user, org) = (in_force(self.user, meter), in_force(self.org, meter));
            differs |= user.is_some() || org.is_some();
            let is_replaced = |limit: &&Limit| match limit.scope {
                Scope::User => user.is_some(),
                Scope::Org if has_org => org.is_some(),
                Scope::Org => user.is_some(),
            };
            let kept = tier.limits_of(meter).iter().filter(|limit| !is_replaced(limit)).cloned();
            kept.chain(user.iter().flatten().cloned()).chain(org.iter().flatten().cloned()).collect()
        };
        let meters = route.charges.iter().map(|charge| live.plans().meter(&charge.meter));
        let limits: Vec<Vec<Limit>> =
            meters.map(|meter| meter.map(&mut limits_of).unwrap_or_default()).collect();
        let ends = self.user.iter().chain(self.org).filter_map(|one| one.until).filter(|until| now < *until);
        let until = ends.min().unwrap_or(UnixMillis::MAX);
        if !differs {
            return Kept { grant: None, until };
        }
        let grant = Grant::compile((&route.name, &tier.name), &route.charges, |charge| &limits[charge]);
        let grant = grant.inspect_err(|error| {
            let rows = [&caller.calendars.user, &caller.calendars.org];
            if let Some(row) = rows.into_iter().flatten().next() {
                worker.shared.subjects.tell_wrong(&row.subject, &error.to_string());
            }
        });
        Kept { grant: grant.ok().map(Arc::new), until }
    }
}
