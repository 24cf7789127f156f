//! A request's head.

use std::mem::{self, MaybeUninit};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version, header, request::Parts};

use super::LINES_INLINE;
use crate::http1::{Decoder, Error, Framing, HeadEnd, has_bare_line_feed, name};

/// What a head says.
#[derive(Debug)]
pub(super) struct Head {
    /// In one place from here to the upstream: they are large.
    pub(super) parts: Box<Parts>,
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
    pub(super) fn take(
        &mut self,
        buffer: &mut BytesMut,
        used: &mut HeaderMap,
    ) -> Result<Option<Head>, Error> {
        if self.scanned == 0 {
            skip_empty_lines(buffer);
        }
        let Some(end) = HeadEnd::find(buffer, self.scanned) else {
            // The end may begin in what is there.
            self.scanned = buffer.len().saturating_sub(3);
            return if buffer.len() <= self.bytes_max { Ok(None) } else { Err(Error::TooLarge) };
        };
        let is_plain = end.is_plain && self.scanned == 0;
        self.scanned = 0;
        if end.bytes > self.bytes_max {
            return Err(Error::TooLarge);
        }
        let head = buffer.split_to(end.bytes).freeze();
        if !is_plain && has_bare_line_feed(&head) {
            return Err(Error::Framing("a line feed alone in its head"));
        }
        if self.lines_max <= LINES_INLINE {
            let lines = &mut [const { MaybeUninit::uninit() }; LINES_INLINE];
            parse(&head, &mut lines[..self.lines_max], used).map(Some)
        } else {
            parse(&head, &mut vec![MaybeUninit::uninit(); self.lines_max], used).map(Some)
        }
    }
}

/// Some clients end bodies with a line too many (RFC 9112, section 2.2).
fn skip_empty_lines(buffer: &mut BytesMut) {
    loop {
        match &**buffer {
            [b'\r', b'\n', ..] => buffer.advance(2),
            [b'\n', ..] => buffer.advance(1),
            _ => return,
        }
    }
}

fn parse<'a>(
    head: &'a Bytes,
    lines: &mut [MaybeUninit<httparse::Header<'a>>],
    used: &mut HeaderMap,
) -> Result<Head, Error> {
    let mut parsed = httparse::Request::new(&mut []);
    let parser = httparse::ParserConfig::default();
    let parsing = parser.parse_request_with_uninit_headers(&mut parsed, head, lines);
    let parsing = parsing.map_err(|error| match error {
        httparse::Error::TooManyHeaders => Error::TooLarge,
        error => Error::Malformed(error),
    })?;
    let whole = httparse::Status::Complete(head.len());
    let (true, Some(method), Some(target)) = (parsing == whole, parsed.method, parsed.path) else {
        return Err(Error::Framing("its head is not whole"));
    };
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| Error::Framing("its method is none"))?;
    let target = Uri::from_maybe_shared(head.slice_ref(target.as_bytes()))
        .map_err(|_| Error::Framing("its target is none"))?;
    let by_http_11 = parsed.version == Some(1);
    let version = if by_http_11 { Version::HTTP_11 } else { Version::HTTP_10 };

    let mut framing = Framing::new(version);
    let (mut wants_trailers, mut expects_continue) = (false, false);
    let mut headers = mem::take(used);
    headers.clear();
    headers.reserve(parsed.headers.len());
    for line in &*parsed.headers {
        let name = name(line.name.as_bytes());
        let value = HeaderValue::from_maybe_shared(head.slice_ref(line.value));
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(Error::Framing("a header is not valid"));
        };
        framing.read(&name, &value)?;
        if name == header::TE {
            wants_trailers |= names(&value, b"trailers");
        } else if name == header::EXPECT {
            expects_continue = value.as_bytes().eq_ignore_ascii_case(b"100-continue");
        }
        headers.append(name, value);
    }
    if framing.has_void_length() {
        headers.remove(header::CONTENT_LENGTH);
    }
    let body = framing.request_body();
    let asked = Asked {
        by_http_11,
        by_head: method == Method::HEAD,
        keep_alive: framing.keep_alive,
        wants_trailers,
        expects_continue: expects_continue && by_http_11,
    };
    let mut parts = Box::new(Request::new(()).into_parts().0);
    (parts.method, parts.uri, parts.version, parts.headers) = (method, target, version, headers);
    Ok(Head { parts, body, asked })
}

/// Whether a list has this option.
pub(super) fn names(list: &HeaderValue, option: &[u8]) -> bool {
    list.as_bytes().split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(option))
}
