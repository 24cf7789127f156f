//! A connection that carries one exchange after another.

use std::{
    mem,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use http_body::{Frame, SizeHint};

use super::{
    READ_BYTES_MAX, Tunnel, encode,
    head::{Head, Reader},
    upload::Upload,
};
use crate::{
    body::RequestBody,
    head::ResponseHead,
    headers::Headers,
    http1::{Decoder, Error, Input, Output, Stream},
    upstream::{Outgoing, endpoint::Connected},
};

/// A connection to an upstream. Dropping it closes it, which is how the upstream learns that nobody waits
/// any more.
pub(crate) struct Connection {
    stream: Stream,
    input: Input,
    output: Output,
    upload: Upload,
    reader: Reader,
    decoder: Decoder,
    keep_alive: bool,
    /// Memory for the answer's headers: that of the last request's, which went this way.
    spare: Headers,
    connected: Connected,
}

impl Connection {
    pub(crate) fn new(stream: Stream, connected: Connected) -> Self {
        Self {
            stream,
            input: Input::new(READ_BYTES_MAX),
            output: Output::default(),
            upload: Upload::default(),
            reader: Reader::default(),
            decoder: Decoder::End,
            keep_alive: true,
            spare: Headers::default(),
            connected,
        }
    }

    /// Whether an idle connection is still open, with nothing on it that nobody asked for.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.stream.is_quiet()
    }

    /// Begins an exchange and takes the body of `request`; what it says of its framing and host is replaced.
    pub(crate) fn begin(&mut self, request: &mut Outgoing, host: &HeaderValue) {
        let Outgoing { parts, body } = request;
        let coding = encode::coding(&parts.headers, body);
        encode::head(self.output.buffer(), parts, host, &coding);
        self.upload = Upload::new(mem::replace(body, RequestBody::Empty), coding);
        self.reader = Reader::new(parts.method.clone());
        // Until the answer says otherwise.
        self.keep_alive = false;
    }

    /// The answer's head, as soon as it is there; the request is sent on meanwhile, and `inform` gets what the
    /// upstream says before.
    pub(crate) fn poll_head(
        &mut self,
        inform: impl Fn(ResponseHead),
        cx: &mut Context<'_>,
    ) -> Poll<Result<ResponseHead, Error>> {
        let _ = self.poll_upload(cx)?;
        loop {
            if let Some(head) = self.reader.take(&mut self.input.buffer, &mut self.spare, &inform)? {
                return Poll::Ready(self.answered(head));
            }
            if ready!(self.input.poll_read(&mut self.stream, cx))? == 0 {
                return Poll::Ready(Err(Error::NoAnswer));
            }
        }
    }

    /// Keeps the memory of a request's headers that are not needed any more.
    pub(crate) fn reuse(&mut self, mut used: Headers) {
        used.clear();
        self.spare = used;
    }

    fn answered(&mut self, head: Head) -> Result<ResponseHead, Error> {
        let Head { response, body, keep_alive } = head;
        if response.status == StatusCode::SWITCHING_PROTOCOLS && !self.is_sent() {
            return Err(Error::Framing("it changes the protocol in the middle of a request"));
        }
        self.decoder = body;
        self.keep_alive = keep_alive;
        // An end that is there already need not be waited for.
        self.decoder.advance(&mut self.input.buffer);
        Ok(response)
    }

    /// Sends more of the request; ready when there is no more to send, also if the upstream reads no more:
    /// it may have answered nevertheless.
    pub(super) fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            if self.upload.is_over() && self.output.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let filled = self.upload.poll_fill(&mut self.output, cx)?;
            if let Err(error) = ready!(self.output.poll_flush(&mut self.stream, cx)) {
                tracing::debug!(%error, "the upstream does not read the request");
                self.upload.fail();
                self.output.clear();
                return Poll::Ready(Ok(()));
            }
            ready!(filled);
        }
    }

    /// The next frame of the answer's body.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        loop {
            if let Some(frame) = self.decoder.decode(&mut self.input.buffer)? {
                return Poll::Ready(Some(Ok(frame)));
            }
            if self.decoder.is_end() {
                return Poll::Ready(None);
            }
            if ready!(self.input.poll_read(&mut self.stream, cx)).map_err(Error::Io)? == 0 {
                self.decoder.close()?;
            }
        }
    }

    /// Takes all that is left of the answer's body, if it is there and as long as the head says.
    pub(super) fn take_whole(&mut self) -> Option<Bytes> {
        self.decoder.take_whole(&mut self.input.buffer)
    }

    /// Whether the request left whole, as far as it was read.
    pub(super) fn is_sent(&self) -> bool {
        self.upload.is_over() && self.output.is_empty() && !self.upload.has_failed()
    }

    /// Whether nothing of the request is left to send.
    pub(super) fn is_upload_over(&self) -> bool {
        self.upload.is_over() && self.output.is_empty()
    }

    /// Whether the answer was read to its end.
    pub(super) fn is_end(&self) -> bool {
        self.decoder.is_end()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.decoder.size_hint()
    }

    /// Whether it can serve another request; gets ready for it.
    pub(super) fn rest(&mut self) -> bool {
        let reusable = self.keep_alive && self.is_end() && self.is_sent() && self.input.buffer.is_empty();
        if reusable {
            self.input.rest();
            self.output.rest();
        }
        reusable
    }

    /// The stream and what was read of it, after a switch of protocols.
    pub(super) fn into_tunnel(self) -> Tunnel {
        let Self { stream, input, connected, .. } = self;
        Tunnel::new(stream, input.buffer.freeze(), connected)
    }
}
