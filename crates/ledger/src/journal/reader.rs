//! Reads a segment's records from its file, and goes on behind damage.

use std::{fs::File, io, os::unix::fs::FileExt};

use super::record::{FRAME_BYTES, Front, RECORD_ALIGN, RECORD_BYTES_MAX, front};
use crate::codec;

/// Read at once: some hundred records for one system call.
const WINDOW_BYTES: u64 = 256 * 1024;
/// How often a record that seems damaged is read again while another process may be writing it.
const LIVE_ATTEMPTS: u32 = 3;

/// What is known about the end of the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// They go on to the given end.
    Known,
    /// Nobody writes: they end where only zeros, or the start of one unfinished record, follow.
    Searched,
    /// Another process may be appending: they end at the first length of zero.
    Moving,
}

/// What a segment consists of.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    /// A record at `offset` of the file, its checksum right.
    Record { offset: u64, payload: &'a [u8] },
    /// No records can be read from `offset` to `until`.
    Damage { offset: u64, until: u64 },
}

/// Reads records in their order.
#[derive(Debug)]
pub(crate) struct SegmentReader {
    file: File,
    /// Where the next record begins.
    at: u64,
    end: u64,
    knows: End,
    window: Vec<u8>,
    window_at: u64,
}

enum Found {
    Record { payload: usize, bytes: usize },
    Empty,
    Damaged,
}

/// What lies behind a place where no record can be read.
struct Behind {
    record: Option<u64>,
    /// End of the last word that is not zero.
    dirty: u64,
}

impl SegmentReader {
    /// Reads from offset `at` to offset `end`.
    pub(crate) fn new(file: File, at: u64, end: u64, knows: End) -> Self {
        Self { file, at, end, knows, window: Vec::new(), window_at: at }
    }

    /// Where the next record begins, or the records end.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// The next record or damage; none at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Item<'_>>> {
        let offset = self.at;
        if self.end.saturating_sub(offset) < FRAME_BYTES as u64 {
            return Ok(None);
        }
        match self.found()? {
            Found::Record { payload, bytes } => {
                let start = self.index(offset) + FRAME_BYTES;
                self.at += bytes as u64;
                Ok(Some(Item::Record { offset, payload: &self.window[start..start + payload] }))
            }
            Found::Empty if self.knows == End::Moving => Ok(None),
            Found::Empty if self.knows == End::Searched => {
                let behind = self.behind(offset)?;
                if behind.record.is_none() && behind.dirty <= offset + RECORD_BYTES_MAX {
                    return Ok(None);
                }
                Ok(Some(self.skip(offset, &behind)))
            }
            Found::Empty | Found::Damaged => {
                let behind = self.behind(offset)?;
                Ok(Some(self.skip(offset, &behind)))
            }
        }
    }

    fn skip(&mut self, offset: u64, behind: &Behind) -> Item<'static> {
        let rest = if self.knows == End::Known { self.end } else { behind.dirty };
        self.at = behind.record.unwrap_or(rest).max(offset + RECORD_ALIGN as u64);
        Item::Damage { offset, until: self.at }
    }

    fn found(&mut self) -> io::Result<Found> {
        let attempts = if self.knows == End::Moving { LIVE_ATTEMPTS } else { 1 };
        for _ in 0..attempts {
            self.ensure(self.at)?;
            match front(&self.window[self.index(self.at)..]) {
                Front::Record { payload, bytes } => {
                    return Ok(Found::Record { payload: payload.len(), bytes });
                }
                Front::Empty => return Ok(Found::Empty),
                Front::Cut | Front::Damaged => self.window.clear(),
            }
        }
        Ok(Found::Damaged)
    }

    /// Looks for the next record that can be read behind `offset`.
    fn behind(&mut self, offset: u64) -> io::Result<Behind> {
        let mut behind = Behind { record: None, dirty: offset };
        let mut at = offset + RECORD_ALIGN as u64;
        while at < self.end {
            self.ensure(at)?;
            let bytes = &self.window[self.index(at)..];
            let zeros = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
            if zeros >= RECORD_ALIGN {
                at += (zeros - zeros % RECORD_ALIGN) as u64;
                continue;
            }
            behind.dirty = at + RECORD_ALIGN as u64;
            if matches!(front(bytes), Front::Record { payload, .. } if codec::decode(payload).is_ok()) {
                behind.record = Some(at);
                return Ok(behind);
            }
            at += RECORD_ALIGN as u64;
        }
        Ok(behind)
    }

    /// Has the bytes from `at` in the window, enough for the longest record unless the end is nearer.
    fn ensure(&mut self, at: u64) -> io::Result<()> {
        let wanted = RECORD_BYTES_MAX.min(self.end - at);
        let window_end = self.window_at + self.window.len() as u64;
        if self.window_at <= at && at + wanted <= window_end && !self.window.is_empty() {
            return Ok(());
        }
        let bytes = WINDOW_BYTES.min(self.end - at);
        self.window.clear();
        self.window.resize(usize::try_from(bytes).unwrap_or(0), 0);
        self.window_at = at;
        self.file.read_exact_at(&mut self.window, at).inspect_err(|_| self.window.clear())
    }

    fn index(&self, at: u64) -> usize {
        usize::try_from(at - self.window_at).unwrap_or(usize::MAX)
    }
}
