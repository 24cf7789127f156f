//! The limits of a meter that hold for a caller: those of the tier, or what the table of subjects has instead.

use std::{ops::Deref, sync::Arc};

use tollgate_quota::Check;

use super::{Request, served::ServedMeter};
use crate::{identity::Caller, live::Grant, subjects::own::grant_for};

/// Compiled limits of one meter, and behind them those of meters that are made of it.
#[derive(Clone)]
pub(super) enum Rights<'a> {
    Tier(&'a Grant),
    Own(Arc<Grant>),
}

impl<'a> Rights<'a> {
    pub(super) fn of(request: &Request<'_>, caller: &Caller, meter: &'a ServedMeter) -> Self {
        match grant_for(request.worker, request.live, &meter.route, caller) {
            Some(own) => Self::Own(own),
            None => Self::Tier(meter.route.grant(caller.tier)),
        }
    }

    /// The limits of the meter itself.
    pub(super) fn checks(&self) -> &[Check] {
        of_meter(&self.checks)
    }

    /// The same for who has not waited for a turn where a limit slows down.
    pub(super) fn strict_checks(&self) -> &[Check] {
        of_meter(Grant::strict_checks(self))
    }

    /// What the table of subjects has instead of the tier's.
    pub(super) fn own(&self) -> Option<&Arc<Grant>> {
        match self {
            Self::Tier(_) => None,
            Self::Own(own) => Some(own),
        }
    }

    /// The caller, as one who was identified for the meter's route.
    pub(super) fn bearer(&self, caller: &Caller) -> Caller {
        Caller { own: self.own().cloned(), ..caller.clone() }
    }
}

impl Deref for Rights<'_> {
    type Target = Grant;

    fn deref(&self) -> &Grant {
        match self {
            Self::Tier(grant) => grant,
            Self::Own(grant) => grant,
        }
    }
}

fn of_meter(checks: &[Check]) -> &[Check] {
    let own = checks.iter().take_while(|check| check.need == 0).count();
    &checks[..own]
}
