//! Slots: who waits for something that runs to end, is told when it has.

use std::task::{Context, Poll};

use crate::Parties;

/// How often something of the parties has ended that ran; what is compared, not what is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freed {
    user: u64,
    org: u64,
}

impl Parties<'_> {
    /// As it is now. Who asks before a decision and waits after it misses nothing.
    #[must_use]
    pub fn freed(&self) -> Freed {
        Freed { user: self.user.lock().freed, org: self.org.map_or(0, |org| org.lock().freed) }
    }

    /// Ready when something that ran here has ended since `seen`. Others, with a shared store, are not heard of.
    /// Cancel-safe.
    pub fn poll_freed(&self, seen: Freed, cx: &mut Context<'_>) -> Poll<()> {
        for (subject, seen) in [(Some(self.user), seen.user), (self.org, seen.org)] {
            let Some(subject) = subject else { continue };
            let mut book = subject.lock();
            if book.freed != seen {
                return Poll::Ready(());
            }
            if !book.slot_waiters.iter().any(|waker| waker.will_wake(cx.waker())) {
                book.slot_waiters.push(cx.waker().clone());
            }
        }
        Poll::Pending
    }
}
