//! Server-sent events, taken apart when all of them are there.

/// The whole events of `stream`, each with all that comes before it and with the empty line that ends it.
pub fn events(stream: &[u8]) -> Vec<&[u8]> {
    let (mut events, mut begin, mut at) = (Vec::new(), 0, 0);
    while let Some((line, end)) = next_line(&stream[at..]) {
        at += end;
        if line.is_empty() {
            events.push(&stream[begin..at]);
            begin = at;
        }
    }
    events
}

/// The data of an event: its `data` lines, with an LF between two.
pub fn data(event: &[u8]) -> Vec<u8> {
    let (mut lines, mut at) = (Vec::new(), 0);
    while let Some((line, end)) = next_line(&event[at..]) {
        at += end;
        if let Some(value) = line.strip_prefix(b"data:") {
            lines.push(value.strip_prefix(b" ").unwrap_or(value));
        }
    }
    lines.join(&b'\n')
}

/// The first line, and how many bytes it has with its end; `None` when that is not there.
fn next_line(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let length = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n'))?;
    let end = if bytes[length..].starts_with(b"\r\n") { 2 } else { 1 };
    Some((&bytes[..length], length + end))
}
