//! Where the next byte of interest is, eight bytes at a time: most strings of an answer are too short for `memchr`
//! to pay for its call.

use memchr::memchr2;

const ONES: u64 = u64::from_le_bytes([0x01; 8]);
const HIGHS: u64 = u64::from_le_bytes([0x80; 8]);

/// Bytes of a string that are looked at here before `memchr` is called.
const SHORT_BYTES: usize = 32;

/// Bytes before the first `"` or `\`, or all.
pub(crate) fn string_end(text: &[u8]) -> usize {
    let is_end = |byte| byte == b'"' || byte == b'\\';
    let (short, long) = text.split_at(text.len().min(SHORT_BYTES));
    let read = first(short, |word| zeros(word ^ all(b'"')) | zeros(word ^ all(b'\\')), is_end);
    if read < short.len() || long.is_empty() {
        return read;
    }
    read + memchr2(b'"', b'\\', long).unwrap_or(long.len())
}

/// Bytes before the first `"`, `{`, `}`, `[` or `]`, or all.
pub(crate) fn structure(text: &[u8]) -> usize {
    // The brackets are the same but for the bits 0x26, which four letters and signs share with them.
    let is_structure = |byte| byte == b'"' || byte | 0x26 == 0x7f;
    let mut read = 0;
    loop {
        let rest = &text[read..];
        read +=
            first(rest, |word| zeros(word ^ all(b'"')) | zeros((word | all(0x26)) ^ all(0x7f)), is_structure);
        match text.get(read) {
            Some(b'"' | b'{' | b'}' | b'[' | b']') | None => return read,
            Some(_) => read += 1,
        }
    }
}

/// Bytes before the first one that `is_wanted`; `marks` sets the high bit of the first such byte of a word.
fn first(text: &[u8], marks: impl Fn(u64) -> u64, is_wanted: impl Fn(u8) -> bool) -> usize {
    let mut read = 0;
    while let Some(word) = text.get(read..).and_then(|rest| rest.first_chunk::<8>()) {
        let marked = marks(u64::from_le_bytes(*word));
        if marked != 0 {
            return read + (marked.trailing_zeros() / 8) as usize;
        }
        read += word.len();
    }
    while text.get(read).is_some_and(|&byte| !is_wanted(byte)) {
        read += 1;
    }
    read
}

const fn all(byte: u8) -> u64 {
    ONES * byte as u64
}

/// The high bit of the lowest zero byte, and of no byte below it; bits above it mean nothing.
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn slowly(text: &[u8], wanted: &[u8]) -> usize {
        text.iter().position(|byte| wanted.contains(byte)).unwrap_or(text.len())
    }

    proptest! {
        #[test]
        fn finds_what_a_plain_search_finds(
            bytes in prop::collection::vec(any::<u8>(), 0..80),
            near in prop::collection::vec(prop::sample::select(b"ayY_\x7f!#\x01\x80\x21\xa2\xdc\"\\{}[]".to_vec()), 0..24),
            plain in 0_usize..70,
        ) {
            let text = [vec![b'x'; plain], near, bytes].concat();
            prop_assert_eq!(string_end(&text), slowly(&text, b"\"\\"));
            prop_assert_eq!(structure(&text), slowly(&text, b"\"{}[]"));
        }
    }
}
