//! Admission: one look at all limits of a request, one take.

use std::sync::Arc;

use arrayvec::ArrayVec;
use tollgate_core::{Max, Scope, Span, UnixMillis, Usage};

use crate::{CounterKey, Hold, Subject, counter::Readiness, hold::Taken, subject::Book};

/// Most limits that one request can be checked against, user's and organisation's together.
pub const CHECKS_MAX: usize = 16;

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
    /// Whether the counter counts what runs now, and so begins at zero.
    pub concurrent: bool,
    /// Position in [`Terms::needs`] of what the request needs of the meter.
    pub need: usize,
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
pub type Standings = ArrayVec<Standing, CHECKS_MAX>;

/// Positions in [`Terms::checks`] with the percentage newly reached of that limit.
pub type Warnings = ArrayVec<(u8, u8), CHECKS_MAX>;

/// Why a request was refused; it took nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Position in [`Terms::checks`] of the limit that refuses; of several, the one that resets last, and
    /// of those that reset together the longest.
    pub check: usize,
    /// Where it stands.
    pub standing: Standing,
}

/// The decision on a request.
#[derive(Debug)]
#[must_use]
#[expect(clippy::large_enum_variant, reason = "on the request path, a move is cheaper than an allocation")]
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
}

impl Parties<'_> {
    /// Decides on a request at `now`.
    ///
    /// Takes what it needs from every limit or from none. The instant it is charged at, and that its
    /// windows are those of, is [`Hold::at`]: `now`, or the subject's latest instant if threads read
    /// the clock in another order than they came here.
    pub fn admit(&self, terms: Terms<'_>, now: UnixMillis) -> Admission {
        // Always the user's lock first: users and organisations are disjoint, so no cycle can form.
        let mut user = self.user.lock();
        let mut org = self.org.map(|org| org.lock());
        let horizon = org.as_ref().map_or(user.horizon, |org| org.horizon.max(user.horizon));
        let at = settle_clock(now, horizon);

        let mut found: ArrayVec<Found, CHECKS_MAX> = ArrayVec::new();
        let mut standings = Standings::new();
        let mut refusal: Option<Refusal> = None;
        for (index, check) in terms.checks.iter().take(CHECKS_MAX).enumerate() {
            let in_org = check.scope == Scope::Org && org.is_some();
            let book: &mut Book = match &mut org {
                Some(org) if in_org => org,
                _ => &mut user,
            };
            let position = book.position_or_new(check.counter, check.concurrent);
            let Book { calendar, counters, .. } = book;
            let counter = &mut counters[position];
            if counter.turn_to(at, calendar) != Readiness::Ready {
                return Admission::NotLoaded;
            }
            let need = terms.needs.get(check.need).copied().unwrap_or(0);
            // Two limits may count on one counter (a user without organisation): what the earlier one
            // takes is not there for the later, yet is taken once.
            let first = !found.iter().any(|f| f.in_org == in_org && f.position == position);
            if check.hard && !counter.usage.fits(need, check.max) {
                let refused =
                    Refusal { check: index, standing: Standing { usage: counter.usage, span: counter.span } };
                if refusal.is_none_or(|r| keeps_out_longer(counter.span, r.standing.span)) {
                    refusal = Some(refused);
                }
            }
            let need = if first { need.max(0) } else { 0 };
            found.push(Found { in_org, position, need });
            standings.push(Standing { usage: counter.usage, span: counter.span });
        }
        if terms.mode == Mode::Enforce
            && let Some(refusal) = refusal
        {
            return Admission::Refused { refusal, standings };
        }

        let mut taken: ArrayVec<Taken, CHECKS_MAX> = ArrayVec::new();
        for found in &found {
            let book: &mut Book = match &mut org {
                Some(org) if found.in_org => org,
                _ => &mut user,
            };
            let counter = &mut book.counters[found.position];
            counter.usage.held = counter.usage.held.saturating_add(found.need);
            taken.push(Taken {
                in_org: found.in_org,
                position: found.position,
                generation: counter.generation,
                amount: found.need,
            });
        }
        let mut warnings = Warnings::new();
        for (index, (standing, found)) in standings.iter_mut().zip(&found).enumerate() {
            let book: &mut Book = match &mut org {
                Some(org) if found.in_org => org,
                _ => &mut user,
            };
            let counter = &mut book.counters[found.position];
            if !terms.checks[index].concurrent {
                standing.usage = counter.usage;
            }
            if let Max::AtMost(max) = terms.checks[index].max
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

/// Where a check's counter was found.
struct Found {
    in_org: bool,
    position: usize,
    need: i64,
}

/// Whether a limit that is full in `span` says more than one that is full in `other`.
fn keeps_out_longer(span: Span, other: Span) -> bool {
    (other.end, span.start) < (span.end, other.start)
}

/// Keeps one subject's instants in order, unless the clock was really set back.
pub(crate) fn settle_clock(now: UnixMillis, latest: UnixMillis) -> UnixMillis {
    if now < latest && latest.since(now) <= CLOCK_JITTER_MS_MAX { latest } else { now }
}
