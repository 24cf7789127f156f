//! One settlement of the journal beside its lines of the ledger.

use tollgate_core::{Charge, Event, Settlement};
use uuid::Uuid;

use super::Difference;
use crate::{LedgerError, LedgerEvent, LedgerReader};

/// Compares each event of `settlement`, which the journal has at `position`, with its line; a missing
/// line is a difference when the settlement was shipped.
pub(super) fn compare(
    ledger: &LedgerReader,
    settlement: &Settlement<'_>,
    position: u64,
    shipped: bool,
    differences: &mut Vec<Difference>,
) -> Result<(), LedgerError> {
    for event in settlement.events() {
        match ledger.event(Uuid::from_u128(event.id.to_bits()))? {
            Some(line) => {
                let differs = |(column, ledger, journal)| Difference::Column {
                    id: event.id,
                    column,
                    ledger,
                    journal,
                    position,
                };
                differences.extend(columns(&line, &event).into_iter().map(differs));
            }
            None if shipped => differences.push(Difference::Missing { id: event.id, position }),
            None => {}
        }
    }
    Ok(())
}

/// The columns that differ: name, the ledger's text, the journal's.
fn columns(line: &LedgerEvent, event: &Event<'_>) -> Vec<(&'static str, String, String)> {
    let Charge { meter, amount, estimated } = event.charge;
    let settled = event.settlement;
    let own = |text: Option<&str>| text.map(str::to_owned);
    let wanted = LedgerEvent {
        id: line.id,
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
        metadata: own(settled.metadata),
    };
    if *line == wanted {
        return Vec::new();
    }
    let texts = [texts(line), texts(&wanted)];
    let [ledger, journal] = texts;
    let pairs = ledger.into_iter().zip(journal);
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
