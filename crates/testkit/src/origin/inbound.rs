//! Reading HTTP/1.1 requests byte for byte.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{Gate, Received};
use crate::response::{fields_of, find};

/// Bytes of a request's head; a gateway that sends more is broken.
const HEAD_BYTES_MAX: usize = 1024 * 1024;

const READ_BYTES: usize = 64 * 1024;

/// A connection and what has been read from it ahead.
pub(super) struct Inbound<S> {
    pub(super) stream: S,
    ahead: Vec<u8>,
}

/// How the length of a body is known.
enum BodyLength {
    Known(usize),
    Chunked,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Inbound<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, ahead: Vec::new() }
    }

    /// The stream and what was read ahead of it.
    pub(super) fn into_parts(self) -> (S, Vec<u8>) {
        (self.stream, self.ahead)
    }

    /// The next request's head; `None` at the end of the connection or when it is no head.
    pub(super) async fn head(&mut self) -> Option<Received> {
        let bytes = self.until(b"\r\n\r\n", HEAD_BYTES_MAX).await.ok()?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (request_line, fields) = text.split_once("\r\n")?;
        let mut words = request_line.splitn(3, ' ').map(str::to_owned);
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        Some(Received {
            method,
            target,
            version,
            headers: fields_of(fields),
            raw_head: bytes,
            ..Received::default()
        })
    }

    /// Reads the body into `received`, in pieces as `pace` lets them pass.
    pub(super) async fn body(
        &mut self,
        received: &mut Received,
        pace: Option<(usize, &Gate)>,
    ) -> io::Result<()> {
        if received.header("expect").is_some_and(|expect| expect.eq_ignore_ascii_case("100-continue")) {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            self.stream.flush().await?;
        }
        match body_length(received) {
            BodyLength::Known(length) => self.piece(received, length, pace).await,
            BodyLength::Chunked => loop {
                let line = self.until(b"\r\n", HEAD_BYTES_MAX).await?;
                let size = String::from_utf8_lossy(&line);
                let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16);
                let size = size.map_err(io::Error::other)?;
                if size == 0 {
                    return self.trailers(received).await;
                }
                self.piece(received, size, pace).await?;
                self.until(b"\r\n", 2).await?;
            },
        }
    }

    /// Waits until the peer has closed its side, whatever it sends before.
    pub(super) async fn gone(&mut self) {
        while self.ahead.len() < HEAD_BYTES_MAX && self.fill(READ_BYTES).await.is_ok() {}
    }

    async fn piece(
        &mut self,
        received: &mut Received,
        length: usize,
        pace: Option<(usize, &Gate)>,
    ) -> io::Result<()> {
        let mut left = length;
        while left > 0 {
            let mut most = left;
            if let Some((piece_bytes, gate)) = pace {
                gate.step().await;
                most = most.min(piece_bytes);
            }
            if self.ahead.is_empty() {
                self.fill(most.min(READ_BYTES)).await?;
            }
            let taken = most.min(self.ahead.len());
            received.push(&self.ahead[..taken]);
            self.ahead.drain(..taken);
            left -= taken;
        }
        Ok(())
    }

    async fn trailers(&mut self, received: &mut Received) -> io::Result<()> {
        loop {
            let line = self.until(b"\r\n", HEAD_BYTES_MAX).await?;
            if line == b"\r\n" {
                return Ok(());
            }
            received.trailers.extend(fields_of(&String::from_utf8_lossy(&line)));
        }
    }

    /// Reads up to and with `end`.
    async fn until(&mut self, end: &[u8], bytes_max: usize) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = find(&self.ahead, end) {
                return Ok(self.ahead.drain(..at + end.len()).collect());
            }
            if self.ahead.len() >= bytes_max {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.fill(READ_BYTES).await?;
        }
    }

    /// Reads once. Cancelling it loses nothing.
    async fn fill(&mut self, bytes_max: usize) -> io::Result<()> {
        let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
        match (&mut self.stream).take(limit).read_buf(&mut self.ahead).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

fn body_length(received: &Received) -> BodyLength {
    if received
        .header("transfer-encoding")
        .is_some_and(|coding| coding.to_ascii_lowercase().contains("chunked"))
    {
        return BodyLength::Chunked;
    }
    let length = received.header("content-length").and_then(|length| length.parse().ok());
    BodyLength::Known(length.unwrap_or(0))
}
