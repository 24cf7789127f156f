//! Claims: a resource that one request alone may change, until its settlement is where the next one reads it.

use std::{
    sync::{Arc, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tokio::{sync::oneshot, time::timeout};
use tollgate_quota::{ClaimName, Claimed};

use super::table::{Leave, Taken, User};
use crate::shared::Shared;

/// Longest time that a request waits for others to be done with its resource: a client who waits longer for a change
/// of one and the same thing is better told.
pub(crate) const CLAIM_WAIT_MAX: Duration = Duration::from_secs(10);
/// How often a claim in the shared store is passed on within this gateway before other gateways have their turn.
const PASSES_MAX: u32 = 16;

/// How often is looked whether nothing is claimed, at the end.
const IDLE_LOOK: Duration = Duration::from_millis(5);

/// Why a resource is not claimed; neither is the client's fault, and both are worth trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unclaimed {
    /// Too many want it, or it took them too long.
    Overloaded,
    /// The store that gateways share does not say who has it.
    Away,
}

/// A claim in force.
///
/// Dropping it lets the next one have it. Where gateways share their counters, the next one may be in another gateway:
/// it is let go of when the ledger has what was settled meanwhile.
pub(crate) struct Claim {
    /// Taken when it ends.
    taken: Option<Taken<Place>>,
    shared: Arc<Shared>,
}

/// What those who have a claim one after the other in this gateway know of it.
#[derive(Default)]
pub(super) struct Place {
    /// Whether this gateway has it, where gateways share their counters.
    is_ours: bool,
    /// How often it was passed on within this gateway.
    passes: u32,
}

impl Leave for Place {
    /// A claim in the shared store does not end by itself.
    fn is_left(&self) -> bool {
        self.is_ours
    }
}

impl Claim {
    /// Waits for its turn, and for other gateways. Dropping the future gives it up.
    pub(super) async fn wait(shared: &Arc<Shared>, name: &ClaimName) -> Result<Self, Unclaimed> {
        let user = shared.resources.table.enter(name).map_err(|_| Unclaimed::Overloaded)?;
        let taken = timeout(CLAIM_WAIT_MAX, user.turn()).await.map_err(|_| Unclaimed::Overloaded)?;
        let claim = Self { taken: Some(taken), shared: Arc::clone(shared) };
        if claim.is_valid() { Ok(claim) } else { claim.share().await }
    }

    /// Takes it if nobody else has it, in this gateway or another.
    pub(super) fn now(shared: &Arc<Shared>, name: &ClaimName) -> Option<Self> {
        let taken = shared.resources.table.enter(name).ok()?.turn_now()?;
        let claim = Self { taken: Some(taken), shared: Arc::clone(shared) };
        claim.is_valid().then_some(claim)
    }

    /// What is claimed.
    pub(super) fn name(&self) -> Option<&ClaimName> {
        self.taken.as_ref().map(Taken::name)
    }

    /// Whether no other gateway can have it.
    fn is_valid(&self) -> bool {
        self.shared.remote.is_none() || self.taken.as_ref().is_some_and(|taken| taken.is_ours)
    }

    /// Claims it among the gateways.
    async fn share(self) -> Result<Self, Unclaimed> {
        let shared = Arc::clone(&self.shared);
        let (Some(remote), Some(name)) = (&shared.remote, self.name().cloned()) else { return Ok(self) };
        let (reply, answer) = oneshot::channel();
        // It goes along: should nobody wait for the answer any more, it ends there.
        let mut claim = self;
        let reply = Box::new(move |claimed| {
            if let Some(taken) = &mut claim.taken {
                taken.is_ours = claimed == Claimed::Ours;
            }
            let _ = reply.send((claimed, claim));
        });
        remote.claim(name, CLAIM_WAIT_MAX, reply);
        match answer.await {
            Ok((Claimed::Ours, claim)) => Ok(claim),
            Ok((Claimed::Taken | Claimed::Away, _)) | Err(_) => Err(Unclaimed::Away),
        }
    }

    /// Lets other gateways have it, once the ledger has what was settled.
    fn release(self) {
        // Whoever had it in this gateway has settled by now.
        let end = self.shared.journal.tail();
        let shared = Arc::clone(&self.shared);
        let mut claim = self;
        let reply = Box::new(move |flushed: Result<(), _>| {
            if flushed.is_ok() {
                claim.release_now();
            } else {
                let shared = Arc::clone(&claim.shared);
                shared.resources.keep_unflushed(&mut claim);
            }
        });
        shared.ledger.flush(end, reply);
    }

    fn release_now(mut self) {
        let Some(mut taken) = self.taken.take() else { return };
        if let Some(remote) = &self.shared.remote {
            self.shared.resources.sizes.forget(taken.name());
            taken.is_ours = false;
            taken.passes = 0;
            remote.release_claim(taken.name().clone());
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Some(mut taken) = self.taken.take() else { return };
        if self.shared.remote.is_none() || !taken.is_ours {
            return;
        }
        if taken.is_wanted() && taken.passes < PASSES_MAX {
            taken.passes += 1;
            return;
        }
        Self { taken: Some(taken), shared: Arc::clone(&self.shared) }.release();
    }
}

impl super::Resources {
    /// Keeps the claim until its settlements can be flushed.
    fn keep_unflushed(&self, claim: &mut Claim) {
        let taken = claim.taken.take();
        self.unflushed.lock().unwrap_or_else(PoisonError::into_inner).extend(taken);
    }

    /// Tries again to let go of what the ledger did not take before, and lets go of what was passed on to who had given up.
    /// For now and then.
    pub(crate) fn release_unflushed(shared: &Arc<Shared>) {
        let mut unflushed = shared.resources.unflushed.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = std::mem::take(&mut *unflushed);
        drop(unflushed);
        for taken in kept {
            Claim { taken: Some(taken), shared: Arc::clone(shared) }.release();
        }
        for name in shared.resources.table.take_left() {
            // Who has it now lets go of it, too.
            let Some(mut taken) = shared.resources.table.enter(&name).ok().and_then(User::turn_now) else {
                continue;
            };
            // Not passed on: others may have let go of it meanwhile, and who waits asks for it again.
            (taken.is_ours, taken.passes) = (true, PASSES_MAX);
            Claim { taken: Some(taken), shared: Arc::clone(shared) }.release();
        }
    }

    /// Waits until nothing is claimed, for at most so long. For the end, when nobody claims any more; blocks.
    pub(crate) fn wait_idle(&self, time_max: Duration) {
        let end = Instant::now() + time_max;
        while self.table.names() > 0 && Instant::now() < end {
            thread::sleep(IDLE_LOOK);
        }
    }
}
