//! The journal's side: every record reads well, and is in the ledger if it was shipped.

use std::{
    collections::{HashMap, hash_map::Entry},
    fs::File,
    io,
    path::Path,
};

use tollgate_core::Settlement;
use uuid::Uuid;

use super::{AuditError, AuditReport, Difference, lines::Comparison};
use crate::{
    LedgerReader, Position, codec,
    journal::{self, End, HEADER_BYTES, Item, SegmentHeader, SegmentReader, record_bytes},
};

pub(super) struct Segments<'a> {
    dir: &'a Path,
    journal: Uuid,
    watermark: u64,
    lines: Comparison<'a>,
    /// Where each request was settled first, and the checksum of that record.
    seen: HashMap<u128, (u64, u32)>,
    /// Behind the last segment.
    end: u64,
}

impl<'a> Segments<'a> {
    pub(super) fn new(dir: &'a Path, journal: Uuid, watermark: Position, ledger: &'a LedgerReader) -> Self {
        Self {
            dir,
            journal,
            watermark: watermark.get(),
            lines: Comparison::new(ledger),
            seen: HashMap::new(),
            end: 0,
        }
    }

    pub(super) fn check(mut self, report: &mut AuditReport) -> Result<(), AuditError> {
        let files = journal::list_segments(self.dir)
            .map_err(|source| AuditError::Journal { path: self.dir.to_owned(), source })?;
        for (base, path) in files {
            let unread = |source| AuditError::Journal { path: path.clone(), source };
            match File::open(&path) {
                // Shipped and deleted since the directory was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound && report.running => {}
                Err(error) => return Err(unread(error)),
                Ok(file) => self.check_file(base, &path, file, report)?,
            }
        }
        self.lines.finish(&mut report.differences)?;
        if self.watermark > self.end {
            self.bad_watermark(format!("and the journal ends at {}", self.end), report);
        }
        Ok(())
    }

    fn bad_watermark(&self, reason: String, report: &mut AuditReport) {
        report.differences.push(Difference::Watermark { watermark: self.watermark, reason });
    }

    fn check_file(
        &mut self,
        base: u64,
        path: &Path,
        file: File,
        report: &mut AuditReport,
    ) -> Result<(), AuditError> {
        let unread = |source| AuditError::Journal { path: path.to_owned(), source };
        let damage = |offset, reason| Difference::Damage { path: path.to_owned(), offset, reason };
        match SegmentHeader::read(&file).map_err(unread)? {
            Ok(header) if header.journal == self.journal && header.base == base => {
                self.end = self.end.max(base.saturating_add(header.bytes));
            }
            Ok(_) => {
                let reason = "it belongs to another journal, or has another one's name".to_owned();
                report.differences.push(damage(0, reason));
                return Ok(());
            }
            Err(reason) => {
                report.differences.push(damage(0, reason));
                return Ok(());
            }
        }
        let bytes = file.metadata().map_err(unread)?.len();
        let end = if report.running { End::Moving } else { End::Searched };
        let mut reader = SegmentReader::new(file, HEADER_BYTES, bytes, end);
        while let Some(item) = reader.next().map_err(unread)? {
            match item {
                Item::Record { offset, payload } => match codec::decode(payload) {
                    Ok(settlement) => {
                        let position = base + offset;
                        let crc = crc32fast::hash(payload);
                        let end = position + record_bytes(payload.len()) as u64;
                        if self.is_first(&settlement, position, crc, report) {
                            let shipped = position < self.watermark;
                            self.lines.add(payload, (position, shipped), &mut report.differences)?;
                        }
                        if position < self.watermark && self.watermark < end {
                            self.bad_watermark(format!("inside the record at {position}"), report);
                        }
                    }
                    Err(error) => report.differences.push(damage(offset, error.to_string())),
                },
                Item::Damage { offset, until } => {
                    report.differences.push(damage(offset, format!("no record can be read up to {until}")));
                }
            }
        }
        Ok(())
    }

    /// Counts the settlement; whether its request was not settled before.
    fn is_first(
        &mut self,
        settlement: &Settlement<'_>,
        position: u64,
        crc: u32,
        report: &mut AuditReport,
    ) -> bool {
        report.settlements += 1;
        report.pending += u64::from(position >= self.watermark);
        match self.seen.entry(settlement.key.to_bits()) {
            Entry::Vacant(unseen) => {
                unseen.insert((position, crc));
                true
            }
            Entry::Occupied(seen) => {
                let (first, first_crc) = *seen.get();
                if first_crc != crc {
                    let key = settlement.key;
                    report.differences.push(Difference::Twice { key, first, second: position });
                }
                false
            }
        }
    }
}
