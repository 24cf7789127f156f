//! What an answer's headers say of its end and of the connection's (RFC 9112, sections 6.3 and 9.3).

use http::{HeaderName, HeaderValue, Method, StatusCode, Version, header};

use super::{Error, chunked::Chunked, decode::Decoder};

/// The headers that matter, read one by one; what could be read in two ways is an error.
pub(super) struct Framing {
    version: Version,
    length: Option<u64>,
    chunked: bool,
    /// Whether the connection can serve another request after this one.
    pub(super) keep_alive: bool,
    close: bool,
}

impl Framing {
    pub(super) fn new(version: Version) -> Self {
        let keep_alive = version == Version::HTTP_11;
        Self { version, length: None, chunked: false, keep_alive, close: false }
    }

    pub(super) fn read(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<(), Error> {
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
    pub(super) fn body(&mut self, method: &Method, status: StatusCode) -> Result<Decoder, Error> {
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
