//! Waiting for sockets, asleep or awake.

use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;

/// Looks of somebody awake between two looks at the clock.
const LOOKS_PER_CLOCK: u32 = 1024;

/// Waits until something is ready, for at most `patience`; 0 where nothing is by then.
///
/// Who is `awake` looks again and again, and lets others on the core have a turn in between. A sleeper has to be woken by
/// whoever sends it something, which costs the sender more than all the rest of sending.
///
/// # Errors
/// When epoll fails.
pub(crate) fn wait(
    epoll: &OwnedFd,
    events: &mut Vec<epoll::Event>,
    patience: Option<Duration>,
    awake: bool,
) -> anyhow::Result<usize> {
    let begun = Instant::now();
    let mut looks = 0u32;
    loop {
        events.clear();
        let left = match patience.filter(|_| !awake) {
            _ if awake => Some(Timespec { tv_sec: 0, tv_nsec: 0 }),
            Some(patience) => Some(Timespec::try_from(patience)?),
            None => None,
        };
        match epoll::wait(epoll, rustix::buffer::spare_capacity(events), left.as_ref()) {
            Err(Errno::INTR) => continue,
            Ok(0) if awake => {}
            waited => return Ok(waited?),
        }
        looks = looks.wrapping_add(1);
        let is_over = |patience| begun.elapsed() >= patience;
        if looks.is_multiple_of(LOOKS_PER_CLOCK) && patience.is_some_and(is_over) {
            return Ok(0);
        }
        std::thread::yield_now();
    }
}
