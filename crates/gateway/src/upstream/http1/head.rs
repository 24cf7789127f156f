//! An answer's head.

use bytes::BytesMut;
use http::{Method, StatusCode, Version};
use hyper::ext::ReasonPhrase;

use super::HEAD_BYTES_MAX;
use crate::{
    head::ResponseHead,
    headers::{Headers, Line},
    http1::{
        Decoder, Error, Framing, HEADERS_MAX, INFORMATIONAL_MAX, LineEnd, Malformed, StatusLine, head_end,
        header_lines, skip_empty_line, status_line,
    },
};

/// What a head says.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) response: ResponseHead,
    pub(super) body: Decoder,
    /// Whether the connection can serve another request after this one.
    pub(super) keep_alive: bool,
}

/// What the answer to one request is read with.
#[derive(Debug, Default)]
pub(super) struct Reader {
    method: Method,
    /// How much was looked through for the head's end.
    scanned: usize,
    /// Whether there was an empty line before it: more than one is no answer.
    has_skipped: bool,
    informational: usize,
}

impl Reader {
    pub(super) fn new(method: Method) -> Self {
        Self { method, ..Self::default() }
    }

    /// Takes the head off `buffer`, once it is there whole, and what informational ones are before it, which
    /// `inform` gets. Its headers take the place of `used`, the list of a request before.
    pub(super) fn take(
        &mut self,
        buffer: &mut BytesMut,
        used: &mut Headers,
        mut inform: impl FnMut(ResponseHead),
    ) -> Result<Option<Head>, Error> {
        loop {
            if self.scanned == 0 && !self.has_skipped {
                self.has_skipped = skip_empty_line(buffer);
            }
            if self.has_skipped && matches!(buffer.first(), Some(b'\r' | b'\n')) {
                return Err(Error::Framing("its head has no status"));
            }
            if buffer.is_empty() || (self.scanned > 0 && head_end(buffer, self.scanned).is_none()) {
                return self.wait(buffer);
            }
            let (line, end) = match read(buffer, used.begin()) {
                Ok(Some(read)) => read,
                // What is wrong with it is said when it is there whole, in however many pieces it comes.
                Ok(None) | Err(_) if head_end(buffer, self.scanned).is_none() => return self.wait(buffer),
                Ok(None) => return Err(Error::Framing("its head is not whole")),
                Err(error) => return Err(error.into()),
            };
            (self.scanned, self.has_skipped) = (0, false);
            if end > HEAD_BYTES_MAX {
                return Err(Error::TooLarge);
            }
            used.found_in(buffer.split_to(end).freeze());
            let head = self.head(&line, std::mem::take(used))?;
            let status = head.response.status;
            if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(Some(head));
            }
            self.informational += 1;
            if self.informational > INFORMATIONAL_MAX {
                return Err(Error::Framing("too many informational answers"));
            }
            inform(head.response);
        }
    }

    /// The head's end may begin in what is there.
    fn wait(&mut self, buffer: &BytesMut) -> Result<Option<Head>, Error> {
        self.scanned = buffer.len().saturating_sub(3);
        if buffer.len() < HEAD_BYTES_MAX { Ok(None) } else { Err(Error::TooLarge) }
    }

    /// What a head means.
    fn head(&self, line: &StatusLine, headers: Headers) -> Result<Head, Error> {
        let status = StatusCode::from_u16(line.code).map_err(|_| Error::Framing("its status is none"))?;
        let reason = &headers.head()[line.reason.0..line.reason.1];
        let is_usual = status.canonical_reason().is_some_and(|usual| usual.as_bytes() == reason);
        let reason = if is_usual || reason.is_empty() { None } else { ReasonPhrase::try_from(reason).ok() };
        let mut framing = Framing::new(if line.is_11 { Version::HTTP_11 } else { Version::HTTP_10 });
        for field in headers.known() {
            framing.read(field.known, field.value)?;
        }
        let body = framing.answer_body(&self.method, status);
        let response = ResponseHead { status, reason, headers };
        Ok(Head { response, body, keep_alive: framing.keep_alive })
    }
}

/// Where the parts of a head are.
fn read(text: &mut [u8], lines: &mut Vec<Line>) -> Result<Option<(StatusLine, usize)>, Malformed> {
    let Some(line) = status_line(text, LineEnd::Lenient)? else { return Ok(None) };
    let end = header_lines(text, line.end, LineEnd::Lenient, lines, HEADERS_MAX)?;
    Ok(end.map(|end| (line, end)))
}
