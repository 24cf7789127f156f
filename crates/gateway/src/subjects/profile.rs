//! What a row means.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use http::HeaderValue;
use jiff::tz::TimeZone;
use tollgate_core::{Calendar, UnixMillis};
use tollgate_ledger::{Subject as LedgerSubject, SubjectRow};
use tollgate_quota::Subject;

use super::own::Own;
use crate::identity;

/// What the table says about one user or organisation; nothing, when there is no row.
#[derive(Debug)]
pub(crate) struct Profile {
    pub(super) tier: Option<Box<str>>,
    pub(super) org: Org,
    zone: Option<TimeZone>,
    anchor: Option<UnixMillis>,
    /// Limits of its own, as written.
    pub(super) overrides: Option<Box<str>>,
    /// What they are compiled to.
    pub(super) own: Own,
    /// Whose row it is.
    pub(super) subject: LedgerSubject,
    pub(super) version: u64,
    /// Whether it was said that there is no such tier.
    complained: AtomicBool,
}

/// A user's organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Org {
    None,
    Of(HeaderValue),
    /// What is written cannot be sent in a header.
    Unusable,
}

impl Profile {
    pub(super) fn new(subject: &LedgerSubject, row: Option<SubjectRow>, version: u64) -> Self {
        let (mut tier, mut org, mut zone, mut anchor, mut own) = (None, Org::None, None, None, None);
        if let Some(row) = row {
            let SubjectRow { tier: name, org_id, time_zone, billing_anchor, overrides, updated_at: _ } = row;
            own = overrides.map(Into::into);
            tier = name.map(Into::into);
            org = org_id.map_or(Org::None, |org| {
                let value =
                    HeaderValue::try_from(org).ok().filter(|value| identity::is_valid(value.as_bytes()));
                value.map_or_else(
                    || {
                        tracing::error!(?subject, "the subject's organisation in the table is no valid id");
                        Org::Unusable
                    },
                    Org::Of,
                )
            });
            zone = time_zone.and_then(|name| {
                let zone = TimeZone::get(&name);
                zone.inspect_err(|error| {
                    tracing::error!(?subject, %error, "the subject's time zone in the table is not known: its windows are those of UTC");
                })
                .ok()
            });
            anchor = billing_anchor;
        }
        let (overrides, own, subject) = (own, Own::default(), subject.clone());
        Self { tier, org, zone, anchor, overrides, own, subject, version, complained: AtomicBool::new(false) }
    }

    /// Whether both say the same, whenever they were read.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        let Self { tier, org, zone, anchor, overrides, own: _, subject: _, version: _, complained: _ } = self;
        let others = (&other.tier, &other.org, &other.zone, &other.anchor, &other.overrides);
        (tier, org, zone, anchor, overrides) == others
    }

    /// Whether a mistake in it is to be told now: once for each version of it.
    pub(super) fn complains(&self) -> bool {
        !self.complained.swap(true, Ordering::Relaxed)
    }

    pub(super) fn has_calendar(&self) -> bool {
        self.zone.is_some() && self.anchor.is_some()
    }
}

/// What the windows of a request's parties are measured by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calendars {
    /// Of what is known where there is no row.
    pub(super) version: u64,
    pub(super) user: Option<Arc<Profile>>,
    /// The organisation in the user's row: what the user's row leaves open.
    pub(super) home: Option<Arc<Profile>>,
    /// The organisation that the request is charged to.
    pub(super) org: Option<Arc<Profile>>,
}

impl Calendars {
    /// Has the user's windows measured as the table says.
    pub(crate) fn apply_to_user(&self, user: &Subject) {
        self.apply(user, [self.user.as_deref(), self.home.as_deref()]);
    }

    /// Has the organisation's windows measured as the table says.
    pub(crate) fn apply_to_org(&self, org: &Subject) {
        self.apply(org, [self.org.as_deref(), None]);
    }

    fn apply(&self, subject: &Subject, rows: [Option<&Profile>; 2]) {
        let known = rows.into_iter().flatten();
        let version = known.clone().map(|row| row.version).max().unwrap_or(self.version);
        subject.follow(version, || {
            let zone = known.clone().find_map(|row| row.zone.clone()).unwrap_or(TimeZone::UTC);
            Calendar::new(zone, known.clone().find_map(|row| row.anchor))
        });
    }
}
