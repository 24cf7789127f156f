//! The upstream of the bench: one thread, one epoll, two system calls a request, always the same answer.
//!
//! It shares a core with the load, so it has to be cheaper than any proxy; it parses no more than the framing.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::{Context, ensure};
use rustix::event::epoll;

use crate::http1::Message;
use crate::ready::wait;

/// Upstream connections held at once: far more than any proxy opens for the bench's load.
const CONNECTIONS_MAX: usize = 4096;
/// Bytes of one request, head and body.
const REQUEST_BYTES_MAX: usize = 16 * 1024;
const EVENTS_PER_WAIT_MAX: usize = 256;
/// The epoll key of the listener; connections are keyed by their slot.
const LISTENER: u64 = u64::MAX;

const ANSWER_BODY: &str = r#"{"id":"chatcmpl-bench","object":"chat.completion","created":1735689600,"model":"bench-1","choices":[{"index":0,"message":{"role":"assistant","content":"The capital of France is Paris."},"finish_reason":"stop"}],"usage":{"prompt_tokens":24,"completion_tokens":8,"total_tokens":32},"system_fingerprint":"fp"}"#;

/// Where the upstream listens.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Address to listen on.
    #[arg(long)]
    listen: SocketAddr,
    /// Never sleep, so that no proxy has to wake it.
    #[arg(long)]
    awake: bool,
}

/// Serves until it is ended.
///
/// # Errors
/// When the address cannot be listened on or epoll fails.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let listener =
        TcpListener::bind(options.listen).with_context(|| format!("listen on {}", options.listen))?;
    Origin::new(listener)?.serve(options.awake)
}

struct Origin {
    epoll: rustix::fd::OwnedFd,
    listener: TcpListener,
    connections: Vec<Option<Connection>>,
    answer: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    buffer: Box<[u8; REQUEST_BYTES_MAX]>,
    filled: usize,
}

impl Origin {
    fn new(listener: TcpListener) -> anyhow::Result<Self> {
        listener.set_nonblocking(true)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
        let answer = format!(
            "HTTP/1.1 200 OK\r\nDate: Wed, 01 Jan 2025 00:00:00 GMT\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{ANSWER_BODY}",
            ANSWER_BODY.len()
        );
        Ok(Self { epoll, listener, connections: Vec::new(), answer: answer.into_bytes() })
    }

    fn serve(mut self, awake: bool) -> anyhow::Result<()> {
        let mut events = Vec::with_capacity(EVENTS_PER_WAIT_MAX);
        loop {
            wait(&self.epoll, &mut events, None, awake)?;
            for event in &events {
                let key = event.data.u64();
                if key == LISTENER { self.accept()? } else { self.answer(usize::try_from(key)?) }
            }
        }
    }

    fn accept(&mut self) -> anyhow::Result<()> {
        let stream = match self.listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let slot = self.connections.iter().position(Option::is_none).unwrap_or(self.connections.len());
        ensure!(slot < CONNECTIONS_MAX, "the proxy opened more than {CONNECTIONS_MAX} upstream connections");
        let data = epoll::EventData::new_u64(u64::try_from(slot)?);
        epoll::add(&self.epoll, &stream, data, epoll::EventFlags::IN)?;
        let connection = Some(Connection { stream, buffer: Box::new([0; REQUEST_BYTES_MAX]), filled: 0 });
        match self.connections.get_mut(slot) {
            Some(free) => *free = connection,
            None => self.connections.push(connection),
        }
        Ok(())
    }

    /// Answers what has arrived; a connection that ends or misbehaves is closed, which the proxy will report.
    fn answer(&mut self, slot: usize) {
        let Some(Some(connection)) = self.connections.get_mut(slot) else { return };
        match connection.answer(&self.answer) {
            Ok(true) => {}
            Ok(false) => self.connections[slot] = None,
            Err(error) => {
                eprintln!("origin: {error:#}");
                self.connections[slot] = None;
            }
        }
    }
}

impl Connection {
    /// Reads once and answers every whole request; `false` when the peer has closed.
    fn answer(&mut self, answer: &[u8]) -> anyhow::Result<bool> {
        match self.stream.read(&mut self.buffer[self.filled..]) {
            Ok(0) => return Ok(false),
            Ok(read) => self.filled += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        while let Some(request) = Message::first(&self.buffer[..self.filled])? {
            ensure!(request.total_len <= REQUEST_BYTES_MAX, "request of {} bytes", request.total_len);
            if self.filled < request.total_len {
                return Ok(true);
            }
            self.stream.write_all(answer)?;
            self.buffer.copy_within(request.total_len..self.filled, 0);
            self.filled -= request.total_len;
        }
        ensure!(self.filled < REQUEST_BYTES_MAX, "request head over {REQUEST_BYTES_MAX} bytes");
        Ok(true)
    }
}
