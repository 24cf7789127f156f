//! Waiting for conditions.

use std::time::{Duration, Instant};

/// How long to wait for what should happen at once, on a machine that is busy with other tests.
pub const BOUND: Duration = Duration::from_secs(10);

const POLL: Duration = Duration::from_millis(2);

/// Whether `condition` becomes true within `bound`. Blocks the thread.
#[must_use]
pub fn eventually(bound: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if started.elapsed() >= bound {
            return false;
        }
        std::thread::sleep(POLL);
    }
}

/// Whether `condition` becomes true within `bound`, while other tasks of this runtime go on.
///
/// Cancelling it ends the wait.
#[must_use]
pub async fn eventually_async(bound: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if started.elapsed() >= bound {
            return false;
        }
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_until_the_condition_holds_and_no_longer_than_the_bound() {
        let mut asked = 0;
        assert!(eventually(BOUND, || {
            asked += 1;
            asked == 3
        }));
        assert_eq!(asked, 3);
        assert!(!eventually(Duration::ZERO, || false));
    }
}
