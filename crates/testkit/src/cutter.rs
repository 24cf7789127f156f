//! A TCP proxy that cuts connections at chosen points.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Where the next connection is cut, once.
#[derive(Clone, Debug)]
pub enum Cut {
    /// When a client sends these bytes: the server does not get them.
    Before(&'static str),
    /// When a client has sent these bytes and the server answers: the answer is lost.
    Answer(&'static str),
    /// After so many more bytes, in either direction.
    Bytes(u64),
}

/// A proxy on loopback to one server. It forwards until told where to cut.
#[derive(Debug)]
pub struct Cutter {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    next: Mutex<Option<Cut>>,
    cuts: AtomicU64,
    ended: AtomicBool,
}

impl Cutter {
    /// A proxy to `server`, which need not run yet.
    ///
    /// # Panics
    /// When the system gives no port or thread.
    #[must_use]
    pub fn new(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port on loopback");
        let address = listener.local_addr().expect("the proxy's address");
        let shared = Arc::new(Shared {
            server,
            next: Mutex::default(),
            cuts: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accepting.accept(&listener));
        Self { address, shared }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts one connection at `cut`.
    pub fn cut(&self, cut: Cut) {
        *self.shared.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(cut);
    }

    /// How many connections were cut so far.
    #[must_use]
    pub fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::SeqCst)
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming() {
            if self.ended.load(Ordering::SeqCst) {
                return;
            }
            let (Ok(client), Ok(server)) = (client, TcpStream::connect(self.server)) else { continue };
            let ends = |stream: &TcpStream| stream.try_clone().expect("a second handle of a socket");
            let (to, from) = (ends(&server), ends(&client));
            let swallow = Arc::new(AtomicBool::new(false));
            let (there, back) = (Arc::clone(self), Arc::clone(self));
            let also_swallow = Arc::clone(&swallow);
            thread::spawn(move || there.pass(client, to, &swallow, true));
            thread::spawn(move || back.pass(server, from, &also_swallow, false));
        }
    }

    /// Forwards until either side ends or the connection is cut.
    fn pass(&self, mut from: TcpStream, mut to: TcpStream, swallow: &AtomicBool, from_client: bool) {
        let mut bytes = [0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut bytes) {
            let sent = &bytes[..read];
            if self.is_cut(sent, swallow, from_client) || to.write_all(sent).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    /// Whether the connection ends before these bytes.
    fn is_cut(&self, sent: &[u8], swallow: &AtomicBool, from_client: bool) -> bool {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let has = |needle: &str| {
            from_client && sent.windows(needle.len()).any(|window| window == needle.as_bytes())
        };
        let cut = match &mut *next {
            _ if !from_client && swallow.load(Ordering::SeqCst) => true,
            Some(Cut::Before(needle)) if has(needle) => {
                *next = None;
                true
            }
            Some(Cut::Answer(needle)) if has(needle) => {
                *next = None;
                swallow.store(true, Ordering::SeqCst);
                false
            }
            Some(Cut::Bytes(left)) => {
                *left = left.saturating_sub(sent.len() as u64);
                let cut = *left == 0;
                if cut {
                    *next = None;
                }
                cut
            }
            _ => false,
        };
        self.cuts.fetch_add(u64::from(cut), Ordering::SeqCst);
        cut
    }
}
