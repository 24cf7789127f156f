//! Slots: who waits for something that runs to end, is told when it has.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use crate::{Parties, Subject, subject::Book};

/// How often something of the parties has ended that ran; what is compared, not what is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freed {
    user: u64,
    org: u64,
}

/// Waits until something that runs has ended. Cancel-safe: dropping it leaves nothing behind.
#[derive(Debug)]
#[must_use]
pub struct UntilFreed<'a> {
    parties: Parties<'a>,
    seen: Freed,
    /// Its tickets: the user's and the organisation's.
    tickets: [Option<u64>; 2],
}

impl<'a> Parties<'a> {
    /// As it is now. Who asks before a decision and waits after it misses nothing.
    #[must_use]
    pub fn freed(&self) -> Freed {
        Freed { user: self.user.lock().freed, org: self.org.map_or(0, |org| org.lock().freed) }
    }

    /// Ready when something that ran here has ended since `seen`. Others, with a shared store, are not heard of.
    pub fn until_freed(&self, seen: Freed) -> UntilFreed<'a> {
        UntilFreed { parties: *self, seen, tickets: [None; 2] }
    }
}

impl Future for UntilFreed<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { parties, seen, tickets } = &mut *self;
        let subjects = [(Some(parties.user), seen.user), (parties.org, seen.org)];
        for ((subject, seen), ticket) in subjects.into_iter().zip(tickets) {
            let Some(subject) = subject else { continue };
            let mut book = subject.lock();
            if book.freed != seen {
                return Poll::Ready(());
            }
            let last = book.wait_for_slot(ticket, cx.waker());
            drop(book);
            // What a waker keeps alive may need the lock to end.
            drop(last);
        }
        Poll::Pending
    }
}

impl Drop for UntilFreed<'_> {
    fn drop(&mut self) {
        let subjects: [Option<&Subject>; 2] = [Some(self.parties.user), self.parties.org.map(|org| &**org)];
        for (subject, ticket) in subjects.into_iter().zip(self.tickets) {
            let (Some(subject), Some(ticket)) = (subject, ticket) else { continue };
            let last = subject.lock().slot_waiters.remove(&ticket);
            drop(last);
        }
    }
}

impl Book {
    /// Has `waker` woken by the next slot that is freed, instead of the one before that it had by its ticket.
    fn wait_for_slot(&mut self, ticket: &mut Option<u64>, waker: &Waker) -> Option<Waker> {
        let number = *ticket.get_or_insert(self.next_ticket);
        self.next_ticket = self.next_ticket.max(number.saturating_add(1));
        self.slot_waiters.insert(number, waker.clone())
    }
}
