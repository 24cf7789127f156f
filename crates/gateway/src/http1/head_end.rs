//! Where a message's head ends.

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// Where a head ends: with its first empty line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeadEnd {
    /// The length of the head.
    pub(crate) bytes: usize,
    /// Whether no line feed stands alone in what was looked through.
    pub(crate) is_plain: bool,
}

impl HeadEnd {
    /// Looks for it from `from` on.
    pub(crate) fn find(buffer: &[u8], from: usize) -> Option<Self> {
        if buffer.is_empty() {
            return None;
        }
        static USUAL: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\n\r\n"));
        let usual = USUAL.find(&buffer[from..]).map(|position| from + position + 4);
        // Line by line only where a line ends otherwise: most are short, and a search for each costs more than one for all.
        match usual.filter(|end| !has_bare_line_feed(&buffer[from..*end])) {
            Some(bytes) => Some(Self { bytes, is_plain: true }),
            None => Self::by_lines(buffer, from),
        }
    }

    fn by_lines(buffer: &[u8], from: usize) -> Option<Self> {
        let mut lines = memchr::memchr_iter(b'\n', &buffer[from..]);
        let bytes = lines.find_map(|position| {
            let next = from + position + 1;
            match &buffer[next..] {
                [b'\n', ..] => Some(next + 1),
                [b'\r', b'\n', ..] => Some(next + 2),
                _ => None,
            }
        })?;
        Some(Self { bytes, is_plain: false })
    }
}

/// Whether a line ends without a carriage return: for some a line feed alone is a part of the value, and what follows
/// is no header.
pub(crate) fn has_bare_line_feed(head: &[u8]) -> bool {
    let pairs = head.iter().zip(head.iter().skip(1));
    // All of them: without an early end, many are looked at at once.
    let bare = pairs.fold(false, |bare, (before, byte)| bare | (*byte == b'\n' && *before != b'\r'));
    bare || head.first() == Some(&b'\n')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_end_is_found_as_by_lines(pieces in proptest::collection::vec("[ab\r\n]{0,3}|\r\n", 0..20), from in 0usize..20) {
            let text = pieces.concat();
            let from = from.min(text.len());
            let found = HeadEnd::find(text.as_bytes(), from);
            let by_lines = HeadEnd::by_lines(text.as_bytes(), from);
            prop_assert_eq!(found.map(|end| end.bytes), by_lines.map(|end| end.bytes));
            if let Some(end) = found.filter(|end| end.is_plain) {
                prop_assert!(!has_bare_line_feed(&text.as_bytes()[from..end.bytes]));
            }
        }

        #[test]
        fn line_feeds_that_stand_alone_are_found(text in "[ab\r\n]{0,40}") {
            let bytes = text.as_bytes();
            let bare = (0..bytes.len()).any(|at| bytes[at] == b'\n' && (at == 0 || bytes[at - 1] != b'\r'));
            prop_assert_eq!(has_bare_line_feed(bytes), bare);
        }
    }
}
