//! The ledger in a Postgres database that any number of gateways share.
//!
//! One thread with a runtime of its own, and two connections: batches go over one, questions and signs of
//! life over the other, so that neither waits for the other. After any error a connection is dropped, and
//! with it the transaction that it was in; a new one begins with what the database says.
//!
//! While the server is busy with a batch, the next one is read and encoded. Its COPY is most of the work; what
//! it adds up to is known before.

mod answer;
mod audit;
mod batch;
mod commit;
mod connection;
mod context;
mod copy;
mod error;
mod events;
mod idempotency;
mod locks;
mod minutes;
mod options;
mod partitions;
mod presence;
mod reader;
mod resources;
mod rollups;
mod schema;
mod ship;
pub(crate) mod subjects;
mod sums;
mod tls;
mod types;

use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};

use self::{
    connection::{Connection, Purpose},
    context::Context,
    ship::Session,
};
pub(crate) use self::{copy::as_kept, reader::Reader};
pub use self::{
    error::PostgresError,
    options::{PostgresHost, PostgresOptions, PostgresTls},
};
use super::{
    LedgerError, Migrated, Started,
    progress::{Ending, Pause, Shared},
};
use crate::{Journal, Position};

/// Opens the ledger and makes its tables; returns what ships to it, for a thread to run. A server that is
/// away is no error: what is settled waits for it in the journal.
pub(super) fn start(journal: Arc<Journal>, options: PostgresOptions) -> Result<Started, LedgerError> {
    let runtime = runtime()?;
    let mut pause = Pause::default();
    let (shared, session, link) = match runtime.block_on(open(&options, &journal)) {
        Ok((session, watermark, link)) => (Shared::new(journal, watermark), Some(session), Some(link)),
        Err(LedgerError::Postgres(error)) if !error.is_lasting() => {
            let shared = Shared::new(journal, Position::default());
            pause.failed(&shared, &error);
            (shared, None, None)
        }
        Err(error) => return Err(error),
    };
    let run = {
        let shared = Arc::clone(&shared);
        move || {
            // Also when this thread panics, nobody waits for it in vain.
            let _ending = Ending(Arc::clone(&shared));
            let context = Context::new(shared, options);
            runtime.block_on(context.run((session, pause), link));
            // Not waiting for a name that is being resolved.
            runtime.shutdown_background();
        }
    };
    Ok(Started { shared, run: Box::new(run) })
}

/// Brings the tables up to date.
pub(super) fn migrate(options: &PostgresOptions) -> Result<Migrated, LedgerError> {
    runtime()?.block_on(schema::migrate(options))
}

fn runtime() -> Result<Runtime, LedgerError> {
    Builder::new_current_thread().enable_all().build().map_err(LedgerError::Thread)
}

/// Both connections. Afterwards other gateways know of this one.
async fn open(
    options: &PostgresOptions,
    journal: &Journal,
) -> Result<(Session, Position, Connection), LedgerError> {
    let (session, watermark) = Session::open(options, journal).await?;
    let link = Connection::open(options, Purpose::Answer).await?;
    presence::begin(&link, journal.id()).await?;
    Ok((session, watermark, link))
}
