//! A chunked answer as it arrives: what of it is body, and where it ends.

use anyhow::{bail, ensure};

use crate::http1::status;

/// Bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 4096;
/// Bytes of one chunk; a proxy may join what came in several.
const CHUNK_BYTES_MAX: usize = 1 << 24;

#[derive(Clone, Copy, Debug)]
enum Part {
    Head,
    Size(usize),
    Data {
        left: usize,
    },
    /// The line end after a chunk.
    DataEnd,
    /// The empty line after the last chunk.
    End,
    Over,
}

/// The reader of one answer after the other.
#[derive(Debug)]
pub(super) struct Answer {
    part: Part,
    head: Vec<u8>,
    body_len: usize,
}

impl Default for Answer {
    fn default() -> Self {
        Self { part: Part::Head, head: Vec::new(), body_len: 0 }
    }
}

impl Answer {
    /// Begins the next answer.
    pub(super) fn restart(&mut self) {
        self.part = Part::Head;
        self.head.clear();
        self.body_len = 0;
    }

    /// Bytes of the body so far.
    pub(super) fn body_len(&self) -> usize {
        self.body_len
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.part, Part::Over)
    }

    /// Reads on.
    ///
    /// # Errors
    /// When the status is not 200, or the body is not chunked.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            (self.part, rest) = match (self.part, byte) {
                (Part::Head, _) => match self.head_end(rest)? {
                    Some(end) => (Part::Size(0), &rest[end..]),
                    None => return Ok(()),
                },
                (Part::Data { left }, _) => {
                    let (data, after) = rest.split_at(left.min(rest.len()));
                    self.body_len += data.len();
                    let left = left - data.len();
                    (if left == 0 { Part::DataEnd } else { Part::Data { left } }, after)
                }
                (Part::Over, _) => bail!("bytes after the answer"),
                (part, b'\r') => (part, after),
                (Part::Size(0), b'\n') => (Part::End, after),
                (Part::Size(left), b'\n') => (Part::Data { left }, after),
                (Part::Size(size), _) => {
                    let size = 16 * size + usize::try_from(digit(byte)?)?;
                    ensure!(size <= CHUNK_BYTES_MAX, "a chunk over {CHUNK_BYTES_MAX} bytes");
                    (Part::Size(size), after)
                }
                (Part::DataEnd, b'\n') => (Part::Size(0), after),
                (Part::End, b'\n') => (Part::Over, after),
                (Part::DataEnd | Part::End, _) => bail!("a chunk of the answer does not end where it should"),
            };
        }
        Ok(())
    }

    /// Where in `bytes` the head ends, which may have begun earlier; checks it.
    fn head_end(&mut self, bytes: &[u8]) -> anyhow::Result<Option<usize>> {
        let before = self.head.len();
        self.head.extend_from_slice(bytes);
        let from = before.saturating_sub(3);
        let Some(end) = self.head[from..].windows(4).position(|end| end == b"\r\n\r\n") else {
            ensure!(self.head.len() <= HEAD_BYTES_MAX, "answer head over {HEAD_BYTES_MAX} bytes");
            return Ok(None);
        };
        let end = from + end + 4;
        let head = String::from_utf8_lossy(&self.head[..end]).to_ascii_lowercase();
        let is_stream = status(&self.head) == Some(200) && head.contains("transfer-encoding: chunked");
        ensure!(is_stream, "no stream: {}", String::from_utf8_lossy(&self.head));
        Ok(Some(end - before))
    }
}

fn digit(byte: u8) -> anyhow::Result<u32> {
    match char::from(byte).to_digit(16) {
        Some(digit) => Ok(digit),
        None => bail!("{:?} in the size of a chunk", char::from(byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_the_same_in_any_pieces() {
        let text =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n1\r\n.\r\n0\r\n\r\n";
        for piece_len in 1..text.len() {
            let mut answer = Answer::default();
            for piece in text.chunks(piece_len) {
                assert!(!answer.is_over());
                answer.feed(piece).unwrap();
            }
            assert_eq!((answer.is_over(), answer.body_len()), (true, 11));
            assert!(answer.feed(b"H").is_err());
            answer.restart();
            assert!(!answer.is_over());
        }
    }

    #[test]
    fn what_is_no_stream_is_said() {
        for head in ["HTTP/1.1 429 Too Many\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"]
        {
            assert!(Answer::default().feed(head.as_bytes()).is_err());
        }
    }
}
