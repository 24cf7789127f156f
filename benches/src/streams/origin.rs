//! The upstream's end: answers a request with the first chunk, and writes each further one when it is told to.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;

use anyhow::{Context, bail, ensure};

use super::script::{STREAM_HEADER, Script};
use crate::http1::Message;

/// Upstream connections held at once: far more than any proxy opens for the bench's streams.
const CONNECTIONS_MAX: usize = 4096;
/// Bytes of one request, head and body.
const REQUEST_BYTES_MAX: usize = 16 * 1024;

pub(super) struct Origin {
    listener: TcpListener,
    connections: Vec<Option<Connection>>,
    /// By the client's streams: what each is answered with.
    playing: Vec<Option<Playing>>,
    /// Without usage, and with it.
    scripts: [Rc<Script>; 2],
    /// Chunks written so far.
    chunks: u64,
    /// Requests so far that asked for usage.
    with_usage: u64,
}

struct Connection {
    stream: TcpStream,
    buffer: Box<[u8; REQUEST_BYTES_MAX]>,
    filled: usize,
}

struct Playing {
    connection: usize,
    script: Rc<Script>,
    written: usize,
}

impl Origin {
    /// Listens at a free port of the loopback.
    pub(super) fn listen() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("listen for streams")?;
        listener.set_nonblocking(true)?;
        let none = || Rc::new(Script::new(super::Shape::Messages, false, 0));
        let scripts = [none(), none()];
        let (connections, playing) = (Vec::new(), Vec::new());
        Ok(Self { listener, connections, playing, scripts, chunks: 0, with_usage: 0 })
    }

    pub(super) fn listener(&self) -> &TcpListener {
        &self.listener
    }

    pub(super) fn address(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// What the next run answers, without usage and with it, and how many streams it has at once.
    pub(super) fn perform(&mut self, scripts: [Script; 2], streams: u16) {
        self.scripts = scripts.map(Rc::new);
        self.playing = (0..streams).map(|_| None).collect();
    }

    pub(super) fn chunks(&self) -> u64 {
        self.chunks
    }

    pub(super) fn with_usage(&self) -> u64 {
        self.with_usage
    }

    /// A new connection, and the slot that it has here.
    pub(super) fn accept(&mut self) -> anyhow::Result<Option<(usize, &TcpStream)>> {
        let stream = match self.listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let slot = self.connections.iter().position(Option::is_none).unwrap_or(self.connections.len());
        ensure!(slot < CONNECTIONS_MAX, "the proxy opened more than {CONNECTIONS_MAX} upstream connections");
        if slot == self.connections.len() {
            self.connections.push(None);
        }
        let buffer = Box::new([0; REQUEST_BYTES_MAX]);
        let connection = self.connections[slot].insert(Connection { stream, buffer, filled: 0 });
        Ok(Some((slot, &connection.stream)))
    }

    /// Reads once, and begins the answer of a request that is whole.
    ///
    /// # Errors
    /// When a connection ends within an answer, or a request is none of ours.
    pub(super) fn receive(&mut self, slot: usize) -> anyhow::Result<()> {
        let Some(Some(connection)) = self.connections.get_mut(slot) else { return Ok(()) };
        match connection.stream.read(&mut connection.buffer[connection.filled..]) {
            Ok(0) => return self.close(slot),
            Ok(read) => connection.filled += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return self.close(slot),
            Err(error) => return Err(error).context("read a request"),
        }
        let filled = &connection.buffer[..connection.filled];
        let Some(request) = Message::first(filled)? else {
            ensure!(connection.filled < REQUEST_BYTES_MAX, "request head over {REQUEST_BYTES_MAX} bytes");
            return Ok(());
        };
        ensure!(request.total_len <= REQUEST_BYTES_MAX, "request of {} bytes", request.total_len);
        if connection.filled < request.total_len {
            return Ok(());
        }
        ensure!(connection.filled == request.total_len, "a second request before the first was answered");
        let (head, body) = filled.split_at(request.head_len);
        let stream = stream_of(head)?;
        let has_usage = contains(body, b"include_usage");
        connection.filled = 0;
        self.with_usage += u64::from(has_usage);
        let script = Rc::clone(&self.scripts[usize::from(has_usage)]);
        let playing = self.playing.get_mut(stream).context("a request for a stream that there is not")?;
        *playing = Some(Playing { connection: slot, script, written: 0 });
        self.write_next(stream)
    }

    /// Writes the stream's next chunk if `received` bytes of its body, which its client has, are all that was written.
    pub(super) fn go_on(&mut self, stream: usize, received: usize) -> anyhow::Result<()> {
        let Some(Some(playing)) = self.playing.get(stream) else { return Ok(()) };
        let is_due = received >= playing.script.body_len(playing.written);
        if is_due && playing.written < playing.script.len() { self.write_next(stream) } else { Ok(()) }
    }

    /// The bytes that a client sees of the stream that was written last.
    pub(super) fn body_len_seen(&self, stream: usize, wants_usage: bool) -> Option<usize> {
        let playing = self.playing.get(stream)?.as_ref()?;
        let is_written = playing.written == playing.script.len();
        is_written.then(|| playing.script.body_len_seen(wants_usage))
    }

    fn write_next(&mut self, stream: usize) -> anyhow::Result<()> {
        let Some(Some(playing)) = self.playing.get_mut(stream) else { return Ok(()) };
        let Some(Some(connection)) = self.connections.get_mut(playing.connection) else {
            bail!("the proxy closed an upstream connection within an answer");
        };
        if let Some(bytes) = playing.script.write(playing.written) {
            // One chunk at a time always fits the socket's buffer.
            connection.stream.write_all(bytes).context("write a chunk")?;
            playing.written += 1;
            self.chunks += 1;
        }
        Ok(())
    }

    fn close(&mut self, slot: usize) -> anyhow::Result<()> {
        self.connections[slot] = None;
        let unfinished =
            |playing: &Playing| playing.connection == slot && playing.written < playing.script.len();
        ensure!(
            !self.playing.iter().flatten().any(unfinished),
            "the proxy closed an upstream connection within an answer"
        );
        Ok(())
    }
}

/// The stream that a request's head says it is for.
fn stream_of(head: &[u8]) -> anyhow::Result<usize> {
    let head = std::str::from_utf8(head)?;
    let value = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case(STREAM_HEADER).then(|| value.trim())
    });
    value.context("a request without the stream that it is for")?.parse().context(STREAM_HEADER)
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|window| window == wanted)
}
