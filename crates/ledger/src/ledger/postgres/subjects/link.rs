//! The connection that answers lookups and hears of changes.

use std::sync::Arc;

use super::{heard::Heard, rows};
use crate::{
    Lookup,
    ledger::postgres::{
        PostgresError, PostgresOptions,
        connection::{Connection, Purpose},
    },
};

/// Most lookups in a query: one query's answer is small, and many fit in a moment.
const LOOKUPS_MAX: usize = 512;

pub(super) struct Link {
    connection: Connection,
    pub(super) heard: Arc<Heard>,
}

impl Link {
    /// Connects and listens. Dropping the future closes what was opened.
    pub(super) async fn open(options: &PostgresOptions) -> Result<Self, PostgresError> {
        let heard = Arc::new(Heard::default());
        let told = Arc::clone(&heard);
        let hear = move |payload: &str| told.notified(payload);
        let connection = Connection::listen(options, Purpose::Answer, hear).await?;
        connection.run("LISTEN tollgate_subjects").await?;
        Ok(Self { connection, heard })
    }

    /// Whether there is no row at all.
    pub(super) async fn is_empty(&self) -> Result<bool, PostgresError> {
        rows::is_empty(&self.connection).await
    }

    /// Answers as many as it can; those that are left are not answered when there is an error.
    pub(super) async fn answer(&self, lookups: &mut Vec<Lookup>) -> Result<(), PostgresError> {
        while !lookups.is_empty() {
            let first = lookups.len().saturating_sub(LOOKUPS_MAX);
            let subjects: Vec<_> = lookups[first..].iter().map(|lookup| &lookup.subject).collect();
            let rows = rows::get(&self.connection, &subjects).await?;
            for Lookup { subject, reply } in lookups.drain(first..) {
                reply(Ok(rows.get(&subject).cloned()));
            }
        }
        Ok(())
    }
}
