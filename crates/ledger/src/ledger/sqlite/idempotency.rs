//! Keys of requests, so that each is done once.

use std::time::SystemTime;

use rusqlite::{
    Connection, OptionalExtension, Result, Row, Transaction, TransactionBehavior, params, types::Type,
};
use uuid::Uuid;

use crate::ledger::idempotency::{BeginIdempotent, Begun, FinishIdempotent, KEPT, Kept, SWEPT_PER_KEY};

/// Begins a request, in a transaction of its own; `own` is this gateway's journal.
pub(super) fn begin(connection: &Connection, own: Uuid, begin: &BeginIdempotent) -> Result<Begun> {
    let BeginIdempotent { scope, key, body_sha256, request_key, takes_over, reply: _ } = begin;
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    let now = now();
    let oldest = now.saturating_sub(i64::try_from(KEPT.as_millis()).unwrap_or(i64::MAX));
    sweep(&transaction, oldest)?;
    let kept = transaction
        .prepare_cached(
            "SELECT body_sha256, request_key, journal, status, answer FROM idempotency_keys \
             WHERE scope = ?1 AND key = ?2 AND begun_at >= ?3",
        )?
        .query_row(params![scope, key, oldest], Kept::from_row)
        .optional()?;
    let request_key = match kept {
        None => *request_key,
        Some(kept) => {
            let journal = kept.journal;
            match kept.begun(body_sha256) {
                Begun::Running { request_key, .. } if *takes_over == Some(journal) => request_key,
                begun => return Ok(begun),
            }
        }
    };
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO idempotency_keys (scope, key, body_sha256, request_key, journal, begun_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![scope, key, body_sha256, request_key.to_string(), own.to_string(), now])?;
    transaction.commit()?;
    Ok(Begun::New { request_key })
}

/// Keeps the answer, or forgets the key.
pub(super) fn finish(connection: &Connection, finish: &FinishIdempotent) -> Result<()> {
    let FinishIdempotent { scope, key, request_key, answer, reply: _ } = finish;
    let request_key = request_key.to_string();
    match answer {
        Some((status, answer)) => connection
            .prepare_cached(
                "UPDATE idempotency_keys SET status = ?4, answer = ?5 \
                 WHERE scope = ?1 AND key = ?2 AND request_key = ?3 AND status IS NULL",
            )?
            .execute(params![scope, key, request_key, status, answer]),
        None => connection
            .prepare_cached(
                "DELETE FROM idempotency_keys \
                 WHERE scope = ?1 AND key = ?2 AND request_key = ?3 AND status IS NULL",
            )?
            .execute(params![scope, key, request_key]),
    }
    .map(|_| ())
}

/// Takes some of the keys away that were begun before `oldest`.
fn sweep(transaction: &Transaction<'_>, oldest: i64) -> Result<()> {
    transaction
        .prepare_cached(
            "DELETE FROM idempotency_keys WHERE (scope, key) IN (SELECT scope, key FROM idempotency_keys \
             WHERE begun_at < ?1 ORDER BY begun_at LIMIT ?2)",
        )?
        .execute([oldest, SWEPT_PER_KEY])
        .map(|_| ())
}

impl Kept {
    fn from_row(row: &Row<'_>) -> Result<Self> {
        let id = |column| {
            let text: String = row.get(column)?;
            let bad = |error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error));
            Uuid::parse_str(&text).map_err(bad)
        };
        let (status, answer): (Option<i64>, Option<Vec<u8>>) = (row.get(3)?, row.get(4)?);
        Ok(Self {
            body_sha256: row.get(0)?,
            request_key: id(1)?,
            journal: id(2)?,
            answer: status.map(|status| (status, answer.unwrap_or_default())),
        })
    }
}

fn now() -> i64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
