//! Questions to the ledger, as tasks ask them.

use std::{collections::HashSet, time::Duration};

use tokio::sync::{Semaphore, oneshot};
use tollgate_ledger::{Ledger, LedgerReader, LoadError};
use uuid::Uuid;

use super::Request;
use crate::{
    admission::{overloaded, store_unavailable},
    refusal::Refusal,
    serve,
};

/// Longest wait for the ledger: as long as it takes a batch, and some more on a busy store.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Looks into the ledger at once, each with a connection of its own: they are for who tries again, which anybody can do as
/// often as they like.
static LOOKS: Semaphore = Semaphore::const_new(2);

/// Takes one answer of the ledger.
pub(super) type Answer<T> = Box<dyn FnOnce(Result<T, LoadError>) + Send>;

/// What the ledger says to `ask`, which gets what to answer with. Cancelling it forgets the answer.
pub(super) async fn ask<T: Send + 'static>(
    request: &Request<'_>,
    ask: impl FnOnce(&Ledger, Answer<T>),
) -> Result<T, Refusal> {
    let (sender, receiver) = oneshot::channel();
    // Whoever has gone away needs no answer.
    ask(&request.worker.shared.ledger, Box::new(move |answer| drop(sender.send(answer))));
    match tokio::time::timeout(WAIT_MAX, receiver).await {
        Ok(Ok(Ok(answer))) => Ok(answer),
        Ok(Ok(Err(error))) => {
            tracing::debug!(%error, "the ledger did not answer the usage API");
            Err(away())
        }
        Ok(Err(_)) | Err(_) => Err(away()),
    }
}

/// Those of `ids` that are in the ledger, with all that this process has settled until now. Rare, and slow:
/// opens the store anew.
pub(super) async fn known(request: &Request<'_>, ids: Vec<Uuid>) -> Result<HashSet<Uuid>, Refusal> {
    let tail = request.worker.shared.journal.tail();
    ask(request, |ledger, answer| ledger.flush(tail, answer)).await?;
    let options = serve::ledger_options(request.live.gateway()).map_err(|_| away())?;
    let look = tokio::time::timeout(WAIT_MAX, LOOKS.acquire()).await;
    let look = look
        .map_err(|_| overloaded("too many requests are tried again; try again soon"))?
        .map_err(|_| away())?;
    let read = tokio::task::spawn_blocking(move || {
        // Also when nobody waits for it any more.
        let _look = look;
        let lines = LedgerReader::open(&options)?.events_by_id(&ids)?;
        Ok::<_, tollgate_ledger::LedgerError>(lines.into_iter().map(|line| line.id).collect())
    });
    match tokio::time::timeout(WAIT_MAX, read).await {
        Ok(Ok(Ok(known))) => Ok(known),
        Ok(Ok(Err(error))) => {
            tracing::debug!(%error, "the ledger cannot be read");
            Err(away())
        }
        Ok(Err(_)) | Err(_) => Err(away()),
    }
}

fn away() -> Refusal {
    store_unavailable("the ledger does not answer at the moment; try again soon")
}
