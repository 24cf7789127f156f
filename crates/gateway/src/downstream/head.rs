//! A request's head.

use std::mem;

use bytes::BytesMut;
use http::{Method, Version, header};

use crate::{
    head::RequestHead,
    headers::{Field, Headers, Known, Line},
    http1::{
        Decoder, Error, Framing, LineEnd, Malformed, RequestLine, head_end, header_lines, request_line,
        skip_empty_line,
    },
    target::Target,
};

/// What a head says.
#[derive(Debug)]
pub(super) struct Head {
    /// In one place from here to the upstream: they are large.
    pub(super) parts: Box<RequestHead>,
    pub(super) body: Decoder,
    pub(super) asked: Asked,
}

/// What the answer to a request depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// Or by HTTP/1.0.
    pub(super) by_http_11: bool,
    /// For the head alone.
    pub(super) by_head: bool,
    pub(super) keep_alive: bool,
    pub(super) wants_trailers: bool,
    /// Whether the client waits to be asked for the body.
    pub(super) expects_continue: bool,
}

impl Asked {
    /// In a head that could not be read.
    pub(super) const UNREADABLE: Self = Self {
        by_http_11: true,
        by_head: false,
        keep_alive: false,
        wants_trailers: false,
        expects_continue: false,
    };
}

/// What heads are read with.
#[derive(Debug)]
pub(super) struct Reader {
    bytes_max: usize,
    lines_max: usize,
    /// How much was looked through for the head's end.
    scanned: usize,
}

impl Reader {
    pub(super) fn new(bytes_max: usize, lines_max: usize) -> Self {
        Self { bytes_max, lines_max, scanned: 0 }
    }

    /// Takes a head off `buffer`, once it is there whole. Its headers take the place of the last answer's, `used`.
    pub(super) fn take(&mut self, buffer: &mut BytesMut, used: &mut Headers) -> Result<Option<Head>, Error> {
        if self.scanned == 0 {
            while skip_empty_line(buffer) {}
        } else if head_end(buffer, self.scanned).is_none() {
            return self.wait(buffer);
        }
        let lines = used.begin();
        let read = match read(buffer, lines, self.lines_max) {
            Ok(Some(read)) => read,
            // What is wrong with it is said when it is there whole, in however many pieces it comes.
            Ok(None) | Err(_) if head_end(buffer, self.scanned).is_none() => return self.wait(buffer),
            Ok(None) => return Err(Error::Framing("its head is not whole")),
            Err(Malformed::TooMany) => return Err(Error::TooLarge),
            Err(error) => return Err(error.into()),
        };
        self.scanned = 0;
        if read.end > self.bytes_max {
            return Err(Error::TooLarge);
        }
        used.found_in(buffer.split_to(read.end).freeze());
        head(&read.line, mem::take(used)).map(Some)
    }

    /// The head's end may begin in what is there.
    fn wait(&mut self, buffer: &BytesMut) -> Result<Option<Head>, Error> {
        self.scanned = buffer.len().saturating_sub(3);
        if buffer.len() <= self.bytes_max { Ok(None) } else { Err(Error::TooLarge) }
    }
}

/// Where the parts of a head are.
struct Places {
    line: RequestLine,
    end: usize,
}

fn read(text: &mut [u8], lines: &mut Vec<Line>, lines_max: usize) -> Result<Option<Places>, Malformed> {
    let Some(line) = request_line(text, LineEnd::Strict)? else { return Ok(None) };
    let end = header_lines(text, line.end, LineEnd::Strict, lines, lines_max)?;
    Ok(end.map(|end| Places { line, end }))
}

/// What a head means.
fn head(line: &RequestLine, mut headers: Headers) -> Result<Head, Error> {
    let text = headers.head();
    let method =
        Method::from_bytes(&text[..line.method_end]).map_err(|_| Error::Framing("its method is none"))?;
    let target = Target::read(text.slice(line.method_end + 1..line.target_end))
        .map_err(|_| Error::Framing("its target is none"))?;
    let version = if line.is_11 { Version::HTTP_11 } else { Version::HTTP_10 };

    let mut framing = Framing::new(version);
    let (mut wants_trailers, mut expects_continue) = (false, false);
    for Field { known, value, .. } in headers.known() {
        match known {
            Known::Te => wants_trailers |= names(value, b"trailers"),
            Known::Expect => expects_continue = value.eq_ignore_ascii_case(b"100-continue"),
            known => framing.read(known, value)?,
        }
    }
    if framing.has_void_length() {
        headers.remove(&header::CONTENT_LENGTH);
    }
    let body = framing.request_body();
    let asked = Asked {
        by_http_11: line.is_11,
        by_head: method == Method::HEAD,
        keep_alive: framing.keep_alive,
        wants_trailers,
        expects_continue: expects_continue && line.is_11,
    };
    Ok(Head { parts: Box::new(RequestHead { method, target, version, headers }), body, asked })
}

/// Whether a list has this option.
pub(super) fn names(list: &[u8], option: &[u8]) -> bool {
    list.split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(option))
}
