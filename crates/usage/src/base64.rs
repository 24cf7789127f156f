//! Base64, decoded in pieces.

/// Decoded bytes that are handed on at once.
const PIECE_BYTES: usize = 192;

/// A decoder of the standard alphabet; what is outside it (padding, escapes) is passed over.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Decoder {
    bits: u32,
    bits_count: u32,
}

impl Decoder {
    /// Decodes the text's next bytes.
    pub(crate) fn decode(&mut self, text: &[u8], mut emit: impl FnMut(&[u8])) {
        let mut piece = [0; PIECE_BYTES];
        for text in text.chunks(PIECE_BYTES) {
            let mut length = 0;
            for value in text.iter().filter_map(|&byte| value(byte)) {
                self.bits = self.bits << 6 | u32::from(value);
                self.bits_count += 6;
                if self.bits_count >= 8 {
                    self.bits_count -= 8;
                    let [.., byte] = (self.bits >> self.bits_count).to_be_bytes();
                    piece[length] = byte;
                    length += 1;
                }
            }
            emit(&piece[..length]);
        }
    }
}

const fn value(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_in_any_pieces() {
        for (text, plain) in
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Pz8\\/Pz4+", "????>>")]
        {
            for piece in [1, 2, 3, 100] {
                let (mut decoder, mut decoded) = (Decoder::default(), Vec::new());
                for text in text.as_bytes().chunks(piece) {
                    decoder.decode(text, |bytes| decoded.extend_from_slice(bytes));
                }
                assert!(decoded.starts_with(plain.as_bytes()), "{text}: {decoded:?}");
            }
        }
        let (mut decoder, mut decoded) = (Decoder::default(), Vec::new());
        decoder.decode("QUJD".repeat(1000).as_bytes(), |bytes| decoded.extend_from_slice(bytes));
        assert_eq!(decoded, "ABC".repeat(1000).as_bytes());
    }
}
