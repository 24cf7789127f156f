//! How the end of a body that is sent is said.

use std::io::Write as _;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, header};

use super::{Error, Output};
use crate::headers::{Headers, Known, write_line};

/// How the end of a body is said.
#[derive(Debug, Default)]
pub(crate) enum Coding {
    /// It was said.
    #[default]
    End,
    /// By its length, of which so much is left; never 0.
    Length(u64),
    /// By a last chunk, with trailers that were announced.
    Chunked { announced: Vec<HeaderName> },
    /// By the end of the connection.
    Close,
    /// Not at all: whatever comes is not sent.
    Nothing,
}

impl Coding {
    /// Puts in data that is not empty; `last` if nothing follows.
    pub(crate) fn data(&mut self, data: Bytes, last: bool, output: &mut Output) -> Result<(), Error> {
        match self {
            Self::End => Err(Error::Body("it is longer than it said".into())),
            Self::Length(left) => {
                let rest = left.checked_sub(data.len() as u64);
                let rest = rest.ok_or_else(|| Error::Body("it is longer than it said".into()))?;
                *self = if rest == 0 { Self::End } else { Self::Length(rest) };
                output.put(data, b"");
                Ok(())
            }
            Self::Chunked { .. } => {
                let _ = write!(output.buffer(), "{:x}\r\n", data.len());
                if last {
                    *self = Self::End;
                }
                output.put(data, if last { b"\r\n0\r\n\r\n" } else { b"\r\n" });
                Ok(())
            }
            Self::Close => {
                output.put(data, b"");
                Ok(())
            }
            Self::Nothing => Ok(()),
        }
    }

    /// Says the end.
    pub(crate) fn end(&mut self, trailers: Option<&HeaderMap>, output: &mut Output) -> Result<(), Error> {
        match std::mem::take(self) {
            Self::End | Self::Close | Self::Nothing => {}
            Self::Length(_) => return Err(Error::Body("it is shorter than it said".into())),
            Self::Chunked { announced } => {
                let buffer = output.buffer();
                buffer.extend_from_slice(b"0\r\n");
                for (name, value) in
                    trailers.into_iter().flatten().filter(|(name, _)| announced.contains(name))
                {
                    write_line(buffer, name.as_str().as_bytes(), value.as_bytes());
                }
                buffer.extend_from_slice(b"\r\n");
            }
        }
        Ok(())
    }
}

/// The trailers that `Trailer` announces, without what frames, routes or authenticates a message: a reader who
/// merges trailers into the head must not be misled (RFC 9110, section 6.5.1).
pub(crate) fn announced(headers: &Headers) -> Vec<HeaderName> {
    let lines = headers.all_known(Known::Trailer);
    let names = lines.flat_map(|line| line.split(|byte| *byte == b','));
    let names = names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok());
    names.filter(|name| !NO_TRAILERS.contains(name)).collect()
}

const NO_TRAILERS: [HeaderName; 14] = [
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::HOST,
    header::MAX_FORWARDS,
    header::SET_COOKIE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
