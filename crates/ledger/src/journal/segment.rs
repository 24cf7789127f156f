//! A segment: one file of the journal, allocated in full before its first record.
//!
//! ```text
//! magic 8 · version u32 · zero u32 · journal id 16 · base u64 · bytes u64 · crc32 u32 · zeros up to 64
//! records
//! ```
//! `base` is the position of the file's first byte, and names the file. The next segment's base is
//! `base + bytes`, whatever the file was trimmed to since.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use uuid::Uuid;

use super::{
    mapped::Region,
    record::{RECORD_ALIGN, word},
    store::SegmentStore,
};

/// Where a segment's records begin.
pub(crate) const HEADER_BYTES: u64 = 64;
const _: () = assert!(HEADER_BYTES.is_multiple_of(RECORD_ALIGN as u64));

const HEADER_LENGTH: usize = 64;
const MAGIC: &[u8; 8] = b"TollJrnl";
const VERSION: u32 = 1;
const CRC_AT: usize = 48;
const PREFIX: &str = "segment-";
const UNFINISHED: &str = "segment.tmp";

/// What a segment says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) journal: Uuid,
    pub(crate) base: u64,
    pub(crate) bytes: u64,
}

impl Header {
    fn encode(self) -> [u8; HEADER_LENGTH] {
        let Self { journal, base, bytes } = self;
        let mut header = [0; HEADER_LENGTH];
        header[..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        header[16..32].copy_from_slice(journal.as_bytes());
        header[32..40].copy_from_slice(&base.to_le_bytes());
        header[40..CRC_AT].copy_from_slice(&bytes.to_le_bytes());
        let crc = crc32fast::hash(&header[..CRC_AT]);
        header[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        header
    }

    fn decode(header: &[u8; HEADER_LENGTH]) -> Result<Self, String> {
        if &header[..8] != MAGIC {
            return Err("it does not begin as a segment of a journal".to_owned());
        }
        if word(header, CRC_AT) != Some(crc32fast::hash(&header[..CRC_AT])) {
            return Err("its header's checksum is wrong".to_owned());
        }
        if word(header, 8) != Some(VERSION) {
            return Err(format!("its format is not version {VERSION}, the only one this program knows"));
        }
        let long = |at: usize| header[at..].first_chunk().copied().map_or(0, u64::from_le_bytes);
        let journal = header[16..].first_chunk().copied().map_or(Uuid::nil(), Uuid::from_bytes);
        Ok(Self { journal, base: long(32), bytes: long(40) })
    }

    /// Reads the header of an open segment file; the inner error is what is wrong with the header.
    pub(crate) fn read(file: &File) -> io::Result<Result<Self, String>> {
        let mut header = [0; HEADER_LENGTH];
        match file.read_exact_at(&mut header, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Ok(Err("it is too short to be a segment of a journal".to_owned()))
            }
            Err(error) => Err(error),
            Ok(()) => Ok(Self::decode(&header)),
        }
    }
}

/// A segment that can be written.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) base: u64,
    pub(crate) bytes: usize,
    pub(crate) region: Region,
    /// Whether its pages were made ready.
    pub(crate) ready: bool,
    /// For syncing it.
    pub(crate) file: Arc<File>,
}

/// The file of the segment that begins at `base`.
pub(crate) fn path(dir: &Path, base: u64) -> PathBuf {
    dir.join(format!("{PREFIX}{base:020}"))
}

/// The segment files in `dir`, in the order of their records.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let base =
            name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|base| base.parse().ok());
        segments.extend(base.map(|base| (base, entry.path())));
    }
    segments.sort_unstable();
    Ok(segments)
}

/// Makes a segment: allocated, its header and its name safe on disk.
///
/// That the name is safe before the first record matters after a loss of power: bases then never
/// repeat, and a ledger's watermark can not be ahead of its journal.
pub(crate) fn create(dir: &Path, header: Header, store: &dyn SegmentStore) -> io::Result<Segment> {
    let unfinished = dir.join(UNFINISHED);
    let made = fill(&unfinished, header, store).and_then(|segment| {
        fs::rename(&unfinished, path(dir, header.base))?;
        sync_dir(dir)?;
        Ok(segment)
    });
    if made.is_err() {
        // It holds space that is short already; the next attempt overwrites what cannot be removed now.
        let _ = fs::remove_file(&unfinished);
    }
    made
}

fn fill(path: &Path, header: Header, store: &dyn SegmentStore) -> io::Result<Segment> {
    let file = create_file(path)?;
    store.allocate(&file, header.bytes)?;
    file.write_all_at(&header.encode(), 0)?;
    store.sync(&file)?;
    let bytes = usize::try_from(header.bytes).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let region = Region::map(&file, header.bytes)?;
    Ok(Segment { base: header.base, bytes, region, ready: false, file: Arc::new(file) })
}

/// Makes or empties a file that only this user can read: it names users.
pub(crate) fn create_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Makes the names in `dir` safe on disk.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_header_is_noticed() {
        let header = Header { journal: Uuid::now_v7(), base: 1 << 40, bytes: 65536 };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Ok(header));
        for bit in 0..(CRC_AT + 4) * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&flipped).is_err(), "bit {bit}");
        }
    }
}
