//! A record's frame: `u32` length, `u32` crc32 of the payload, the payload, zeros up to 8 bytes.

/// Longest record, frame and padding included.
pub(crate) const RECORD_BYTES_MAX: u64 = 4096;
/// Length word and checksum.
pub(crate) const FRAME_BYTES: usize = 8;
/// Records begin at multiples of it, so that a length word is written in one store and a reader that
/// met damage can look for the next record.
pub(crate) const RECORD_ALIGN: usize = 8;

/// Longest payload.
#[expect(clippy::cast_possible_truncation, reason = "4096 fits")]
pub(crate) const PAYLOAD_BYTES_MAX: usize = RECORD_BYTES_MAX as usize - FRAME_BYTES;

/// What lies at the front of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Front<'a> {
    /// A whole record; `bytes` is its size with frame and padding.
    Record { payload: &'a [u8], bytes: usize },
    /// Nothing, or an append that was not finished: the length, written last, is zero.
    Empty,
    /// A record that needs more bytes than there are.
    Cut,
    /// Neither.
    Damaged,
}

/// The size of a record with a payload of `payload` bytes.
pub(crate) const fn record_bytes(payload: usize) -> usize {
    (FRAME_BYTES + payload).next_multiple_of(RECORD_ALIGN)
}

/// Reads what lies at the front of `bytes`.
pub(crate) fn front(bytes: &[u8]) -> Front<'_> {
    let (Some(length), Some(crc)) = (word(bytes, 0), word(bytes, 4)) else { return Front::Cut };
    let length = length as usize;
    if length == 0 {
        return Front::Empty;
    }
    if length > PAYLOAD_BYTES_MAX {
        return Front::Damaged;
    }
    let total = record_bytes(length);
    if bytes.len() < total {
        return Front::Cut;
    }
    let payload = &bytes[FRAME_BYTES..FRAME_BYTES + length];
    if crc32fast::hash(payload) == crc { Front::Record { payload, bytes: total } } else { Front::Damaged }
}

/// The little-endian word at `at`.
pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_le_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(payload: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(payload.len()).unwrap().to_le_bytes().to_vec();
        bytes.extend(crc32fast::hash(payload).to_le_bytes());
        bytes.extend(payload);
        bytes.resize(record_bytes(payload.len()), 0);
        bytes
    }

    #[test]
    fn every_flipped_bit_of_a_record_is_noticed() {
        let payload = b"a settlement";
        let bytes = framed(payload);
        assert_eq!(front(&bytes), Front::Record { payload, bytes: 24 });
        for bit in 0..(FRAME_BYTES + payload.len()) * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(front(&flipped), Front::Record { .. }), "bit {bit}");
        }
    }

    #[test]
    fn a_record_without_its_end_is_cut_and_zeros_are_empty() {
        let bytes = framed(b"a settlement");
        for end in 0..bytes.len() {
            assert_eq!(front(&bytes[..end]), Front::Cut, "{end} bytes");
        }
        assert_eq!(front(&[0; 64]), Front::Empty);
    }
}
