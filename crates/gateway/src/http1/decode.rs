//! Where a message's body ends (RFC 9112, section 6.3).

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};

use super::{Error, chunked::Chunked};

/// What is left of a body, by the way its end is known.
#[derive(Debug, Default)]
pub(crate) enum Decoder {
    /// Nothing.
    #[default]
    End,
    /// So many bytes; never 0.
    Length(u64),
    Chunked(Chunked),
    /// All until the sender closes the connection.
    Close,
    /// What follows is wrong; said when what came before it was taken.
    Failed(Error),
    /// That was said. Nothing after it is part of any message.
    Broken,
}

impl Decoder {
    pub(crate) fn length(bytes: u64) -> Self {
        if bytes == 0 { Self::End } else { Self::Length(bytes) }
    }

    /// Takes the next frame that `buffer` holds; `None` when more must be read, or at the end. After an error it
    /// has no end.
    pub(crate) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame<Bytes>>, Error> {
        self.decode_unbroken(buffer).inspect_err(|_| *self = Self::Broken)
    }

    fn decode_unbroken(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame<Bytes>>, Error> {
        match self {
            Self::End => Ok(None),
            Self::Length(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                if count == 0 {
                    return Ok(None);
                }
                *self = Self::length(*left - count as u64);
                Ok(Some(Frame::data(buffer.split_to(count).freeze())))
            }
            Self::Chunked(chunked) => {
                if let Some(data) = chunked.data(buffer)? {
                    self.advance(buffer);
                    return Ok(Some(Frame::data(data)));
                }
                if !chunked.is_end() {
                    return Ok(None);
                }
                let trailers = chunked.take_trailers()?;
                *self = Self::End;
                Ok(trailers.map(Frame::trailers))
            }
            Self::Close if buffer.is_empty() => Ok(None),
            Self::Close => Ok(Some(Frame::data(buffer.split().freeze()))),
            Self::Failed(_) | Self::Broken => Err(self.fail()),
        }
    }

    /// Takes all that is left, if `buffer` holds it and it is of a known length.
    pub(crate) fn take_whole(&mut self, buffer: &mut BytesMut) -> Option<Bytes> {
        let length = match self {
            Self::End => 0,
            Self::Length(left) => usize::try_from(*left).ok().filter(|left| *left <= buffer.len())?,
            Self::Chunked(_) | Self::Close | Self::Failed(_) | Self::Broken => return None,
        };
        *self = Self::End;
        Some(if length == 0 { Bytes::new() } else { buffer.split_to(length).freeze() })
    }

    /// Reads ahead to the end, if `buffer` holds it and no frame is before it: an end that is known need not
    /// be asked for.
    pub(crate) fn advance(&mut self, buffer: &mut BytesMut) {
        let Self::Chunked(chunked) = self else { return };
        match chunked.advance(buffer) {
            Ok(()) if chunked.is_end() && !chunked.has_trailers() => *self = Self::End,
            Ok(()) => {}
            Err(error) => *self = Self::Failed(error),
        }
    }

    /// The sender closed the connection.
    pub(crate) fn close(&mut self) -> Result<(), Error> {
        match self {
            Self::End | Self::Close => {
                *self = Self::End;
                Ok(())
            }
            Self::Length(_) | Self::Chunked(_) | Self::Failed(_) | Self::Broken => Err(self.fail()),
        }
    }

    /// Why there is no end; from here on there is none.
    fn fail(&mut self) -> Error {
        match std::mem::replace(self, Self::Broken) {
            Self::Failed(error) => error,
            _ => Error::Cut,
        }
    }

    pub(crate) fn is_end(&self) -> bool {
        matches!(self, Self::End)
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self {
            Self::End => SizeHint::with_exact(0),
            Self::Length(left) => SizeHint::with_exact(*left),
            Self::Chunked(_) | Self::Close | Self::Failed(_) | Self::Broken => SizeHint::default(),
        }
    }
}
