//! What was read and not yet taken.

use std::{
    future::Future as _,
    io,
    pin::pin,
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Room for one read at first: enough for most messages.
const READ_BYTES_MIN: usize = 8 * 1024;
/// In few steps to the most: an allocator keeps memory apart for each size that is asked for.
const ROOM_GROWTH: usize = 8;

/// The bytes that came, and how many to expect at once.
pub(crate) struct Input {
    pub(crate) buffer: BytesMut,
    room: usize,
    room_max: usize,
    /// Whether the buffer may be a part of more memory than one small read takes.
    is_large: bool,
}

impl Input {
    /// `room_max` is for one read, of messages that keep filling it.
    pub(crate) fn new(room_max: usize) -> Self {
        Self { buffer: BytesMut::new(), room: READ_BYTES_MIN, room_max, is_large: false }
    }

    /// Reads what is there, once; 0 at the end of the stream.
    pub(crate) fn poll_read(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        // Where nobody has a slice of it any more, the same memory serves for every message: it is in the cache.
        if self.buffer.is_empty() {
            let _ = self.buffer.try_reclaim(READ_BYTES_MIN);
        }
        // What is left of the room serves for small reads: memory is given back when its last slice is.
        if self.buffer.capacity() - self.buffer.len() < self.room / 2 {
            self.is_large |= self.buffer.len() + self.room > READ_BYTES_MIN;
            self.buffer.reserve(self.room);
        }
        let room = self.buffer.capacity() - self.buffer.len();
        let count = ready!(pin!(stream.read_buf(&mut self.buffer)).poll(cx))?;
        if count == room {
            self.room = (self.room * ROOM_GROWTH).min(self.room_max);
        } else if count < self.room / 4 {
            self.room = (self.room / 2).max(READ_BYTES_MIN);
        }
        Poll::Ready(Ok(count))
    }

    /// Forgets what the last exchange taught, and its memory if that was much.
    pub(crate) fn rest(&mut self) {
        if self.is_large || self.room > READ_BYTES_MIN {
            *self = Self::new(self.room_max);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn read(input: &mut Input, mut message: &[u8]) -> *const u8 {
        let mut cx = Context::from_waker(Waker::noop());
        assert!(matches!(input.poll_read(&mut message, &mut cx), Poll::Ready(Ok(1..))));
        input.buffer.as_ptr()
    }

    /// What is slice by slice in the memory of the last one is in nobody's cache.
    #[test]
    fn the_same_memory_serves_unless_somebody_holds_a_part_of_it() {
        let mut input = Input::new(READ_BYTES_MIN);
        let first = read(&mut input, b"one");
        drop(input.buffer.split().freeze());
        assert_eq!(read(&mut input, b"two"), first);
        let held = input.buffer.split().freeze();
        assert_ne!(read(&mut input, b"three"), first);
        drop(input.buffer.split());
        assert_eq!(held, &b"two"[..]);
        drop(held);
        assert_eq!(read(&mut input, b"four"), first);
    }
}
