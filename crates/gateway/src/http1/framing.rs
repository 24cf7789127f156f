//! What a message's headers say of its end and of the connection's (RFC 9112, sections 6.3 and 9.3).

use http::{Method, StatusCode, Version};

use super::{Decoder, Error, chunked::Chunked};
use crate::headers::Known;

/// The headers that matter, read one by one; what could be read in two ways is an error.
pub(crate) struct Framing {
    version: Version,
    length: Option<u64>,
    chunked: bool,
    /// Whether the connection can serve another request after this one.
    pub(crate) keep_alive: bool,
    close: bool,
}

impl Framing {
    pub(crate) fn new(version: Version) -> Self {
        let keep_alive = version == Version::HTTP_11;
        Self { version, length: None, chunked: false, keep_alive, close: false }
    }

    pub(crate) fn read(&mut self, known: Known, value: &[u8]) -> Result<(), Error> {
        match known {
            Known::ContentLength => {
                let length = digits(value).filter(|_| self.length.is_none());
                self.length = Some(length.ok_or(Error::Framing("its length is no number, or said twice"))?);
            }
            Known::TransferEncoding => {
                let chunked = value.eq_ignore_ascii_case(b"chunked");
                if !chunked || self.chunked || self.version == Version::HTTP_10 {
                    return Err(Error::Framing("its transfer coding is not chunked alone"));
                }
                self.chunked = true;
            }
            Known::Connection => {
                for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether the body ends by its last chunk, beside a length.
    pub(crate) fn has_void_length(&self) -> bool {
        self.chunked && self.length.is_some()
    }

    /// Where a request's body ends.
    pub(crate) fn request_body(&mut self) -> Decoder {
        let body = self.with_known_end().unwrap_or(Decoder::End);
        self.keep_alive &= !self.close;
        body
    }

    /// Where the body of an answer to `method` ends.
    pub(crate) fn answer_body(&mut self, method: &Method, status: StatusCode) -> Decoder {
        let tunnel = *method == Method::CONNECT && status.is_success();
        let bodiless = status.is_informational() || matches!(status.as_u16(), 204 | 304);
        let body = if bodiless || tunnel || *method == Method::HEAD {
            Decoder::End
        } else {
            self.with_known_end().unwrap_or_else(|| {
                self.close = true;
                Decoder::Close
            })
        };
        self.keep_alive &= !self.close && !tunnel && status != StatusCode::SWITCHING_PROTOCOLS;
        body
    }

    fn with_known_end(&mut self) -> Option<Decoder> {
        if self.chunked {
            // A length beside chunks is somebody's mistake, or attack.
            self.close |= self.length.is_some();
            return Some(Decoder::Chunked(Chunked::default()));
        }
        self.length.map(Decoder::length)
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
