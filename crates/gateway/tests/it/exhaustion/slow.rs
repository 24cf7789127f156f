//! Clients that take their time.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use tollgate_testkit::{Answer, BOUND, Gate, Gateway, Origin, Reply, Wire, eventually, tls::Authority};

use super::{
    Watch,
    frames::{END_HEADERS, END_STREAM, HEADERS, Http2, INITIAL_WINDOW, RST_STREAM, frame, request_fields},
};
use crate::support::stage::{Stage, final_events, request, sent, settlements};

/// Sends a byte now and then until the gateway closes; whether it does.
fn drip(gateway: &Gateway, begun: &str) -> bool {
    let mut stream = TcpStream::connect(gateway.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    stream.write_all(begun.as_bytes()).unwrap();
    let mut buffer = [0; 4096];
    eventually(BOUND, || {
        if stream.write_all(b"x").is_err() {
            return true;
        }
        match stream.read(&mut buffer) {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) => {
                !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
            }
        }
    })
}

#[test]
fn heads_that_come_too_slowly_end_the_connection() {
    let origin = Origin::echo();
    let gateway = Stage::before(&origin).listen("header_timeout = \"500ms\"").start();
    let watch = Watch::over(&gateway);
    assert!(drip(&gateway, "GET / HTTP/1.1\r\nHost: t\r\nX-Slow: "), "a head in small pieces");
    assert!(
        drip(&gateway, &(request("GET", "/first", "", "") + "GET / HTTP/1.1\r\nX-Slow: ")),
        "a second head"
    );
    let silent = ["", "GET", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "PRI * HT"];
    for mut wire in silent.map(|begun| sent(&gateway, begun)) {
        assert!(wire.closes(BOUND));
    }
    watch.assert_unharmed();
}

#[test]
fn a_tls_handshake_that_stops_ends_the_connection() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let (cert, key) = authority.issue(&["localhost"]).write(folder.path());
    let tls = format!("tls = {{ cert = {cert:?}, key = {key:?} }}\nheader_timeout = \"500ms\"");
    let gateway = Stage::before(&Origin::echo()).listen(tls).start();
    for begun in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let mut wire = sent(&gateway, begun);
        assert!(wire.closes(BOUND));
    }
}

#[test]
fn idle_connections_are_closed() {
    let origin = Origin::echo();
    let gateway = Stage::before(&origin).listen("keep_alive_timeout = \"500ms\"").start();
    let mut wire = sent(&gateway, request("GET", "/", "", ""));
    assert_eq!(wire.response(false, BOUND).expect("an answer").status, 200);
    assert!(wire.closes(BOUND));
    let mut attacker = Http2::connect(gateway.address(), &[]);
    attacker.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &request_fields("GET", "/")));
    assert!(attacker.receives(HEADERS));
    assert!(attacker.wire.closes(BOUND));
}

#[test]
fn a_body_that_stops_coming_is_408() {
    let origin = Origin::echo();
    let mut gateway = Stage::before(&origin).upstream(r#"idle_timeout = "400ms""#).start();
    let watch = Watch::over(&gateway);
    let mut wire = sent(&gateway, request("POST", "/slow", "Content-Length: 1000\r\n", "begun"));
    let answer = wire.response(false, BOUND).expect("an answer");
    assert_eq!((answer.status, answer.json()["error"].as_str()), (408, Some("request_timeout")));
    assert!(wire.closes(BOUND));
    assert!(eventually(BOUND, || origin.abandoned() == 1));
    watch.assert_unharmed();
    drop(wire);
    let events = final_events(&mut gateway);
    let charged: Vec<_> = events.iter().map(|event| (event.status, event.amount)).collect();
    assert_eq!(charged, [(200, 1), (408, 0), (200, 1)]);
}

/// The gateway's other side is no fault of the client's.
#[test]
fn a_body_that_the_upstream_does_not_take_is_504() {
    let slow = Answer::SlowReader { piece_bytes: 1, gate: Gate::new() };
    let origin = Origin::builder().on("/stuck", slow).start();
    let gateway = Stage::before(&origin).upstream(r#"idle_timeout = "1s""#).start();
    let mut stream = TcpStream::connect(gateway.address()).unwrap();
    stream.write_all(request("PUT", "/stuck", "Content-Length: 100000000\r\n", "").as_bytes()).unwrap();
    stream.set_read_timeout(Some(BOUND)).unwrap();
    let mut reader = stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        let piece = vec![b'u'; 1 << 20];
        while stream.write_all(&piece).is_ok() {}
    });
    let mut read = [0; 12];
    reader.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"HTTP/1.1 504");
    let _ = reader.shutdown(std::net::Shutdown::Both);
    writer.join().unwrap();
}

fn large() -> Origin {
    let whole = Reply { status: 200, headers: Vec::new(), body: vec![b'd'; 32 << 20] };
    Origin::builder().on("/large", Answer::Reply(whole)).start()
}

#[test]
fn a_client_that_does_not_read_is_cut() {
    let origin = large();
    let mut gateway = Stage::before(&origin).upstream(r#"idle_timeout = "400ms""#).start();
    let watch = Watch::over(&gateway);
    let mut stream = TcpStream::connect(gateway.address()).unwrap();
    stream.write_all(request("GET", "/large", "", "").as_bytes()).unwrap();
    assert!(eventually(BOUND, || settlements(&gateway) >= 2.0), "nobody waits for ever");
    assert!(eventually(BOUND, || origin.abandoned() == 1));
    watch.assert_unharmed();
    // What the kernel has of it can still be read; it is less than was promised.
    stream.set_read_timeout(Some(BOUND)).unwrap();
    let mut read = Vec::new();
    let _ = stream.read_to_end(&mut read);
    assert!(read.len() < 32 << 20);
    let ends: Vec<_> =
        final_events(&mut gateway).into_iter().map(|event| (event.amount, event.metadata)).collect();
    assert_eq!(ends[1], (1, Some(r#"{"end":"client_gone"}"#.to_owned())));
}

#[test]
fn a_stream_that_is_not_read_is_reset_and_others_go_on() {
    let origin = large();
    let gateway = Stage::before(&origin).upstream(r#"idle_timeout = "400ms""#).start();
    let watch = Watch::over(&gateway);
    let mut attacker = Http2::connect(gateway.address(), &[(INITIAL_WINDOW, 0)]);
    let open = |stream, path| frame(HEADERS, END_HEADERS | END_STREAM, stream, &request_fields("GET", path));
    assert!(attacker.send([open(1, "/large"), open(3, "/large")].concat()));
    assert!(attacker.wire.read_until(BOUND, |_| settlements(&gateway) >= 3.0), "nobody waits for ever");
    assert!(eventually(BOUND, || origin.abandoned() == 2));
    assert!(attacker.receives(RST_STREAM));
    watch.assert_unharmed();
    // HEAD needs no window: the connection is as good as before.
    assert!(attacker.send(frame(HEADERS, END_HEADERS | END_STREAM, 5, &request_fields("HEAD", "/large"))));
    assert!(eventually(BOUND, || {
        let _ = attacker.wire.read_until(Duration::from_millis(20), |_| false);
        attacker.arrived().contains(&(HEADERS, 5))
    }));
}

/// An upstream that pours 32 MiB over everybody who asks for `/large`, and counts them.
fn pouring() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map(Result::unwrap) {
            let counted = Arc::clone(&counted);
            std::thread::spawn(move || {
                let mut head = [0; 4096];
                let read = stream.read(&mut head).unwrap();
                if !head[..read].starts_with(b"GET /large") {
                    return stream
                        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                }
                counted.fetch_add(1, SeqCst);
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 32 << 20)?;
                (0..512).try_for_each(|_| stream.write_all(&[b'd'; 64 << 10]))
            });
        }
    });
    (address, count)
}

/// Many who read slowly are many small costs.
#[test]
fn a_hundred_slow_readers_leave_room_for_others() {
    let (origin, pouring) = pouring();
    let gateway = Stage::at(&[origin]).start();
    let watch = Watch::over(&gateway);
    let slow: Vec<Wire> = (0..100).map(|_| sent(&gateway, request("GET", "/large", "", ""))).collect();
    assert!(eventually(BOUND, || pouring.load(SeqCst) == 100));
    let started = Instant::now();
    for _ in 0..20 {
        watch.assert_serves_others();
    }
    assert!(started.elapsed() < BOUND);
    let (now, _) = crate::support::stage::resident_bytes(&gateway);
    let each = now.saturating_sub(watch.before) / 100;
    assert!(each < 2 << 20, "{each} bytes for each");
    assert_eq!(slow.len(), 100);
}
