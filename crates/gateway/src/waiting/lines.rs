//! Lines: requests that wait one behind the other, in the order in which they came.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use tokio::time::Instant;
use tollgate_core::{Max, Rate, Scope};
use tollgate_quota::CounterKey;

use super::pace::Pace;
use crate::llm::WAITING_BYTES_MAX;

/// Requests that wait, all lines together: each keeps its connection, and what was read of its body.
const WAITING_MAX: usize = 16_384;
/// Lines that are remembered. Beyond, those that say nothing any more are forgotten, and then nobody waits in a new one.
const LINES_MAX: usize = 65_536;

/// Whose line, for what. Where the limit is another one, as after a reload, nobody stands behind those who wait for what
/// was: what is admitted is told by the counters, which are the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) scope: Scope,
    pub(super) id: Box<str>,
    pub(super) counter: CounterKey,
    pub(super) max: Max,
    /// Of turns.
    pub(super) rate: Option<Rate>,
}

/// All lines of the process.
#[derive(Debug, Default)]
pub(crate) struct Lines(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    lines: HashMap<Key, Line>,
    waiting: usize,
    /// What is kept of their bodies.
    bytes: u64,
}

#[derive(Debug, Default)]
struct Line {
    next: u64,
    queue: VecDeque<Ticket>,
    pace: Pace,
}

#[derive(Debug)]
struct Ticket {
    number: u64,
    waker: Option<Waker>,
}

/// A place in a line. Dropping it leaves the line, and tells who is first then.
#[derive(Debug)]
#[must_use]
pub(super) struct Place {
    lines: Arc<Lines>,
    key: Key,
    number: u64,
    bytes: u64,
}

impl Lines {
    /// Goes to the end of a line, unless `length_max` wait there already, or too much is kept for those who wait with the
    /// `bytes` of this one; the place, and how many are in the line then.
    pub(super) fn join(self: &Arc<Self>, key: &Key, length_max: usize, bytes: u64) -> Option<(Place, usize)> {
        let mut state = self.lock();
        let is_full = state.waiting >= WAITING_MAX || state.bytes.saturating_add(bytes) > WAITING_BYTES_MAX;
        if is_full || !state.has_room_for(key) {
            return None;
        }
        let line = state.lines.entry(key.clone()).or_default();
        if line.queue.len() >= length_max {
            return None;
        }
        let number = line.next;
        line.next += 1;
        line.queue.push_back(Ticket { number, waker: None });
        let length = line.queue.len();
        state.waiting += 1;
        state.bytes += bytes;
        Some((Place { lines: Arc::clone(self), key: key.clone(), number, bytes }, length))
    }

    /// How many wait in a line.
    pub(super) fn length(&self, key: &Key) -> usize {
        self.lock().lines.get(key).map_or(0, |line| line.queue.len())
    }

    /// What `read` reads of the pace of a line.
    pub(super) fn pace<T>(&self, key: &Key, read: impl FnOnce(&Pace) -> T) -> T {
        match self.lock().lines.get(key) {
            Some(line) => read(&line.pace),
            None => read(&Pace::default()),
        }
    }

    /// How many wait, all lines together.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().waiting
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under the lock can leave it half written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_room_for(&mut self, key: &Key) -> bool {
        if self.lines.len() >= LINES_MAX && !self.lines.contains_key(key) {
            let now = Instant::now();
            self.lines.retain(|_, line| !line.queue.is_empty() || !line.pace.is_over(now));
        }
        self.lines.len() < LINES_MAX || self.lines.contains_key(key)
    }
}

impl Place {
    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// Ready when nobody is before it. Cancel-safe.
    pub(super) fn poll_first(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lines.lock();
        let Some(line) = state.lines.get_mut(&self.key) else { return Poll::Ready(()) };
        if line.queue.front().is_none_or(|first| first.number == self.number) {
            return Poll::Ready(());
        }
        // Numbers only grow along a line.
        if let Ok(index) = line.queue.binary_search_by_key(&self.number, |ticket| ticket.number) {
            line.queue[index].waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// What `take` takes of the line's pace.
    pub(super) fn pace<T>(&self, take: impl FnOnce(&mut Pace) -> T) -> T {
        let mut state = self.lines.lock();
        take(&mut state.lines.entry(self.key.clone()).or_default().pace)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.lines.lock();
        state.waiting = state.waiting.saturating_sub(1);
        state.bytes = state.bytes.saturating_sub(self.bytes);
        let Some(line) = state.lines.get_mut(&self.key) else { return };
        let was_first = line.queue.front().is_some_and(|first| first.number == self.number);
        if let Ok(index) = line.queue.binary_search_by_key(&self.number, |ticket| ticket.number) {
            line.queue.remove(index);
        }
        let next = line.queue.front_mut().filter(|_| was_first).and_then(|first| mem::take(&mut first.waker));
        if line.queue.is_empty() && line.pace.is_over(Instant::now()) {
            state.lines.remove(&self.key);
        }
        drop(state);
        if let Some(next) = next {
            next.wake();
        }
    }
}

#[cfg(test)]
mod tests;
