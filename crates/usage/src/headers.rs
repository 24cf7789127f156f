//! The headers of one frame of the AWS event stream, kept until they are whole.

/// Bytes of headers that are kept; Bedrock's have about 100, and the message's type is among the first.
const HEADER_BYTES_MAX: usize = 256;

/// The first bytes of a frame's headers.
#[derive(Debug)]
pub(crate) struct Headers {
    bytes: [u8; HEADER_BYTES_MAX],
    length: usize,
}

impl Headers {
    pub(crate) fn new() -> Self {
        Self { bytes: [0; HEADER_BYTES_MAX], length: 0 }
    }

    /// Forgets the headers; those of another frame come next.
    pub(crate) fn restart(&mut self) {
        self.length = 0;
    }

    pub(crate) fn push(&mut self, piece: &[u8]) {
        let room = self.bytes.get_mut(self.length..).unwrap_or_default();
        let kept = piece.len().min(room.len());
        if let (Some(room), Some(piece)) = (room.get_mut(..kept), piece.get(..kept)) {
            room.copy_from_slice(piece);
        }
        self.length += kept;
    }

    /// Whether the frame is an exception or an error rather than an event.
    pub(crate) fn is_error(&self) -> bool {
        self.value(b":message-type").is_some_and(|kind| kind != b"event")
    }

    /// The event's name; empty when it has none.
    pub(crate) fn event(&self) -> &[u8] {
        self.value(b":event-type").unwrap_or_default()
    }

    fn value(&self, wanted: &[u8]) -> Option<&[u8]> {
        let mut rest = self.bytes.get(..self.length).unwrap_or_default();
        while let Some((name, value, after)) = header(rest) {
            if name == wanted {
                return Some(value);
            }
            rest = after;
        }
        None
    }
}

/// The first header's name and value, and what follows it.
fn header(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(length))?;
    let (kind, rest) = rest.split_first()?;
    let (length, rest) = match kind {
        // Booleans are their own kinds.
        0 | 1 => (0, rest),
        2 => (1, rest),
        3 => (2, rest),
        4 => (4, rest),
        // Long integers and timestamps.
        5 | 8 => (8, rest),
        // Bytes and strings have their length before them.
        6 | 7 => {
            let (length, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        // A UUID.
        9 => (16, rest),
        _ => return None,
    };
    let (value, after) = rest.split_at_checked(length)?;
    Some((name, value, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_error(bytes: &[u8]) -> bool {
        [1, 3, 1000].map(|piece| {
            let mut headers = Headers::new();
            bytes.chunks(piece).for_each(|piece| headers.push(piece));
            headers.is_error()
        }) == [true; 3]
    }

    #[test]
    fn the_type_of_the_message_decides() {
        let exception = b"\x0d:message-type\x07\x00\x09exception";
        let before = b"\x01a\x00\x01b\x04\x00\x00\x00\x01\x01c\x09\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
        assert!(is_error(exception));
        assert!(is_error(&[&before[..], exception].concat()));
        assert!(!is_error(b"\x0d:message-type\x07\x00\x05event"));
        // Cut, of an unknown kind, or too far away.
        assert!(!is_error(&exception[..20]));
        assert!(!is_error(&[b"\x01a\xff", &exception[..]].concat()));
        assert!(!is_error(&[&[1, b'a', 6, 1, 0][..], &[0; 256], exception].concat()));
    }
}
