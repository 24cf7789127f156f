//! Just enough HTTP/1.1 framing for a bench: one head, one body with a `Content-Length`.
//!
//! There is no chunked coding and no body that ends with the connection: every contestant keeps the length it was
//! given, and one that does not is told so instead of being measured.

use anyhow::{Context, bail};

/// Where the first message of a buffer ends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// Bytes of the head and its blank line.
    pub(crate) head_len: usize,
    /// Bytes of head and body together.
    pub(crate) total_len: usize,
}

impl Message {
    /// Finds the first whole head in `buffer`; `None` while it is incomplete.
    ///
    /// # Errors
    /// When the length is unreadable or the body is framed in another way.
    pub(crate) fn first(buffer: &[u8]) -> anyhow::Result<Option<Self>> {
        let mut line_start = 0;
        let mut body_len = 0;
        while let Some(line_len) = buffer[line_start..].iter().position(|byte| *byte == b'\n') {
            let line = buffer[line_start..line_start + line_len].trim_ascii_end();
            line_start += line_len + 1;
            if line.is_empty() {
                return Ok(Some(Self { head_len: line_start, total_len: line_start + body_len }));
            }
            if let Some(value) = value_of(line, b"content-length:") {
                body_len = std::str::from_utf8(value)?.parse().context("content-length")?;
            } else if value_of(line, b"transfer-encoding:").is_some() {
                bail!("the bench speaks Content-Length only, but a message came with Transfer-Encoding");
            }
        }
        Ok(None)
    }
}

/// The status of a response head.
pub(crate) fn status(head: &[u8]) -> Option<u16> {
    std::str::from_utf8(head.get(9..12)?).ok()?.parse().ok()
}

fn value_of<'line>(line: &'line [u8], name: &[u8]) -> Option<&'line [u8]> {
    let (start, value) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_ends_after_its_declared_length() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-LENGTH: 5\r\n\r\nhelloHTTP/1.1";
        assert_eq!(Message::first(bytes).unwrap(), Some(Message { head_len: 38, total_len: 43 }));
        assert_eq!(status(bytes), Some(200));
    }

    #[test]
    fn an_incomplete_head_is_no_message() {
        assert_eq!(Message::first(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n").unwrap(), None);
    }

    #[test]
    fn chunked_is_refused() {
        assert!(Message::first(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
    }
}
