//! The in-flight table: one slot of a mapped file for each open request.
//!
//! A slot is `u32` length, `u32` crc32, payload; a length of zero, which is written last and cleared
//! first, means free. The payload is the settlement as of the request's opening.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{
    mapped::Region,
    record::{FRAME_BYTES, word},
    segment::{create_file, sync_dir},
    store::SegmentStore,
};
use crate::codec::OPENING_BYTES_MAX;

/// One slot: the longest opening, rounded up.
pub(crate) const SLOT_BYTES: usize = 2048;
const _: () = assert!(FRAME_BYTES + OPENING_BYTES_MAX <= SLOT_BYTES);

const NAME: &str = "in-flight";
const UNFINISHED: &str = "in-flight.tmp";
const MAGIC: &[u8; 8] = b"TollOpen";
/// Slots read at once.
const READ_SLOTS: usize = 256;

/// A slot that is free, or belongs to one open request.
#[derive(Debug)]
pub(crate) struct Slot(Region);

impl Slot {
    /// Fills the slot; `payload` is at most [`OPENING_BYTES_MAX`] long.
    pub(crate) fn occupy(&mut self, payload: &[u8]) {
        self.0.write(FRAME_BYTES, payload);
        self.0.write(4, &crc32fast::hash(payload).to_le_bytes());
        self.0.publish(0, u32::try_from(payload.len()).unwrap_or(0));
    }

    /// Frees the slot.
    pub(crate) fn clear(&mut self) {
        self.0.publish(0, 0);
    }

    /// What [`Slot::occupy`] wrote; empty when the slot is free.
    pub(crate) fn payload(&self) -> &[u8] {
        let length = word(self.0.read(0, FRAME_BYTES), 0).map_or(0, |length| length as usize);
        self.0.read(FRAME_BYTES, length.min(SLOT_BYTES - FRAME_BYTES))
    }
}

/// A new table.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) slots: Vec<Slot>,
    /// For syncing it.
    pub(crate) file: File,
}

/// The table's file.
pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join(NAME)
}

/// Makes a table of `count` free slots, and replaces the one that is there.
pub(crate) fn create(dir: &Path, count: u32, store: &dyn SegmentStore) -> io::Result<Table> {
    let unfinished = dir.join(UNFINISHED);
    let made = fill(&unfinished, count, store).and_then(|table| {
        fs::rename(&unfinished, path(dir))?;
        sync_dir(dir)?;
        Ok(table)
    });
    if made.is_err() {
        // The next attempt overwrites what cannot be removed now.
        let _ = fs::remove_file(&unfinished);
    }
    made
}

fn fill(path: &Path, count: u32, store: &dyn SegmentStore) -> io::Result<Table> {
    let file = create_file(path)?;
    let bytes = (u64::from(count) + 1) * SLOT_BYTES as u64;
    store.allocate(&file, bytes)?;
    file.write_all_at(MAGIC, 0)?;
    store.sync(&file)?;
    let mut rest = Region::map(&file, bytes)?;
    let mut slots = Vec::with_capacity(count as usize);
    rest.split_front(SLOT_BYTES).ok_or(io::ErrorKind::UnexpectedEof)?;
    while let Some(slot) = rest.split_front(SLOT_BYTES) {
        slots.push(Slot(slot));
    }
    // Taken from the back: the front of the file is used first, and most of it never.
    slots.reverse();
    Ok(Table { slots, file })
}

/// An occupied slot as a file has it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Occupied {
    /// The opening settlement's bytes.
    Opening(Vec<u8>),
    /// Length and checksum do not agree at this offset.
    Damaged(u64),
}

/// Reads the occupied slots of the table in `dir`; none when there is no table.
pub(crate) fn read(dir: &Path) -> io::Result<Vec<Occupied>> {
    let file = match File::open(path(dir)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut occupied = Vec::new();
    let mut buffer = vec![0; READ_SLOTS * SLOT_BYTES];
    let mut at = SLOT_BYTES as u64;
    let end = file.metadata()?.len();
    while at < end {
        let bytes = buffer.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
        file.read_exact_at(&mut buffer[..bytes], at)?;
        for (slot, index) in buffer[..bytes].chunks_exact(SLOT_BYTES).zip(0u64..) {
            occupied.extend(parse(slot, at + index * SLOT_BYTES as u64));
        }
        at += bytes as u64;
    }
    Ok(occupied)
}

fn parse(slot: &[u8], offset: u64) -> Option<Occupied> {
    let (length, crc) = (word(slot, 0)? as usize, word(slot, 4)?);
    if length == 0 {
        return None;
    }
    let payload = slot.get(FRAME_BYTES..FRAME_BYTES + length);
    let payload = payload.filter(|payload| crc32fast::hash(payload) == crc);
    Some(payload.map_or(Occupied::Damaged(offset), |payload| Occupied::Opening(payload.to_vec())))
}

#[cfg(test)]
mod tests {
    use super::{super::store::Disk, *};

    #[test]
    fn the_file_has_what_the_slots_have() {
        let dir = tempfile::tempdir().unwrap();
        let mut table = create(dir.path(), 3, &Disk).unwrap();
        let mut first = table.slots.pop().unwrap();
        let mut second = table.slots.pop().unwrap();
        assert!(read(dir.path()).unwrap().is_empty());
        first.occupy(b"one");
        second.occupy(&[7; OPENING_BYTES_MAX]);
        let expected = [b"one".to_vec(), vec![7; OPENING_BYTES_MAX]].map(Occupied::Opening);
        assert_eq!(read(dir.path()).unwrap(), expected);
        assert_eq!(first.payload(), b"one");
        first.clear();
        assert_eq!(read(dir.path()).unwrap(), expected[1..]);
        assert_eq!(first.payload(), b"");
        table.file.write_all_at(b"!", 2 * SLOT_BYTES as u64 + 100).unwrap();
        assert_eq!(read(dir.path()).unwrap(), [Occupied::Damaged(2 * SLOT_BYTES as u64)]);
    }
}
