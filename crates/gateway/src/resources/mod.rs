//! Resources: what exists by an id, and goes on counting until it is gone. Levels by what they are made of, jobs that
//! run longer than their request, holds.
//!
//! Contract
//! - What a resource has of a meter is the sum of all lines of the ledger with its id, of its owner. The owner is the
//!   organisation where some tier limits the meter for organisations and the caller has one, else the user.
//! - A charge with a resource *sets* what that has: its line has the difference. So whatever is repeated, charges once.
//! - While a request may change a resource, it has it claimed ([`Kept`]): in this gateway, and in the store that
//!   gateways share, where there is one. What a resource has is asked of the ledger after it was claimed, and remembered
//!   as long as nobody else can change it.
//! - A claim ends after the settlement is journalled; among gateways, after the ledger has it.
//! - An id that only the answer names is claimed before the settlement, for which the answer's last byte waits. Where
//!   that cannot be told in time, the resource counts as new, and its line as estimated.
//! - Where an answer does not say the id that it should, what is there is a resource of its own, `request:<request id>`,
//!   and estimated: so it is not free, and whoever runs the gateway can give it back.
//! - Whatever waits here is bounded: [`claim::CLAIM_WAIT_MAX`] for others, a table of claims, a queue for each.

mod becomes;
mod change;
mod claim;
mod claiming;
mod expiries;
mod id;
mod kept;
mod metadata;
mod meters;
mod segment;
mod sizes;
mod sweeper;
mod table;

use std::sync::{Arc, Mutex};

pub(crate) use self::{
    becomes::{Became, changed, has_unnamed, settle},
    change::{Change, Line, To, change},
    claim::Unclaimed,
    claiming::{Claimant, Claiming},
    expiries::{Expiry, Why},
    id::named,
    kept::{Began, Kept, Owners, ResourceMeter},
    metadata::JobLine,
    meters::is_shared,
    segment::decoded,
    sweeper::{HOLD, sweep},
};
use self::{
    claim::Place,
    expiries::Expiries,
    sizes::Sizes,
    table::{Table, Taken},
};

/// What is claimed and known of resources in this process.
pub(crate) struct Resources {
    table: Arc<Table<Place>>,
    sizes: Sizes,
    /// Claims whose settlements the ledger does not take at the moment.
    unflushed: Mutex<Vec<Taken<Place>>>,
    expiries: Expiries,
}

impl Resources {
    pub(crate) fn new() -> Self {
        Self {
            table: Table::new(),
            sizes: Sizes::new(),
            unflushed: Mutex::default(),
            expiries: Expiries::default(),
        }
    }

    /// Has it end by itself, unless it has ended before.
    pub(crate) fn watch(&self, expiry: Expiry) {
        self.expiries.add(expiry);
    }
}
