//! The shipping thread: batches from the journal to the ledger, and answers in between.

use std::{
    fs::File,
    io, mem,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant, SystemTime},
};

use rusqlite::Connection;
use tollgate_core::{Settlement, UnixMillis};

use super::{Health, LoadError, LoadRequest, Loaded, Shared, batch::Batch, queue, sums};
use crate::{
    Position,
    codec::{self, DecodeError},
    journal::{End, Item, SegmentReader, Stretch, lock, segment_path},
};

/// From one look at the journal to the next, unless a load comes: a batch of this much traffic costs
/// little per line, and the journal keeps all of it meanwhile.
const PERIOD: Duration = Duration::from_millis(500);
/// Most bytes of records in a transaction: some thousand settlements, well below a second.
const BATCH_BYTES_MAX: u64 = 4 << 20;
/// First and longest pause after a failure.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Longest wait of a load for a ledger that works but is far behind.
const LOAD_WAIT_MAX: Duration = Duration::from_secs(5);

/// Why a batch was not shipped.
#[derive(Debug, thiserror::Error)]
enum ShipError {
    #[error("the ledger's SQLite file: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} at offset {offset}: {source}; use the program that wrote it", path.display())]
    Version { path: PathBuf, offset: u64, source: DecodeError },
}

pub(super) struct Shipper {
    shared: Arc<Shared>,
    connection: Connection,
    watermark: Position,
    waiting: Vec<(Instant, LoadRequest)>,
    /// Whether the last look at the journal ended before its end.
    unfinished: bool,
    /// While it fails: when to try again, and how long the pause was.
    pause: Option<(Instant, Duration)>,
}

impl Shipper {
    pub(super) fn new(shared: Arc<Shared>, connection: Connection, watermark: Position) -> Self {
        Self { shared, connection, watermark, waiting: Vec::new(), unfinished: false, pause: None }
    }

    /// Ships until told to stop.
    pub(super) fn run(mut self) {
        // Also when this thread panics, nobody waits for it in vain.
        let _ending = Ending(Arc::clone(&self.shared));
        loop {
            let turn = self.shared.queue.wait(self.patience());
            let now = Instant::now();
            self.take_in(turn.loads, now);
            if self.pause.is_none_or(|(until, _)| until <= now) {
                self.ship();
            }
            self.answer();
            if let Some(until) = turn.stop {
                if !self.is_behind() || until <= now {
                    break;
                }
                // The order to stop ends every wait at once, a pause included.
                self.rest(until);
            }
        }
        queue::refuse(self.waiting.drain(..).map(|(_, load)| load));
        if let Err(error) = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)") {
            tracing::warn!(%error, "the ledger's write-ahead log stays: the next start reads it");
        }
    }

    fn take_in(&mut self, loads: Vec<LoadRequest>, now: Instant) {
        let tail = self.shared.journal.tail();
        for mut load in loads {
            // What is behind the tail may never come.
            load.reached = load.reached.min(tail);
            self.waiting.push((now + LOAD_WAIT_MAX, load));
        }
    }

    /// How long to wait for something to do.
    fn patience(&self) -> Duration {
        match self.pause {
            Some((until, _)) => until.saturating_duration_since(Instant::now()),
            None if self.unfinished => Duration::ZERO,
            None => PERIOD,
        }
    }

    fn rest(&self, deadline: Instant) {
        if let Some((until, _)) = self.pause {
            thread::sleep(until.min(deadline).saturating_duration_since(Instant::now()));
        }
    }

    fn is_behind(&self) -> bool {
        self.watermark < self.shared.journal.tail()
    }

    /// Ships batches up to what is the journal's end now, or until it is time to look at the queue.
    fn ship(&mut self) {
        let started = Instant::now();
        let tail = self.shared.journal.tail();
        while self.watermark < tail && started.elapsed() < PERIOD {
            match self.ship_batch() {
                Ok(()) => self.succeeded(),
                Err(error) => return self.failed(&error),
            }
        }
        self.unfinished = self.watermark < tail;
    }

    /// One transaction.
    fn ship_batch(&mut self) -> Result<(), ShipError> {
        // Read first: what is between the last record and this tail is no record.
        let tail = self.shared.journal.tail();
        let stretch = self.shared.journal.stretch(self.watermark);
        let mut batch = Batch::begin(&self.connection)?;
        let reached = match stretch {
            Some(stretch) => fill(&mut batch, &self.shared, stretch)?,
            None => tail,
        };
        batch.commit(self.shared.journal.id(), reached)?;
        self.watermark = reached;
        self.shared.shipped.store(reached.get(), Ordering::Release);
        self.shared.journal.shipped(reached);
        Ok(())
    }

    fn succeeded(&mut self) {
        if self.pause.take().is_some() {
            *lock(&self.shared.health) = Health::default();
            tracing::info!("settlements are shipped to the ledger again");
        }
    }

    fn failed(&mut self, error: &ShipError) {
        let pause = match self.pause {
            Some((_, pause)) => (pause * 2).min(PAUSE_MAX),
            None => {
                tracing::error!(%error, "settlements cannot be shipped: they stay in the journal");
                PAUSE_MIN
            }
        };
        self.pause = Some((Instant::now() + pause, pause));
        let oldest_unshipped = first_admission(&self.shared, self.watermark);
        let mut health = lock(&self.shared.health);
        health.failing_since.get_or_insert_with(now);
        health.last_error = Some(error.to_string());
        health.oldest_unshipped = oldest_unshipped;
    }

    /// Answers the loads that can be, and those that cannot any longer.
    fn answer(&mut self) {
        if self.pause.is_some() {
            return queue::refuse(self.waiting.drain(..).map(|(_, load)| load));
        }
        let now = Instant::now();
        for (until, load) in mem::take(&mut self.waiting) {
            if load.reached <= self.watermark {
                let LoadRequest { subject, sums, reached: _, reply } = load;
                let sum = |(meter, span): &(String, _)| sums::sum(&self.connection, &subject, meter, *span);
                let sums = sums.iter().map(sum).collect::<Result<Vec<_>, _>>();
                let loaded = sums.map(|sums| Loaded { sums, watermark: self.watermark });
                reply(loaded.map_err(|error| {
                    tracing::warn!(%error, "counters cannot be loaded from the ledger");
                    LoadError::Unavailable
                }));
            } else if until <= now {
                queue::refuse([load]);
            } else {
                self.waiting.push((until, load));
            }
        }
    }
}

/// Adds the records of `stretch` to `batch`, as many as it takes; returns the position behind them.
fn fill(batch: &mut Batch<'_>, shared: &Shared, stretch: Stretch) -> Result<Position, ShipError> {
    let Stretch { base, start, end } = stretch;
    let path = segment_path(shared.journal.dir(), base);
    let mut reader = open(&path, stretch)?;
    while reader.at() < end && reader.at() - start < BATCH_BYTES_MAX {
        let item = reader.next().map_err(|source| ShipError::Read { path: path.clone(), source })?;
        let (offset, damage) = match item {
            None => break,
            Some(Item::Record { offset, payload }) => match codec::decode(payload) {
                Ok(settlement) => {
                    batch.add(&settlement)?;
                    continue;
                }
                Err(source @ DecodeError::Version(_)) => {
                    return Err(ShipError::Version { path, offset, source });
                }
                Err(error) => (offset, error.to_string()),
            },
            Some(Item::Damage { offset, until }) => (offset, format!("no record can be read up to {until}")),
        };
        tracing::error!(path = %path.display(), offset, damage, "damage in the journal is left out of the ledger");
    }
    Ok(Position::new(base + reader.at().min(end)))
}

fn open(path: &Path, stretch: Stretch) -> Result<SegmentReader, ShipError> {
    let file = File::open(path).map_err(|source| ShipError::Read { path: path.to_owned(), source })?;
    Ok(SegmentReader::new(file, stretch.start, stretch.end, End::Known))
}

/// When the first settlement from `from` on was admitted.
fn first_admission(shared: &Shared, from: Position) -> Option<UnixMillis> {
    let stretch = shared.journal.stretch(from)?;
    let mut reader = open(&segment_path(shared.journal.dir(), stretch.base), stretch).ok()?;
    match reader.next().ok()?? {
        Item::Record { offset: _, payload } => codec::decode(payload).ok().map(|Settlement { at, .. }| at),
        Item::Damage { .. } => None,
    }
}

fn now() -> UnixMillis {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixMillis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// Says that the thread has ended, however it did.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.queue.end();
    }
}
