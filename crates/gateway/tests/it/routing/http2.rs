//! The same over HTTP/2, whose requests are lists of fields.

use tollgate_testkit::{BOUND, Client, Wire};

use super::scene;
use crate::scene::{Scene, assert_refusal};

#[test]
fn an_http2_request_whose_host_is_not_its_authority_is_refused() {
    let scene = scene();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut client = Client::http2(scene.gateway.address()).await.unwrap();
        let other = client.get("/open/x", &[("x-user-id", "ann"), ("host", "a.example.com")]).await.unwrap();
        assert_refusal(&other, 400, "bad_request");
        let same = scene.gateway.address().to_string();
        let same = client.get("/open/x", &[("x-user-id", "ann"), ("host", &same)]).await.unwrap();
        assert_eq!(same.status, 200, "{same:?}");
    });
    assert_eq!(scene.origin.requests(), 1);
}

#[test]
fn http2_requests_with_malformed_fields_are_refused() {
    let scene = scene();
    let good = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/open/x"),
        (":authority", "gateway.test"),
        ("x-user-id", "ann"),
    ];
    assert_eq!(h2_answer(&scene, &good), H2::Status(0x88), "as it should be");
    let requests = scene.origin.requests();
    let with = |at: usize, field: (&'static str, &'static str)| {
        let mut fields = good.to_vec();
        fields.insert(at, field);
        fields
    };
    let without = |name: &str| good.iter().copied().filter(|(key, _)| *key != name).collect::<Vec<_>>();
    let with_path = |path: &'static str| [&good[..2], &[(":path", path)], &good[3..]].concat();
    for (what, fields) in [
        ("a path twice", with(3, (":path", "/api/v1/llm/x"))),
        ("the same path twice", with(3, (":path", "/open/x"))),
        ("a method twice", with(1, (":method", "POST"))),
        ("an authority twice", with(4, (":authority", "a.example.com"))),
        ("a late pseudo-header", with(5, (":path", "/open/x"))),
        ("an unknown pseudo-header", with(4, (":user", "admin"))),
        ("a response's pseudo-header", with(4, (":status", "200"))),
        ("an uppercase name", with(5, ("X-User-Tier", "free"))),
        ("no path", without(":path")),
        ("no method", without(":method")),
        ("no scheme", without(":scheme")),
        ("an empty path", with_path("")),
        ("a tunnel", vec![(":method", "CONNECT"), (":authority", "gateway.test"), ("x-user-id", "ann")]),
        ("a tunnel with a path", [&[(":method", "CONNECT")], &good[1..]].concat()),
        ("connection", with(5, ("connection", "x-user-id"))),
        ("transfer-encoding", with(5, ("transfer-encoding", "chunked"))),
        ("keep-alive", with(5, ("keep-alive", "timeout=5"))),
        ("upgrade", with(5, ("upgrade", "h2c"))),
        ("te that is not trailers", with(5, ("te", "gzip"))),
        ("a line feed in a value", with(5, ("x-note", "a\nb"))),
        ("a carriage return in a value", with(5, ("x-note", "a\r\nx-user-tier: b"))),
        ("a zero in a value", with(5, ("x-note", "a\0b"))),
        ("a blank in a name", with(5, ("x note", "a"))),
        ("a colon in a name", with(5, ("x-note: a", "b"))),
        ("a path that is none", with_path("open/x")),
        ("a method in lower case", [&[(":method", "get")], &good[1..]].concat()),
        ("a length without a body", with(5, ("content-length", "5"))),
    ] {
        let answer = h2_answer(&scene, &fields);
        assert_ne!(answer, H2::Status(0x88), "{what}");
        assert_eq!(scene.origin.received().len(), requests, "{what}: nothing reaches the origin");
    }
    assert_eq!(h2_answer(&scene, &good), H2::Status(0x88), "others are served as before");
}

/// What became of an HTTP/2 request.
#[derive(Debug, PartialEq, Eq)]
enum H2 {
    /// Answered; the first byte of the header block: 0x88 is `:status: 200`.
    Status(u8),
    /// `RST_STREAM`.
    Reset,
    /// `GOAWAY`, or the end of the connection.
    GoneAway,
}

/// Sends one request of these fields, written as they are, and waits for what becomes of it.
fn h2_answer(scene: &Scene, fields: &[(&str, &str)]) -> H2 {
    const SETTINGS: u8 = 4;
    const HEADERS: u8 = 1;
    const END_STREAM_AND_HEADERS: u8 = 5;
    let mut block = Vec::new();
    for (name, value) in fields {
        // A literal without indexing, with a new name, nothing compressed.
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    let mut wire = Wire::connect(scene.gateway.address());
    wire.send(
        [
            &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
            &frame(SETTINGS, 0, 0, &[]),
            &frame(HEADERS, END_STREAM_AND_HEADERS, 1, &block),
        ]
        .concat(),
    );
    let _ = wire.read_until(BOUND, |read| outcome(read).is_some());
    outcome(wire.unread()).unwrap_or(H2::GoneAway)
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&[0, length[0], length[1], kind, flags, 0, 0, 0, stream][..], payload].concat()
}

/// The first frame that decides.
fn outcome(mut read: &[u8]) -> Option<H2> {
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = read {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        let payload = rest.get(..length)?;
        match kind {
            1 => return Some(H2::Status(payload[0])),
            3 => return Some(H2::Reset),
            7 => return Some(H2::GoneAway),
            _ => read = &rest[length..],
        }
    }
    None
}
