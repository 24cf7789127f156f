//! A string of a document that is kept if it is short.

use crate::readings::Piece;

/// A string as it stands between its quotes, if it has at most `BYTES_MAX` bytes there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Short<const BYTES_MAX: usize> {
    bytes: [u8; BYTES_MAX],
    /// More than `BYTES_MAX` when the string is too long.
    length: usize,
    is_whole: bool,
}

impl<const BYTES_MAX: usize> Default for Short<BYTES_MAX> {
    fn default() -> Self {
        Self { bytes: [0; BYTES_MAX], length: 0, is_whole: false }
    }
}

impl<const BYTES_MAX: usize> Short<BYTES_MAX> {
    /// Reads on; another string replaces the one before.
    pub(crate) fn push(&mut self, piece: Piece<'_>) {
        match piece {
            Piece::Begin => self.clear(),
            Piece::Bytes(bytes) => {
                let end = self.length.saturating_add(bytes.len());
                if let Some(room) = self.bytes.get_mut(self.length..end) {
                    room.copy_from_slice(bytes);
                }
                self.length = end;
            }
            Piece::End => self.is_whole = self.length <= BYTES_MAX,
        }
    }

    /// Forgets the string.
    pub(crate) fn clear(&mut self) {
        self.length = 0;
        self.is_whole = false;
    }

    /// The string once it has ended; empty when there is none, or when it is too long.
    pub(crate) fn get(&self) -> &[u8] {
        let length = if self.is_whole { self.length } else { 0 };
        self.bytes.get(..length).unwrap_or_default()
    }

    /// The string as a JSON string, quotes included; `None` when it is none, or empty.
    pub(crate) fn json(&self) -> Option<String> {
        let text = std::str::from_utf8(self.get()).ok().filter(|text| !text.is_empty())?;
        let quoted = format!("\"{text}\"");
        serde_json::from_str::<String>(&quoted).is_ok().then_some(quoted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> Short<4> {
        let mut short = Short::default();
        short.push(Piece::Begin);
        pieces.iter().for_each(|bytes| short.push(Piece::Bytes(bytes)));
        short.push(Piece::End);
        short
    }

    #[test]
    fn long_strings_and_cut_ones_are_none() {
        assert_eq!(read(&[b"ab", b"cd"]).get(), b"abcd");
        assert_eq!(read(&[b"ab", b"", b"cde"]).get(), b"");
        assert_eq!(read(&[b"abcde", b"f"]).get(), b"");
        let mut cut = read(&[b"ab"]);
        cut.push(Piece::Begin);
        cut.push(Piece::Bytes(b"c"));
        assert_eq!(cut.get(), b"");
    }

    #[test]
    fn only_sound_strings_are_json() {
        assert_eq!(read(&[b"a\\n"]).json().as_deref(), Some("\"a\\n\""));
        for unsound in [&b""[..], b"\n", b"\\x", b"\xff", b"\\"] {
            assert_eq!(read(&[unsound]).json(), None, "{unsound:?}");
        }
    }
}
