//! A client's connection, as those share it who serve its request.

use std::{
    cell::RefCell,
    io, mem,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Frame, SizeHint};
use tokio::{io::AsyncWrite as _, sync::oneshot};

use super::{
    AHEAD_BYTES_MAX, LINGER_BYTES_MAX, READ_BYTES_MAX, answer,
    head::{Asked, Head, Reader},
};
use crate::{
    body::DRAIN_BYTES_MAX,
    connection::Activity,
    deadline::Task,
    forwarding,
    head::ResponseHead,
    headers::Headers,
    http1::{Decoder, Error, Input, Output, Stream, Tunnel},
};

pub(crate) type Shared = Rc<RefCell<Wire>>;

/// The body of a request that begins.
pub(super) enum Begun {
    Whole(Bytes),
    /// There is something to read, for the request of this number.
    Reading(u64),
}

/// A connection on which one request is served at a time.
pub(crate) struct Wire {
    pub(super) stream: Stream,
    input: Input,
    /// What is said before an answer; while an answer is written, its writer has it.
    output: Option<Output>,
    /// Of the requests so far.
    number: u64,
    /// What is left of the request's body.
    body: Decoder,
    /// Another task that waits for more of it: nobody else would tell it that no more comes.
    reader: Option<Waker>,
    /// Whether what comes cannot be read any more.
    is_broken: bool,
    /// Whether the client closed the connection.
    is_gone: bool,
    /// Whether the client waits to be asked for the body.
    expects_continue: bool,
    /// Whether the client knows informational answers.
    by_http_11: bool,
    /// Whether the end of what is written is the end of the connection.
    pub(super) only_close_ends: bool,
    /// Who carries on after a switch of protocols.
    switching: Option<oneshot::Sender<Tunnel>>,
    activity: Arc<Activity>,
    /// That serves the connection.
    task: Rc<Task>,
}

impl Wire {
    /// A connection that `task` serves.
    pub(super) fn new(stream: Stream, activity: Arc<Activity>, task: Rc<Task>) -> Self {
        Self {
            stream,
            input: Input::new(READ_BYTES_MAX),
            output: Some(Output::default()),
            number: 0,
            body: Decoder::End,
            reader: None,
            is_broken: false,
            is_gone: false,
            expects_continue: false,
            by_http_11: false,
            only_close_ends: false,
            switching: None,
            activity,
            task,
        }
    }

    /// The next request's head; `None` when none will come: the client closed the connection, or it is idle and
    /// `is_last_call`.
    pub(super) fn poll_head(
        &mut self,
        reader: &mut Reader,
        used: &mut Headers,
        is_last_call: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Head>, Error>> {
        loop {
            if let Some(head) = reader.take(&mut self.input.buffer, used)? {
                return Poll::Ready(Ok(Some(head)));
            }
            match self.poll_read(cx) {
                Poll::Pending if is_last_call && self.input.buffer.is_empty() => {
                    return Poll::Ready(Ok(None));
                }
                Poll::Pending => return Poll::Pending,
                // In the middle of a head, too, there is nobody to tell.
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Ok(None)),
                Poll::Ready(Ok(_)) => {}
            }
        }
    }

    /// A request begins, with this body. What is there whole is taken at once.
    pub(super) fn begin(&mut self, body: Decoder, asked: &Asked) -> Begun {
        self.number += 1;
        self.body = body;
        self.expects_continue = asked.expects_continue;
        self.by_http_11 = asked.by_http_11;
        if let Some(data) = self.body.take_whole(&mut self.input.buffer) {
            return Begun::Whole(data);
        }
        // An end that is there already need not be waited for.
        self.body.advance(&mut self.input.buffer);
        if self.is_body_read() { Begun::Whole(Bytes::new()) } else { Begun::Reading(self.number) }
    }

    /// Of the request that is served, or was last.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn is_body_read(&self) -> bool {
        self.body.is_end()
    }

    pub(super) fn body_size(&self) -> SizeHint {
        self.body.size_hint()
    }

    /// The next frame of the request's body.
    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.is_broken {
            return Poll::Ready(Some(Err(Error::Cut)));
        }
        let polled = self.poll_body_unbroken(cx);
        self.is_broken = matches!(polled, Poll::Ready(Some(Err(_))));
        self.reader = (polled.is_pending() && !self.task.is_current()).then(|| cx.waker().clone());
        if polled.is_ready() && (self.is_broken || self.is_body_read()) && !self.task.is_current() {
            // From here on it is the connection's own task that looks at what comes.
            self.task.wake();
        }
        polled
    }

    fn poll_body_unbroken(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        loop {
            if let Some(frame) = self.body.decode(&mut self.input.buffer)? {
                return Poll::Ready(Some(Ok(frame)));
            }
            if self.is_body_read() {
                return Poll::Ready(None);
            }
            self.invite(cx);
            let read = ready!(self.poll_read(cx));
            self.is_gone = matches!(read, Ok(0) | Err(_));
            if read.map_err(Error::Io)? == 0 {
                return Poll::Ready(Some(Err(Error::Cut)));
            }
        }
    }

    /// Asks for the body, if the client waits for that and is not answered yet.
    fn invite(&mut self, cx: &mut Context<'_>) {
        if !mem::take(&mut self.expects_continue) {
            return;
        }
        let Some(output) = &mut self.output else { return };
        output.buffer().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        if !matches!(output.poll_flush(&mut self.stream, cx), Poll::Ready(Ok(()))) {
            self.task.wake();
        }
    }

    /// Passes on what an upstream says before its answer, as far as the client is ready for it: it can do without.
    pub(crate) fn inform(&mut self, mut head: ResponseHead) {
        let Some(output) = &mut self.output else { return };
        // The client was asked for its body when that was wanted.
        if self.by_http_11 && output.has_room() && head.status != StatusCode::CONTINUE {
            forwarding::undress(&mut head.headers);
            answer::informational(output.buffer(), &head);
        }
    }

    /// While a request is served: says what is to be said before the answer; ready when the client is gone.
    pub(super) fn poll_meanwhile(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(output) = self.output.as_mut().filter(|output| !output.is_empty())
            && let Poll::Ready(Err(_)) = output.poll_flush(&mut self.stream, cx)
        {
            return Poll::Ready(());
        }
        self.poll_gone(cx)
    }

    /// Ready when the client closed the connection. What it sends is kept for later, as far as there is room; a body is
    /// not looked beyond, because who reads it finds out.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_gone {
            return Poll::Ready(());
        }
        while self.is_body_read() && !self.is_broken && self.input.buffer.len() < AHEAD_BYTES_MAX {
            if let Ok(0) | Err(_) = ready!(self.poll_read(cx)) {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// An answer begins: nobody else writes until it has ended.
    pub(super) fn take_output(&mut self) -> Output {
        self.output.take().unwrap_or_default()
    }

    /// Takes away what is there of the body. One that nobody wanted is no trouble if it is there; one that is broken hides
    /// what follows it.
    pub(super) fn pass_over_body(&mut self) {
        self.is_broken |= loop {
            match self.body.decode(&mut self.input.buffer) {
                Ok(Some(_)) => {}
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
    }

    /// Whether what is left of the body is little, and comes unasked: it can be read away when it was answered.
    pub(super) fn is_nearly_read(&self) -> bool {
        let left = self.body_size().upper();
        let is_little = left.is_some_and(|bytes| bytes <= DRAIN_BYTES_MAX);
        self.is_body_read() || is_little && !self.expects_continue && !self.is_broken
    }

    /// The answer has ended.
    pub(super) fn end(&mut self, mut output: Output) {
        output.rest();
        self.output = Some(output);
        self.pass_over_body();
        // Whoever still holds the body reads nothing of the next one.
        self.number += 1;
        self.wake_reader();
    }

    /// Reads away what is left of the body of the request that was answered; ready when there is no more.
    pub(super) fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(Ok(_)) = ready!(self.poll_body(cx)) {}
        Poll::Ready(())
    }

    /// Whether the connection can carry another request; gets ready for it.
    pub(super) fn rest(&mut self) -> bool {
        let reusable = self.is_body_read() && !self.is_broken;
        if reusable && self.input.buffer.is_empty() {
            self.input.rest();
        } else {
            self.activity.received();
        }
        reusable
    }

    /// Whether something of a further request came already.
    pub(super) fn has_ahead(&self) -> bool {
        !self.input.buffer.is_empty()
    }

    /// Has the connection handed over when the switch is said.
    pub(crate) fn switch(&mut self) -> oneshot::Receiver<Tunnel> {
        let (sender, receiver) = oneshot::channel();
        self.switching = Some(sender);
        receiver
    }

    /// The switch is said.
    pub(super) fn hand_over(&mut self) {
        if let Some(switching) = self.switching.take() {
            let stream = mem::replace(&mut self.stream, Stream::Gone);
            let ahead = mem::replace(&mut self.input, Input::new(READ_BYTES_MAX)).buffer.freeze();
            // If nobody waits for it any more, it closes.
            let _ = switching.send(Tunnel::new(stream, ahead, ()));
        }
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    /// Reads away what the client still sends; ready when that ends, or is too much.
    pub(super) fn poll_linger(&mut self, read: &mut usize, cx: &mut Context<'_>) -> Poll<()> {
        while *read < LINGER_BYTES_MAX {
            self.input.buffer.clear();
            match ready!(self.poll_read(cx)) {
                Ok(0) | Err(_) => break,
                Ok(count) => *read += count,
            }
        }
        Poll::Ready(())
    }

    /// Nothing more is read or written.
    pub(super) fn close(&mut self) {
        if self.output.is_none() {
            self.stream.cut(self.only_close_ends);
        }
        self.stream = Stream::Gone;
        (self.input, self.output, self.switching) = (Input::new(READ_BYTES_MAX), None, None);
        self.is_broken = true;
        self.wake_reader();
    }

    /// Tells whoever reads the body to look again.
    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let read = ready!(self.input.poll_read(&mut self.stream, cx));
        if matches!(read, Ok(1..)) {
            self.activity.received();
        }
        Poll::Ready(read)
    }
}
