//! The frames of a WebSocket, one direction of it, cut into messages (RFC 6455, without extensions).

use crate::document::Document;
use crate::readings::Sink;

/// Bytes of a frame before its payload at most: two, a length of eight, a mask of four.
const HEAD_BYTES_MAX: usize = 14;

/// Bytes of a control frame's payload at most, as the protocol has it.
const CONTROL_BYTES_MAX: usize = 125;

/// Masked bytes that are read at once.
const PIECE_BYTES: usize = 256;

const CLOSE: u8 = 8;

/// Where in a frame the next byte is.
#[derive(Clone, Copy, Debug)]
enum Section {
    Head {
        read: usize,
    },
    Payload {
        left: u64,
    },
    /// The frames cannot be told apart any more.
    Broken,
}

/// What of a frame matters once its payload is read.
#[derive(Clone, Copy, Debug, Default)]
struct Frame {
    /// Its payload belongs to a message that can be read.
    is_read: bool,
    ends_message: bool,
    mask: Option<[u8; 4]>,
    /// Where in the mask the next byte is.
    mask_at: usize,
}

/// The reader of one direction; it holds the head of a frame, never a payload.
#[derive(Debug)]
pub(crate) struct Messages {
    section: Section,
    head: [u8; HEAD_BYTES_MAX],
    frame: Frame,
    /// A message has begun that can be read, and has not ended.
    in_message: bool,
    has_unread: bool,
}

impl Messages {
    pub(crate) fn new() -> Self {
        Self {
            section: Section::Head { read: 0 },
            head: [0; HEAD_BYTES_MAX],
            frame: Frame::default(),
            in_message: false,
            has_unread: false,
        }
    }

    /// Whether the last frame has ended and the next has not begun.
    pub(crate) fn is_between(&self) -> bool {
        matches!(self.section, Section::Head { read: 0 })
    }

    /// Whether a message passed that could not be read.
    pub(crate) fn has_unread(&self) -> bool {
        self.has_unread
    }

    /// Reads at least one byte, and no further than to the end of a frame; returns how many. `rest` is not empty.
    ///
    /// A message is read into `document`; after its end, `sink` is told that the next one begins.
    pub(crate) fn step(&mut self, rest: &[u8], document: &mut Document, sink: &mut impl Sink) -> usize {
        match self.section {
            Section::Head { read } => {
                self.head[read] = rest[0];
                self.section = Section::Head { read: read + 1 };
                if read + 1 == self.head_bytes(read + 1) {
                    self.begin_frame(document);
                    self.end_frame(document, sink);
                }
                1
            }
            Section::Payload { left } => {
                let read = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
                if self.frame.is_read {
                    self.frame.read(&rest[..read], document, sink);
                }
                self.section = Section::Payload { left: left.saturating_sub(read as u64) };
                self.end_frame(document, sink);
                read
            }
            Section::Broken => rest.len(),
        }
    }

    /// Bytes of the head, of which `read` are known.
    fn head_bytes(&self, read: usize) -> usize {
        if read < 2 {
            return 2;
        }
        let length = match self.head[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if self.head[1] & 0x80 == 0 { 0 } else { 4 }
    }

    fn begin_frame(&mut self, document: &mut Document) {
        let [first, second, rest @ ..] = self.head;
        let (left, after) = match second & 0x7f {
            126 => (u64::from(u16::from_be_bytes([rest[0], rest[1]])), 2),
            127 => {
                let [a, b, c, d, e, f, g, h, ..] = rest;
                (u64::from_be_bytes([a, b, c, d, e, f, g, h]), 8)
            }
            length => (u64::from(length), 0),
        };
        let is_masked = second & 0x80 != 0;
        let mask = rest.get(after..).and_then(|mask| mask.first_chunk().copied()).filter(|_| is_masked);
        let (is_last, is_plain, opcode) = (first & 0x80 != 0, first & 0x70 == 0, first & 0x0f);
        let is_control = opcode & 8 != 0;
        if left > i64::MAX as u64 || is_control && (left > CONTROL_BYTES_MAX as u64 || !is_last) {
            self.section = Section::Broken;
            self.has_unread = true;
            return;
        }
        match opcode {
            1 | 2 => {
                document.restart();
                self.in_message = is_plain;
                self.has_unread |= !is_plain;
            }
            _ => {}
        }
        let is_read = self.in_message && opcode <= 2;
        self.frame = Frame { is_read, ends_message: is_read && is_last, mask, mask_at: 0 };
        self.section = Section::Payload { left };
    }

    /// Ends the frame if its payload has been read.
    fn end_frame(&mut self, document: &mut Document, sink: &mut impl Sink) {
        if !matches!(self.section, Section::Payload { left: 0 }) {
            return;
        }
        if self.frame.ends_message {
            self.in_message = false;
            document.restart();
            sink.next_document();
        }
        self.section = Section::Head { read: 0 };
    }
}

impl Frame {
    fn read(&mut self, bytes: &[u8], document: &mut Document, sink: &mut impl Sink) {
        let Some(mask) = self.mask else { return document.feed(bytes, sink) };
        let mut piece = [0; PIECE_BYTES];
        for bytes in bytes.chunks(PIECE_BYTES) {
            for (plain, masked) in piece.iter_mut().zip(bytes) {
                *plain = masked ^ mask[self.mask_at];
                self.mask_at = (self.mask_at + 1) % mask.len();
            }
            document.feed(&piece[..bytes.len()], sink);
        }
    }
}

/// A frame that closes a WebSocket, masked as a client has to; a server sends it without a mask.
///
/// `code` says why: 1008 when a limit ends the connection. `reason` is cut to 123 bytes.
#[must_use]
pub fn close_frame(code: u16, reason: &str, mask: Option<[u8; 4]>) -> Vec<u8> {
    const REASON_BYTES_MAX: usize = CONTROL_BYTES_MAX - 2;
    let reason = &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)];
    let payload = [&code.to_be_bytes()[..], reason.as_bytes()].concat();
    let length = u8::try_from(payload.len()).unwrap_or_default();
    let mut frame = vec![0x80 | CLOSE, length | if mask.is_some() { 0x80 } else { 0 }];
    frame.extend(mask.unwrap_or_default().iter().filter(|_| mask.is_some()));
    let mask = mask.unwrap_or_default();
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}
