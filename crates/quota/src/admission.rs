//! Admission: one look at all limits of a request, one take.

use std::sync::Arc;

use smallvec::SmallVec;
use tollgate_core::{Grace, Max, OnStoreFailure, Scope, Span, UnixMillis, Usage};

use crate::{
    Asked, CounterKey, Hold, Subject, Tracked,
    ask::track,
    counter::Readiness,
    hold::{Place, Taken},
    room::{Room, Wanted},
    subject::Book,
};

/// Most limits that one request can be checked against, user's and organisation's together.
pub const CHECKS_MAX: usize = 16;

/// Limits that a request is checked against without asking for memory: as many as most routes have. What
/// decisions and holds have of each is moved several times for each request.
pub(crate) const CHECKS_INLINE: usize = 4;

/// How far behind its subject's latest instant a clock may read without being taken to have stepped
/// back, in milliseconds. Threads that read it at the same time differ by far less.
const CLOCK_JITTER_MS_MAX: i64 = 1000;

/// One limit that a request is checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// Which counter it is about.
    pub counter: CounterKey,
    /// Whose.
    pub scope: Scope,
    /// How much may be used.
    pub max: Max,
    /// Whether use beyond is refused.
    pub hard: bool,
    /// Whether the counter counts what runs now.
    pub concurrent: bool,
    /// Position in [`Terms::needs`] of what the request needs of the meter.
    pub need: usize,
    /// What happens when a shared store does not answer.
    pub on_store_failure: OnStoreFailure,
    /// How far beyond `max` requests that are already running may carry it; no request is admitted there.
    pub overdraw: i64,
    /// How far beyond `max`, or for how long, requests are admitted all the same. What requests that run may
    /// carry it further is counted from there.
    pub grace: Grace,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// The limits; at most [`CHECKS_MAX`], further ones would be ignored and are a caller's bug.
    pub checks: &'a [Check],
    /// What is held of each meter while the request runs.
    pub needs: &'a [i64],
    /// Percentages of a limit, ascending, at which to warn once in each window.
    pub warn_at: &'a [u8],
    /// Whether limits refuse.
    pub mode: Mode,
    /// All counters of the meters that the request is charged for; matters for a shared store only.
    pub tracked: &'a [Tracked],
}

/// Whether limits refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Hard limits refuse.
    Enforce,
    /// All is counted, nothing refused.
    Observe,
}

/// Whose limits are checked.
#[derive(Clone, Copy, Debug)]
pub struct Parties<'a> {
    /// The user.
    pub user: &'a Arc<Subject>,
    /// The organisation. Without one, limits shared by an organisation are the user's own.
    pub org: Option<&'a Arc<Subject>>,
}

/// Where a limit stands after a decision, in the order of [`Terms::checks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What counts against the limit, this request's hold included; not included in what runs now, as
    /// the slot is free again when the answer ends.
    pub usage: Usage,
    /// The window that it counts in.
    pub span: Span,
}

/// The standing of each limit, in the order of [`Terms::checks`].
pub type Standings = SmallVec<[Standing; CHECKS_INLINE]>;

/// Positions in [`Terms::checks`] with the percentage newly reached of that limit; mostly none.
pub type Warnings = Vec<(u8, u8)>;

/// Why a request was refused; it took nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Position in [`Terms::checks`] of the limit that refuses; of several, the one that resets last, and
    /// of those that reset together the longest.
    pub check: usize,
    /// Where it stands.
    pub standing: Standing,
    /// Whether no other limit refuses.
    pub is_only: bool,
}

/// The decision on a request.
#[derive(Debug)]
#[must_use]
pub enum Admission {
    /// It fits: everything it needs is held.
    Admitted {
        /// What is held.
        hold: Hold,
        /// Where its limits stand.
        standings: Standings,
        /// In [`Mode::Observe`]: what would have refused it.
        unenforced: Option<Refusal>,
        /// The percentages that this request was the first to reach in a window.
        warnings: Warnings,
    },
    /// It does not fit: nothing is held.
    Refused {
        /// Why.
        refusal: Refusal,
        /// Where all its limits stand.
        standings: Standings,
    },
    /// Some counter is not known yet: load it and ask again. Nothing is held.
    NotLoaded,
    /// The leases do not have what is needed: ask the store ([`Parties::begin_ask`]), wait for its answer
    /// ([`Parties::poll_asked`]), and decide again. Nothing is held.
    NotLeased,
    /// The store does not answer, and the limit's policy is to refuse then. Nothing is held.
    Unavailable {
        /// Position in [`Terms::checks`] of the limit.
        check: usize,
    },
}

/// What is taken of what fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    /// What the request needs.
    Needs,
    /// Nothing: it only wants to know.
    Nothing,
}

impl Check {
    /// How much requests are admitted to, where time does not tell.
    pub(crate) fn max_admitted(&self) -> Max {
        match (self.max, self.grace) {
            (Max::AtMost(max), Grace::Units(units)) => Max::AtMost(max.saturating_add(units.max(0))),
            (max, Grace::None | Grace::Units(_) | Grace::Millis(_)) => max,
        }
    }

    /// How much may be used, if more is refused.
    pub(crate) fn max_enforced(&self, mode: Mode) -> Option<i64> {
        match self.max_admitted() {
            Max::AtMost(max) if self.hard && mode == Mode::Enforce => Some(max),
            Max::AtMost(_) | Max::Unlimited => None,
        }
    }

    /// How far requests that run may carry a limit of `max`.
    pub(crate) fn max_running(&self, max: i64) -> i64 {
        max.saturating_add(self.overdraw.max(0))
    }
}

impl Terms<'_> {
    /// What a request needs for `check`; never negative.
    pub(crate) fn need(&self, check: &Check) -> i64 {
        self.needs.get(check.need).copied().unwrap_or(0).max(0)
    }
}

impl Parties<'_> {
    /// Decides on a request at `now`, before anything was asked of a shared store.
    ///
    /// Takes what it needs from every limit or from none. The instant it is charged at, and that its
    /// windows are those of, is [`Hold::at`]: `now`, or the subject's latest instant if threads read
    /// the clock in another order than they came here.
    pub fn admit(&self, terms: Terms<'_>, now: UnixMillis) -> Admission {
        self.admit_asked(terms, now, Asked::default())
    }

    /// As [`Parties::admit`], when the store has answered what was `asked`.
    pub fn admit_asked(&self, terms: Terms<'_>, now: UnixMillis, asked: Asked) -> Admission {
        self.decide(terms, now, asked, Take::Needs)
    }

    /// The decision, and what it takes if it admits.
    pub(crate) fn decide(&self, terms: Terms<'_>, now: UnixMillis, asked: Asked, take: Take) -> Admission {
        // Always the user's lock first: users and organisations are disjoint, so no cycle can form.
        let mut user = self.user.lock();
        let mut org = self.org.map(|org| org.lock());
        let horizon = org.as_ref().map_or(user.horizon, |org| org.horizon.max(user.horizon));
        let mut at = settle_clock(now, horizon);
        let mut join = |subject: &Subject, book: &mut Book, scope| {
            let Some(member) = &subject.member else { return };
            track(book, terms.tracked, scope);
            // Nothing that an epoch's leases admit is charged before it began.
            let since = member.since();
            at = if since == UnixMillis::MAX { at } else { at.max(since) };
        };
        join(self.user, &mut user, Scope::User);
        if let (Some(subject), Some(book)) = (self.org, &mut org) {
            join(subject, book, Scope::Org);
        }

        let mut taken: SmallVec<[Taken; CHECKS_INLINE]> = SmallVec::new();
        let mut standings = Standings::new();
        let mut refusal: Option<Refusal> = None;
        let (mut unleased, mut unavailable) = (false, None);
        for (index, check) in terms.checks.iter().take(CHECKS_MAX).enumerate() {
            let in_org = check.scope == Scope::Org && org.is_some();
            let (book, subject, asked) = match (&mut org, self.org) {
                (Some(book), Some(subject)) if in_org => (&mut **book, subject, asked.org),
                _ => (&mut *user, self.user, asked.user),
            };
            let leased = subject.member.is_some();
            let position = book.position_near(index, check.counter, check.concurrent, leased);
            let failed = asked > 0 && book.calls.failed >= asked;
            let Book { calendar, counters, .. } = book;
            let counter = &mut counters[position];
            let need = terms.need(check);
            let fits = match counter.turn_to(at, calendar) {
                Readiness::Ready if take == Take::Nothing => counter.would_fit(need, check, at),
                Readiness::Ready => counter.fits(need, check, at),
                Readiness::Loading | Readiness::Unknown => return Admission::NotLoaded,
                Readiness::Leased => {
                    let max = counter.max_enforced(check, terms.mode, at);
                    let wanted = Wanted { need, max, policy: check.on_store_failure, asked, failed };
                    match wanted.of(counter, subject) {
                        Room::Fits => {
                            if max.is_some() && need > 0 && take == Take::Needs {
                                counter.has_room(check);
                            }
                            true
                        }
                        Room::Full if take == Take::Nothing => counter.begins_grace(check, at),
                        Room::Full => counter.is_full(check, at),
                        Room::Ask => {
                            unleased = true;
                            true
                        }
                        Room::Unavailable => {
                            unavailable = Some(index);
                            true
                        }
                    }
                }
            };
            // Two limits may count on one counter (a user without organisation): what the earlier one
            // takes is not there for the later, yet is taken once.
            let place = Place::new(in_org, position);
            let first = !taken.iter().any(|earlier| earlier.place == place);
            if check.hard && !fits {
                let standing = Standing { usage: counter.usage, span: counter.span };
                let refused = Refusal { check: index, standing, is_only: refusal.is_none() };
                if let Some(earlier) = &mut refusal {
                    earlier.is_only = false;
                }
                if refusal.is_none_or(|r| keeps_out_longer(counter.span, r.standing.span)) {
                    refusal = Some(refused);
                }
            }
            let amount = if first { need } else { 0 };
            taken.push(Taken { place, generation: counter.generation, amount });
            standings.push(Standing { usage: counter.usage, span: counter.span });
        }
        if terms.mode == Mode::Enforce
            && let Some(refusal) = refusal
        {
            return Admission::Refused { refusal, standings };
        }
        if let Some(check) = unavailable {
            return Admission::Unavailable { check };
        }
        if unleased {
            return Admission::NotLeased;
        }
        if take == Take::Nothing {
            let hold = Hold::of_nothing(Arc::clone(self.user), self.org.cloned(), at);
            return Admission::Admitted { hold, standings, unenforced: refusal, warnings: Warnings::new() };
        }

        let mut warnings = Warnings::new();
        for (index, (check, (standing, taken))) in
            terms.checks.iter().zip(standings.iter_mut().zip(&taken)).enumerate()
        {
            let book: &mut Book = match &mut org {
                Some(org) if taken.place.in_org() => org,
                _ => &mut user,
            };
            let counter = &mut book.counters[taken.place.position()];
            // Of limits that count on one counter, the first takes it all: what stands after it is the same for them.
            counter.hold(taken.generation, taken.amount);
            if !check.concurrent {
                standing.usage = counter.usage;
            }
            if let Max::AtMost(max) = check.max
                && let Some(percent) = counter.newly_reached(max, terms.warn_at)
            {
                warnings.push((u8::try_from(index).unwrap_or(u8::MAX), percent));
            }
        }
        for book in [Some(&mut user), org.as_mut()].into_iter().flatten() {
            book.horizon = at;
            book.holds += 1;
            book.idle_sweeps = 0;
        }
        let hold = Hold::new(Arc::clone(self.user), self.org.cloned(), at, taken);
        Admission::Admitted { hold, standings, unenforced: refusal, warnings }
    }
}

/// Whether a limit that is full in `span` says more than one that is full in `other`.
pub(crate) fn keeps_out_longer(span: Span, other: Span) -> bool {
    (other.end, span.start) < (span.end, other.start)
}

/// Keeps one subject's instants in order, unless the clock was really set back.
pub(crate) fn settle_clock(now: UnixMillis, latest: UnixMillis) -> UnixMillis {
    if now < latest && latest.since(now) <= CLOCK_JITTER_MS_MAX { latest } else { now }
}
