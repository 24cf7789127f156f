//! The ledger in a SQLite file of this process's own.

mod batch;
mod events;
mod idempotency;
mod insert;
mod lines;
mod minutes;
mod reader;
mod resources;
pub(crate) mod schema;
mod shipper;
pub(crate) mod subjects;
mod sums;

use std::{path::Path, sync::Arc};

pub(super) use self::reader::Reader;
use self::shipper::Shipper;
use super::{LedgerError, Migrated, Started, ahead, progress::Shared};
use crate::{Durability, Journal};

/// Opens the file, makes it when there is none; returns what ships to it, for a thread to run.
pub(super) fn start(journal: Arc<Journal>, path: &Path) -> Result<Started, LedgerError> {
    let connection = schema::open(path, journal.durability())?;
    let watermark = batch::watermark(&connection, journal.id())?.unwrap_or_default();
    ahead(watermark, &journal)?;
    let shared = Shared::new(journal, watermark);
    let shipper = Shipper::new(Arc::clone(&shared), connection);
    Ok(Started { shared, run: Box::new(move || shipper.run()) })
}

/// Brings the tables up to date.
pub(super) fn migrate(path: &Path) -> Result<Migrated, LedgerError> {
    let from = schema::version_of(path)?;
    schema::open(path, Durability::Process)?;
    Ok(Migrated { from, to: schema::VERSION })
}
