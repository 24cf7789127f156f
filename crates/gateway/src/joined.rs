//! Streams that write small messages in one piece.
//!
//! hyper hands over head and body apart, so that bodies need not be copied. For a message of a few
//! hundred bytes, `writev` costs the kernel more than copying them together and a plain `send`.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use arrayvec::ArrayVec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most bytes that are copied together: what a copy costs there is still a part of what it saves.
const JOINED_BYTES_MAX: usize = 4096;

/// A byte stream whose small vectored writes are plain ones.
#[derive(Debug)]
pub(crate) struct Joined<S>(pub(crate) S);

impl<S: AsyncRead + Unpin> AsyncRead for Joined<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Joined<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.0);
        if let [only] = bufs {
            return stream.poll_write(cx, only);
        }
        let mut joined: ArrayVec<u8, JOINED_BYTES_MAX> = ArrayVec::new();
        match bufs.iter().try_for_each(|part| joined.try_extend_from_slice(part)) {
            Ok(()) => stream.poll_write(cx, &joined),
            Err(_) => stream.poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Waker};

    use proptest::prelude::*;

    use super::*;

    /// Takes at most so many bytes at a time.
    struct Narrow {
        written: Vec<u8>,
        at_once_max: usize,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            let count = buf.len().min(self.at_once_max);
            self.written.extend(&buf[..count]);
            Poll::Ready(Ok(count))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    proptest! {
        #[test]
        fn every_byte_is_written_once_and_in_order(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..3000), 1..5),
            at_once_max in 1..6000usize,
        ) {
            let mut stream = Joined(Narrow { written: Vec::new(), at_once_max });
            let mut slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
            let mut rest = &mut slices[..];
            IoSlice::advance_slices(&mut rest, 0);
            while !rest.is_empty() {
                let mut write = std::pin::pin!(poll_fn(|cx| Pin::new(&mut stream).poll_write_vectored(cx, rest)));
                let polled = write.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                let Poll::Ready(Ok(count)) = polled else { panic!("it is always ready") };
                prop_assert!(count > 0);
                IoSlice::advance_slices(&mut rest, count);
            }
            prop_assert_eq!(stream.0.written, parts.concat());
        }
    }
}
