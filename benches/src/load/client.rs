//! The client's connections on one epoll: a write when a request may be sent, a read when an answer has come.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use rustix::event::epoll;

use super::histogram::Histogram;
use super::{Options, STALL_MAX};
use crate::http1::{Message, status};
use crate::ready::wait;

/// Bytes of one answer, head and body.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
const EVENTS_PER_WAIT_MAX: usize = 256;
/// Bytes of a wrong answer that are shown.
const SHOWN_BYTES_MAX: usize = 600;

pub(super) struct Client {
    epoll: rustix::fd::OwnedFd,
    /// Whether it never sleeps.
    awake: bool,
    connections: Vec<Connection>,
    events: Vec<epoll::Event>,
    requests: Vec<Vec<u8>>,
    next_request: usize,
    /// Requests that may still be sent.
    unsent: u64,
    in_flight: usize,
    answered: u64,
    non_200: u64,
    first_non_200: Option<String>,
    latencies: Histogram,
}

struct Connection {
    stream: TcpStream,
    sent_at: Instant,
    buffer: Box<[u8; ANSWER_BYTES_MAX]>,
    filled: usize,
}

impl Client {
    pub(super) fn connect(options: &Options, requests: &[Vec<u8>]) -> anyhow::Result<Self> {
        let Options { target, connections, awake, .. } = *options;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let connections = (0..connections)
            .map(|slot| {
                let stream = TcpStream::connect(target).with_context(|| format!("connect to {target}"))?;
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                let data = epoll::EventData::new_u64(u64::from(slot));
                epoll::add(&epoll, &stream, data, epoll::EventFlags::IN)?;
                let buffer = Box::new([0; ANSWER_BYTES_MAX]);
                Ok(Connection { stream, sent_at: Instant::now(), buffer, filled: 0 })
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Self {
            epoll,
            awake,
            connections,
            events: Vec::with_capacity(EVENTS_PER_WAIT_MAX),
            requests: requests.to_vec(),
            next_request: 0,
            unsent: 0,
            in_flight: 0,
            answered: 0,
            non_200: 0,
            first_non_200: None,
            latencies: Histogram::new(),
        })
    }

    /// Sends the first request of every connection; `requests` may be sent in all.
    pub(super) fn start(&mut self, requests: u64) -> anyhow::Result<()> {
        self.unsent = requests;
        (0..self.connections.len()).try_for_each(|slot| self.send(slot))
    }

    /// Waits for answers and sends the next request on each connection that got one.
    ///
    /// # Errors
    /// When no answer came for [`STALL_MAX`], or a connection failed.
    pub(super) fn turn(&mut self) -> anyhow::Result<()> {
        let mut events = std::mem::take(&mut self.events);
        let ready = wait(&self.epoll, &mut events, Some(STALL_MAX), self.awake)?;
        ensure!(ready > 0, "no answer for {} s", STALL_MAX.as_secs());
        for event in &events[..ready] {
            let slot = usize::try_from(event.data.u64())?;
            if self.receive(slot)? {
                self.send(slot)?;
            }
        }
        self.events = events;
        Ok(())
    }

    pub(super) fn issue_no_more(&mut self) {
        self.unsent = 0;
    }

    /// Forgets what was measured so far.
    pub(super) fn clear(&mut self) {
        self.latencies.clear();
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) fn answered(&self) -> u64 {
        self.answered
    }

    pub(super) fn non_200(&self) -> u64 {
        self.non_200
    }

    pub(super) fn first_non_200(&self) -> Option<&str> {
        self.first_non_200.as_deref()
    }

    pub(super) fn latencies(&self) -> &Histogram {
        &self.latencies
    }

    fn send(&mut self, slot: usize) -> anyhow::Result<()> {
        if self.unsent == 0 {
            return Ok(());
        }
        let request = &self.requests[self.next_request];
        self.next_request = (self.next_request + 1) % self.requests.len();
        self.unsent -= 1;
        self.in_flight += 1;
        let connection = &mut self.connections[slot];
        connection.sent_at = Instant::now();
        // One small request at a time always fits the socket's buffer.
        connection.stream.write_all(request).context("send a request")
    }

    /// Reads once; true when the answer is complete.
    fn receive(&mut self, slot: usize) -> anyhow::Result<bool> {
        let connection = &mut self.connections[slot];
        match connection.stream.read(&mut connection.buffer[connection.filled..]) {
            Ok(0) => bail!("the proxy closed a connection: {}", connection.text()),
            Ok(read) => connection.filled += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error).context("read an answer"),
        }
        let Some(answer) = Message::first(&connection.buffer[..connection.filled])? else {
            ensure!(connection.filled < ANSWER_BYTES_MAX, "answer head over {ANSWER_BYTES_MAX} bytes");
            return Ok(false);
        };
        ensure!(answer.total_len <= ANSWER_BYTES_MAX, "answer of {} bytes", answer.total_len);
        if connection.filled < answer.total_len {
            return Ok(false);
        }
        ensure!(connection.filled == answer.total_len, "bytes after the answer: {}", connection.text());
        if status(&connection.buffer[..answer.head_len]) != Some(200) {
            self.non_200 += 1;
            self.first_non_200.get_or_insert_with(|| connection.text());
        }
        connection.filled = 0;
        self.latencies.record(connection.sent_at.elapsed());
        self.in_flight -= 1;
        self.answered += 1;
        Ok(true)
    }
}

impl Connection {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.buffer[..self.filled.min(SHOWN_BYTES_MAX)]).into_owned()
    }
}
