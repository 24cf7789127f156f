//! Parts of memory-mapped files: the only place of this crate with `unsafe`.
//!
//! A store into a shared mapping is in the page cache at once and outlives the process, killed or
//! not, without a system call. That is what makes a settlement cost no more than a copy.
#![allow(
    unsafe_code,
    reason = "a shared file mapping has no safe interface: the compiler cannot know that nobody else writes or \
              truncates the file. Here the files lie in a private directory held by an exclusive lock, are \
              allocated in full before they are mapped, and are never truncated while mapped; each byte of a \
              mapping belongs to at most one `Region`, which is neither Clone nor Copy."
)]

use std::{
    fs::File,
    io, slice,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use memmap2::{Advice, MmapOptions, MmapRaw};

/// The sole owner of some bytes of a mapped file.
#[derive(Debug)]
pub(crate) struct Region {
    map: Arc<MmapRaw>,
    start: usize,
    bytes: usize,
}

/// The pages of a mapping, for somebody who neither reads nor writes them.
#[derive(Debug)]
pub(crate) struct Pages(Arc<MmapRaw>);

impl Pages {
    /// Has those in `bytes` bytes from `at`, a multiple of 4096, in memory and writable, as the first write to each
    /// would: many at once, and in this thread. Changes no byte.
    ///
    /// # Errors
    ///
    /// When the system does not know how to, or refuses: the first writes do it then.
    pub(crate) fn make_ready(&self, at: usize, bytes: usize) -> io::Result<()> {
        let bytes = bytes.min(self.0.len().saturating_sub(at));
        self.0.advise_range(Advice::PopulateWrite, at, bytes)
    }
}

impl Region {
    /// Maps the first `bytes` bytes of `file`, which must be that long and which nobody else may map.
    pub(crate) fn map(file: &File, bytes: u64) -> io::Result<Self> {
        let bytes = usize::try_from(bytes).map_err(|_| io::ErrorKind::FileTooLarge)?;
        if file.metadata()?.len() < bytes as u64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let map = MmapOptions::new().len(bytes).map_raw(file)?;
        Ok(Self { map: Arc::new(map), start: 0, bytes })
    }

    /// Cuts off the front `bytes` bytes; none when there are not so many.
    pub(crate) fn split_front(&mut self, bytes: usize) -> Option<Self> {
        let rest = self.bytes.checked_sub(bytes)?;
        let front = Self { map: Arc::clone(&self.map), start: self.start, bytes };
        self.start += bytes;
        self.bytes = rest;
        Some(front)
    }

    /// All pages of the mapping.
    pub(crate) fn pages(&self) -> Pages {
        Pages(Arc::clone(&self.map))
    }

    /// Copies `data` to `at`.
    ///
    /// # Panics
    ///
    /// When it does not fit, as for a slice.
    pub(crate) fn write(&mut self, at: usize, data: &[u8]) {
        self.check(at, data.len());
        // SAFETY: the destination lies inside the mapping (checked above and at construction), and belongs
        // to this region alone; `data` is a Rust slice, so it cannot overlap memory borrowed mutably here.
        unsafe { self.pointer(at).copy_from_nonoverlapping(data.as_ptr(), data.len()) }
    }

    /// Stores the little-endian `word` at `at`, a multiple of 4, after all writes before it.
    ///
    /// # Panics
    ///
    /// When it does not fit or is not aligned.
    pub(crate) fn publish(&mut self, at: usize, word: u32) {
        self.check(at, size_of::<u32>());
        let pointer = self.pointer(at).cast::<AtomicU32>();
        assert!(pointer.is_aligned(), "a length word lies at a multiple of 4");
        // SAFETY: inside the mapping, aligned, and only this region's owner writes it. Release keeps the
        // compiler from moving earlier stores behind it.
        unsafe { (*pointer).store(word.to_le(), Ordering::Release) }
    }

    /// The bytes from `at`.
    ///
    /// # Panics
    ///
    /// When there are not so many.
    pub(crate) fn read(&self, at: usize, bytes: usize) -> &[u8] {
        self.check(at, bytes);
        // SAFETY: inside the mapping, initialised by the file, and while `self` is borrowed nobody can
        // write: writing needs `&mut self`, and no other region covers these bytes.
        unsafe { slice::from_raw_parts(self.pointer(at), bytes) }
    }

    #[inline]
    fn check(&self, at: usize, bytes: usize) {
        let fits = at.checked_add(bytes).is_some_and(|end| end <= self.bytes);
        assert!(fits, "{bytes} bytes at {at} of a region of {}", self.bytes);
    }

    /// `at` must have passed [`Region::check`].
    fn pointer(&self, at: usize) -> *mut u8 {
        // SAFETY: `start + bytes` never exceeds the mapping's length, and `at <= bytes`.
        unsafe { self.map.as_mut_ptr().add(self.start + at) }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::FileExt};

    use super::*;

    #[test]
    fn what_is_written_is_in_the_file_and_parts_do_not_touch() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        let mut rest = Region::map(&file, 4096).unwrap();
        let mut front = rest.split_front(16).unwrap();
        front.write(8, b"12345678");
        rest.write(0, b"abcd");
        front.publish(4, 7);
        let mut bytes = [0; 20];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"\0\0\0\0\x07\0\0\x0012345678abcd");
        assert_eq!(front.read(8, 3), b"123");
        assert!(rest.split_front(4096).is_none());
    }

    #[test]
    fn making_pages_ready_changes_nothing_and_what_is_behind_the_end_is_left_alone() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(3 * 4096).unwrap();
        let mut region = Region::map(&file, 3 * 4096).unwrap();
        region.write(4095, b"ab");
        let pages = region.pages();
        pages.make_ready(0, 4096).unwrap();
        pages.make_ready(4096, usize::MAX).unwrap();
        assert_eq!(region.read(4094, 4), b"\0ab\0");
        region.write(4095, b"cd");
        assert_eq!(region.read(4094, 4), b"\0cd\0");
    }

    #[test]
    fn a_file_that_is_too_short_is_not_mapped() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), b"short").unwrap();
        assert!(Region::map(file.as_file(), 4096).is_err());
    }
}
