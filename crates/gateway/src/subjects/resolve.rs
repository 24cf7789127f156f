//! From what a trusted peer says about the caller, and what the table says, to who is charged for what.

use std::{future::poll_fn, sync::Arc, time::Duration};

use http::HeaderValue;
use tollgate_core::{Scope, TierIndex};
use tollgate_quota::SubjectKey;

use super::{Answer, Ask, Calendars, Profile, own::grant_for, profile::Org};
use crate::{
    identity::{Caller, Claimed, text},
    live::{Live, Route},
    refusal::{Code, Refusal},
    worker::Worker,
};

/// Longest time that a request waits for a row that is not cached.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(2);
/// When to try again after the table could not be read.
const RETRY_SECONDS: u64 = 1;
const NOT_NOW: &str = "this user cannot be looked up at the moment; try again soon";

/// Who is calling. What the trusted peer says goes first, each for itself: the tier, and the organisation.
/// What it leaves open the table says: the organisation of the user's row, and the tier of the user's row,
/// or else of the organisation's. What that leaves open too is the default tier, and no organisation.
///
/// Windows follow the table alone. An organisation's are measured by its row. A user's are measured by the
/// user's row and, where it says nothing, by the row of the organisation in it: not of the one that the
/// request names, because one user may come with several, and has one budget.
pub(crate) async fn caller(
    worker: &Worker,
    live: &Live,
    route: &Arc<Route>,
    claimed: Claimed,
) -> Result<Box<Caller>, Refusal> {
    let all_is_said = claimed.tier().is_some() && claimed.org().is_some();
    if claimed.is_anonymous || (all_is_said && !route.is_metered()) {
        return Ok(claimed.into_said(Calendars::default()));
    }
    if let Some(version) = worker.shared.subjects.empty() {
        return Ok(claimed.into_said(Calendars { version, ..Calendars::default() }));
    }
    let rows = Rows { worker, fresh: live.gateway().subjects.cache };
    let user = rows.get(Scope::User, claimed.user()).await?;
    let own = match &user.org {
        Org::Of(org) => Some(org),
        Org::None => None,
        Org::Unusable if claimed.org().is_some() => None,
        Org::Unusable => {
            return Err(unavailable("this user's organisation is not known at the moment; try again soon"));
        }
    };
    let org = claimed.org().or(own);
    let org_row = rows.get_if_some(org).await?;
    let home = match own {
        Some(_) if user.has_calendar() => None,
        Some(own) if Some(own) == org => org_row.clone(),
        own => rows.get_if_some(own).await?,
    };
    let tier = match claimed.tier() {
        Some(_) => None,
        None => tier(live, [Some(&user), org_row.as_ref()], claimed.user())?,
    };
    let org = org.cloned();
    let mut caller =
        claimed.completed(org, tier, Calendars { version: 0, user: Some(user), home, org: org_row });
    caller.own = grant_for(worker, live, route, &caller);
    Ok(caller)
}

/// The tier of the first row that says one; none if none does.
fn tier(
    live: &Live,
    rows: [Option<&Arc<Profile>>; 2],
    user: &HeaderValue,
) -> Result<Option<TierIndex>, Refusal> {
    for row in rows.into_iter().flatten() {
        let Some(name) = &row.tier else { continue };
        let tier = live.plans().tier(name);
        if tier.is_none() {
            if row.complains() {
                let user = text(user);
                tracing::error!(
                    user,
                    tier = &**name,
                    "the table of subjects has a tier that tier-limits.toml has not"
                );
            }
            let message =
                "the tier that is set for this user does not exist; whoever runs this service can mend it";
            return Err(Refusal::new(Code::UnknownTier, message));
        }
        return Ok(tier);
    }
    Ok(None)
}

/// The table, as a request reads it.
struct Rows<'a> {
    worker: &'a Worker,
    fresh: Duration,
}

impl Rows<'_> {
    async fn get(&self, scope: Scope, id: &HeaderValue) -> Result<Arc<Profile>, Refusal> {
        match self.worker.shared.subjects.get(SubjectKey { scope, id: text(id) }, self.fresh) {
            Answer::Known(profile) => Ok(profile),
            // Rare: not part of every exchange's future.
            Answer::Asked(ask) => Box::pin(wait(ask)).await,
            Answer::Unavailable => Err(unavailable(NOT_NOW)),
        }
    }

    async fn get_if_some(&self, org: Option<&HeaderValue>) -> Result<Option<Arc<Profile>>, Refusal> {
        match org {
            Some(org) => self.get(Scope::Org, org).await.map(Some),
            None => Ok(None),
        }
    }
}

async fn wait(ask: Arc<Ask>) -> Result<Arc<Profile>, Refusal> {
    let read = tokio::time::timeout(WAIT_MAX, poll_fn(|cx| ask.poll(cx))).await;
    read.ok().flatten().ok_or_else(|| unavailable(NOT_NOW))
}

fn unavailable(message: &'static str) -> Refusal {
    Refusal::new(Code::StoreUnavailable, message).retry_after(RETRY_SECONDS)
}
