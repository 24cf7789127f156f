//! `Idempotency-Key`: what is repeated is done once, and answered as the first time.
//!
//! One attempt at a time runs in this process. The ledger tells whether another gateway is at it, or was when
//! it died; then it is taken over with the first attempt's key, from which the ids of its events derive: what
//! the ledger has of them is not charged again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{HeaderName, StatusCode};
use ring::digest::{Context, SHA256};
use tokio::{
    sync::{Mutex as Turn, OwnedMutexGuard},
    time::Instant,
};
use tollgate_core::RequestKey;
use tollgate_ledger::{BeginIdempotent, Begun, FinishIdempotent};
use uuid::Uuid;

use super::{Request, asking::ask, input::Input, reply::Reply, speaker::Speaker};
use crate::{
    admission::overloaded,
    headers::{self, Headers},
    refusal::{Code, Refusal},
};

/// Longest key: a few uuids.
const KEY_BYTES_MAX: usize = 255;
/// Longest wait for an attempt that runs: an attempt waits no longer for anything.
const RUNNING_WAIT_MAX: Duration = Duration::from_secs(15);
/// Between two questions whether another gateway has done it.
const RUNNING_POLL: Duration = Duration::from_millis(100);
/// A gateway that was not seen for so long has ended. It is seen about once a second.
const SEEN_WITHIN: Duration = Duration::from_secs(5);

/// The requests with a key that this process is at, by hash of scope and key: each has its turn.
#[derive(Default)]
pub(crate) struct Running(Mutex<HashMap<[u8; 32], Arc<Turn<()>>>>);

/// One attempt at a request.
#[derive(Clone, Copy)]
pub(super) struct Attempt {
    /// What the ids of its events derive from, and the time of what is said to be now.
    pub(super) key: RequestKey,
    /// Whether some of them may be in the ledger.
    pub(super) is_again: bool,
    /// Whether it may be repeated: then nothing of its events may come from anything else.
    pub(super) is_keyed: bool,
}

/// Why an attempt has no answer.
pub(super) struct Failed {
    refusal: Refusal,
    /// Whether something may have been charged.
    has_charged: bool,
    /// Whether it is known that nothing was, by this attempt or an earlier one of this gateway.
    is_nothing: bool,
}

impl Failed {
    pub(super) fn after_charging(refusal: Refusal) -> Self {
        Self { refusal, has_charged: true, is_nothing: false }
    }

    /// It was looked for what earlier attempts have charged, and there is nothing.
    pub(super) fn nothing(refusal: Refusal) -> Self {
        Self { refusal, has_charged: false, is_nothing: true }
    }
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, has_charged: false, is_nothing: false }
    }
}

/// What `attempt` answers; of a request with an `Idempotency-Key`, what it answered the first time.
///
/// Only what was done is kept: a refusal before anything was charged forgets the key. Cancelling it leaves the
/// key to the next attempt.
pub(super) async fn once(
    request: &Request<'_>,
    speaker: &Speaker,
    body: &Input,
    attempt: impl AsyncFnOnce(Attempt) -> Result<Reply, Failed>,
) -> Result<Reply, Refusal> {
    let fresh = RequestKey::new(request.arrival.at, request.arrival.random);
    let Some(key) = header(&request.parts.headers)? else {
        let reply = attempt(Attempt { key: fresh, is_again: false, is_keyed: false }).await;
        return reply.map_err(|failed| failed.refusal);
    };
    let names = Names { scope: speaker.scope(), key, sha256: fingerprint(request, speaker, body) };
    let running = &request.worker.shared.running;
    let _turn = tokio::time::timeout(RUNNING_WAIT_MAX, running.turn(&names)).await.map_err(|_| busy())?;
    let (begun, is_own) = match begin(request, &names, fresh).await? {
        Done::Answered(reply) => return Ok(reply),
        Done::Not { key, is_own } => (key, is_own),
    };
    let is_again = begun != fresh;
    let done = attempt(Attempt { key: begun, is_again, is_keyed: true }).await;
    let answer = match &done {
        Ok(reply) => Some((reply.status.as_u16(), reply.json.clone())),
        // What may be charged already is done again with the same ids, whoever asks next. What a gateway has left that
        // was killed, its journal may still bring.
        Err(failed) if failed.has_charged || (is_again && !(failed.is_nothing && is_own)) => {
            return done.map_err(|failed| failed.refusal);
        }
        Err(_) => None,
    };
    let finished = ask(request, |ledger, reply| {
        let Names { scope, key, .. } = names;
        ledger.finish_idempotent(FinishIdempotent { scope, key, request_key: begun, answer, reply });
    });
    match (done, finished.await) {
        (Ok(reply), Ok(())) => Ok(reply),
        (Ok(_), Err(refusal)) => Err(refusal),
        (Err(failed), _) => Err(failed.refusal),
    }
}

/// What names a request.
#[derive(Clone)]
struct Names {
    scope: String,
    key: String,
    sha256: [u8; 32],
}

enum Done {
    Answered(Reply),
    /// To be done with this key. All that was done with it before was done by this gateway.
    Not {
        key: RequestKey,
        is_own: bool,
    },
}

/// Whether it is to be done. Waits while another gateway is at it. Of this process nobody is.
async fn begin(request: &Request<'_>, names: &Names, fresh: RequestKey) -> Result<Done, Refusal> {
    let own = request.worker.shared.journal.id();
    let end = Instant::now() + RUNNING_WAIT_MAX;
    let mut takes_over = None;
    while Instant::now() < end {
        let Names { scope, key, sha256 } = names.clone();
        let begun = ask(request, |ledger, reply| {
            let body_sha256 = sha256;
            let begin = BeginIdempotent { scope, key, body_sha256, request_key: fresh, takes_over, reply };
            ledger.begin_idempotent(begin);
        });
        match begun.await? {
            Begun::New { request_key } => {
                let is_own = takes_over.is_none_or(|journal| journal == own);
                return Ok(Done::Not { key: request_key, is_own });
            }
            Begun::Done { status, answer } => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
                return Ok(Done::Answered(Reply { status, json: answer }));
            }
            Begun::OtherBody => {
                let message = "this Idempotency-Key was used for another request: use a new one";
                return Err(Refusal::new(Code::IdempotencyConflict, message));
            }
            Begun::Running { journal, .. } if journal == own || has_ended(request, journal).await? => {
                takes_over = Some(journal);
            }
            Begun::Running { .. } => tokio::time::sleep(RUNNING_POLL).await,
        }
    }
    Err(busy())
}

async fn has_ended(request: &Request<'_>, journal: Uuid) -> Result<bool, Refusal> {
    let alive = ask(request, |ledger, answer| ledger.instances(SEEN_WITHIN, answer)).await?;
    Ok(!alive.contains(&journal))
}

fn busy() -> Refusal {
    overloaded("a request with this Idempotency-Key is still being done; try again soon")
}

static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The request's key.
fn header(headers: &Headers) -> Result<Option<String>, Refusal> {
    let mut values = headers.all(&IDEMPOTENCY_KEY);
    let Some(bytes) = values.next() else { return Ok(None) };
    let is_valid = (1..=KEY_BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    if !is_valid || values.next().is_some() {
        let message = "Idempotency-Key must be there once, with 1 to 255 printable ASCII characters";
        return Err(Refusal::new(Code::BadRequest, message));
    }
    Ok(headers::text(bytes).map(str::to_owned))
}

/// Of all that makes the request what it is.
fn fingerprint(request: &Request<'_>, speaker: &Speaker, body: &Input) -> [u8; 32] {
    let mut hash = Context::new(&SHA256);
    for part in [request.path.as_bytes(), &speaker.said(request.live), body.text()] {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finish().as_ref().first_chunk().copied().unwrap_or_default()
}

impl Running {
    /// Waits until nobody of this process is at it. Cancel-safe.
    async fn turn(&self, names: &Names) -> Held<'_> {
        let mut hash = Context::new(&SHA256);
        hash.update(&(names.scope.len() as u64).to_be_bytes());
        hash.update(names.scope.as_bytes());
        hash.update(names.key.as_bytes());
        let id = hash.finish().as_ref().first_chunk().copied().unwrap_or_default();
        // As many as there are requests: each waits for one.
        let entry = Entry { running: self, turn: Arc::clone(self.lock().entry(id).or_default()), id };
        let turn = Arc::clone(&entry.turn).lock_owned().await;
        Held { _turn: turn, _entry: entry }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Arc<Turn<()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A turn. It ends before the place in the table is given up.
struct Held<'a> {
    _turn: OwnedMutexGuard<()>,
    _entry: Entry<'a>,
}

/// A place in the table, which the last one who has it takes away.
struct Entry<'a> {
    running: &'a Running,
    turn: Arc<Turn<()>>,
    id: [u8; 32],
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        let mut table = self.running.lock();
        // This one and the table's: places are taken with the table locked.
        if Arc::strong_count(&self.turn) == 2 {
            table.remove(&self.id);
        }
    }
}
