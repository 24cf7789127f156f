//! Bodies that are large, slow, or come piece by piece.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use http_body_util::BodyExt as _;
use tollgate_testkit::{Answer, BOUND, Client, Ending, Gate, Origin, Wire, eventually};

use crate::support::stage::{Stage, USER, request, resident_bytes};

const MIB: usize = 1 << 20;

/// What a gateway may need for one exchange, whatever passes through; a debug build included.
const EXCHANGE_BYTES_MAX: u64 = 16 << 20;

/// Without a byte for so long, a writer counts as stopped.
const STILL: Duration = Duration::from_millis(300);

#[test]
fn a_large_upload_passes_through_little_memory() {
    let origin = Origin::echo();
    let gateway = Stage::before(&origin).start();
    let mut wire = Wire::connect(gateway.address());
    wire.send(request("GET", "/", "", ""));
    assert_eq!(wire.response(false, BOUND).expect("an answer").status, 200);
    let (before, _) = resident_bytes(&gateway);

    let lines = format!("Content-Length: {}\r\n", 64 * MIB);
    wire.send(request("PUT", "/large", &lines, ""));
    let piece = vec![b'u'; MIB];
    for _ in 0..64 {
        assert!(wire.send(&piece), "the gateway takes the body");
    }
    let answer = wire.response(false, BOUND).expect("an answer");
    assert_eq!(answer.json()["body_bytes"], 64 * MIB);
    let (_, most) = resident_bytes(&gateway);
    assert!(most < before + EXCHANGE_BYTES_MAX, "{before} bytes before, {most} at most");
}

/// Writes until it stands still; returns how many bytes were taken.
fn write_until_still(stream: &mut TcpStream, piece: &[u8], bytes_max: usize) -> usize {
    stream.set_write_timeout(Some(STILL)).unwrap();
    let mut written = 0;
    while written < bytes_max {
        match stream.write(&piece[..piece.len().min(bytes_max - written)]) {
            Ok(count) => written += count,
            Err(_) => break,
        }
    }
    written
}

#[test]
fn an_upload_waits_for_an_upstream_that_reads_slowly() {
    let gate = Gate::new();
    let slow = Answer::SlowReader { piece_bytes: 64 * 1024, gate: gate.clone() };
    let origin = Origin::builder().on("/slow", slow).start();
    let gateway = Stage::before(&origin).start();
    let (before, _) = resident_bytes(&gateway);
    let total = 64 * MIB;
    let mut stream = TcpStream::connect(gateway.address()).unwrap();
    let lines = format!("Content-Length: {total}\r\n");
    stream.write_all(request("PUT", "/slow", &lines, "").as_bytes()).unwrap();
    let piece = vec![b'u'; MIB];
    let written = write_until_still(&mut stream, &piece, total);
    assert!(written < total / 2, "{written} bytes were taken that nobody reads");
    let (_, most) = resident_bytes(&gateway);
    assert!(most < before + EXCHANGE_BYTES_MAX, "{before} bytes before, {most} at most");

    gate.open();
    stream.set_write_timeout(Some(BOUND)).unwrap();
    let mut left = total - written;
    while left > 0 {
        left -= stream.write(&piece[..piece.len().min(left)]).unwrap();
    }
    assert!(eventually(BOUND, || origin.received().iter().any(|r| r.body_bytes == total)));
}

/// An upstream that answers everything with `total` bytes and counts what it could write.
struct Pouring {
    address: SocketAddr,
    written: Arc<AtomicUsize>,
    gone: Arc<AtomicBool>,
}

impl Pouring {
    fn start(total: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (written, gone) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, over) = (Arc::clone(&written), Arc::clone(&gone));
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 4096];
            assert!(stream.read(&mut head).unwrap() > 0);
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {total}\r\n\r\n").unwrap();
            let piece = vec![b'd'; 64 * 1024];
            while count.load(SeqCst) < total {
                let Ok(written) = stream.write(&piece) else { break };
                count.fetch_add(written, SeqCst);
            }
            over.store(true, SeqCst);
        });
        Self { address, written, gone }
    }

    /// How many bytes were written once there has been no more for a while.
    fn written_at_standstill(&self) -> usize {
        let (mut last, mut since) = (0, Instant::now());
        assert!(eventually(BOUND, || {
            let now = self.written.load(SeqCst);
            if now != last {
                (last, since) = (now, Instant::now());
            }
            last > 0 && since.elapsed() > STILL
        }));
        last
    }
}

#[test]
fn a_download_waits_for_a_client_that_reads_slowly() {
    let total = 64 * MIB;
    let origin = Pouring::start(total);
    let gateway = Stage::at(&[origin.address]).start();
    let (before, _) = resident_bytes(&gateway);
    let mut stream = TcpStream::connect(gateway.address()).unwrap();
    stream.write_all(request("GET", "/", "Connection: close\r\n", "").as_bytes()).unwrap();
    let written = origin.written_at_standstill();
    assert!(written < total / 2, "{written} bytes were fetched that nobody reads");
    let (_, most) = resident_bytes(&gateway);
    assert!(most < before + EXCHANGE_BYTES_MAX, "{before} bytes before, {most} at most");

    stream.set_read_timeout(Some(BOUND)).unwrap();
    let mut read = 0;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match stream.read(&mut buffer).unwrap() {
            0 => break,
            count => read += count,
        }
    }
    assert!(read > total, "the body and its head: {read}");
    assert!(origin.gone.load(SeqCst));
}

#[tokio::test]
async fn an_http_2_download_waits_for_a_client_that_reads_slowly() {
    let total = 64 * MIB;
    let origin = Pouring::start(total);
    let gateway = Stage::at(&[origin.address]).start();
    let (before, _) = resident_bytes(&gateway);
    let mut client = Client::http2(gateway.address()).await.unwrap();
    let empty = http_body_util::Empty::new().map_err(|never| match never {}).boxed();
    let request = http::Request::get("/").header(USER.0, USER.1).body(empty).unwrap();
    let response = client.open(request).await.unwrap();
    let written = origin.written_at_standstill();
    assert!(written < total / 2, "{written} bytes were fetched that nobody reads");
    let (_, most) = resident_bytes(&gateway);
    assert!(most < before + EXCHANGE_BYTES_MAX, "{before} bytes before, {most} at most");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body.len(), total);
}

#[tokio::test]
async fn events_arrive_one_by_one() {
    for (client_h2, upstream_h2) in [(false, false), (true, false), (false, true), (true, true)] {
        let gate = Gate::new();
        let events: Vec<String> = (0..5).map(|n| format!("data: {{\"n\":{n}}}\n\n")).collect();
        let builder =
            Origin::builder().on("/stream", Answer::Sse { events: events.clone(), gate: Some(gate.clone()) });
        let origin = if upstream_h2 { builder.http2().start() } else { builder.start() };
        let protocol = if upstream_h2 { r#"protocol = "http2""# } else { "" };
        let gateway = Stage::before(&origin)
            .upstream(protocol)
            .charge(r#"{ meter = "tokens", amount = "llm.total_tokens", hold = 10 }"#, "")
            .start();
        let mut client = if client_h2 {
            Client::http2(gateway.address()).await.unwrap()
        } else {
            Client::http1(gateway.address()).await.unwrap()
        };
        let empty = http_body_util::Empty::new().map_err(|never| match never {}).boxed();
        let request = http::Request::get("/stream").header(USER.0, USER.1).body(empty).unwrap();
        let mut response = client.open(request).await.unwrap();
        for event in &events {
            // The next event is only sent after this one was seen.
            let frame = tokio::time::timeout(BOUND, response.frame()).await.expect("the event");
            let data = frame.expect("a frame").unwrap().into_data().expect("data");
            assert_eq!(data, event.as_bytes(), "h2 in: {client_h2}, h2 out: {upstream_h2}");
            gate.pass(1);
        }
        let rest = tokio::time::timeout(BOUND, response.collect()).await.expect("the end").unwrap();
        assert_eq!(rest.to_bytes(), "");
    }
}

/// Two directions at once: the answer begins before the request has ended.
#[test]
fn an_answer_may_begin_before_the_request_has_ended() {
    let early = tollgate_testkit::Reply::json(413, "{}");
    let origin = Origin::builder().on("/early", Answer::Early(early)).start();
    let gateway = Stage::before(&origin).start();
    let mut wire = Wire::connect(gateway.address());
    wire.send(request("POST", "/early", "Content-Length: 1000000\r\n", "begun"));
    let answer = wire.response(false, BOUND).expect("an answer");
    assert_eq!((answer.status, answer.ending), (413, Ending::Complete));
}
