//! What a journal does with what an earlier process left.
//!
//! Its segments are kept for shipping, cut down to their records. Its in-flight table names the
//! requests that never settled: each is settled by rule in the new segment, and only then the table
//! is replaced by a fresh one. A crash in between repeats all of it without harm, because the ids of
//! the events derive from the request's key.

use std::{
    collections::{HashMap, VecDeque},
    fs::{self, File, OpenOptions},
    io,
    path::Path,
    time::Instant,
};

use tollgate_core::{SettledBy, Settlement};
use uuid::Uuid;

use super::{
    Io, JournalOpenError, Unanswered,
    reader::{End, Item, SegmentReader},
    segment::{self, HEADER_BYTES, Header, create_file, sync_dir},
    slots::{self, Occupied},
    writer::OnDisk,
};
use crate::codec::{self, Encoded};

const ID: &str = "id";
const ID_UNFINISHED: &str = "id.tmp";

/// What an earlier process left.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) id: Uuid,
    /// Segments with records.
    pub(crate) segments: VecDeque<OnDisk>,
    /// Where the next segment begins.
    pub(crate) next_base: u64,
    pub(crate) settlements: u64,
    /// Openings without settlement.
    pub(crate) unanswered: Vec<Vec<u8>>,
    pub(crate) corrupt: u64,
}

/// Looks through the journal in `dir`, whose lock must be held.
pub(crate) fn look(dir: &Path) -> Result<Found, JournalOpenError> {
    let files = segment::list(dir).doing("list the segments in", dir)?;
    let mut found = Found {
        id: journal_id(dir, files.is_empty())?,
        segments: VecDeque::new(),
        next_base: 0,
        settlements: 0,
        unanswered: Vec::new(),
        corrupt: 0,
    };
    let mut open = read_table(dir, &mut found)?;
    for (base, path) in files {
        found.look_into(base, &path, &mut open)?;
    }
    found.unanswered = open.into_values().collect();
    Ok(found)
}

/// The openings in the table, by request.
fn read_table(dir: &Path, found: &mut Found) -> Result<HashMap<u128, Vec<u8>>, JournalOpenError> {
    let path = slots::path(dir);
    let mut open = HashMap::new();
    for occupied in slots::read(dir).doing("read", &path)? {
        let damage = match occupied {
            Occupied::Opening(bytes) => match codec::decode(&bytes).map(|opening| opening.key.to_bits()) {
                Ok(key) => {
                    open.insert(key, bytes);
                    continue;
                }
                Err(error) => error.to_string(),
            },
            Occupied::Damaged(offset) => format!("the checksum at offset {offset} is wrong"),
        };
        found.corrupt += 1;
        tracing::error!(path = %path.display(), damage, "an open request cannot be read: it is not charged");
    }
    Ok(open)
}

/// The id of the journal in `dir`. Without segments it is a new one: its positions begin anew, and a
/// watermark of the old one must not hide them.
fn journal_id(dir: &Path, new: bool) -> Result<Uuid, JournalOpenError> {
    let path = dir.join(ID);
    if new {
        let id = Uuid::now_v7();
        write_id(dir, id).doing("write", &path)?;
        return Ok(id);
    }
    read_id(dir).doing("read", &path)
}

fn write_id(dir: &Path, id: Uuid) -> io::Result<()> {
    let unfinished = dir.join(ID_UNFINISHED);
    let mut file = create_file(&unfinished)?;
    io::Write::write_all(&mut file, format!("{id}\n").as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, dir.join(ID))?;
    sync_dir(dir)
}

/// Reads the id of the journal in `dir`.
pub(crate) fn read_id(dir: &Path) -> io::Result<Uuid> {
    let text = fs::read_to_string(dir.join(ID))?;
    Uuid::parse_str(text.trim_end()).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

impl Found {
    fn look_into(
        &mut self,
        base: u64,
        path: &Path,
        open: &mut HashMap<u128, Vec<u8>>,
    ) -> Result<(), JournalOpenError> {
        let damaged = |reason| Err(JournalOpenError::Damaged { path: path.to_owned(), reason });
        let file = OpenOptions::new().read(true).write(true).open(path).doing("open", path)?;
        let header = match Header::read(&file).doing("read", path)? {
            Ok(header) => header,
            Err(reason) => return damaged(reason),
        };
        if header.journal != self.id || header.base != base {
            return damaged("it belongs to another journal, or has another one's name".to_owned());
        }
        self.next_base = self.next_base.max(base.saturating_add(header.bytes));
        let bytes = file.metadata().doing("read", path)?.len();
        let reader_file = file.try_clone().doing("read", path)?;
        let reader = SegmentReader::new(reader_file, HEADER_BYTES, bytes, End::Searched);
        let before = (self.settlements, self.corrupt);
        let end = self.scan(reader, path, open)?;
        if before == (self.settlements, self.corrupt) {
            return fs::remove_file(path).doing("delete the empty segment", path);
        }
        let bytes = if before.1 == self.corrupt { trim(&file, end, bytes) } else { bytes };
        self.segments.push_back(OnDisk { base, bytes, end: Some(end), left: Instant::now() });
        Ok(())
    }

    /// Counts the records, and takes those that are settled out of `open`; returns where they end.
    fn scan(
        &mut self,
        mut reader: SegmentReader,
        path: &Path,
        open: &mut HashMap<u128, Vec<u8>>,
    ) -> Result<u64, JournalOpenError> {
        while let Some(item) = reader.next().doing("read", path)? {
            let (offset, until, damage) = match item {
                Item::Record { offset, payload } => match codec::decode(payload) {
                    Ok(settlement) => {
                        self.settlements += 1;
                        open.remove(&settlement.key.to_bits());
                        continue;
                    }
                    Err(error) => (offset, offset + payload.len() as u64, error.to_string()),
                },
                Item::Damage { offset, until } => (offset, until, "no record can be read".to_owned()),
            };
            self.corrupt += 1;
            tracing::error!(
                path = %path.display(),
                offset,
                until,
                damage,
                "the journal is damaged: what was settled there is lost to the ledger"
            );
        }
        Ok(reader.at())
    }
}

/// Gives back what lies behind the records; the size afterwards.
fn trim(file: &File, end: u64, bytes: u64) -> u64 {
    match file.set_len(end) {
        Ok(()) => end,
        Err(_) => bytes,
    }
}

/// The settlement of a request that never settled.
pub(crate) fn by_rule(opening: &[u8], rule: Unanswered) -> Encoded {
    let mut bytes = Encoded::new();
    if let Ok(opening) = codec::decode(opening) {
        let mut settlement = Settlement { status: 0, settled_by: SettledBy::Recovery, ..opening };
        for charge in &mut settlement.charges {
            charge.estimated = true;
            charge.amount = match rule {
                Unanswered::Charge => charge.amount,
                Unanswered::Release => 0,
            };
        }
        codec::encode(&settlement, &mut bytes);
    }
    bytes
}
