//! Settlements of the journal beside their lines of the ledger.

use std::{borrow::Cow, collections::HashMap};

use tollgate_core::{Charge, Event, EventId};
use uuid::Uuid;

use super::Difference;
use crate::{LedgerError, LedgerEvent, LedgerReader, codec};

/// Settlements compared at once: one question to the ledger for all of them.
const BATCH: usize = 256;

/// Compares settlements as they come; the last ones at the end.
pub(super) struct Comparison<'a> {
    ledger: &'a LedgerReader,
    waiting: Vec<Waiting>,
}

struct Waiting {
    payload: Vec<u8>,
    position: u64,
    shipped: bool,
}

impl<'a> Comparison<'a> {
    pub(super) fn new(ledger: &'a LedgerReader) -> Self {
        Self { ledger, waiting: Vec::with_capacity(BATCH) }
    }

    /// Compares each event of a settlement, which the journal has at `position`, with its line; a missing
    /// line is a difference when the settlement was shipped.
    pub(super) fn add(
        &mut self,
        payload: &[u8],
        (position, shipped): (u64, bool),
        differences: &mut Vec<Difference>,
    ) -> Result<(), LedgerError> {
        self.waiting.push(Waiting { payload: payload.to_vec(), position, shipped });
        if self.waiting.len() < BATCH { Ok(()) } else { self.finish(differences) }
    }

    /// Compares those that wait.
    pub(super) fn finish(&mut self, differences: &mut Vec<Difference>) -> Result<(), LedgerError> {
        let waiting = std::mem::take(&mut self.waiting);
        let settlements: Vec<_> = waiting
            .iter()
            // Whoever added it has decoded it before.
            .filter_map(|waiting| Some((waiting, codec::decode(&waiting.payload).ok()?)))
            .collect();
        let events = settlements.iter().flat_map(|(_, settlement)| settlement.events());
        let ids: Vec<_> = events.map(|event| uuid(event.id)).collect();
        let lines = self.ledger.events_by_id(&ids)?;
        let lines: HashMap<_, _> = lines.into_iter().map(|line| (line.id, line)).collect();
        for (Waiting { payload: _, position, shipped }, settlement) in &settlements {
            for event in settlement.events() {
                let (id, position) = (event.id, *position);
                let differs =
                    |(column, ledger, journal)| Difference::Column { id, column, ledger, journal, position };
                match lines.get(&uuid(id)) {
                    Some(line) => {
                        let wanted = self.ledger.as_kept(wanted(&event));
                        differences.extend(columns(line, &wanted).into_iter().map(differs));
                    }
                    None if *shipped => differences.push(Difference::Missing { id, position }),
                    None => {}
                }
            }
        }
        Ok(())
    }
}

fn uuid(id: EventId) -> Uuid {
    Uuid::from_u128(id.to_bits())
}

/// The line that an event becomes.
fn wanted(event: &Event<'_>) -> LedgerEvent {
    let Charge { meter, amount, estimated } = event.charge;
    let settled = event.settlement;
    let own = |text: Option<&str>| text.map(str::to_owned);
    LedgerEvent {
        id: uuid(event.id),
        at: settled.at,
        user_id: settled.user_id.to_owned(),
        org_id: own(settled.org_id),
        tier: settled.tier.to_owned(),
        meter: meter.to_owned(),
        amount,
        estimated,
        route: settled.route.to_owned(),
        method: settled.method.to_owned(),
        status: settled.status,
        duration_ms: settled.duration_ms,
        request_id: settled.request_id.to_owned(),
        resource: own(settled.resource),
        metadata: event.metadata().map(Cow::into_owned),
    }
}

/// The columns that differ: name, the ledger's text, the journal's.
fn columns(line: &LedgerEvent, wanted: &LedgerEvent) -> Vec<(&'static str, String, String)> {
    if line == wanted {
        return Vec::new();
    }
    let pairs = texts(line).into_iter().zip(texts(wanted));
    pairs
        .filter(|((_, ledger), (_, journal))| ledger != journal)
        .map(|((column, ledger), (_, journal))| (column, ledger, journal))
        .collect()
}

fn texts(event: &LedgerEvent) -> [(&'static str, String); 14] {
    let LedgerEvent {
        id: _,
        at,
        user_id,
        org_id,
        tier,
        meter,
        amount,
        estimated,
        route,
        method,
        status,
        duration_ms,
        request_id,
        resource,
        metadata,
    } = event;
    [
        ("at", at.0.to_string()),
        ("user_id", format!("{user_id:?}")),
        ("org_id", format!("{org_id:?}")),
        ("tier", format!("{tier:?}")),
        ("meter", format!("{meter:?}")),
        ("amount", amount.to_string()),
        ("estimated", estimated.to_string()),
        ("route", format!("{route:?}")),
        ("method", format!("{method:?}")),
        ("status", status.to_string()),
        ("duration_ms", duration_ms.to_string()),
        ("request_id", format!("{request_id:?}")),
        ("resource", format!("{resource:?}")),
        ("metadata", format!("{metadata:?}")),
    ]
}
