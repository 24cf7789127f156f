//! Reading a head: its lines, in place (RFC 9112, sections 2 to 5).
//!
//! Names are brought to lower case where they stand, so that nothing of a head is copied. What could be read in
//! two ways is an error: folded lines, white space around names, control characters in values, and, where
//! [`LineEnd::Strict`] says so, a line feed alone.

use crate::headers::{Known, Line, NAME_BYTES_MAX};

/// How lines end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineEnd {
    /// By `CRLF`: what comes from clients, who may be heard by others that do not take a line feed alone for an end.
    Strict,
    /// By a line feed alone, too.
    Lenient,
}

/// Why a head cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("its method is none")]
    Method,
    #[error("its target is none")]
    Target,
    #[error("its version is not HTTP/1.1 or HTTP/1.0")]
    Version,
    #[error("its status is none")]
    Status,
    #[error("a header's name is none")]
    Name,
    #[error("a character that may not stand in a header's value")]
    Value,
    #[error("a line feed alone in its head")]
    LineFeed,
    #[error("too many header lines")]
    TooMany,
}

/// What was read, or `None` where the text ends before.
pub(crate) type Read<T> = Result<Option<T>, Malformed>;

/// For a character of a token (RFC 9110, section 5.6.2) that in lower case, for every other byte 0.
const LOWER: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0u8;
    while byte < 128 {
        if byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            )
        {
            table[byte as usize] = byte.to_ascii_lowercase();
        }
        byte += 1;
    }
    table
};

/// Where the method, the target and the first header line's beginning are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestLine {
    /// It begins at 0.
    pub(crate) method_end: usize,
    /// It begins behind one space.
    pub(crate) target_end: usize,
    pub(crate) is_11: bool,
    pub(crate) end: usize,
}

/// Where a status line's parts are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StatusLine {
    pub(crate) is_11: bool,
    pub(crate) code: u16,
    pub(crate) reason: (usize, usize),
    pub(crate) end: usize,
}

/// Reads a request line.
pub(crate) fn request_line(text: &[u8], line_end: LineEnd) -> Read<RequestLine> {
    let is_token = |byte: &u8| LOWER[usize::from(*byte)] != 0;
    let Some(method_end) = text.iter().position(|byte| !is_token(byte)) else { return Ok(None) };
    if method_end == 0 || text[method_end] != b' ' {
        return Err(Malformed::Method);
    }
    let target_end = target_end(text, method_end + 1);
    match text.get(target_end) {
        None => return Ok(None),
        Some(b' ') if target_end > method_end + 1 => {}
        Some(_) => return Err(Malformed::Target),
    }
    let Some((is_11, at)) = version(text, target_end + 1)? else { return Ok(None) };
    let Some(end) = end_of_line(text, at, line_end)? else { return Ok(None) };
    let end = end.ok_or(Malformed::Version)?;
    Ok(Some(RequestLine { method_end, target_end, is_11, end }))
}

/// Reads a status line. Its reason may be left out, with the space before it.
pub(crate) fn status_line(text: &[u8], line_end: LineEnd) -> Read<StatusLine> {
    let Some((is_11, at)) = version(text, 0)? else { return Ok(None) };
    let Some([space, code @ ..]) = text.get(at..at + 4) else { return Ok(None) };
    if *space != b' ' || !code.iter().all(u8::is_ascii_digit) {
        return Err(Malformed::Status);
    }
    let code = code.iter().fold(0, |code, digit| code * 10 + u16::from(*digit - b'0'));
    let at = at + 4;
    let reason_from = match text.get(at) {
        None => return Ok(None),
        Some(b' ') => at + 1,
        Some(_) => at,
    };
    let reason_end = if reason_from == at { at } else { value_end(text, reason_from) };
    let Some(end) = end_of_line(text, reason_end, line_end)? else { return Ok(None) };
    let end = end.ok_or(Malformed::Status)?;
    Ok(Some(StatusLine { is_11, code, reason: (reason_from, reason_end), end }))
}

fn version(text: &[u8], at: usize) -> Read<(bool, usize)> {
    const BYTES: usize = b"HTTP/1.1".len();
    match text.get(at..at + BYTES) {
        Some(b"HTTP/1.1") => Ok(Some((true, at + BYTES))),
        Some(b"HTTP/1.0") => Ok(Some((false, at + BYTES))),
        Some(_) => Err(Malformed::Version),
        None => Ok(None),
    }
}

/// Reads header lines from `at` on, behind those that `lines` has, up to and with the empty line that ends them;
/// where it ends.
pub(crate) fn header_lines(
    text: &mut [u8],
    mut at: usize,
    line_end: LineEnd,
    lines: &mut Vec<Line>,
    lines_max: usize,
) -> Read<usize> {
    loop {
        let start = at;
        at = name_end(text, start);
        match text.get(at) {
            None => return Ok(None),
            Some(b':') if (1..=NAME_BYTES_MAX).contains(&(at - start)) => {}
            Some(b'\r' | b'\n') if at == start => {
                return match end_of_line(text, at, line_end)? {
                    None => Ok(None),
                    Some(Some(end)) => Ok(Some(end)),
                    Some(None) => Err(Malformed::Name),
                };
            }
            Some(_) => return Err(Malformed::Name),
        }
        let name = (start, at);
        let known = Known::of(&text[start..at]);
        at += 1;
        while matches!(text.get(at), Some(b' ' | b'\t')) {
            at += 1;
        }
        let from = at;
        at = value_end(text, from);
        let mut to = at;
        while to > from && matches!(text[to - 1], b' ' | b'\t') {
            to -= 1;
        }
        let is_plain = text.get(at) == Some(&b'\r');
        let Some(next) = end_of_line(text, at, line_end)? else { return Ok(None) };
        at = next.ok_or(Malformed::Value)?;
        if lines.len() == lines_max {
            return Err(Malformed::TooMany);
        }
        lines.push(Line::new(known, name, (from, to), is_plain.then_some(at)));
    }
}

/// Where the line that ends at `at` is over: `None` within the text's end, `Some(None)` where no line ends.
fn end_of_line(text: &[u8], at: usize, line_end: LineEnd) -> Read<Option<usize>> {
    match text.get(at..) {
        None | Some([] | [b'\r']) => Ok(None),
        Some([b'\r', b'\n', ..]) => Ok(Some(Some(at + 2))),
        Some([b'\n', ..]) if line_end == LineEnd::Lenient => Ok(Some(Some(at + 1))),
        Some([b'\n', ..]) => Err(Malformed::LineFeed),
        Some(_) => Ok(Some(None)),
    }
}

/// Every byte of a word is this.
const fn all(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// The highest bit of each byte.
const HIGHS: u64 = all(0x80);

/// The highest bit of each byte that is at least `first`; of bytes below 0x80, so that no sum carries into the next.
const fn at_least(low: u64, first: u8) -> u64 {
    low + all(0x80 - first)
}

/// Where the first byte from `at` on is that may not stand in a token; those before it are in lower case then.
fn name_end(text: &mut [u8], mut at: usize) -> usize {
    // Eight at once: letters, digits and hyphens, of which most names are made.
    while let Some(chunk) = text.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let low = word & !HIGHS;
        let folded = low | all(0x20);
        let letters = at_least(folded, b'a') & !at_least(folded, b'z' + 1);
        let digits = at_least(low, b'0') & !at_least(low, b'9' + 1);
        let hyphens = at_least(low, b'-') & !at_least(low, b'-' + 1);
        let other = (!(letters | digits | hyphens) | word) & HIGHS;
        // Below the first other byte, if there is one.
        let before = other.wrapping_sub(1) & !other;
        // A letter in upper case lacks the bit 0x20, which is two below the highest.
        *chunk = (word | (letters & !(word << 2) & before & HIGHS) >> 2).to_le_bytes();
        if other == 0 {
            at += 8;
            continue;
        }
        at += other.trailing_zeros() as usize / 8;
        break;
    }
    while let Some(byte) = text.get_mut(at) {
        let lower = LOWER[usize::from(*byte)];
        if lower == 0 {
            break;
        }
        *byte = lower;
        at += 1;
    }
    at
}

/// The highest bit of each byte that is at most `last`, or 0x7f.
const fn controls(word: u64, last: u8) -> u64 {
    let low = word & !HIGHS;
    (!at_least(low, last + 1) | at_least(low, 0x7f)) & !word & HIGHS
}

/// Where the first byte from `at` on is that may not stand in a target: a space or a control character.
fn target_end(text: &[u8], mut at: usize) -> usize {
    while let Some(chunk) = text.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let found = controls(word, b' ');
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().position(|byte| *byte <= b' ' || *byte == 0x7f).unwrap_or(rest.len())
}

/// Where the first byte from `at` on is that may not stand in a value: a control character but the tab
/// (RFC 9110, section 5.5).
fn value_end(text: &[u8], mut at: usize) -> usize {
    loop {
        while let Some(chunk) = text.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
            let word = u64::from_le_bytes(*chunk);
            let found = controls(word, 0x1f);
            if found == 0 {
                at += 8;
                continue;
            }
            at += found.trailing_zeros() as usize / 8;
            break;
        }
        while let Some(byte) = text.get(at) {
            match byte {
                b'\t' => {
                    at += 1;
                    break;
                }
                0..=0x1f | 0x7f => return at,
                _ => at += 1,
            }
        }
        if at >= text.len() {
            return at;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_of_value(byte: u8) -> bool {
        byte == b'\t' || byte >= 0x20 && byte != 0x7f
    }

    /// Names and values, and where they end.
    type Read = (Vec<(String, Vec<u8>)>, usize);

    /// The head as a well-known parser reads it.
    fn by_httparse(text: &[u8]) -> Option<Read> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        match httparse::parse_headers(text, &mut headers) {
            Ok(httparse::Status::Complete((end, headers))) => {
                let of = |header: &httparse::Header<'_>| (header.name.to_lowercase(), header.value.to_vec());
                Some((headers.iter().map(of).collect(), end))
            }
            _ => None,
        }
    }

    proptest! {
        #[test]
        fn a_value_ends_at_the_first_control_character(text: Vec<u8>, from in 0usize..40) {
            let from = from.min(text.len());
            let wanted = text[from..].iter().position(|byte| !is_of_value(*byte)).map_or(text.len(), |at| from + at);
            prop_assert_eq!(value_end(&text, from), wanted);
        }

        #[test]
        fn a_name_ends_where_its_token_ends(text: Vec<u8>, usual in "[a-zA-Z0-9-]{0,20}", from in 0usize..20) {
            let text = [usual.as_bytes(), &text].concat();
            let from = from.min(text.len());
            let is_token = |byte: &u8| LOWER[usize::from(*byte)] != 0;
            let end = text[from..].iter().position(|byte| !is_token(byte)).map_or(text.len(), |at| from + at);
            let mut wanted = text.clone();
            wanted[from..end].make_ascii_lowercase();
            let mut read = text;
            prop_assert_eq!(name_end(&mut read, from), end);
            prop_assert_eq!(read, wanted, "nothing else is changed");
        }

        #[test]
        fn a_target_ends_at_a_space(text: Vec<u8>, visible in "[!-~]{0,20}", from in 0usize..20) {
            let text = [visible.as_bytes(), &text].concat();
            let from = from.min(text.len());
            let end = text[from..].iter().position(|byte| *byte <= b' ' || *byte == 0x7f);
            prop_assert_eq!(target_end(&text, from), end.map_or(text.len(), |at| from + at));
        }

        #[test]
        fn lines_are_those_that_httparse_reads(
            pieces in proptest::collection::vec("[aA-]{0,3}:?[ \t]{0,2}[bB \t\u{7f}\u{1}é]{0,9}[ \t]{0,2}(\r\n|\r\n|\r\n|\n|\r|)", 0..6),
            ends in any::<bool>(),
        ) {
            let text = pieces.concat() + if ends { "\r\n\r\n" } else { "" };
            let (mut lines, mut bytes) = (Vec::new(), text.clone().into_bytes());
            let read = header_lines(&mut bytes, 0, LineEnd::Lenient, &mut lines, 64);
            let ours = read.ok().flatten().map(|end| {
                let name = |line: &Line| String::from_utf8(line.name(&bytes).to_vec()).unwrap();
                (lines.iter().map(|line| (name(line), line.value(&bytes).to_vec())).collect(), end)
            });
            prop_assert_eq!(ours, by_httparse(text.as_bytes()));
        }

        #[test]
        fn a_request_line_is_the_one_that_httparse_reads(
            line in "[A-Za-z !]{0,5} ?(/[a-z%?\u{7f}é]{0,4})? ?HTTP/1.[012](\r\n|\n|\r)",
        ) {
            let text = line.clone() + "\r\n";
            let mut request = httparse::Request::new(&mut []);
            let theirs = matches!(request.parse(text.as_bytes()), Ok(httparse::Status::Complete(_)));
            let theirs = theirs.then(|| (request.method.unwrap(), request.path.unwrap(), request.version.unwrap()));
            let ours = request_line(text.as_bytes(), LineEnd::Lenient).ok().flatten();
            let ours = ours.map(|line| {
                (&text[..line.method_end], &text[line.method_end + 1..line.target_end], u8::from(line.is_11))
            });
            prop_assert_eq!(ours, theirs, "{:?}", text);
        }

        #[test]
        fn a_status_line_is_the_one_that_httparse_reads(line in "HTTP/1.[012] ?[0-9]{2,4}( [a-z\u{7f}\t ]{0,4})?(\r\n|\n|\r)") {
            let text = line.clone() + "\r\n";
            let mut response = httparse::Response::new(&mut []);
            let theirs = matches!(response.parse(text.as_bytes()), Ok(httparse::Status::Complete(_)));
            let theirs = theirs.then(|| (response.code.unwrap(), response.reason.unwrap(), response.version.unwrap()));
            let ours = status_line(text.as_bytes(), LineEnd::Lenient).ok().flatten();
            let ours = ours.map(|line| (line.code, &text[line.reason.0..line.reason.1], u8::from(line.is_11)));
            prop_assert_eq!(ours, theirs, "{:?}", text);
        }
    }

    #[test]
    fn a_line_feed_alone_ends_a_line_only_where_it_may() {
        for text in ["a: b\n\r\n", "a: b\r\n\n", "a: b\n\n"] {
            let read =
                |line_end| header_lines(&mut text.as_bytes().to_vec(), 0, line_end, &mut Vec::new(), 9);
            assert_eq!(read(LineEnd::Lenient), Ok(Some(text.len())), "{text:?}");
            assert_eq!(read(LineEnd::Strict), Err(Malformed::LineFeed), "{text:?}");
        }
    }
}
