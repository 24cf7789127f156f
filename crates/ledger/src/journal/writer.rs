//! What open requests share: where the next record goes, what room is promised, which slots are free.
//!
//! Invariant: `reserved <= records_guaranteed()`. A segment with `r` free bytes takes at least
//! `r / RECORD_BYTES_MAX` records whatever their sizes, because it is left only when less than one
//! longest record is free. Appending a reserved record lowers both sides by at most one, moving on to
//! a spare lowers neither, and so a settlement always finds its room.

use std::{
    collections::VecDeque,
    fs::File,
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    OpenError, Position,
    mapped::Pages,
    record::{FRAME_BYTES, RECORD_BYTES_MAX, record_bytes},
    segment::{HEADER_BYTES, Segment},
    slots::Slot,
};

/// A segment that is full in less is followed by one whose pages were made ready. Under less traffic what the first
/// write to a page costs is not worth to have the system write the page to disk twice: it does so after half a minute.
const BUSY: Duration = Duration::from_secs(10);

/// A segment file on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OnDisk {
    pub(crate) base: u64,
    /// Size of the file.
    pub(crate) bytes: u64,
    /// Offset behind the last record; none while records are still appended.
    pub(crate) end: Option<u64>,
    /// When it was left, or found by this process: its records are not newer. When it was begun, while records are
    /// appended.
    pub(crate) left: Instant,
}

/// Whether requests may open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admitting {
    Yes,
    SyncFailed,
    Closed,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Writer {
    current: Segment,
    /// Offset in the current segment where the next record goes.
    at: usize,
    spares: VecDeque<Segment>,
    /// How many records of the longest kind are sure to find room in the spares.
    spare_records: u64,
    /// Left behind, for the keeper to unmap.
    retired: Vec<Segment>,
    /// Whether the last one left was full within [`BUSY`].
    busy: bool,
    /// Files to sync before a later position counts as durable; empty when nobody syncs.
    unsynced: Vec<Arc<File>>,
    keeps_unsynced: bool,
    /// Segments with records, oldest first; the last one is the current.
    on_disk: VecDeque<OnDisk>,
    free: Vec<Slot>,
    slots: u32,
    reserved: u32,
    admitting: Admitting,
}

/// What a keeper has to do.
#[derive(Debug)]
pub(crate) struct Chores {
    /// To be unmapped.
    pub(crate) retired: Vec<Segment>,
    /// Files to delete, oldest first.
    pub(crate) shipped: Vec<OnDisk>,
    /// After how long there are more.
    pub(crate) kept: Option<Duration>,
}

/// A segment whose pages are not ready to be written.
#[derive(Debug)]
pub(crate) struct Unready {
    pub(crate) pages: Pages,
    pub(crate) file: Arc<File>,
    pub(crate) bytes: usize,
}

/// How long shipped segments are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keeping {
    /// Until their newest record is so old,
    pub(crate) shipped: Duration,
    /// unless all segments together take more than this.
    pub(crate) bytes_max: u64,
}

/// What a writer has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) bytes_on_disk: u64,
    pub(crate) bytes_free: u64,
    pub(crate) segments: u64,
    pub(crate) spares: usize,
    pub(crate) reserved: u32,
    pub(crate) room: u64,
    pub(crate) admitting: Admitting,
    /// Where the next segment made will begin.
    pub(crate) next_base: u64,
}

impl Writer {
    /// Starts in `current`; `old` are the segments of earlier processes.
    pub(crate) fn new(current: Segment, old: VecDeque<OnDisk>, keeps_unsynced: bool) -> Self {
        let mut on_disk = old;
        on_disk.push_back(OnDisk {
            base: current.base,
            bytes: current.bytes as u64,
            end: None,
            left: Instant::now(),
        });
        let mut writer = Self {
            current,
            at: 0,
            spares: VecDeque::new(),
            spare_records: 0,
            retired: Vec::new(),
            busy: false,
            unsynced: Vec::new(),
            keeps_unsynced,
            on_disk,
            free: Vec::new(),
            slots: 0,
            reserved: 0,
            admitting: Admitting::Yes,
        };
        writer.at = offset(HEADER_BYTES);
        writer
    }

    pub(crate) fn set_slots(&mut self, slots: Vec<Slot>) {
        self.slots = u32::try_from(slots.len()).unwrap_or(u32::MAX);
        self.free = slots;
    }

    /// Sets room for one record and a slot aside.
    pub(crate) fn reserve(&mut self) -> Result<Slot, OpenError> {
        match self.admitting {
            Admitting::Yes => {}
            Admitting::SyncFailed | Admitting::Closed => return Err(OpenError::Failed),
        }
        if u64::from(self.reserved) >= self.records_guaranteed() {
            return Err(OpenError::Full);
        }
        let slot = self.free.pop().ok_or(OpenError::TooManyInFlight)?;
        self.reserved += 1;
        Ok(slot)
    }

    /// Frees a slot and gives back its room, used or not.
    pub(crate) fn release(&mut self, mut slot: Slot) {
        slot.clear();
        self.free.push(slot);
        self.reserved = self.reserved.saturating_sub(1);
    }

    /// Appends a record; none when there is no room, which a reservation excludes.
    pub(crate) fn append(&mut self, payload: &[u8], crc: u32) -> Option<Appended> {
        let bytes = record_bytes(payload.len());
        let moved_on = self.current.bytes - self.at < bytes;
        if moved_on {
            self.move_on()?;
        }
        let region = &mut self.current.region;
        region.write(self.at + 4, &crc.to_le_bytes());
        region.write(self.at + FRAME_BYTES, payload);
        region.publish(self.at, u32::try_from(payload.len()).unwrap_or(0));
        let position = Position::new(self.current.base + self.at as u64);
        self.at += bytes;
        Some(Appended { position, moved_on })
    }

    fn move_on(&mut self) -> Option<()> {
        let next = self.spares.pop_front()?;
        self.spare_records = self.spare_records.saturating_sub(next.records());
        if let Some(current) = self.on_disk.back_mut() {
            self.busy = current.left.elapsed() < BUSY;
            current.end = Some(self.at as u64);
            current.left = Instant::now();
        }
        let (base, bytes) = (next.base, next.bytes as u64);
        self.on_disk.push_back(OnDisk { base, bytes, end: None, left: Instant::now() });
        let left = mem::replace(&mut self.current, next);
        if self.keeps_unsynced {
            self.unsynced.push(Arc::clone(&left.file));
        }
        self.retired.push(left);
        self.at = offset(HEADER_BYTES);
        Some(())
    }

    /// The position behind the last record.
    pub(crate) fn tail(&self) -> Position {
        Position::new(self.current.base + self.at as u64)
    }

    pub(crate) fn add_spare(&mut self, spare: Segment) {
        self.spare_records += spare.records();
        self.spares.push_back(spare);
    }

    /// The pages of the segment that comes next, for somebody to make them ready; none when that is done, or not
    /// worth it. Where the disk is waited for, it is not: a page that was made ready is written, even empty.
    pub(crate) fn take_unready(&mut self) -> Option<Unready> {
        let next = self.spares.front_mut().filter(|next| self.busy && !self.keeps_unsynced && !next.ready)?;
        next.ready = true;
        Some(Unready { pages: next.region.pages(), file: Arc::clone(&next.file), bytes: next.bytes })
    }

    /// Which files hold the records up to the tail that may not be on disk.
    pub(crate) fn take_unsynced(&mut self) -> (Position, Vec<Arc<File>>) {
        let mut files = mem::take(&mut self.unsynced);
        files.push(Arc::clone(&self.current.file));
        (self.tail(), files)
    }

    pub(crate) fn stop_admitting(&mut self, why: Admitting) {
        if self.admitting == Admitting::Yes || why == Admitting::SyncFailed {
            self.admitting = why;
        }
    }

    /// Takes what the keeper has to do when the ledger has all before `shipped`.
    pub(crate) fn take_chores(&mut self, shipped: Position, keeping: Keeping) -> Chores {
        let mut chores = Chores { retired: mem::take(&mut self.retired), shipped: Vec::new(), kept: None };
        let mut bytes = self.usage().bytes_on_disk;
        while self.has_shipped_segment(shipped) {
            let age = self.on_disk.front().map(|oldest| oldest.left.elapsed()).unwrap_or_default();
            if age < keeping.shipped && bytes <= keeping.bytes_max {
                chores.kept = Some(keeping.shipped - age);
                break;
            }
            let deleted = self.on_disk.pop_front();
            bytes -= deleted.map_or(0, |deleted| deleted.bytes);
            chores.shipped.extend(deleted);
        }
        chores
    }

    /// Whether there is a segment to delete when the ledger has all before `shipped`.
    pub(crate) fn has_shipped_segment(&self, shipped: Position) -> bool {
        self.on_disk
            .front()
            .is_some_and(|oldest| oldest.end.is_some_and(|end| oldest.base + end <= shipped.get()))
    }

    /// Takes back a segment that could not be deleted.
    pub(crate) fn put_back(&mut self, segment: OnDisk) {
        let place = self.on_disk.partition_point(|other| other.base < segment.base);
        self.on_disk.insert(place, segment);
    }

    /// The first stretch of records that reaches beyond `from`.
    pub(crate) fn stretch(&self, from: Position) -> Option<Stretch> {
        self.on_disk.iter().find_map(|segment| {
            let end = segment.end.unwrap_or(self.at as u64);
            let start = from.get().saturating_sub(segment.base).max(HEADER_BYTES);
            (start < end).then_some(Stretch { base: segment.base, start, end })
        })
    }

    /// The tail, the position of the first record on disk that is not before `from`, and all stretches from
    /// `from` on, each with the position where the next one may begin.
    pub(crate) fn stretches(&self, from: Position) -> (Position, Position, Vec<(Stretch, Position)>) {
        let mut stretches = Vec::new();
        let mut at = from;
        while let Some(stretch) = self.stretch(at) {
            at = Position::new(stretch.base + stretch.end);
            stretches.push((stretch, at));
        }
        let oldest = self.on_disk.front().map_or(self.tail(), |oldest| Position::new(oldest.base));
        (self.tail(), oldest.max(from), stretches)
    }

    /// Bytes of records from `from` on.
    pub(crate) fn bytes_from(&self, from: Position) -> u64 {
        let bytes = |segment: &OnDisk| {
            let end = segment.end.unwrap_or(self.at as u64);
            end.saturating_sub(from.get().saturating_sub(segment.base).max(HEADER_BYTES))
        };
        self.on_disk.iter().map(bytes).sum()
    }

    pub(crate) fn usage(&self) -> Usage {
        let spare_bytes = self.spares.iter().map(|spare| spare.bytes as u64).sum::<u64>();
        let room = self.records_guaranteed();
        let next_base = self.spares.back().unwrap_or(&self.current);
        Usage {
            bytes_on_disk: spare_bytes + self.on_disk.iter().map(|segment| segment.bytes).sum::<u64>(),
            bytes_free: spare_bytes + (self.current.bytes - self.at) as u64,
            segments: (self.spares.len() + self.on_disk.len()) as u64,
            spares: self.spares.len(),
            reserved: self.reserved,
            room,
            admitting: self.admitting,
            next_base: next_base.base + next_base.bytes as u64,
        }
    }

    /// How many records of the longest kind are sure to find room.
    fn records_guaranteed(&self) -> u64 {
        self.spare_records + records_in((self.current.bytes - self.at) as u64)
    }
}

impl Segment {
    /// How many records of the longest kind are sure to find room in it when it is empty.
    fn records(&self) -> u64 {
        records_in((self.bytes as u64).saturating_sub(HEADER_BYTES))
    }
}

/// A record's place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Appended {
    pub(crate) position: Position,
    /// Whether it is the first of its segment, and a spare was used up.
    pub(crate) moved_on: bool,
}

/// Records in one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// The segment.
    pub(crate) base: u64,
    /// Offset of the first record.
    pub(crate) start: u64,
    /// Offset behind the last.
    pub(crate) end: u64,
}

/// How many records of the longest kind are sure to fit into `bytes`.
pub(crate) const fn records_in(bytes: u64) -> u64 {
    bytes / RECORD_BYTES_MAX
}

fn offset(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{
        super::{
            segment::{self, Header},
            store::Disk,
        },
        *,
    };

    #[test]
    fn the_next_segment_is_made_ready_once_and_only_while_segments_fill_fast() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Uuid::now_v7();
        let segment = |number: u64| {
            let header = Header { journal, base: number * 65536, bytes: 65536 };
            segment::create(dir.path(), header, &Disk).unwrap()
        };
        let mut writer = Writer::new(segment(0), VecDeque::new(), false);
        let fill = |writer: &mut Writer| while !writer.append(&[7; 1000], 0).unwrap().moved_on {};
        (1..5).for_each(|number| writer.add_spare(segment(number)));
        assert!(writer.take_unready().is_none(), "nothing was written");
        fill(&mut writer);
        assert!(writer.take_unready().is_some());
        assert!(writer.take_unready().is_none(), "it is done");
        writer.on_disk.back_mut().unwrap().left -= BUSY;
        fill(&mut writer);
        assert!(writer.take_unready().is_none(), "the last one took long");
        fill(&mut writer);
        assert!(writer.take_unready().is_some());
    }
}
