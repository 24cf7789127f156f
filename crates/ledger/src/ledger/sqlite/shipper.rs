//! The shipping thread: batches from the journal to the file, and answers in between.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rusqlite::Connection;

use super::{batch, batch::Batch, idempotency, lines::Lines, resources, sums};
use crate::{
    journal::ReadError,
    ledger::{
        LoadError, LoadRequest, Loaded, PERIOD,
        feed::Expect,
        load::Ask,
        progress::{Ending, Pause, Shared},
        waiting::Waiting,
    },
};

/// For so long after it began to ship, the thread offers the processor to others every millisecond or less: a
/// request that shares it would else wait until the system takes it away, some milliseconds.
const POLITE_MAX: Duration = Duration::from_millis(250);
/// How long nothing is locked between two batches of a backlog: each takes some 40 ms, and SQLite looks every 100 ms at most.
const UNLOCKED: Duration = Duration::from_millis(2);

/// Why a batch was not shipped.
#[derive(Debug, thiserror::Error)]
pub(super) enum ShipError {
    #[error("the ledger's SQLite file: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Read(#[from] ReadError),
}

pub(crate) struct Shipper {
    shared: Arc<Shared>,
    connection: Connection,
    waiting: Waiting,
    /// Whether the last look at the journal ended before its end.
    unfinished: bool,
    /// Whether a batch ends with a segment: the last one failed.
    by_segment: bool,
    /// When to look at the journal even if nobody asks.
    next: Instant,
    pause: Pause,
    expect: Expect,
    /// Its memory is kept from batch to batch.
    lines: Lines,
}

impl Shipper {
    pub(crate) fn new(shared: Arc<Shared>, connection: Connection) -> Self {
        Self {
            shared,
            connection,
            waiting: Waiting::default(),
            unfinished: false,
            by_segment: false,
            next: Instant::now(),
            pause: Pause::default(),
            expect: Expect::default(),
            lines: Lines::default(),
        }
    }

    /// Ships until told to stop.
    pub(crate) fn run(mut self) {
        // Also when this thread panics, nobody waits for it in vain.
        let _ending = Ending(Arc::clone(&self.shared));
        loop {
            let turn = self.shared.queue.wait(self.patience());
            self.waiting.take_in(turn.asks, self.shared.journal.tail());
            let now = Instant::now();
            if self.pause.until().is_none_or(|until| until <= now) {
                self.ship();
            }
            self.answer();
            if let Some(until) = turn.stop {
                if !self.shared.is_behind() || until <= now {
                    break;
                }
                // The order to stop ends every wait at once, a pause included.
                self.rest(until);
            }
        }
        if let Err(error) = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)") {
            tracing::warn!(%error, "the ledger's write-ahead log stays: the next start reads it");
        }
    }

    /// How long to wait for something to do.
    fn patience(&self) -> Duration {
        match self.pause.until() {
            Some(until) => until.saturating_duration_since(Instant::now()),
            None if self.unfinished => Duration::ZERO,
            None => self.next.saturating_duration_since(Instant::now()),
        }
    }

    fn rest(&self, deadline: Instant) {
        if let Some(until) = self.pause.until() {
            thread::sleep(until.min(deadline).saturating_duration_since(Instant::now()));
        }
    }

    /// Ships batches up to what is the journal's end now, or until it is time to look at the queue.
    fn ship(&mut self) {
        let started = Instant::now();
        self.next = started + PERIOD;
        let tail = self.shared.journal.tail();
        // A backlog is shipped like everybody's work.
        let polite_until = if self.unfinished { started } else { started + POLITE_MAX };
        while self.shared.shipped() < tail && started.elapsed() < PERIOD {
            match self.ship_batch(polite_until) {
                Ok(()) => self.pause.succeeded(&self.shared),
                Err(error) => {
                    // What is whole in front of a segment that cannot be read is shipped without it.
                    self.by_segment = true;
                    return self.pause.failed(&self.shared, &error);
                }
            }
            self.by_segment = false;
            if self.shared.shipped() < tail {
                // A file that is always locked would be nobody else's: `tollgate subject` writes to it, too.
                thread::sleep(UNLOCKED);
            }
        }
        self.unfinished = self.shared.shipped() < tail;
    }

    /// One transaction. Until `polite_until` others have the processor between its pieces.
    fn ship_batch(&mut self, polite_until: Instant) -> Result<(), ShipError> {
        let Shared { journal, queue, .. } = &*self.shared;
        let pause = || {
            if Instant::now() < polite_until && queue.is_empty() {
                thread::yield_now();
            }
        };
        let from = self.shared.shipped();
        let Self { connection, lines, .. } = self;
        let batch = Batch { connection, journal, from, by_segment: self.by_segment, lines, pause: &pause };
        let (reached, expect) = batch.ship(self.expect)?;
        self.expect = expect;
        self.shared.has_shipped(reached);
        Ok(())
    }

    /// Answers what can be, and what cannot any longer.
    fn answer(&mut self) {
        if self.pause.until().is_some() {
            return self.waiting.refuse_all();
        }
        // A file that somebody else has locked is waited for once, not once for each.
        let mut writes = true;
        for ask in self.waiting.ready(self.shared.shipped()) {
            match ask {
                Ask::Begin(_) | Ask::Finish(_) if !writes => ask.refuse(LoadError::Unavailable),
                Ask::Load(load) => self.load(load),
                Ask::Flush { reached: _, reply } => reply(Ok(())),
                // Nobody else ships to a file in this data directory.
                Ask::Instances { fresh: _, reply } => reply(Ok(vec![self.shared.journal.id()])),
                Ask::Resource(asked) => {
                    let sums = resources::sums(&self.connection, &asked);
                    (asked.reply)(answered(sums));
                }
                Ask::OpenResources(asked) => {
                    let page = resources::open(&self.connection, &asked);
                    (asked.reply)(answered(page));
                }
                Ask::Begin(begin) => {
                    let begun = idempotency::begin(&self.connection, self.shared.journal.id(), &begin);
                    writes = begun.is_ok();
                    (begin.reply)(answered(begun));
                }
                Ask::Finish(finish) => {
                    let finished = idempotency::finish(&self.connection, &finish);
                    writes = finished.is_ok();
                    (finish.reply)(answered(finished));
                }
            }
        }
    }

    /// This thread alone writes: what it reads here is as of one instant.
    fn load(&self, load: LoadRequest) {
        let LoadRequest { subject, sums, reached: _, reply } = load;
        let sum = |(meter, span): &(String, _)| sums::sum(&self.connection, &subject, meter, *span);
        let loaded = sums.iter().map(sum).collect::<Result<Vec<_>, _>>().and_then(|sums| {
            let watermarks = batch::watermarks(&self.connection)?;
            Ok(Loaded { sums, watermark: self.shared.shipped(), watermarks })
        });
        reply(answered(loaded));
    }
}

/// The answer, or that there is none.
fn answered<T>(answer: rusqlite::Result<T>) -> Result<T, LoadError> {
    answer.map_err(|error| {
        tracing::warn!(%error, "the ledger cannot be asked");
        LoadError::Unavailable
    })
}
