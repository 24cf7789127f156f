//! Settlements that wait for their transaction.

use std::collections::{BTreeSet, HashSet};

use foldhash::fast::RandomState;
use tokio::task::yield_now;
use tollgate_core::{Charge, RequestKey, Settlement, UnixMillis};

use super::{copy::Lines, partitions::Month, types::stored};
use crate::{
    Journal, Position,
    journal::{ReadError, Record},
    ledger::{
        feed,
        period::Period,
        resources::{Key, Resources},
        totals::Totals,
    },
};

/// Settlements that wait for their transaction: a stretch of the journal, encoded and summed.
#[derive(Debug)]
pub(super) struct Batch {
    /// Where the stretch begins.
    pub(super) from: Position,
    /// And ends: the watermark afterwards.
    pub(super) reached: Position,
    /// In the order of their ids.
    pub(super) lines: Lines,
    /// Sums of all lines per minute.
    pub(super) totals: Totals,
    /// What they come to of each resource.
    pub(super) resources: Resources,
    /// The latest admission.
    pub(super) newest: Option<UnixMillis>,
}

impl Batch {
    /// Reads as many settlements from `from` on as about `bytes_max` bytes hold. Others have their turn in
    /// between, so it can go on while the server works. Dropping the future changes nothing.
    pub(super) async fn read(journal: &Journal, from: Position, bytes_max: u64) -> Result<Self, ReadError> {
        let mut batch = Self {
            from,
            reached: from,
            lines: Lines::default(),
            totals: Totals::default(),
            resources: Resources::default(),
            newest: None,
        };
        // A request may be settled twice after a crash; the first one counts.
        let mut seen = HashSet::<RequestKey, RandomState>::default();
        let tail = journal.tail();
        while batch.reached < tail && batch.reached.get() - from.get() < bytes_max {
            batch.reached =
                feed::next(journal, batch.reached, feed::TURN_BYTES, |Record { settlement, .. }| {
                    if seen.insert(settlement.key) {
                        batch.add(&settlement);
                    }
                })?;
            yield_now().await;
        }
        batch.lines.sort();
        Ok(batch)
    }

    fn add(&mut self, settlement: &Settlement<'_>) {
        let Settlement { at, user_id, org_id, route, charges, resource, .. } = settlement;
        self.lines.push(settlement);
        let (user, org, route) = (stored(user_id), stored(org_id.unwrap_or_default()), stored(route));
        let start = Period::Minute.start(*at);
        for Charge { meter, amount, estimated: _ } in charges {
            let key = (&*user, &*stored(meter), start, &*org, &*route);
            self.totals.change(key, (*amount).into(), 1);
            self.newest = self.newest.max(Some(*at));
        }
        if let Some(resource) = resource {
            for event in settlement.events() {
                let key = Key {
                    meter: stored(event.charge.meter).into_owned(),
                    resource: stored(resource).into_owned(),
                    user_id: user.to_string(),
                    org_id: org.to_string(),
                };
                self.resources.add(key, event.id.to_bits(), event.charge.amount);
            }
        }
    }

    /// In which months its lines are.
    pub(super) fn months(&self) -> BTreeSet<Month> {
        Month::of_all(self.lines.keys().map(RequestKey::to_bits))
    }
}
