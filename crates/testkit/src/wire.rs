//! A connection on which a test writes and reads the bytes itself.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::{BOUND, Ending, Response};

/// Bytes kept of what the peer sends; a test that reads more than this is mistaken.
const READ_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long one read waits before the bound is looked at again.
const READ_SLICE: Duration = Duration::from_millis(20);

/// A TCP connection and what has been read from it.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
    closed: bool,
}

impl Wire {
    /// Connects to `address`.
    ///
    /// # Panics
    /// When nobody listens there.
    #[must_use]
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap_or_else(|error| panic!("connect to {address}: {error}"))
    }

    /// Connects to `address`.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn try_connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, BOUND)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_SLICE))?;
        stream.set_write_timeout(Some(BOUND))?;
        Ok(Self { stream, unread: Vec::new(), closed: false })
    }

    /// The local address of the connection.
    ///
    /// # Panics
    /// When the connection has none.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.stream.local_addr().expect("a local address")
    }

    /// Writes `bytes`; false when the peer does not take them.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Writes `bytes`; false when the peer has not taken them all within about `bound`.
    ///
    /// # Panics
    /// When `bound` is zero.
    pub fn send_within(&mut self, bytes: impl AsRef<[u8]>, bound: Duration) -> bool {
        self.stream.set_write_timeout(Some(bound)).expect("a write timeout");
        let sent = self.send(bytes);
        self.stream.set_write_timeout(Some(BOUND)).expect("a write timeout");
        sent
    }

    /// Ends the writing half.
    pub fn finish(&mut self) {
        // The peer may have closed already, which is as good.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The next final response, interim ones dropped; `None` when there is none within `bound`.
    ///
    /// A response that is still cut at the bound, or when the peer has closed, is returned so.
    pub fn response(&mut self, to_head: bool, bound: Duration) -> Option<Response> {
        let started = Instant::now();
        loop {
            let over = self.closed || started.elapsed() >= bound;
            match Response::parse(&self.unread, to_head) {
                Some((response, read)) if (100..200).contains(&response.status) && response.status != 101 => {
                    self.unread.drain(..read);
                    continue;
                }
                Some((response, read)) if response.ending == Ending::Complete || over => {
                    self.unread.drain(..read);
                    return Some(response);
                }
                _ if over => return None,
                _ => self.read(),
            }
        }
    }

    /// Reads until `bytes` holds all that was read and not yet taken, or the bound passes; says whether it does.
    pub fn read_until(&mut self, bound: Duration, enough: impl Fn(&[u8]) -> bool) -> bool {
        let started = Instant::now();
        while !enough(&self.unread) {
            if self.closed || started.elapsed() >= bound {
                return false;
            }
            self.read();
        }
        true
    }

    /// Whether the peer closes the connection within `bound`; what it sends before is kept.
    pub fn closes(&mut self, bound: Duration) -> bool {
        let _ = self.read_until(bound, |_| false);
        self.closed
    }

    /// What was read and not yet taken.
    #[must_use]
    pub fn unread(&self) -> &[u8] {
        &self.unread
    }

    /// Takes what was read.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.unread)
    }

    fn read(&mut self) {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.closed = true,
            Ok(read) => self.unread.extend_from_slice(&buffer[..read]),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            Err(_) => self.closed = true,
        }
        assert!(self.unread.len() <= READ_BYTES_MAX, "the peer sends without end");
    }
}

/// Sends `bytes` on a connection of its own; returns what comes back until a complete final response, the end of the
/// connection, or [`BOUND`].
///
/// # Panics
/// When nobody listens there.
#[must_use]
pub fn raw(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let to_head = bytes.starts_with(b"HEAD ");
    let mut wire = Wire::connect(address);
    wire.send(bytes);
    let _ = wire.read_until(BOUND, |read| has_final_response(read, to_head));
    wire.take()
}

/// Sends `bytes` on a connection of its own; returns all that comes back until the peer closes or the bound passes.
///
/// # Panics
/// When nobody listens there.
#[must_use]
pub fn raw_until_close(address: SocketAddr, bytes: impl AsRef<[u8]>, bound: Duration) -> Vec<u8> {
    let mut wire = Wire::connect(address);
    wire.send(bytes);
    let _ = wire.closes(bound);
    wire.take()
}

fn has_final_response(mut read: &[u8], to_head: bool) -> bool {
    while let Some((response, bytes)) = Response::parse(read, to_head) {
        if response.status == 101 || response.status >= 200 {
            return response.ending == Ending::Complete;
        }
        read = &read[bytes..];
    }
    false
}
