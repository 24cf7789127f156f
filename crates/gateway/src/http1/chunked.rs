//! Chunked bodies (RFC 9112, section 7.1), read from whatever pieces they come in.

use bytes::{Buf as _, Bytes, BytesMut};
use http::HeaderMap;

use super::{EXTENSION_BYTES_MAX, Error, HEADERS_MAX, LineEnd, TRAILER_BYTES_MAX, header_lines};
use crate::headers::Headers;

/// How far a chunked body was read.
#[derive(Debug, Default)]
pub(crate) struct Chunked {
    state: State,
    /// Of the chunk that is being read: what is known of its size, then what is left of it.
    size: u64,
    extension_bytes: usize,
    /// The lines of the trailers as they came.
    trailers: Vec<u8>,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    FirstDigit,
    Size,
    AfterSize,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// A trailer, or the end.
    Line,
    Trailer,
    TrailerLf,
    EndLf,
    End,
}

impl Chunked {
    /// The next piece of data that `buffer` holds; `None` when it is used up, or at the end.
    pub(crate) fn data(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, Error> {
        self.advance(buffer)?;
        if self.state != State::Data || buffer.is_empty() {
            return Ok(None);
        }
        let count = usize::try_from(self.size).unwrap_or(usize::MAX).min(buffer.len());
        self.size -= count as u64;
        if self.size == 0 {
            self.state = State::DataCr;
        }
        Ok(Some(buffer.split_to(count).freeze()))
    }

    /// Reads what is between data, as far as `buffer` has it.
    pub(crate) fn advance(&mut self, buffer: &mut BytesMut) -> Result<(), Error> {
        let mut used = 0;
        for byte in &buffer[..] {
            if matches!(self.state, State::Data | State::End) {
                break;
            }
            self.step(*byte)?;
            used += 1;
        }
        buffer.advance(used);
        Ok(())
    }

    pub(crate) fn is_end(&self) -> bool {
        self.state == State::End
    }

    pub(crate) fn has_trailers(&self) -> bool {
        !self.trailers.is_empty()
    }

    /// What came after the last chunk, if anything did.
    pub(crate) fn take_trailers(&mut self) -> Result<Option<HeaderMap>, Error> {
        if !self.has_trailers() {
            return Ok(None);
        }
        let (mut text, mut trailers) = (std::mem::take(&mut self.trailers), Headers::default());
        let lines = trailers.begin();
        if header_lines(&mut text, 0, LineEnd::Strict, lines, HEADERS_MAX)? != Some(text.len()) {
            return Err(Error::Framing("its trailers have no end"));
        }
        trailers.found_in(Bytes::from(text));
        Ok(Some(trailers.into_map()))
    }

    fn step(&mut self, byte: u8) -> Result<(), Error> {
        self.state = match (self.state, byte) {
            (State::FirstDigit | State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => self.digit(byte)?,
            (State::Size | State::AfterSize | State::Extension, b'\r') => State::SizeLf,
            (State::Size | State::AfterSize, b' ' | b'\t') => self.extension(State::AfterSize)?,
            (State::Size | State::AfterSize, b';') => State::Extension,
            // Some take a line feed alone for the end of the line (CVE-2025-55315).
            (State::Extension | State::Line | State::Trailer, b'\n') => {
                return Err(Error::Framing("a line feed alone among its chunks"));
            }
            (State::Extension, _) => self.extension(State::Extension)?,
            (State::SizeLf, b'\n') if self.size == 0 => State::Line,
            (State::SizeLf, b'\n') => State::Data,
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::FirstDigit,
            (State::Line, b'\r') => State::EndLf,
            (State::Trailer, b'\r') => self.trailer(byte, State::TrailerLf)?,
            (State::Line | State::Trailer, _) => self.trailer(byte, State::Trailer)?,
            (State::TrailerLf, b'\n') => self.trailer(byte, State::Line)?,
            (State::EndLf, b'\n') => {
                if self.has_trailers() {
                    self.trailers.extend_from_slice(b"\r\n");
                }
                State::End
            }
            (State::FirstDigit | State::Size | State::AfterSize, _) => {
                return Err(Error::Framing("a chunk's size is no number"));
            }
            _ => return Err(Error::Framing("a chunk does not end where it says")),
        };
        Ok(())
    }

    fn digit(&mut self, digit: u8) -> Result<State, Error> {
        let value = char::from(digit).to_digit(16).unwrap_or(0);
        let size = self.size.checked_mul(16).and_then(|size| size.checked_add(value.into()));
        self.size = size.ok_or(Error::Framing("a chunk's size is too large"))?;
        Ok(State::Size)
    }

    fn extension(&mut self, next: State) -> Result<State, Error> {
        self.extension_bytes += 1;
        if self.extension_bytes > EXTENSION_BYTES_MAX {
            return Err(Error::Framing("too many chunk extensions"));
        }
        Ok(next)
    }

    fn trailer(&mut self, byte: u8, next: State) -> Result<State, Error> {
        self.trailers.push(byte);
        if self.trailers.len() > TRAILER_BYTES_MAX {
            return Err(Error::Framing("too many trailers"));
        }
        Ok(next)
    }
}
