//! What all connections of an origin share.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Answer, Handler, Received, Reuse};

pub(super) struct State {
    answers: Mutex<HashMap<String, Answer>>,
    handler: Handler,
    pub(super) reuse: Reuse,
    requests: AtomicUsize,
    connections: AtomicUsize,
    abandoned: AtomicUsize,
    received: Mutex<Vec<Received>>,
}

impl State {
    pub(super) fn new(answers: HashMap<String, Answer>, handler: Handler, reuse: Reuse) -> Self {
        Self {
            answers: Mutex::new(answers),
            handler,
            reuse,
            requests: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            abandoned: AtomicUsize::new(0),
            received: Mutex::new(Vec::new()),
        }
    }

    /// Counts a connection and returns its number.
    pub(super) fn connected(&self) -> usize {
        self.connections.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(super) fn head_arrived(&self) {
        self.requests.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn was_abandoned(&self) {
        self.abandoned.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn was_read(&self, received: &Received) {
        lock(&self.received).push(received.clone());
    }

    /// What the path's script says, if it has one.
    pub(super) fn scripted(&self, received: &Received) -> Option<Answer> {
        lock(&self.answers).get(received.path()).cloned()
    }

    /// What the handler says.
    pub(super) fn handled(&self, received: &Received) -> Answer {
        (self.handler)(received)
    }

    pub(super) fn set(&self, path: &str, answer: Answer) {
        lock(&self.answers).insert(path.to_owned(), answer);
    }

    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(super) fn abandoned(&self) -> usize {
        self.abandoned.load(Ordering::SeqCst)
    }

    pub(super) fn received(&self) -> Vec<Received> {
        lock(&self.received).clone()
    }
}

impl fmt::Debug for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("State").field("requests", &self.requests()).finish_non_exhaustive()
    }
}

/// Counts a request as abandoned when it is dropped before it was answered.
pub(super) struct Unanswered(Option<Arc<State>>);

impl Unanswered {
    pub(super) fn new(state: Arc<State>) -> Self {
        Self(Some(state))
    }

    pub(super) fn was_answered(&mut self) {
        self.0 = None;
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(state) = &self.0 {
            state.was_abandoned();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
