//! HTTP/2 written by hand: what no library would send.

use std::net::SocketAddr;

use tollgate_testkit::{BOUND, Wire};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GO_AWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// SETTINGS_INITIAL_WINDOW_SIZE.
pub(crate) const INITIAL_WINDOW: u16 = 4;

/// A frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A field as a literal; `indexed` has the peer remember it (RFC 7541, section 6.2).
pub(crate) fn field(name: &str, value: &str, indexed: bool) -> Vec<u8> {
    let mut bytes = vec![if indexed { 0x40 } else { 0 }];
    for text in [name, value] {
        length(text.len(), &mut bytes);
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// The length of a string without Huffman code (RFC 7541, section 5.1).
fn length(length: usize, bytes: &mut Vec<u8>) {
    let Some(mut rest) = length.checked_sub(127) else {
        return bytes.push(u8::try_from(length).unwrap());
    };
    bytes.push(127);
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap());
}

/// The fields of a request of a user.
pub(crate) fn request_fields(method: &str, path: &str) -> Vec<u8> {
    let fields = [
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "tollgate.test"),
        ("x-user-id", "mallory"),
    ];
    fields.map(|(name, value)| field(name, value, false)).concat()
}

/// A connection whose preface and settings are exchanged.
pub(crate) struct Http2 {
    pub(crate) wire: Wire,
}

impl Http2 {
    /// Connects with these settings.
    pub(crate) fn connect(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut wire = Wire::connect(address);
        let payload =
            settings.iter().map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat());
        let hello = frame(SETTINGS, 0, 0, &payload.collect::<Vec<_>>().concat());
        assert!(wire.send([&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &hello].concat()));
        assert!(wire.read_until(BOUND, |read| has(read, SETTINGS)), "the gateway's settings");
        assert!(wire.send(frame(SETTINGS, 1, 0, &[])));
        Self { wire }
    }

    /// Sends bytes; false when the gateway does not take them any more.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.wire.send(bytes)
    }

    /// Whether a frame of this kind arrives.
    pub(crate) fn receives(&mut self, kind: u8) -> bool {
        self.wire.read_until(BOUND, |read| has(read, kind))
    }

    /// Whether the gateway ends the connection.
    pub(crate) fn is_ended(&mut self) -> bool {
        self.receives(GO_AWAY) || self.wire.closes(BOUND)
    }

    /// Kinds and streams of the frames that have arrived.
    pub(crate) fn arrived(&self) -> Vec<(u8, u32)> {
        frames(self.wire.unread())
    }
}

fn has(read: &[u8], kind: u8) -> bool {
    frames(read).iter().any(|(found, _)| *found == kind)
}

fn frames(mut read: &[u8]) -> Vec<(u8, u32)> {
    let mut frames = Vec::new();
    while let Some((head, rest)) = read.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        frames.push((head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]])));
        let Some(next) = rest.get(usize::try_from(length).unwrap()..) else { break };
        read = next;
    }
    frames
}
