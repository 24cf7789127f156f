//! Keys of requests, so that each is done once.

use tokio_postgres::Row;
use tollgate_core::RequestKey;
use uuid::Uuid;

use super::{PostgresError, connection::Connection, types::stored};
use crate::ledger::idempotency::{BeginIdempotent, Begun, FinishIdempotent, KEPT, Kept, SWEPT_PER_KEY};

/// A key may be swept between two statements, and begun anew by somebody else: hardly ever, and not often
/// in a row.
const ATTEMPTS_MAX: u32 = 4;

/// Takes the key when it is new, too old, or of an attempt that is taken over. Of several who come at the
/// same time the first one is waited for.
const TAKE: &str = "INSERT INTO idempotency_keys AS kept \
    (scope, key, body_sha256, request_key, journal, begun_at) VALUES ($1, $2, $3, $4, $5, now()) \
    ON CONFLICT (scope, key) DO UPDATE SET body_sha256 = excluded.body_sha256, request_key = \
    CASE WHEN kept.begun_at < now() - $7::bigint * interval '1 second' \
    THEN excluded.request_key ELSE kept.request_key END, \
    journal = excluded.journal, begun_at = now(), status = NULL, answer = NULL \
    WHERE kept.begun_at < now() - $7::bigint * interval '1 second' \
    OR (kept.status IS NULL AND kept.journal = $6 AND kept.body_sha256 = excluded.body_sha256) \
    RETURNING request_key";

/// Begins a request; `own` is this gateway's journal. None when it cannot be told.
pub(super) async fn begin(
    connection: &Connection,
    own: Uuid,
    begin: &BeginIdempotent,
) -> Result<Option<Begun>, PostgresError> {
    let BeginIdempotent { scope, key, body_sha256, request_key, takes_over, reply: _ } = begin;
    let (scope, key) = (stored(scope), stored(key));
    let request_key = Uuid::from_u128(request_key.to_bits());
    let kept_seconds = i64::try_from(KEPT.as_secs()).unwrap_or(i64::MAX);
    sweep(connection, kept_seconds).await?;
    for _ in 0..ATTEMPTS_MAX {
        let body = body_sha256.as_slice();
        let taken = connection
            .query(TAKE, &[&scope, &key, &body, &request_key, &own, takes_over, &kept_seconds])
            .await?;
        if let Some(row) = taken.first() {
            let request_key: Uuid = row.try_get(0)?;
            let request_key = RequestKey::from_bits(request_key.as_u128());
            return Ok(Some(Begun::New { request_key }));
        }
        let sql = "SELECT body_sha256, request_key, journal, status, answer FROM idempotency_keys \
            WHERE scope = $1 AND key = $2";
        if let Some(row) = connection.query(sql, &[&scope, &key]).await?.first() {
            return Ok(Some(Kept::of(row)?.begun(body_sha256)));
        }
    }
    Ok(None)
}

/// Keeps the answer, or forgets the key.
pub(super) async fn finish(connection: &Connection, finish: &FinishIdempotent) -> Result<(), PostgresError> {
    let FinishIdempotent { scope, key, request_key, answer, reply: _ } = finish;
    let (scope, key) = (stored(scope), stored(key));
    let request_key = Uuid::from_u128(request_key.to_bits());
    let finished = match answer {
        Some((status, answer)) => {
            let sql = "UPDATE idempotency_keys SET status = $4, answer = $5 \
                WHERE scope = $1 AND key = $2 AND request_key = $3 AND status IS NULL";
            connection.execute(sql, &[&scope, &key, &request_key, &i32::from(*status), answer]).await
        }
        None => {
            let sql = "DELETE FROM idempotency_keys \
                WHERE scope = $1 AND key = $2 AND request_key = $3 AND status IS NULL";
            connection.execute(sql, &[&scope, &key, &request_key]).await
        }
    };
    finished.map(|_| ())
}

/// Takes some of the old keys away, of those that nobody else is taking away.
async fn sweep(connection: &Connection, kept_seconds: i64) -> Result<(), PostgresError> {
    let sql = "DELETE FROM idempotency_keys WHERE (scope, key) IN (SELECT scope, key FROM idempotency_keys \
        WHERE begun_at < now() - $1::bigint * interval '1 second' \
        ORDER BY begun_at LIMIT $2 FOR UPDATE SKIP LOCKED)";
    connection.execute(sql, &[&kept_seconds, &SWEPT_PER_KEY]).await.map(|_| ())
}

impl Kept {
    fn of(row: &Row) -> Result<Self, PostgresError> {
        let status: Option<i32> = row.try_get(3)?;
        let answer: Option<Vec<u8>> = row.try_get(4)?;
        Ok(Self {
            body_sha256: row.try_get(0)?,
            request_key: row.try_get(1)?,
            journal: row.try_get(2)?,
            answer: status.map(|status| (status.into(), answer.unwrap_or_default())),
        })
    }
}
