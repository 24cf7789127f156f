//! One counter: one meter in one window of one subject.

use tollgate_core::{Calendar, Grace, Max, Span, UnixMillis, Usage, Window};

use crate::{Check, Mode, lease::Lease};

/// A meter, numbered once per process so that its counters outlive configuration reloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MeterId(pub u16);

/// Which counter of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CounterKey {
    /// What it counts.
    pub meter: MeterId,
    /// Over which span.
    pub window: Window,
}

/// A place in the journal: settlements before it are told apart from those after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(pub u64);

/// Most settlements that a counter remembers while it is being loaded. Beyond, the load starts again.
const LOADING_TAIL_MAX: usize = 65_536;

/// Most limits of one counter for which it is remembered since when they are full; a change of tiers or of overrides in
/// the middle of a window makes another.
const FULL_MAX: usize = 8;

#[derive(Debug)]
pub(crate) struct Counter {
    pub(crate) key: CounterKey,
    /// Whether it counts what runs now.
    pub(crate) concurrent: bool,
    pub(crate) span: Span,
    pub(crate) usage: Usage,
    /// Changes with every later span, so that a hold taken in an earlier one is not released in this one.
    pub(crate) generation: u32,
    /// What requests in flight hold that were admitted in earlier spans.
    held_earlier: i64,
    /// Whether `usage.held` has what is held by all requests in flight, whenever they were admitted.
    holds_all: bool,
    /// Whether the calendar has changed since the span was made.
    doubtful: bool,
    /// The lease of the span before this one: clocks step back, and what it knows is told to nobody yet.
    pub(crate) earlier: Option<Box<(Span, Lease)>>,
    /// Numbers the loads, so that the answer to an earlier one is not taken for this one's.
    loads: u32,
    /// The latest instant at which the subject was charged for this meter, in whatever span.
    pub(crate) horizon: UnixMillis,
    /// Highest `warn_at` percentage told of in this span.
    pub(crate) warned_percent: u8,
    /// The limits with a time of grace that a request did not fit into, by size, and since when that is so. It is
    /// forgotten when one fits again, at the end of the span, and with the process.
    full: Vec<(i64, UnixMillis)>,
    /// The span before this one, and what is settled in it, for requests that end later than it.
    previous: Option<(Span, i64)>,
    pub(crate) state: State,
}

#[derive(Debug)]
pub(crate) enum State {
    /// `usage.settled` is what ledger and journal hold of the span.
    Ready,
    /// The ledger was asked for the span; what is settled meanwhile waits here.
    Loading { tail: Vec<(Mark, i64)> },
    /// The span's usage is not known and nobody is asking.
    Unknown,
    /// Counted in a store that other instances share. `usage.settled` is what the store last said counts
    /// against the limit, and what was spent here since.
    Leased(Box<Lease>),
}

/// What became of a counter that was asked for its state at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    Ready,
    Loading,
    Unknown,
    Leased,
}

impl Counter {
    pub(crate) fn unknown(key: CounterKey) -> Self {
        let span = Span { start: UnixMillis::MIN, end: UnixMillis::MIN };
        Self {
            key,
            concurrent: false,
            span,
            usage: Usage::default(),
            generation: 0,
            held_earlier: 0,
            holds_all: false,
            doubtful: false,
            earlier: None,
            loads: 0,
            horizon: UnixMillis::MIN,
            warned_percent: 0,
            full: Vec::new(),
            previous: None,
            state: State::Unknown,
        }
    }

    /// A counter of what runs now: settled is what outlives its request, held what is in flight.
    pub(crate) fn concurrent(key: CounterKey) -> Self {
        Self { concurrent: true, ..Self::unknown(key) }
    }

    /// A counter of which the store sets parts aside for this instance.
    pub(crate) fn leased(key: CounterKey, concurrent: bool) -> Self {
        let state = State::Leased(Box::default());
        let base = if concurrent { Self::concurrent(key) } else { Self::unknown(key) };
        Self { state, ..base }
    }

    pub(crate) fn lease(&self) -> Option<&Lease> {
        match &self.state {
            State::Leased(lease) => Some(lease),
            State::Ready | State::Loading { .. } | State::Unknown => None,
        }
    }

    pub(crate) fn lease_mut(&mut self) -> Option<&mut Lease> {
        match &mut self.state {
            State::Leased(lease) => Some(lease),
            State::Ready | State::Loading { .. } | State::Unknown => None,
        }
    }

    /// The subject has another calendar: the span is looked at again before it is used.
    pub(crate) fn doubt_span(&mut self) {
        self.doubtful = true;
    }

    /// Moves the counter to the window that `at` lies in. A later window that begins after everything the
    /// subject was ever charged for is known to be empty; any other has to be loaded.
    #[inline]
    pub(crate) fn turn_to(&mut self, at: UnixMillis, calendar: &Calendar) -> Readiness {
        if self.doubtful || !self.span.contains(at) {
            self.turn(at, calendar);
        }
        match &self.state {
            State::Ready => Readiness::Ready,
            State::Loading { .. } => Readiness::Loading,
            State::Unknown => Readiness::Unknown,
            State::Leased(_) => Readiness::Leased,
        }
    }

    #[cold]
    fn turn(&mut self, at: UnixMillis, calendar: &Calendar) {
        self.doubtful = false;
        let span = self.key.window.span(at, calendar);
        if span != self.span {
            self.enter(span);
        }
    }

    fn enter(&mut self, span: Span) {
        let is_later = span.start >= self.span.end;
        let settled = matches!(self.state, State::Ready | State::Leased(_)).then_some(self.usage.settled);
        self.previous = settled.filter(|_| is_later).map(|settled| (self.span, settled));
        self.full.clear();
        if is_later {
            self.held_earlier = self.held_earlier.saturating_add(self.usage.held);
            self.usage.held = 0;
            self.generation = self.generation.wrapping_add(1);
            self.holds_all = false;
        } else if span.start < self.span.start {
            // Of what is in flight, all may have been admitted in this span. What was not counts here too
            // until it ends: rather that than to admit too much.
            self.usage.held = self.usage.held.saturating_add(self.held_earlier);
            self.held_earlier = 0;
            self.holds_all = true;
        }
        if let State::Leased(lease) = &mut self.state {
            // What was granted for another window ends with it, unless that turns out not to be over.
            let back = self.earlier.take().filter(|earlier| earlier.0 == span);
            let ended = std::mem::replace(&mut **lease, back.map_or_else(Lease::default, |back| back.1));
            self.earlier = ended.set_by().map(|ended| Box::new((self.span, ended)));
        }
        self.state = match std::mem::replace(&mut self.state, State::Unknown) {
            State::Leased(lease) => State::Leased(lease),
            State::Ready if is_later && span.start > self.horizon => State::Ready,
            State::Ready | State::Loading { .. } | State::Unknown => State::Unknown,
        };
        self.usage.settled = 0;
        self.warned_percent = 0;
        self.span = span;
    }

    /// Settles the doubts that a new calendar has raised, by the window of `at`; a span without doubts stays.
    pub(crate) fn settle_doubt(&mut self, at: UnixMillis, calendar: &Calendar) {
        if self.doubtful {
            self.turn_to(at, calendar);
        }
    }

    /// Whether what a hold took in `generation` counts in the present span.
    pub(crate) fn counts(&self, generation: u32) -> bool {
        self.holds_all || generation == self.generation
    }

    /// Adds to what a hold took in `generation`, without looking at any limit.
    pub(crate) fn hold(&mut self, generation: u32, amount: i64) {
        let held = self.held_of(generation);
        *held = held.saturating_add(amount);
        if self.counts(generation)
            && let Some(lease) = self.lease_mut()
        {
            lease.taken = lease.taken.saturating_add(amount);
        }
    }

    /// Gives back what a hold took in `generation`.
    pub(crate) fn release(&mut self, generation: u32, amount: i64) {
        let held = self.held_of(generation);
        *held = held.saturating_sub(amount);
    }

    fn held_of(&mut self, generation: u32) -> &mut i64 {
        if self.counts(generation) { &mut self.usage.held } else { &mut self.held_earlier }
    }

    /// Adds `amount`, charged at `at` and journalled at `mark`, if it belongs to the present span or a
    /// later one. `since` is when the shared store's epoch began.
    pub(crate) fn charge(
        &mut self,
        (at, since): (UnixMillis, UnixMillis),
        mark: Mark,
        amount: i64,
        calendar: &Calendar,
    ) {
        if amount == 0 {
            return;
        }
        if at >= self.span.end {
            self.turn_to(at, calendar);
        }
        self.horizon = self.horizon.max(at);
        if !self.span.contains(at) {
            if let Some((_, settled)) = self.previous.as_mut().filter(|(span, _)| span.contains(at)) {
                *settled = settled.saturating_add(amount);
            }
            if let Some(earlier) = self.earlier.as_mut().filter(|earlier| earlier.0.contains(at)) {
                earlier.1.spend(at, since, mark, amount);
            }
            return;
        }
        match &mut self.state {
            State::Ready => self.usage.settled = self.usage.settled.saturating_add(amount),
            State::Loading { tail } if tail.len() < LOADING_TAIL_MAX => tail.push((mark, amount)),
            State::Loading { .. } => self.state = State::Unknown,
            State::Unknown => {}
            State::Leased(lease) => {
                self.usage.settled = self.usage.settled.saturating_add(amount);
                lease.spend(at, since, mark, amount);
            }
        }
    }

    /// Whether a request at `at` that needs `need` is admitted by `check`.
    pub(crate) fn fits(&mut self, need: i64, check: &Check, at: UnixMillis) -> bool {
        if !self.usage.fits(need, check.max_admitted()) {
            return self.is_full(check, at);
        }
        if need > 0 {
            self.has_room(check);
        }
        true
    }

    /// The same for who only asks: a grace does not begin with it.
    pub(crate) fn would_fit(&self, need: i64, check: &Check, at: UnixMillis) -> bool {
        self.usage.fits(need, check.max_admitted()) || self.begins_grace(check, at)
    }

    /// Whether a request at `at` that does not fit into what `check` admits would be admitted all the same.
    pub(crate) fn begins_grace(&self, check: &Check, at: UnixMillis) -> bool {
        let (Grace::Millis(_), Max::AtMost(max)) = (check.grace, check.max) else { return false };
        self.is_in_grace(check, at) || !self.full.iter().any(|(of, _)| *of == max)
    }

    /// Notes that a request has fit into what `check` admits.
    pub(crate) fn has_room(&mut self, check: &Check) {
        if let (Grace::Millis(_), Max::AtMost(max)) = (check.grace, check.max) {
            self.full.retain(|(of, _)| *of != max);
        }
    }

    /// Notes that a request at `at` does not fit into what `check` admits; whether it is admitted all the same, as
    /// that is not so for long.
    pub(crate) fn is_full(&mut self, check: &Check, at: UnixMillis) -> bool {
        let (Grace::Millis(_), Max::AtMost(max)) = (check.grace, check.max) else { return false };
        if !self.full.iter().any(|(of, _)| *of == max) {
            if self.full.len() >= FULL_MAX {
                self.full.remove(0);
            }
            self.full.push((max, at));
        }
        self.is_in_grace(check, at)
    }

    /// How much may be used by `check` at `at`, if more is refused.
    pub(crate) fn max_enforced(&self, check: &Check, mode: Mode, at: UnixMillis) -> Option<i64> {
        check.max_enforced(mode).filter(|_| !self.is_in_grace(check, at))
    }

    fn is_in_grace(&self, check: &Check, at: UnixMillis) -> bool {
        let (Grace::Millis(millis), Max::AtMost(max)) = (check.grace, check.max) else { return false };
        self.full.iter().any(|(of, since)| *of == max && at.since(*since) < millis)
    }

    /// What is settled in the span of `at`, if that is known.
    pub(crate) fn settled_at(&self, at: UnixMillis) -> Option<i64> {
        if self.span.contains(at) {
            return matches!(self.state, State::Ready | State::Leased(_)).then_some(self.usage.settled);
        }
        self.previous.filter(|(span, _)| span.contains(at)).map(|(_, settled)| settled)
    }

    /// Begins a load; its number, and the span to ask the ledger for.
    pub(crate) fn begin_load(&mut self) -> (u32, Span) {
        self.state = State::Loading { tail: Vec::new() };
        self.loads = self.loads.wrapping_add(1);
        (self.loads, self.span)
    }

    /// Ends a load without an answer.
    pub(crate) fn fail(&mut self, load: u32) {
        if matches!(self.state, State::Loading { .. }) && self.loads == load {
            self.state = State::Unknown;
        }
    }

    /// The highest of the ascending percentages `warn_at` that usage has newly reached of `max`.
    pub(crate) fn newly_reached(&mut self, max: i64, warn_at: &[u8]) -> Option<u8> {
        let used = self.usage.total().saturating_mul(100);
        let reached = |percent: &&u8| used >= max.saturating_mul(i64::from(**percent));
        // Mostly not even the lowest is.
        warn_at.first().filter(reached)?;
        let percent = *warn_at.iter().rev().find(reached)?;
        (max > 0 && percent > self.warned_percent).then(|| {
            self.warned_percent = percent;
            percent
        })
    }

    /// Ends a load: `sum` is all of its span that was journalled before `watermark`.
    pub(crate) fn complete(&mut self, load: u32, sum: i64, watermark: Mark) {
        let State::Loading { tail } = &mut self.state else { return };
        if self.loads != load {
            return;
        }
        let newer = tail.iter().filter(|(mark, _)| *mark >= watermark).map(|(_, amount)| *amount);
        self.usage.settled = newer.fold(sum, i64::saturating_add);
        self.state = State::Ready;
    }
}
