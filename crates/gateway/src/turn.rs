//! Turns of a worker's tasks: over HTTP/1, all that are ready read and decide, then all write what begins a request or
//! an answer.
//!
//! What is written to a socket of this machine wakes whoever reads it, and waking a core that sleeps costs more than
//! the rest of writing. Who is still busy with the last bytes need not be woken: so the writes follow each other, and
//! what a request costs in between does not let the readers fall asleep.

use std::{future::poll_fn, mem, task::Poll};

/// Ready when each task had its turn that this thread had woken. With nobody else it costs one more poll, and no time.
/// Cancelling it does nothing.
pub(crate) async fn others_first() {
    let mut is_later = false;
    poll_fn(|cx| {
        if mem::replace(&mut is_later, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use tokio::task::LocalSet;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn all_read_before_one_writes() {
        let log = Rc::new(RefCell::new(Vec::new()));
        let tasks = LocalSet::new();
        for number in 0..3 {
            let log = Rc::clone(&log);
            tasks.spawn_local(async move {
                log.borrow_mut().push(("reads", number));
                others_first().await;
                log.borrow_mut().push(("writes", number));
            });
        }
        tasks.await;
        let expected: Vec<_> = ["reads", "writes"]
            .into_iter()
            .flat_map(|does| (0..3).map(move |number| (does, number)))
            .collect();
        assert_eq!(*log.borrow(), expected);
    }
}
