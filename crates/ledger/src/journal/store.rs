//! The two calls to the file system that a disk makes fail: the seam at which tests do the same.

use std::{
    fs::File,
    io::{self, Write},
};

use rustix::{fs::FallocateFlags, io::Errno};

/// Takes space on the disk, and waits for it.
pub(crate) trait SegmentStore: Send + Sync {
    /// Gives `file`, which is empty, `bytes` zeros that are really on the disk: writing to them through a
    /// mapping can not run out of space.
    fn allocate(&self, file: &File, bytes: u64) -> io::Result<()>;

    /// Returns when all that was written to `file` would survive a loss of power.
    fn sync(&self, file: &File) -> io::Result<()>;
}

/// The file system.
#[derive(Debug)]
pub(crate) struct Disk;

impl SegmentStore for Disk {
    fn allocate(&self, file: &File, bytes: u64) -> io::Result<()> {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => write_zeros(file, bytes),
            Err(Errno::INTR) => self.allocate(file, bytes),
            other => Ok(other?),
        }
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }
}

fn write_zeros(mut file: &File, bytes: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
    let mut left = bytes;
    while left > 0 {
        let piece = ZEROS.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        file.write_all(&ZEROS[..piece])?;
        left -= piece as u64;
    }
    Ok(())
}
