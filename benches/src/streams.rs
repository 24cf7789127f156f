//! Streams: both their ends, the clients and the upstream, on one thread and one epoll.
//!
//! A stream's next chunk is written when its client has the last one. So each of a proxy's reads brings one chunk,
//! whatever the machine does, and as many chunks are on their way as there are streams. They begin one after the
//! other, so that at any moment some are near their beginning and some near their end.

mod answer;
mod origin;
mod script;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::event::{Timespec, epoll};

use crate::driver::proc::CpuTime;
use crate::load::{Histogram, STALL_MAX};
use answer::Answer;
use origin::Origin;
use script::Script;
pub(crate) use script::Shape;

const EVENTS_PER_WAIT_MAX: usize = 256;
/// Bytes of an answer that are read at once; more than any chunk has.
const READ_BYTES_MAX: usize = 16 * 1024;
/// The epoll key of the upstream's listener.
const LISTENER: u64 = u64::MAX;
/// Set in the epoll keys of the upstream's connections; those of clients are their slots.
const UPSTREAM: u64 = 1 << 32;

/// What to stream, and for how long.
#[derive(Clone, Copy)]
pub(crate) struct Order {
    /// The proxy, or the upstream itself.
    pub(crate) target: SocketAddr,
    pub(crate) shape: Shape,
    /// Chunks of text in each stream.
    pub(crate) chunks: u16,
    /// Streams at once, each on a connection of its own.
    pub(crate) streams: u16,
    /// Different users that the requests come from.
    pub(crate) users: u16,
    pub(crate) until: Until,
    /// Process whose CPU time to read.
    pub(crate) watch: Option<u32>,
}

/// When a run ends.
#[derive(Clone, Copy)]
pub(crate) enum Until {
    /// After so many streams, all of which are measured.
    Streams(u64),
    Time {
        warmup: Duration,
        measured: Duration,
    },
}

/// What one run saw.
pub(crate) struct Report {
    /// Chunks written while measuring, those around the text included.
    pub(crate) chunks: u64,
    /// The same, warm-up and the last streams included.
    pub(crate) chunks_all: u64,
    pub(crate) streams_all: u64,
    /// Streams of which usage was asked, by the client or by the proxy.
    pub(crate) with_usage_all: u64,
    pub(crate) seconds: f64,
    /// CPU time the watched process used while measuring.
    pub(crate) cpu_us: f64,
    /// From a request's last byte to its answer's first byte after the head.
    pub(crate) first_p50_us: f64,
    pub(crate) first_p99_us: f64,
    /// Reads in which clients got the measured chunks: more than there are chunks when a proxy cuts them.
    pub(crate) reads: u64,
}

/// Both ends.
pub(crate) struct Streams {
    epoll: rustix::fd::OwnedFd,
    origin: Origin,
    address: SocketAddr,
    /// Chunks that were written before the present run.
    chunks_before: u64,
    events: Vec<epoll::Event>,
    buffer: Box<[u8; READ_BYTES_MAX]>,
}

/// The clients' end of one run.
struct Run {
    order: Order,
    clients: Vec<Client>,
    /// Clients that have begun.
    begun: usize,
    /// Streams that may still be asked for.
    unasked: u64,
    asked: u64,
    done: u64,
    reads: u64,
    first: Histogram,
}

struct Client {
    stream: TcpStream,
    sent_at: Instant,
    answer: Answer,
}

/// What was counted so far at a moment.
struct Moment {
    at: Instant,
    cpu: Duration,
    chunks: u64,
    reads: u64,
}

impl Streams {
    /// Listens as the upstream.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let origin = Origin::listen()?;
        watch(&epoll, origin.listener(), LISTENER)?;
        let address = origin.address()?;
        let events = Vec::with_capacity(EVENTS_PER_WAIT_MAX);
        let buffer = Box::new([0; READ_BYTES_MAX]);
        Ok(Self { epoll, origin, address, chunks_before: 0, events, buffer })
    }

    /// Where proxies find the upstream.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Bytes of a chunk of text as the upstream writes it, framing included.
    pub(crate) fn chunk_len(shape: Shape, has_usage: bool) -> usize {
        Script::new(shape, has_usage, 1).chunk_len()
    }

    /// Streams as ordered until all streams that were begun have ended.
    ///
    /// # Errors
    /// When an answer is no stream or lacks a byte, a connection fails or stalls, or the watched process is gone.
    pub(crate) fn run(&mut self, order: Order) -> anyhow::Result<Report> {
        let Order { shape, chunks, streams, .. } = order;
        self.origin.perform([false, true].map(|has_usage| Script::new(shape, has_usage, chunks)), streams);
        let mut run = Run::connect(&self.epoll, order)?;
        let with_usage_before = self.origin.with_usage();
        self.chunks_before = self.origin.chunks();
        let (begun, ended) = match order.until {
            Until::Streams(_) => {
                let begun = self.moment(&run)?;
                self.finish(&mut run)?;
                (begun, self.moment(&run)?)
            }
            Until::Time { warmup, measured } => {
                self.turn_for(&mut run, warmup)?;
                run.first.clear();
                let begun = self.moment(&run)?;
                self.turn_for(&mut run, measured)?;
                let ended = self.moment(&run)?;
                run.unasked = 0;
                self.finish(&mut run)?;
                (begun, ended)
            }
        };
        ensure!(run.first.total() > 0, "no stream began while it was measured: --seconds more");
        let micros = |duration: Duration| duration.as_secs_f64() * 1e6;
        Ok(Report {
            chunks: ended.chunks - begun.chunks,
            chunks_all: self.origin.chunks() - self.chunks_before,
            streams_all: run.done,
            with_usage_all: self.origin.with_usage() - with_usage_before,
            seconds: (ended.at - begun.at).as_secs_f64(),
            cpu_us: micros(ended.cpu.saturating_sub(begun.cpu)),
            first_p50_us: micros(run.first.quantile(500)),
            first_p99_us: micros(run.first.quantile(990)),
            reads: ended.reads - begun.reads,
        })
    }

    fn moment(&self, run: &Run) -> anyhow::Result<Moment> {
        let cpu = run.order.watch.map(CpuTime::of).transpose()?.map_or(Duration::ZERO, |cpu| cpu.total());
        Ok(Moment { at: Instant::now(), cpu, chunks: self.origin.chunks(), reads: run.reads })
    }

    fn turn_for(&mut self, run: &mut Run, time: Duration) -> anyhow::Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < time {
            self.turn(run)?;
        }
        Ok(())
    }

    fn finish(&mut self, run: &mut Run) -> anyhow::Result<()> {
        while run.done < run.asked || run.is_beginning() {
            self.turn(run)?;
        }
        Ok(())
    }

    /// Waits for something to happen at either end, and does what follows from it.
    fn turn(&mut self, run: &mut Run) -> anyhow::Result<()> {
        run.begin(self.origin.chunks() - self.chunks_before)?;
        let patience = Timespec { tv_sec: i64::try_from(STALL_MAX.as_secs())?, tv_nsec: 0 };
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&patience)) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(0) => bail!("no chunk for {} s", STALL_MAX.as_secs()),
            waited => {
                waited?;
            }
        }
        for event in &events {
            let key = event.data.u64();
            if key == LISTENER {
                if let Some((slot, stream)) = self.origin.accept()? {
                    watch(&self.epoll, stream, UPSTREAM | u64::try_from(slot)?)?;
                }
            } else if key & UPSTREAM != 0 {
                self.origin.receive(usize::try_from(key ^ UPSTREAM)?)?;
            } else {
                run.receive(usize::try_from(key)?, &mut self.buffer[..], &mut self.origin)?;
            }
        }
        self.events = events;
        Ok(())
    }
}

impl Run {
    fn connect(epoll: &rustix::fd::OwnedFd, order: Order) -> anyhow::Result<Self> {
        let target = order.target;
        let clients = (0..order.streams)
            .map(|slot| {
                let stream = TcpStream::connect(target).with_context(|| format!("connect to {target}"))?;
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                watch(epoll, &stream, u64::from(slot))?;
                Ok(Client { stream, sent_at: Instant::now(), answer: Answer::default() })
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let first = Histogram::new();
        let unasked = match order.until {
            Until::Streams(count) => count,
            Until::Time { .. } => u64::MAX,
        };
        Ok(Self { order, clients, begun: 0, unasked, asked: 0, done: 0, reads: 0, first })
    }

    /// Asks for the first stream of each client that is due after so many chunks in all: the streams that go on are
    /// each the same number of chunks further then.
    fn begin(&mut self, chunks: u64) -> anyhow::Result<()> {
        let step = u64::from(self.order.chunks / self.order.streams);
        while self.begun < self.clients.len() {
            let begun = u64::try_from(self.begun)?;
            if chunks < step * (begun * begun.saturating_sub(1) / 2) {
                break;
            }
            self.ask(self.begun)?;
            self.begun += 1;
        }
        Ok(())
    }

    /// Whether a client is still to begin that has something to ask for.
    fn is_beginning(&self) -> bool {
        self.begun < self.clients.len() && self.unasked > 0
    }

    fn ask(&mut self, slot: usize) -> anyhow::Result<()> {
        if self.unasked == 0 {
            return Ok(());
        }
        let Order { target, shape, users, .. } = self.order;
        let user = u16::try_from(self.asked % u64::from(users))?;
        let request = shape.request(target, user, slot);
        self.unasked -= 1;
        self.asked += 1;
        let client = &mut self.clients[slot];
        client.answer.restart();
        client.sent_at = Instant::now();
        client.stream.write_all(&request).context("ask for a stream")
    }

    /// Reads once; has the next chunk written, or asks for the next stream.
    fn receive(&mut self, slot: usize, buffer: &mut [u8], origin: &mut Origin) -> anyhow::Result<()> {
        let client = &mut self.clients[slot];
        let read = match client.stream.read(buffer) {
            Ok(0) => bail!("the proxy closed a connection"),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("read an answer"),
        };
        self.reads += 1;
        let before = client.answer.body_len();
        client.answer.feed(&buffer[..read])?;
        let received = client.answer.body_len();
        if before == 0 && received > 0 {
            self.first.record(client.sent_at.elapsed());
        }
        if !client.answer.is_over() {
            return origin.go_on(slot, received);
        }
        let expected = origin.body_len_seen(slot, !self.order.shape.lacks_usage());
        ensure!(expected == Some(received), "a stream of {received} bytes, not {expected:?}");
        self.done += 1;
        self.ask(slot)
    }
}

fn watch(epoll: &rustix::fd::OwnedFd, source: impl rustix::fd::AsFd, key: u64) -> anyhow::Result<()> {
    Ok(epoll::add(epoll, source, epoll::EventData::new_u64(key), epoll::EventFlags::IN)?)
}
