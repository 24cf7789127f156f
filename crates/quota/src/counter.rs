//! One counter: one meter in one window of one subject.

use tollgate_core::{Calendar, Span, UnixMillis, Usage, Window};

use crate::lease::Lease;

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

#[derive(Debug)]
pub(crate) struct Counter {
    pub(crate) key: CounterKey,
    /// Whether it counts what runs now.
    pub(crate) concurrent: bool,
    pub(crate) span: Span,
    pub(crate) usage: Usage,
    /// Changes with every span, so that a hold taken in another span is not released in this one.
    pub(crate) generation: u32,
    /// The latest instant at which the subject was charged for this meter, in whatever span.
    pub(crate) horizon: UnixMillis,
    /// Highest `warn_at` percentage told of in this span.
    pub(crate) warned_percent: u8,
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
            horizon: UnixMillis::MIN,
            warned_percent: 0,
            state: State::Unknown,
        }
    }

    /// A counter of what runs now: nothing in the ledger bears on it.
    pub(crate) fn concurrent(key: CounterKey) -> Self {
        Self { concurrent: true, span: Span::ALWAYS, state: State::Ready, ..Self::unknown(key) }
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

    /// Moves the counter to the window that `at` lies in. A window that begins after everything the
    /// subject was ever charged for is known to be empty; any other has to be loaded.
    pub(crate) fn turn_to(&mut self, at: UnixMillis, calendar: &Calendar) -> Readiness {
        if !self.span.contains(at) {
            self.span = self.key.window.span(at, calendar);
            self.generation = self.generation.wrapping_add(1);
            self.warned_percent = 0;
            let was_known = matches!(self.state, State::Ready);
            self.usage = Usage::default();
            self.state = match &self.state {
                // What is left of a window that has ended ends with it.
                State::Leased(_) => State::Leased(Box::default()),
                _ if was_known && self.span.start > self.horizon => State::Ready,
                _ => State::Unknown,
            };
        }
        match &self.state {
            State::Ready => Readiness::Ready,
            State::Loading { .. } => Readiness::Loading,
            State::Unknown => Readiness::Unknown,
            State::Leased(_) => Readiness::Leased,
        }
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

    /// Begins a load; the span to ask the ledger for.
    pub(crate) fn begin_load(&mut self) -> Span {
        self.state = State::Loading { tail: Vec::new() };
        self.span
    }

    /// Ends a load without an answer.
    pub(crate) fn fail(&mut self) {
        if matches!(self.state, State::Loading { .. }) {
            self.state = State::Unknown;
        }
    }

    /// The highest of the ascending percentages `warn_at` that usage has newly reached of `max`.
    pub(crate) fn newly_reached(&mut self, max: i64, warn_at: &[u8]) -> Option<u8> {
        let used = self.usage.total().saturating_mul(100);
        let reached = |percent: &&u8| used >= max.saturating_mul(i64::from(**percent));
        let percent = *warn_at.iter().rev().find(reached)?;
        (max > 0 && percent > self.warned_percent).then(|| {
            self.warned_percent = percent;
            percent
        })
    }

    /// Ends a load: `sum` is all of the span that was journalled before `watermark`.
    pub(crate) fn complete(&mut self, span: Span, sum: i64, watermark: Mark) {
        let State::Loading { tail } = &mut self.state else { return };
        if self.span != span {
            return;
        }
        let newer = tail.iter().filter(|(mark, _)| *mark >= watermark).map(|(_, amount)| *amount);
        self.usage.settled = newer.fold(sum, i64::saturating_add);
        self.state = State::Ready;
    }
}
