//! Waiting to be admitted: for a slot of what runs at once, or for a turn at the rate of a limit that slows down.
//!
//! Contract
//! - Nothing is held while a request waits, neither quota nor a place in the journal. What it has claimed by an id stays
//!   claimed.
//! - Who waits for the same limit of the same subject stands in one line of this gateway, and only the first tries. Who
//!   comes while others wait goes behind them, unless its limit is another one since. Where several limits of a request have lines, it is in one at a time,
//!   and goes to the end of the other when that refuses it: no two lines wait for each other.
//! - A line has a bound, all lines together have one, and each wait has one ([`TURN_WAIT_MAX`], or what the limit says).
//! - A client who hangs up leaves the line: the wait is part of the request's future and is dropped with it.
//! - The first is woken when something that ran here has ended. With a shared store it also asks again by itself, as
//!   others are not heard of. Turns are each gateway's own: several let through as often as they are.

mod lines;
mod pace;

use std::{future::poll_fn, time::Duration};

use arrayvec::ArrayVec;
use tokio::time::{Instant, timeout_at};
use tollgate_core::{Max, Rate, Scope};
use tollgate_quota::{Admission, Asked, CHECKS_MAX, Check, Freed, Parties, Peek, Refusal, Standings, Terms};

pub(crate) use self::lines::Lines;
use self::lines::{Key, Place};
use crate::{
    beyond::{Beyond, Wait},
    identity::{Caller, text},
    worker::Worker,
};

/// Longest time that a request waits for its turn: what clients and proxies wait for at least.
const TURN_WAIT_MAX: Duration = Duration::from_secs(60);
/// Requests that wait for turns in one line; at the slowest rates, the time ends before.
const TURN_LINE_MAX: usize = 64;
/// How soon the first asks a shared store again, and how seldom in the end.
const ASK_AGAIN_MIN: Duration = Duration::from_millis(50);
const ASK_AGAIN_MAX: Duration = Duration::from_secs(1);

/// One request that may have to wait.
pub(crate) struct Waiting<'a> {
    worker: &'a Worker,
    beyond: &'a Beyond,
    caller: &'a Caller,
    /// Of its body.
    kept_bytes: u64,
    parties: Parties<'a>,
    /// With the limits that refuse who has not waited.
    terms: Terms<'a>,
    place: Option<Place>,
    /// How many were in the line when it began to wait, itself included.
    pub(crate) position: Option<usize>,
    deadline: Option<Instant>,
    /// What had ended before the first in line tried last; none if it has not.
    seen: Option<Freed>,
    ask_again: Duration,
}

/// What a request does that was refused.
pub(crate) enum Next {
    /// It tries again.
    Again,
    /// It has waited for its turn at this limit, which does not refuse it any more. Others that slow down do.
    Through(usize),
    /// It is refused.
    Refused(Box<Refused>),
}

/// Why a request is refused that may have waited.
pub(crate) struct Refused {
    pub(crate) refusal: Refusal,
    /// Where all limits stand, if that is newer than the refusal.
    pub(crate) standings: Option<Standings>,
    /// When its turn would come.
    pub(crate) again_after: Option<Duration>,
}

impl<'a> Waiting<'a> {
    pub(crate) fn new(
        worker: &'a Worker,
        beyond: &'a Beyond,
        (caller, kept_bytes): (&'a Caller, u64),
        (parties, terms): (Parties<'a>, Terms<'a>),
    ) -> Self {
        let (place, position, deadline, seen) = (None, None, None, None);
        Self {
            worker,
            beyond,
            caller,
            kept_bytes,
            parties,
            terms,
            place,
            position,
            deadline,
            seen,
            ask_again: ASK_AGAIN_MIN,
        }
    }

    /// Goes behind those who wait already for what it needs, if there are any. Cancel-safe.
    ///
    /// Who needs nothing of it may be the one who frees what the others wait for.
    pub(crate) async fn behind_others(&mut self) -> Next {
        let lines = &self.worker.shared.lines;
        let mut waits = self.beyond.waits().filter(|(check, _)| self.need(*check) > 0);
        let others = waits.find(|(check, _)| lines.length(&self.key(*check)) > 0);
        let Some((check, wait)) = others else { return Next::Again };
        match self.wait(check, wait).await {
            Ok(next) => next,
            // Who is told nothing else finds out by asking.
            Err(again_after) => self.standings().map_or(Next::Again, |standings| {
                let refusal = Refusal { check, standing: standings[check], is_only: true };
                Next::Refused(Box::new(Refused { refusal, standings: Some(standings), again_after }))
            }),
        }
    }

    /// Waits after a refusal, where the limit that refuses has a line. Cancel-safe.
    pub(crate) async fn after(&mut self, refusal: &Refusal) -> Next {
        let Refusal { check, standing: _, is_only } = *refusal;
        let refused = |again_after| {
            Next::Refused(Box::new(Refused { refusal: *refusal, standings: None, again_after }))
        };
        let Some(wait) = self.beyond.wait(check) else { return refused(None) };
        if self.never_fits(check, wait) {
            return refused(None);
        }
        match self.refused_by_others(is_only) {
            Some(others) => others,
            None => self.wait(check, wait).await.unwrap_or_else(refused),
        }
    }

    /// Whether it has no slot, however long it waits.
    fn never_fits(&self, check: usize, wait: Wait) -> bool {
        let max = self.terms.checks.get(check).map(|check| check.max);
        matches!((wait, max), (Wait::Slot(_), Some(Max::AtMost(max))) if self.need(check) > max)
    }

    /// How much it needs of a limit.
    fn need(&self, check: usize) -> i64 {
        let need = self.terms.checks.get(check).map(|check| check.need);
        need.and_then(|need| self.terms.needs.get(need)).copied().unwrap_or(0)
    }

    /// Refused by a limit that it would wait for in vain, if there is one.
    fn refused_by_others(&self, is_only: bool) -> Option<Next> {
        if is_only {
            return None;
        }
        let patient = |(index, check): (usize, &Check)| {
            let waits = self.beyond.wait(index).is_some_and(|wait| !self.never_fits(index, wait));
            Check { hard: check.hard && !waits, ..*check }
        };
        let checks = self.terms.checks.iter().take(CHECKS_MAX).enumerate();
        let checks: ArrayVec<Check, CHECKS_MAX> = checks.map(patient).collect();
        let terms = Terms { checks: &checks, ..self.terms };
        // Nothing is taken: who waits for a slot would be told that one is free when it is given back.
        match self.parties.peek(terms, self.worker.now(), Asked::default()) {
            Peek::Refused { refusal, standings } => {
                let refused = Refused { refusal, standings: Some(standings), again_after: None };
                Some(Next::Refused(Box::new(refused)))
            }
            Peek::Fits { .. } | Peek::NotLoaded | Peek::NotLeased | Peek::Unavailable { .. } => None,
        }
    }

    /// Where all limits stand; none where that is not known.
    fn standings(&self) -> Option<Standings> {
        // What needs nothing is admitted, and holds nothing.
        let terms = Terms { needs: &[], warn_at: &[], ..self.terms };
        match self.parties.admit(terms, self.worker.now()) {
            Admission::Admitted { hold, standings, .. } => {
                drop(hold);
                Some(standings)
            }
            Admission::Refused { .. }
            | Admission::NotLoaded
            | Admission::NotLeased
            | Admission::Unavailable { .. } => None,
        }
    }

    /// An error says when its turn would come, if that is known.
    async fn wait(&mut self, check: usize, wait: Wait) -> Result<Next, Option<Duration>> {
        let now = Instant::now();
        let key = self.key(check);
        let is_there = self.place.as_ref().is_some_and(|place| *place.key() == key);
        if !is_there {
            let lines = &self.worker.shared.lines;
            // Who changes lines has left the one before.
            self.place = None;
            let length_max = match wait {
                Wait::Slot(queue) => usize::try_from(queue.length).unwrap_or(usize::MAX),
                Wait::Turn(rate) => {
                    let ahead = lines.length(&key);
                    let until = lines.pace(&key, |pace| pace.wait(now, rate, ahead));
                    if until > TURN_WAIT_MAX {
                        return Err(Some(until));
                    }
                    TURN_LINE_MAX
                }
            };
            let Some((place, length)) = lines.join(&key, length_max, self.kept_bytes) else {
                return Err(self.again_after(&key, wait));
            };
            self.place = Some(place);
            self.position.get_or_insert(length);
            self.seen = None;
        }
        let wait_max = match wait {
            Wait::Slot(queue) => Duration::from_millis(queue.wait_ms.into()),
            Wait::Turn(_) => TURN_WAIT_MAX,
        };
        let deadline = *self.deadline.get_or_insert(now + wait_max);
        let next = match wait {
            Wait::Slot(_) => self.slot(deadline).await,
            Wait::Turn(rate) => self.turn(deadline, check, rate).await,
        };
        next.ok_or_else(|| {
            self.place = None;
            self.again_after(&key, wait)
        })
    }

    /// Waits until it is the first, and then, after each attempt, until there may be a slot; none when it takes too long.
    async fn slot(&mut self, deadline: Instant) -> Option<Next> {
        self.first(deadline).await?;
        if let Some(seen) = self.seen {
            let is_shared = self.worker.shared.remote.is_some();
            let until = if is_shared { deadline.min(Instant::now() + self.ask_again) } else { deadline };
            let freed = timeout_at(until, self.parties.until_freed(seen)).await.is_ok();
            if !freed {
                if until >= deadline {
                    return None;
                }
                self.ask_again = self.ask_again.saturating_mul(2).min(ASK_AGAIN_MAX);
            }
        }
        self.seen = Some(self.parties.freed());
        Some(Next::Again)
    }

    /// Waits until it is the first, and then for its turn or the end of the window; none when it takes too long.
    async fn turn(&mut self, deadline: Instant, check: usize, rate: Rate) -> Option<Next> {
        self.first(deadline).await?;
        let place = self.place.as_ref()?;
        match place.pace(|pace| pace.take(Instant::now(), rate)) {
            Ok(()) => {
                // The next one waits for its own turn from now on.
                self.place = None;
                return Some(Next::Through(check));
            }
            Err(turn) => {
                let window = self.window_ends(check);
                let until = window.map_or(turn, |window| turn.min(window));
                if until > deadline {
                    return None;
                }
                tokio::time::sleep_until(until).await;
                if until < turn {
                    // There is room again without waiting.
                    return Some(Next::Again);
                }
            }
        }
        let place = self.place.as_ref()?;
        let taken = place.pace(|pace| pace.take(Instant::now(), rate)).is_ok();
        if taken {
            self.place = None;
        }
        // Timers are never early; who finds it so tries again.
        Some(if taken { Next::Through(check) } else { Next::Again })
    }

    async fn first(&self, deadline: Instant) -> Option<()> {
        let place = self.place.as_ref().filter(|_| Instant::now() < deadline)?;
        timeout_at(deadline, poll_fn(|cx| place.poll_first(cx))).await.ok()
    }

    /// When the window of a limit ends, a moment later.
    fn window_ends(&self, check: usize) -> Option<Instant> {
        let standings = self.standings()?;
        let end = standings.get(check)?.span.end;
        let left = u64::try_from(end.since(self.worker.now())).unwrap_or(0).saturating_add(1);
        Instant::now().checked_add(Duration::from_millis(left))
    }

    fn again_after(&self, key: &Key, wait: Wait) -> Option<Duration> {
        match wait {
            Wait::Slot(_) => None,
            Wait::Turn(rate) => {
                let lines = &self.worker.shared.lines;
                let ahead = lines.length(key);
                Some(lines.pace(key, |pace| pace.wait(Instant::now(), rate, ahead)))
            }
        }
    }

    fn key(&self, check: usize) -> Key {
        let rate = match self.beyond.wait(check) {
            Some(Wait::Turn(rate)) => Some(rate),
            Some(Wait::Slot(_)) | None => None,
        };
        let check = &self.terms.checks[check];
        let org = self.caller.org.as_ref().filter(|_| check.scope == Scope::Org);
        let scope = if org.is_some() { Scope::Org } else { Scope::User };
        let id = text(org.unwrap_or(&self.caller.user)).into();
        Key { scope, id, counter: check.counter, max: check.max, rate }
    }
}
