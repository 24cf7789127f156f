//! Where a message's head begins and ends.

use bytes::{Buf as _, BytesMut};

/// The length of the head that `buffer` begins with: it ends with the first empty line, which is looked for from `from` on.
pub(crate) fn head_end(buffer: &[u8], from: usize) -> Option<usize> {
    let mut lines = memchr::memchr_iter(b'\n', &buffer[from..]);
    lines.find_map(|position| {
        let next = from + position + 1;
        match &buffer[next..] {
            [b'\n', ..] => Some(next + 1),
            [b'\r', b'\n', ..] => Some(next + 2),
            _ => None,
        }
    })
}

/// Takes an empty line that `buffer` begins with: some end bodies with a line too many (RFC 9112, section 2.2).
pub(crate) fn skip_empty_line(buffer: &mut BytesMut) -> bool {
    let bytes = match &**buffer {
        [b'\r', b'\n', ..] => 2,
        [b'\n', ..] => 1,
        _ => return false,
    };
    buffer.advance(bytes);
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_head_that_comes_in_pieces_ends_where_it_ends_in_one(text in "([ab]{0,3}(\r\n|\n|\r)){0,8}", cut in 0usize..20) {
            let bytes = text.as_bytes();
            let whole = head_end(bytes, 0);
            let cut = cut.min(bytes.len());
            // The end may begin in what was there.
            let in_pieces = head_end(&bytes[..cut], 0).or_else(|| head_end(bytes, cut.saturating_sub(3)));
            prop_assert_eq!(in_pieces, whole);
        }
    }
}
