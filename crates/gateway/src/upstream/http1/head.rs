//! An answer's head.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, header};
use hyper::ext::ReasonPhrase;

use super::{Error, HEAD_BYTES_MAX, HEADERS_MAX, chunked::Chunked, decode::Decoder};

/// What a head says.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) response: Response<()>,
    pub(super) body: Decoder,
    /// Whether the connection can serve another request after this one.
    pub(super) keep_alive: bool,
}

/// Takes a head off `buffer`, once it is there whole. `scanned` is how much of it was looked through before.
pub(super) fn take(
    buffer: &mut BytesMut,
    scanned: &mut usize,
    method: &Method,
) -> Result<Option<Head>, Error> {
    let Some(length) = end(buffer, *scanned) else {
        // The end may begin in what is there.
        *scanned = buffer.len().saturating_sub(3);
        return if buffer.len() < HEAD_BYTES_MAX { Ok(None) } else { Err(too_large()) };
    };
    *scanned = 0;
    if length > HEAD_BYTES_MAX {
        return Err(too_large());
    }
    parse(&buffer.split_to(length).freeze(), method).map(Some)
}

fn too_large() -> Error {
    Error::Framing("its head is too large")
}

/// The length of a head: up to and with its first empty line.
fn end(buffer: &[u8], from: usize) -> Option<usize> {
    memchr::memchr_iter(b'\n', &buffer[from..]).find_map(|position| {
        let next = from + position + 1;
        match &buffer[next..] {
            [b'\n', ..] => Some(next + 1),
            [b'\r', b'\n', ..] => Some(next + 2),
            _ => None,
        }
    })
}

fn parse(head: &Bytes, method: &Method) -> Result<Head, Error> {
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    let status = parser.parse_response_with_uninit_headers(&mut parsed, head, &mut headers)?;
    let (httparse::Status::Complete(_), Some(code)) = (status, parsed.code) else {
        return Err(Error::Framing("its head has no status"));
    };
    let status = StatusCode::from_u16(code).map_err(|_| Error::Framing("its status is none"))?;
    let mut response = Response::new(());
    *response.status_mut() = status;
    if parsed.version == Some(0) {
        *response.version_mut() = Version::HTTP_10;
    }
    if let Some(reason) = parsed.reason.filter(|reason| status.canonical_reason() != Some(reason))
        && let Ok(reason) = ReasonPhrase::try_from(reason.as_bytes())
    {
        response.extensions_mut().insert(reason);
    }
    let mut framing = Framing::new(response.version());
    let mut map = HeaderMap::with_capacity(parsed.headers.len());
    for line in &*parsed.headers {
        let name = HeaderName::from_bytes(line.name.as_bytes());
        let value = HeaderValue::from_maybe_shared(head.slice_ref(line.value));
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(Error::Framing("a header is not valid"));
        };
        framing.read(&name, &value)?;
        map.append(name, value);
    }
    *response.headers_mut() = map;
    let body = framing.body(method, status)?;
    Ok(Head { response, body, keep_alive: framing.keep_alive })
}

/// What the headers say of the message's end and of the connection's.
struct Framing {
    version: Version,
    length: Option<u64>,
    chunked: bool,
    keep_alive: bool,
    close: bool,
}

impl Framing {
    fn new(version: Version) -> Self {
        let keep_alive = version == Version::HTTP_11;
        Self { version, length: None, chunked: false, keep_alive, close: false }
    }

    fn read(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<(), Error> {
        if *name == header::CONTENT_LENGTH {
            let length = digits(value.as_bytes()).filter(|_| self.length.is_none());
            self.length = Some(length.ok_or(Error::Framing("its length is no number, or said twice"))?);
        } else if *name == header::TRANSFER_ENCODING {
            let chunked = value.as_bytes().eq_ignore_ascii_case(b"chunked");
            if !chunked || self.chunked || self.version == Version::HTTP_10 {
                return Err(Error::Framing("its transfer coding is not chunked alone"));
            }
            self.chunked = true;
        } else if *name == header::CONNECTION {
            for option in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                self.close |= option.eq_ignore_ascii_case(b"close");
                self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        }
        Ok(())
    }

    /// Where the body ends (RFC 9112, section 6.3).
    fn body(&mut self, method: &Method, status: StatusCode) -> Result<Decoder, Error> {
        let tunnel = *method == Method::CONNECT && status.is_success();
        let bodiless = status.is_informational() || matches!(status.as_u16(), 204 | 304);
        let body = if bodiless || tunnel || *method == Method::HEAD {
            Decoder::End
        } else if self.chunked {
            // A length beside chunks is somebody's mistake, or attack.
            self.close |= self.length.is_some();
            Decoder::Chunked(Chunked::default())
        } else if let Some(length) = self.length {
            Decoder::length(length)
        } else {
            self.close = true;
            Decoder::Close
        };
        self.keep_alive &= !self.close && !tunnel && status != StatusCode::SWITCHING_PROTOCOLS;
        Ok(body)
    }
}

/// A number in digits alone: `parse` would take a sign.
fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}
