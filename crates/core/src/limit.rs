//! Limits: how much of a meter in which window, for whom, and what happens beyond.

use crate::{Grace, Price, Queue, Rate, Window};

/// How much of a meter a subject may use in each window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The span it counts over.
    pub window: Window,
    /// How much.
    pub max: Max,
    /// Who shares it.
    pub scope: Scope,
    /// What happens beyond.
    pub over: Over,
    /// How far beyond `max` requests that are already running may carry it; zero or more. For admission the
    /// limit stays where it is.
    pub overdraw: i64,
    /// How far beyond `max` requests are admitted before they are refused.
    pub grace: Grace,
    /// How much more than `max` may be used in one window, if less is used in others; zero or more, and more than
    /// zero on minutes and hours only.
    pub burst: i64,
    /// Who waits where what runs at once has no slot left; none where nobody does.
    pub queue: Option<Queue>,
    /// What happens when the counter store is away.
    pub on_store_failure: OnStoreFailure,
}

/// The size of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Max {
    /// At most this many units, zero or more.
    AtMost(i64),
    /// No limit; still counted.
    Unlimited,
}

/// Who shares a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Each user has the whole of it.
    User,
    /// All users of an organisation share it. A user without an organisation has it alone.
    Org,
}

/// What happens to use beyond a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Over {
    /// It is refused: a hard limit.
    Refuse,
    /// It is admitted and charged as overage, at this price if one is stated.
    Charge(Option<Price>),
    /// It is let through one request at a time, at this rate.
    Throttle(Rate),
}

/// What happens when the store that counts a limit does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStoreFailure {
    /// Spend what this instance holds, then refuse with `store_unavailable`.
    Lease,
    /// Admit for at most this many seconds, then as `Lease`.
    Allow {
        /// Bound of the unmetered time.
        seconds_max: u32,
    },
    /// Refuse at once with `store_unavailable`.
    Deny,
}

impl Limit {
    /// Whether nothing may ever be used beyond it.
    #[must_use]
    pub fn is_hard(&self) -> bool {
        matches!((&self.max, &self.over), (Max::AtMost(_), Over::Refuse))
    }

    /// What is counted for it: how much in which window. With a burst, `max` and the burst in one window, and as much as
    /// `max` in each of them in the next larger one.
    pub fn parts(&self) -> impl Iterator<Item = (Window, Max)> + use<> {
        let Self { window, max, burst, .. } = *self;
        let Max::AtMost(units) = max else { return [Some((window, max)), None].into_iter().flatten() };
        let sustained = match window {
            Window::Minute => Some((Window::Hour, 60)),
            Window::Hour => Some((Window::Day, 24)),
            Window::Day
            | Window::Week
            | Window::Month
            | Window::Days(_)
            | Window::BillingMonth
            | Window::Lifetime => None,
        };
        let sustained = sustained.filter(|_| burst > 0);
        let sustained = sustained.map(|(window, times)| (window, Max::AtMost(units.saturating_mul(times))));
        let within = Max::AtMost(units.saturating_add(burst));
        [Some((window, within)), sustained].into_iter().flatten()
    }
}
