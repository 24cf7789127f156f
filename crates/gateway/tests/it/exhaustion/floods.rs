//! Floods of HTTP/2 frames.

use std::{
    io::Write as _,
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
    time::Duration,
};

use tollgate_testkit::{Answer, BOUND, Origin, eventually};

use super::{
    Watch,
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Http2, INITIAL_WINDOW, PING, RST_STREAM,
        SETTINGS, field, frame, request_fields,
    },
};
use crate::support::stage::{Stage, final_events, request, sent, settlements};

/// Taking nothing for so long, the gateway has stopped reading.
const STILL: Duration = Duration::from_millis(500);

/// CVE-2023-44487.
#[test]
fn rapid_reset_ends_the_connection() {
    let origin = Origin::builder().on("/hang", Answer::Hang).start();
    let mut gateway = Stage::before(&origin).start();
    let watch = Watch::over(&gateway);
    let mut attacker = Http2::connect(gateway.address(), &[]);
    let fields = request_fields("GET", "/hang");
    let burst = |first: u32| -> Vec<u8> {
        (0..500)
            .flat_map(|n| {
                let stream = first + 2 * n;
                let open = frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields);
                [open, frame(RST_STREAM, 0, stream, &8u32.to_be_bytes())].concat()
            })
            .collect()
    };
    let bursts = (0..100).take_while(|n| attacker.send(burst(1 + n * 1000))).count();
    assert!(attacker.is_ended(), "after {bursts} bursts");
    watch.assert_unharmed();
    assert!(origin.requests() < 1000, "{} requests came through", origin.requests());
    // What came through was settled, each once.
    let admitted = origin.requests();
    assert!(eventually(BOUND, || origin.abandoned() + 2 >= admitted), "{admitted}");
    assert!(final_events(&mut gateway).len() >= 2);
}

/// CVE-2024-27316: a head that never ends.
#[test]
fn a_continuation_flood_ends_the_connection() {
    let origin = Origin::echo();
    let gateway = Stage::before(&origin).start();
    let watch = Watch::over(&gateway);
    let mut attacker = Http2::connect(gateway.address(), &[]);
    assert!(attacker.send(frame(HEADERS, END_STREAM, 1, &request_fields("GET", "/"))));
    let more = field("x-flood", &"f".repeat(4000), false).repeat(4);
    let more = frame(CONTINUATION, 0, 1, &more);
    let taken = (0..4000).take_while(|_| attacker.send(&more)).count();
    assert!(taken < 4000, "64 MB of one head were taken");
    assert!(attacker.is_ended());
    watch.assert_unharmed();
    assert_eq!(origin.received().iter().filter(|received| received.path() == "/").count(), 0);
}

/// As before, with nothing in it.
#[test]
fn a_flood_of_empty_continuations_ends_the_connection() {
    let origin = Origin::echo();
    let gateway = Stage::before(&origin).start();
    let watch = Watch::over(&gateway);
    let mut attacker = Http2::connect(gateway.address(), &[]);
    assert!(attacker.send(frame(HEADERS, END_STREAM, 1, &request_fields("GET", "/"))));
    let more = frame(CONTINUATION, 0, 1, &[]).repeat(1000);
    let taken = (0..1000).take_while(|_| attacker.send(&more)).count();
    assert!(taken < 1000, "a million frames were taken");
    assert!(attacker.is_ended());
    watch.assert_unharmed();
}

/// A field that is sent once and named ten thousand times, on streams that may not be answered.
#[test]
fn an_hpack_bomb_opens_to_nothing() {
    let origin = Origin::echo();
    let gateway = Stage::before(&origin).start();
    let watch = Watch::over(&gateway);
    let mut attacker = Http2::connect(gateway.address(), &[(INITIAL_WINDOW, 0)]);
    let first = [request_fields("GET", "/"), field("x-bomb", &"b".repeat(3900), true)].concat();
    assert!(attacker.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &first)));
    // Entry 62 of the table is the first of the dynamic ones (RFC 7541, section 2.3.3).
    let bomb = [request_fields("GET", "/bomb"), vec![0x80 | 62; 10_000]].concat();
    for stream in (3..203).step_by(2) {
        if !attacker.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, &bomb)) {
            break;
        }
    }
    let answered =
        |arrived: &[(u8, u32)]| arrived.iter().any(|(kind, stream)| *kind != SETTINGS && *stream >= 3);
    assert!(eventually(BOUND, || {
        let _ = attacker.wire.read_until(Duration::from_millis(50), |_| false);
        answered(&attacker.arrived()) || attacker.wire.closes(Duration::ZERO)
    }));
    watch.assert_unharmed();
    assert!(origin.received().iter().all(|received| received.path() != "/bomb"));
}

/// CVE-2019-9518: frames that cost to handle, and carry nothing.
#[test]
fn an_empty_data_flood_keeps_nothing_alive() {
    let origin = Origin::echo();
    let gateway = Stage::before(&origin).upstream(r#"idle_timeout = "400ms""#).start();
    let watch = Watch::over(&gateway);
    let mut attacker = Http2::connect(gateway.address(), &[]);
    assert!(attacker.send(frame(HEADERS, END_HEADERS, 1, &request_fields("POST", "/flood"))));
    let nothing = frame(DATA, 0, 1, &[]).repeat(100);
    let over = eventually(BOUND, || {
        let taken = attacker.send(&nothing);
        let _ = attacker.wire.read_until(Duration::ZERO, |_| true);
        // 408, a reset of the stream, or the end of the connection.
        !taken || settlements(&gateway) >= 2.0
    });
    assert!(over, "the request goes on for ever");
    watch.assert_unharmed();
    assert!(origin.received().iter().all(|received| received.path() != "/flood"));
}

/// Answers to pings that nobody reads.
#[test]
fn a_ping_flood_takes_no_memory() {
    let origin = Origin::echo();
    let gateway = Stage::before(&origin).start();
    let watch = Watch::over(&gateway);
    let mut attacker = Http2::connect(gateway.address(), &[]);
    for kind in [PING, SETTINGS] {
        let payload: &[u8] = if kind == PING { &[7; 8] } else { &[] };
        let many = frame(kind, 0, 0, payload).repeat(2000);
        // Until the gateway stops reading, or has read them all.
        let _ = (0..200).take_while(|_| attacker.wire.send_within(&many, STILL)).count();
        watch.assert_unharmed();
    }
}

#[test]
fn streams_max_bounds_what_one_connection_has_in_flight() {
    let origin = Origin::builder().on("/hang", Answer::Hang).start();
    let gateway = Stage::before(&origin).listen("streams_max = 4").start();
    let watch = Watch::over(&gateway);
    let mut attacker = Http2::connect(gateway.address(), &[]);
    let fields = request_fields("GET", "/hang");
    let open = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields);
    assert!(attacker.send((1..41).step_by(2).flat_map(open).collect::<Vec<_>>()));
    // The first beyond the bound is refused, whatever happens to the others.
    let refused = |arrived: Vec<(u8, u32)>| arrived.contains(&(RST_STREAM, 9));
    assert!(eventually(BOUND, || {
        let _ = attacker.wire.read_until(Duration::from_millis(20), |_| false);
        refused(attacker.arrived())
    }));
    watch.assert_unharmed();
    let hanging = origin.received().iter().filter(|received| received.path() == "/hang").count();
    assert!(hanging <= 4, "{hanging}");
}

/// Connections that come faster than they can be handled, each with work to do.
#[test]
fn a_flood_of_connections_lets_those_who_are_here_go_on() {
    /// Each leaves a port of this machine in use for a minute.
    const FLOOD_MAX: usize = 3000;
    let origin = Origin::echo();
    let gateway = Stage::before(&origin).start();
    let mut here = sent(&gateway, "");
    let work = [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        &frame(SETTINGS, 0, 0, &[]),
        &frame(PING, 0, 0, &[7; 8]).repeat(4000),
    ]
    .concat();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let flood = || {
            for _ in (0..FLOOD_MAX / 2).take_while(|_| !over.load(SeqCst)) {
                let Ok(mut stream) = TcpStream::connect(gateway.address()) else { continue };
                let _ = stream.set_write_timeout(Some(STILL));
                let _ = stream.write_all(&work);
            }
        };
        scope.spawn(flood);
        scope.spawn(flood);
        for number in 0..30 {
            here.send(request("GET", "/here", "", ""));
            let status = here.response(false, BOUND).map(|answer| answer.status);
            over.store(status != Some(200) || number == 29, SeqCst);
            assert_eq!(status, Some(200), "who was here before is answered");
        }
    });
}
