//! Ids in paths.

use std::borrow::Cow;

/// A segment of a path in normal form, decoded: what its owner wrote.
pub(crate) fn decoded(segment: &str) -> Cow<'_, str> {
    if !segment.contains('%') {
        return Cow::Borrowed(segment);
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(segment.len()), segment.as_bytes());
    while let Some((byte, tail)) = rest.split_first() {
        let escaped = tail.first_chunk().filter(|_| *byte == b'%').and_then(|digits| unhex(*digits));
        bytes.push(escaped.unwrap_or(*byte));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    // What is no text is known by how it is written.
    String::from_utf8(bytes).map_or(Cow::Borrowed(segment), Cow::Owned)
}

fn unhex(digits: [u8; 2]) -> Option<u8> {
    let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
    u8::try_from(high? * 16 + low?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_what_its_owner_wrote() {
        for (segment, id) in [
            ("a", "a"),
            ("a%20b", "a b"),
            ("%C3%A9%E2%82%AC", "é€"),
            ("%FF", "%FF"),
            ("a%3Bb", "a;b"),
            ("a%4", "a%4"),
            ("%", "%"),
        ] {
            assert_eq!(decoded(segment), id, "{segment}");
        }
    }
}
