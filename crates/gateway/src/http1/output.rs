//! What is to be written.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use tokio::io::AsyncWrite;

/// Data up to so many bytes are copied behind what is before them: one plain `send` is cheaper than `writev`.
const COPIED_BYTES_MAX: usize = 4096;
/// From so many copied bytes on, they are written before more is taken.
const BUFFER_BYTES_MAX: usize = 16 * 1024;

/// Bytes in the order of writing: the buffer, a piece that is not copied, and what ends the piece.
#[derive(Default)]
pub(crate) struct Output {
    buffer: Vec<u8>,
    /// How much of the buffer is written.
    written: usize,
    data: Bytes,
    end: &'static [u8],
    /// Whether the stream may hold bytes that it took.
    unflushed: bool,
}

impl Output {
    /// Whether more can be put in.
    pub(crate) fn has_room(&self) -> bool {
        self.data.is_empty() && self.end.is_empty() && self.buffer.len() < BUFFER_BYTES_MAX
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty() && self.data.is_empty() && self.end.is_empty() && !self.unflushed
    }

    /// For small things, where there [is room](Self::has_room).
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Puts in `data` and what ends it, where there [is room](Self::has_room).
    pub(crate) fn put(&mut self, data: Bytes, end: &'static [u8]) {
        if data.len() <= COPIED_BYTES_MAX {
            self.buffer.extend_from_slice(&data);
            self.buffer.extend_from_slice(end);
        } else {
            (self.data, self.end) = (data, end);
        }
    }

    /// Writes until nothing is left.
    pub(crate) fn poll_flush(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let buffer = &self.buffer[self.written..];
            let stream = Pin::new(&mut *stream);
            let count = if self.data.is_empty() && self.end.is_empty() {
                if buffer.is_empty() {
                    break;
                }
                ready!(stream.poll_write(cx, buffer))?
            } else {
                let slices = [IoSlice::new(buffer), IoSlice::new(&self.data), IoSlice::new(self.end)];
                ready!(stream.poll_write_vectored(cx, &slices))?
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            self.advance(count);
        }
        self.buffer.clear();
        self.written = 0;
        if self.unflushed {
            ready!(Pin::new(stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, count: usize) {
        let from_buffer = count.min(self.buffer.len() - self.written);
        self.written += from_buffer;
        let from_data = (count - from_buffer).min(self.data.len());
        self.data.advance(from_data);
        let rest = count - from_buffer - from_data;
        self.end = &self.end[rest.min(self.end.len())..];
        if self.data.is_empty() {
            // The memory that it was a slice of.
            self.data = Bytes::new();
        }
    }

    /// Forgets what is not written.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Keeps no more memory than most requests need.
    pub(crate) fn rest(&mut self) {
        self.buffer.shrink_to(BUFFER_BYTES_MAX);
    }
}
