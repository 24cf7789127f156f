//! The body of an upstream's answer, by protocol.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::http1::{Answer, Connection, Tunnel};
use crate::body::BodyError;

/// The body of an upstream's answer.
pub(crate) enum UpstreamBody {
    /// With the connection it comes over.
    H1(Answer),
    H2(Incoming),
}

impl UpstreamBody {
    /// Takes all that is left, if it is there and as long as its head says.
    pub(crate) fn take_whole(&mut self) -> Option<Bytes> {
        match self {
            Self::H1(answer) => answer.take_whole(),
            Self::H2(incoming) => incoming.is_end_stream().then(Bytes::new),
        }
    }

    /// The connection behind it, if nobody else uses it and it can serve another request; if it cannot,
    /// it is closed.
    pub(super) fn finish(&mut self) -> Option<Box<Connection>> {
        match self {
            Self::H1(answer) => answer.finish(),
            Self::H2(_) => None,
        }
    }

    /// Closes the connection behind it, if nobody else uses it.
    pub(crate) fn close(&mut self) {
        match self {
            Self::H1(answer) => answer.close(),
            Self::H2(_) => {}
        }
    }

    /// Carries on after a switch of protocols; HTTP/2 knows none.
    pub(crate) fn into_tunnel(self) -> Option<Tunnel> {
        match self {
            Self::H1(answer) => answer.into_tunnel(),
            Self::H2(_) => None,
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::H1(answer) => answer.poll_frame(cx).map_err(Into::into),
            Self::H2(incoming) => Pin::new(incoming).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::H1(answer) => answer.is_end(),
            Self::H2(incoming) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::H1(answer) => answer.size_hint(),
            Self::H2(incoming) => incoming.size_hint(),
        }
    }
}
