//! A conversation with a model over a WebSocket: each of its answers is charged as it arrives, and a limit that is
//! reached ends it.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    io,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Method};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tollgate_core::{RequestKey, SETTLEMENT_CHARGES_MAX, UnixMillis};
use tollgate_quota::Hold;
use tollgate_usage::{Realtime, TokenUsage, close_frame};

use super::used;
use crate::{
    admission::{self, Applicant, Needs},
    admitted::{Admission, Admitted},
    amounts::per_meter,
    connection::Connection,
    end::End,
    identity::Caller,
    live::{Route, RouteCharge, Snapshot},
    measures::{Measures, Model},
    refusal::{Code, Refusal},
};

/// Answers that wait to be charged; with more, the upstream waits.
const UNCHARGED_MAX: usize = 64;
/// RFC 6455, section 7.4.1: the policy of this side is against going on; it may be tried again later.
const POLICY_VIOLATION: u16 = 1008;
const TRY_AGAIN_LATER: u16 = 1013;

/// A conversation, as those who carry it and those who charge for it share it.
pub(crate) struct Conversation {
    parties: Parties,
    reader: RefCell<Realtime>,
    /// What answers used that are not charged yet.
    uncharged: RefCell<VecDeque<TokenUsage>>,
    /// What could not be admitted: it is charged when the conversation ends, which is now.
    owed: RefCell<Needs>,
    /// The frame that ends it, once something does.
    ending: Cell<Option<Bytes>>,
    is_ending: Cell<bool>,
}

/// Who talks, and by which rules.
pub(crate) struct Parties {
    pub(crate) connection: Rc<Connection>,
    pub(crate) live: Rc<Snapshot>,
    pub(crate) route: Arc<Route>,
    pub(crate) caller: Caller,
    pub(crate) method: Method,
    pub(crate) request_id: HeaderValue,
}

/// What a conversation used that was not charged while it went on, by position of the route's charges.
pub(crate) struct Owed {
    pub(crate) amounts: Needs,
    /// Whether some of it could not be read.
    pub(crate) has_unread: bool,
}

impl Conversation {
    pub(crate) fn new(parties: Parties) -> Rc<Self> {
        let owed = parties.route.charges.iter().take(SETTLEMENT_CHARGES_MAX).map(|_| 0).collect();
        Rc::new(Self {
            parties,
            reader: RefCell::default(),
            uncharged: RefCell::default(),
            owed: RefCell::new(owed),
            ending: Cell::default(),
            is_ending: Cell::new(false),
        })
    }

    /// Charges for answers as they come, until one cannot be paid for. Polled after those who carry the conversation:
    /// they are who wakes it.
    pub(crate) async fn charge(&self) {
        loop {
            let usage = poll_fn(|_| match self.uncharged.borrow().front() {
                Some(usage) => Poll::Ready(*usage),
                None => Poll::Pending,
            });
            let usage = usage.await;
            let charged = self.charge_one(&usage).await;
            self.uncharged.borrow_mut().pop_front();
            if let Err(refusal) = charged {
                self.owe(&usage);
                self.end(&refusal);
                return;
            }
        }
    }

    async fn charge_one(&self, usage: &TokenUsage) -> Result<(), Refusal> {
        let Parties { connection, live, route, caller, method, request_id } = &self.parties;
        let worker = &connection.worker;
        let arrived = worker.now();
        let needs = &self.amounts(usage, arrived);
        let model = self.model();
        let open = |hold: Hold| {
            let key = RequestKey::new(hold.at(), worker.random());
            let admission = Admission {
                shared: Arc::clone(&worker.shared),
                live: Rc::clone(live),
                route: Arc::clone(route),
                tier: caller.tier,
                own: caller.own.clone(),
                user: caller.user.clone(),
                org: caller.org.clone(),
                method: method.clone(),
                key,
                request_id: request_id.clone(),
                call: None,
                stated: None,
                kept: None,
            };
            Admitted::open(admission, hold, needs).map_err(admission::not_journalled)
        };
        let queued = &Cell::default();
        let applicant = Applicant { live, route, caller, needs, arrived, kept_bytes: 0, queued };
        let admitted = admission::admit(worker, applicant, &mut None, open).await?;
        let said = Model::Said { usage, model: model.as_deref(), amounts: needs };
        let _ = admitted.settle(End::Answered { status: 101 }, &Measures::of_model(said));
        Ok(())
    }

    /// What is charged for an answer, by position of the route's charges: only what the answer says.
    fn amounts(&self, usage: &TokenUsage, at: UnixMillis) -> Needs {
        let model = self.model();
        let priced = (self.parties.live.plans(), at);
        let counts = |charge: &RouteCharge| charge.counts_model(model.as_deref());
        per_meter(&self.parties.route.charges, counts, |_, (_, part)| {
            let Some((measure, measured)) = part.of_model() else { return 0 };
            let amount = used::amount(measure, usage, model.as_deref(), priced);
            amount.map_or(measured.hold, |amount| measured.conversion.apply_whole(amount))
        })
    }

    fn model(&self) -> Option<String> {
        self.reader.borrow().model().map(str::to_owned)
    }

    fn owe(&self, usage: &TokenUsage) {
        let amounts = self.amounts(usage, self.parties.connection.worker.now());
        for (owed, amount) in self.owed.borrow_mut().iter_mut().zip(amounts) {
            *owed = owed.saturating_add(amount);
        }
    }

    fn end(&self, refusal: &Refusal) {
        let code = match refusal.code {
            Code::QuotaExceeded | Code::RateLimited | Code::TooManyJobs => POLICY_VIOLATION,
            _ => TRY_AGAIN_LATER,
        };
        self.ending.set(Some(close_frame(code, refusal.code.name(), None).into()));
        self.is_ending.set(true);
    }

    /// Whether it is about to end.
    pub(crate) fn is_ending(&self) -> bool {
        self.is_ending.get()
    }

    /// What is left to be charged when nothing more comes.
    pub(crate) fn settle_up(&self) -> Owed {
        while let Some(usage) = self.next_uncharged() {
            self.owe(&usage);
        }
        Owed { amounts: self.owed.borrow().clone(), has_unread: self.reader.borrow().has_unread() }
    }

    fn next_uncharged(&self) -> Option<TokenUsage> {
        self.uncharged.borrow_mut().pop_front()
    }

    /// Reads what the model says; how much of it passes, and whether the conversation ends after it.
    fn hear(&self, bytes: &[u8]) -> (usize, bool) {
        let each = |usage| self.uncharged.borrow_mut().push_back(usage);
        let mut reader = self.reader.borrow_mut();
        if !self.is_ending.get() {
            reader.feed(bytes, each);
            return (bytes.len(), false);
        }
        match reader.feed_to_boundary(bytes, each) {
            Some(read) => (read, true),
            None => (bytes.len(), false),
        }
    }
}

/// The upstream's end of a tunnel, listened to.
pub(crate) struct Tapped<S> {
    inner: S,
    conversation: Option<Rc<Conversation>>,
    /// What the client still gets when nothing of the upstream passes any more.
    last_words: Option<Bytes>,
}

impl<S> Tapped<S> {
    pub(crate) fn new(inner: S, conversation: Option<Rc<Conversation>>) -> Self {
        Self { inner, conversation, last_words: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tapped<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some(conversation) = &this.conversation else {
            return Pin::new(&mut this.inner).poll_read(cx, buf);
        };
        if this.last_words.is_none()
            && conversation.is_ending()
            && conversation.reader.borrow().is_at_boundary()
        {
            this.last_words = Some(conversation.ending.take().unwrap_or_default());
        }
        if let Some(words) = &mut this.last_words {
            // Then nothing: the end of what the upstream says.
            buf.put_slice(&words.split_to(words.len().min(buf.remaining())));
            return Poll::Ready(Ok(()));
        }
        if conversation.uncharged.borrow().len() >= UNCHARGED_MAX {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        std::task::ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        let (passes, ends) = conversation.hear(&buf.filled()[before..]);
        buf.set_filled(before + passes);
        if ends && passes == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tapped<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
