//! The audit: proof that journal, ledger and rollups agree, or each difference by name.
//!
//! It changes nothing, and works beside a running gateway: it reads the ledger as of one instant, the
//! journal after that instant, and expects in the ledger what lies before the ledger's watermark.

mod difference;
mod lines;
mod resources;
mod rollups;
mod segments;

use std::{io, path::Path, path::PathBuf};

use tollgate_core::{RequestKey, UnixMillis};

pub use self::difference::{Difference, Sum};
use self::segments::Segments;
use crate::{
    LedgerError, LedgerOptions, LedgerReader, codec,
    journal::{self, Occupied},
};

const JOURNAL: &str = "journal";
/// How often the in-flight table is read while slots seem damaged because they are being written.
const TABLE_ATTEMPTS: u32 = 5;

/// What an audit counted and found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditReport {
    /// Whether a process has the journal open.
    pub running: bool,
    /// Lines in the ledger.
    pub events: u64,
    /// Settlements in the journal's segments, shipped or not.
    pub settlements: u64,
    /// Those of them that are not shipped.
    pub pending: u64,
    /// Requests that are open, or were when the last process died.
    pub in_flight: Vec<InFlight>,
    /// Rows of sums per minute, hour, day and resource.
    pub rollup_rows: u64,
    /// All that does not agree.
    pub differences: Vec<Difference>,
}

/// A request in the in-flight table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// Which.
    pub key: RequestKey,
    /// When it was admitted.
    pub at: UnixMillis,
    /// Whose.
    pub user_id: String,
    /// The name of its route.
    pub route: String,
}

impl AuditReport {
    /// Whether all agrees.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.differences.is_empty()
    }
}

/// Why there is no audit.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The journal cannot be read.
    #[error("cannot read the journal at {}: {source}", path.display())]
    Journal {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Audits the journal in `data_dir` and its ledger, whether a gateway runs there or not. Reads all of
/// both, and changes nothing. Other journals in the ledger are audited beside their own gateways.
///
/// # Errors
///
/// When one of them is missing or cannot be read at all. What is wrong inside is a [`Difference`].
pub fn audit(data_dir: &Path, ledger: &LedgerOptions) -> Result<AuditReport, AuditError> {
    let dir = data_dir.join(JOURNAL);
    let unread = |source| AuditError::Journal { path: dir.clone(), source };
    let running = journal::is_open(&dir).map_err(unread)?;
    let mut report = AuditReport { running, ..AuditReport::default() };
    // The ledger first: what it has by now, the journal had before.
    let ledger = LedgerReader::open(ledger)?;
    let id = journal::read_id(&dir).map_err(unread)?;
    let watermark = ledger.watermark(id)?.unwrap_or_default();
    report.in_flight = in_flight(&dir, &mut report).map_err(unread)?;
    Segments::new(&dir, id, watermark, &ledger).check(&mut report)?;
    rollups::check(&ledger, &mut report)?;
    Ok(report)
}

/// The requests in the table; damaged slots are differences.
fn in_flight(dir: &Path, report: &mut AuditReport) -> io::Result<Vec<InFlight>> {
    let mut occupied = journal::read_slots(dir)?;
    let damaged = |occupied: &[Occupied]| occupied.iter().any(|slot| matches!(slot, Occupied::Damaged(_)));
    for _ in 1..TABLE_ATTEMPTS {
        if !report.running || !damaged(&occupied) {
            break;
        }
        occupied = journal::read_slots(dir)?;
    }
    let mut open = Vec::new();
    for slot in occupied {
        match slot {
            Occupied::Opening(bytes) => match codec::decode(&bytes) {
                Ok(opening) => open.push(InFlight {
                    key: opening.key,
                    at: opening.at,
                    user_id: opening.user_id.to_owned(),
                    route: opening.route.to_owned(),
                }),
                Err(error) => report.differences.push(Difference::Slot { reason: error.to_string() }),
            },
            Occupied::Damaged(offset) => {
                let reason = format!("the checksum at offset {offset} is wrong");
                report.differences.push(Difference::Slot { reason });
            }
        }
    }
    Ok(open)
}
