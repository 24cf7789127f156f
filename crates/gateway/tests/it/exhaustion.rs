//! Clients, and upstreams, that want to use the gateway up: it stays up, small, and there for others.

mod answers;
mod floods;
pub(crate) mod frames;
mod heads;
mod slow;

use tollgate_testkit::{BOUND, Gateway};

use crate::support::stage::{request, resident_bytes, sent};

/// What one attacker may cost at most; a debug build's buffers included.
const ATTACK_BYTES_MAX: u64 = 24 << 20;

/// A gateway under attack, and how large it was before.
pub(crate) struct Watch<'a> {
    gateway: &'a Gateway,
    before: u64,
}

impl<'a> Watch<'a> {
    /// Of a gateway that has served one request.
    pub(crate) fn over(gateway: &'a Gateway) -> Self {
        let watch = Self { gateway, before: 0 };
        watch.assert_serves_others();
        Self { before: resident_bytes(gateway).0, ..watch }
    }

    /// Asserts that somebody else is served now.
    pub(crate) fn assert_serves_others(&self) {
        let mut wire = sent(self.gateway, request("GET", "/other", "", ""));
        assert_eq!(wire.response(false, BOUND).expect("an answer for another client").status, 200);
    }

    /// Asserts that others are served, and that the gateway never took more memory than one attacker may cost.
    pub(crate) fn assert_unharmed(&self) {
        self.assert_serves_others();
        let (_, most) = resident_bytes(self.gateway);
        let grown = most.saturating_sub(self.before);
        assert!(grown < ATTACK_BYTES_MAX, "{grown} bytes more than the {} before", self.before);
    }
}
