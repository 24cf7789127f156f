//! The keeper: a thread that does the journal's file work ahead of the requests.
//!
//! It allocates spare segments, makes the pages of the next one ready under much traffic, unmaps those left
//! behind, and deletes those the ledger has and that need not be kept. It sleeps until there is something to do, or to try again after a failure.

use std::{
    fs, io,
    os::unix::fs::FileExt,
    sync::{Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};

use super::{
    Position, Shared, lock,
    segment::{self, HEADER_BYTES, Header, Segment},
    writer::{Chores, Keeping, OnDisk, Unready, records_in},
};

/// From a failure to the next attempt.
const RETRY: Duration = Duration::from_millis(500);
/// Pages made ready at once, in bytes: a fraction of a millisecond, then others have the processor.
const READY_BYTES: usize = 256 << 10;

/// What the keeper is told.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    inner: Mutex<Inner>,
    given: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    shipped: Position,
    look: bool,
    stop: bool,
}

impl Orders {
    /// A spare was used up.
    pub(crate) fn look(&self) {
        lock(&self.inner).look = true;
        self.given.notify_one();
    }

    /// The ledger has all before `position`.
    pub(crate) fn shipped(&self, position: Position) {
        let mut inner = lock(&self.inner);
        inner.shipped = inner.shipped.max(position);
        inner.look = true;
        drop(inner);
        self.given.notify_one();
    }

    pub(crate) fn stop(&self) {
        lock(&self.inner).stop = true;
        self.given.notify_one();
    }

    /// Waits for something to do, at most for `patience` if given; none when told to stop.
    fn wait(&self, patience: Option<Duration>) -> Option<Position> {
        let inner = lock(&self.inner);
        let idle = |inner: &mut Inner| !inner.look && !inner.stop;
        let mut inner = match patience {
            Some(patience) => {
                self.given.wait_timeout_while(inner, patience, idle).unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.given.wait_while(inner, idle).unwrap_or_else(PoisonError::into_inner),
        };
        inner.look = false;
        (!inner.stop).then_some(inner.shipped)
    }
}

/// The keeper thread.
pub(crate) fn run(shared: &Shared) {
    let (mut failing, mut patience) = (false, None);
    while let Some(shipped) = shared.orders.wait(patience) {
        let tidied = tidy(shared, shipped);
        let done = make_spares(shared).and(tidied);
        // Last: it takes its time, and without it the first write to each page takes a little more.
        make_ready(shared);
        match &done {
            Err(error) if !failing => tracing::warn!(
                dir = %shared.dir.display(),
                %error,
                "the journal cannot make or delete segments: requests are refused once it is full"
            ),
            Ok(_) if failing => {
                tracing::info!(dir = %shared.dir.display(), "the journal makes segments again");
            }
            Ok(_) | Err(_) => {}
        }
        failing = done.is_err();
        patience = done.unwrap_or(Some(RETRY));
    }
}

/// Makes the pages of the next segment ready if that is worth it, so that no request has to. They are read first:
/// the system then makes many of them at once, which halves what they cost.
fn make_ready(shared: &Shared) {
    let Some(Unready { pages, file, bytes }) = lock(&shared.writer).take_unready() else { return };
    let mut buffer = vec![0; READY_BYTES.min(bytes)];
    for at in (0..bytes).step_by(READY_BYTES) {
        // That it fails is for those to say who need what is read.
        let _ = file.read_at(&mut buffer, at as u64);
        if pages.make_ready(at, READY_BYTES).is_err() {
            return;
        }
        thread::yield_now();
    }
}

/// Unmaps and deletes what is not needed any longer; returns after how long there is more, if there is.
fn tidy(shared: &Shared, shipped: Position) -> io::Result<Option<Duration>> {
    if shared.syncer.has_failed() {
        return Ok(None);
    }
    // Kept segments may have the half that is not needed for what is to come.
    let keeping = Keeping { shipped: shared.keep_shipped, bytes_max: shared.bytes_max / 2 };
    let Chores { retired, shipped, kept } = lock(&shared.writer).take_chores(shipped, keeping);
    drop(retired);
    if shipped.is_empty() {
        return Ok(kept);
    }
    // Without this, a loss of power could bring back the slot of a request whose settlement is deleted.
    if let Some(table) = &shared.table
        && let Err(error) = shared.store.sync(table)
    {
        shared.fail(&error);
        give_back(shared, &shipped);
        return Ok(None);
    }
    for (index, segment) in shipped.iter().enumerate() {
        let removed = fs::remove_file(segment::path(&shared.dir, segment.base));
        if removed.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::NotFound) {
            give_back(shared, &shipped[index..]);
            return removed.map(|()| None);
        }
    }
    Ok(kept)
}

fn give_back(shared: &Shared, segments: &[OnDisk]) {
    let mut writer = lock(&shared.writer);
    segments.iter().for_each(|segment| writer.put_back(*segment));
}

/// Makes the spares that are missing, within the bound.
fn make_spares(shared: &Shared) -> io::Result<()> {
    loop {
        let usage = lock(&shared.writer).usage();
        let full = usage.bytes_on_disk.saturating_add(shared.segment_bytes) > shared.bytes_max;
        if full || usage.spares >= shared.spares_wanted {
            return Ok(());
        }
        let spare = make(shared, usage.next_base)?;
        lock(&shared.writer).add_spare(spare);
    }
}

fn make(shared: &Shared, base: u64) -> io::Result<Segment> {
    let header = Header { journal: shared.id, base, bytes: shared.segment_bytes };
    segment::create(&shared.dir, header, &*shared.store)
}

/// How many spares hold the longest settlement of every request that may be in flight; at least one.
pub(crate) fn spares_wanted(segment_bytes: u64, requests_in_flight_max: u32) -> usize {
    let per_segment = records_in(segment_bytes.saturating_sub(HEADER_BYTES)).max(1);
    usize::try_from(u64::from(requests_in_flight_max).div_ceil(per_segment)).unwrap_or(usize::MAX).max(1)
}
