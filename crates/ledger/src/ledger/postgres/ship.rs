//! Batches from the journal to Postgres.

use std::{collections::BTreeSet, time::Instant};

use futures_util::future::try_join;
use tokio::time::sleep;

use super::{
    PostgresOptions,
    batch::Batch,
    commit::{self, Committed},
    connection::{Connection, Purpose},
    context::Context,
    minutes,
    partitions::Partitions,
    schema,
};
use crate::{
    Journal, LedgerError, Position,
    journal::ReadError,
    ledger::{
        PERIOD, ahead,
        feed::{self, Expect},
        progress::{Pause, Shared},
    },
};

/// Why a batch was not shipped.
#[derive(Debug, thiserror::Error)]
enum ShipError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<super::PostgresError> for ShipError {
    fn from(error: super::PostgresError) -> Self {
        Self::Ledger(error.into())
    }
}

/// A connection that is ready for batches.
pub(super) struct Session {
    connection: Connection,
    partitions: Partitions,
    expect: Expect,
    /// Most bytes of records in the batch to come.
    bytes_max: u64,
    /// What was read while the batch before was under way.
    next: Option<Batch>,
}

impl Session {
    /// Connects, makes the tables and partitions that are missing; returns how far the journal is there.
    pub(super) async fn open(
        options: &PostgresOptions,
        journal: &Journal,
    ) -> Result<(Self, Position), LedgerError> {
        let connection = Connection::open(options, Purpose::Ship).await?;
        schema::ensure(&connection, options).await?;
        connection.run(commit::STAGING).await?;
        let watermarks = commit::watermarks(&connection).await?;
        let own = watermarks.into_iter().find(|(id, _)| *id == journal.id());
        let watermark = own.map(|(_, position)| position).unwrap_or_default();
        ahead(watermark, journal)?;
        let mut partitions = Partitions::default();
        partitions.ensure(&connection, &BTreeSet::new()).await?;
        let (expect, bytes_max, next) = (Expect::default(), feed::BATCH_BYTES_FIRST, None);
        Ok((Self { connection, partitions, expect, bytes_max, next }, watermark))
    }

    /// One transaction, and the merging that it owes. Meanwhile the next batch is read, if the journal goes
    /// on before `tail`: the server and this thread each have their half of the work, at the same time.
    async fn ship_batch(&mut self, shared: &Shared, tail: Position) -> Result<(), ShipError> {
        let Self { connection, partitions, expect, bytes_max, next } = self;
        let (journal, from) = (&*shared.journal, shared.shipped());
        let batch = match next.take().filter(|next| next.from == from) {
            Some(batch) => batch,
            None => Batch::read(journal, from, *bytes_max).await?,
        };
        partitions.ensure(connection, &batch.months()).await?;
        let reached = batch.reached;
        *bytes_max = (*bytes_max * 2).min(feed::BATCH_BYTES_MAX);
        let ship = async {
            let Committed { added, expect: of_next } =
                batch.commit(connection, journal.id(), *expect).await?;
            *expect = of_next;
            shared.has_shipped(reached);
            match added {
                Some(added) => minutes::merge(connection, added).await,
                None => Ok(()),
            }
        };
        let ahead = async {
            // What cannot be read now is read again in its turn, and then it is an error.
            Ok(if reached < tail { Batch::read(journal, reached, *bytes_max).await.ok() } else { None })
        };
        ((), *next) = try_join(ship, ahead).await?;
        Ok(())
    }
}

/// Ships until told to stop.
pub(super) async fn run(context: &Context, (mut session, mut pause): (Option<Session>, Pause)) {
    let shared = &*context.shared;
    context.is_failing.set(pause.until().is_some());
    loop {
        rest(context, &pause).await;
        let tail = shared.journal.tail();
        while shared.shipped() < tail {
            let shipped = ship(context, &mut session, tail).await;
            match &shipped {
                Ok(()) => pause.succeeded(shared),
                Err(error) => {
                    session = None;
                    pause.failed(shared, error);
                }
            }
            context.is_failing.set(shipped.is_err());
            context.progressed.notify_one();
            if shipped.is_err() {
                break;
            }
        }
        if context.is_stopping() && !shared.is_behind() {
            context.has_ended.set(true);
            context.progressed.notify_one();
            return;
        }
    }
}

/// Ships a batch; connects first where that is needed.
async fn ship(context: &Context, session: &mut Option<Session>, tail: Position) -> Result<(), ShipError> {
    let Context { shared, options, .. } = context;
    let open = match session.take_if(|session| !session.connection.is_closed()) {
        Some(open) => open,
        None => {
            let (open, watermark) = Session::open(options, &shared.journal).await?;
            // A database that was restored may have less than before: what is still in the journal goes
            // there again.
            shared.has_shipped(watermark);
            open
        }
    };
    session.insert(open).ship_batch(shared, tail).await
}

/// Until there is something to do. The order to stop ends every wait but a pause that began after it.
async fn rest(context: &Context, pause: &Pause) {
    let stopped_before = context.is_stopping();
    let rest = match pause.until() {
        Some(until) => until.saturating_duration_since(Instant::now()),
        None if stopped_before => return,
        None => PERIOD,
    };
    tokio::select! {
        () = sleep(rest) => {}
        () = context.wanted.notified(), if pause.until().is_none() => {}
        () = context.stopping(), if !stopped_before => {}
    }
}
