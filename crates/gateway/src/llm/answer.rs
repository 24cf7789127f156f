//! An answer as it passes, a model's or one that a route looks at: read for what it says was used.

use std::rc::Rc;

use bytes::Bytes;
use http::header;
use tollgate_usage::{FieldReader, Scanner, TokenUsage, UsageChunkFilter};

use super::{
    Call, Written,
    call::{is_coded, unseal},
};
use crate::{
    admitted::Admitted,
    amounts::Plan,
    connection::Connection,
    headers::{self, Headers},
};

/// An answer as it passes.
pub(crate) struct Answer {
    /// None when it is no model's, or cannot be read.
    scanner: Option<Scanner>,
    /// What the route looks at in it; none when it cannot be decoded.
    fields: Option<Box<FieldReader>>,
    /// Takes out what the client did not ask for.
    filter: Option<UsageChunkFilter>,
    /// Whether a limit can end it.
    is_limited: bool,
    /// Whether a limit ends it as soon as it can end.
    is_full: bool,
    wants_usage: bool,
    /// Whether it is read to its end for a client who leaves.
    reads_on: bool,
    connection: Rc<Connection>,
}

impl Answer {
    /// The answer to a request that was admitted; `headers` lose what will not be true. `None` when nothing of it is
    /// looked at.
    pub(crate) fn of(
        admitted: &Admitted,
        headers: &mut Headers,
        connection: &Rc<Connection>,
    ) -> Option<Box<Self>> {
        let (call, route) = (admitted.call(), admitted.route()?);
        let plan = route.plan.as_deref().filter(|plan| plan.reads_answer());
        if call.is_none() && plan.is_none() {
            return None;
        }
        let fields = plan.and_then(|plan| fields(plan, headers));
        let scanner = call.and_then(|call| call.scanner(route, headers));
        let has_more = call.is_some_and(Call::adds_usage) && is_plain_event_stream(headers);
        // An answer that is whole when it begins is not worth less for being long.
        let is_limited =
            scanner.is_some() && call.is_some_and(|call| is_stream(call, headers)) && admitted.is_limited();
        if has_more {
            unseal(headers);
        } else if is_limited {
            headers.remove(&header::CONTENT_LENGTH);
        }
        let filter = has_more.then(UsageChunkFilter::new);
        let reads_on = (scanner.is_some() || plan.is_some()) && route.reads_on();
        Some(Box::new(Self {
            is_limited,
            is_full: false,
            wants_usage: call.is_some_and(Call::wants_usage),
            scanner,
            fields,
            filter,
            reads_on,
            connection: Rc::clone(connection),
        }))
    }

    /// What the route looks at in it.
    pub(crate) fn fields(&self) -> Option<&FieldReader> {
        self.fields.as_deref()
    }

    /// Whose connection it is read on for when the client leaves now.
    pub(crate) fn reads_on(&self) -> Option<&Rc<Connection>> {
        self.reads_on.then_some(&self.connection)
    }

    /// Reads what passes; what of it is for the client.
    pub(crate) fn read(&mut self, data: Bytes) -> Bytes {
        if let Some(scanner) = &mut self.scanner {
            scanner.feed(&data);
        }
        self.read_fields(&data);
        self.pass(data)
    }

    /// Reads up to the end of the event that `data` begins with or goes on with, or all; how many bytes that is.
    pub(crate) fn read_event(&mut self, data: &[u8]) -> usize {
        let read = match &mut self.scanner {
            Some(scanner) => {
                let begun = if scanner.is_at_boundary() { 1.min(data.len()) } else { 0 };
                let (first, rest) = data.split_at(begun);
                scanner.feed(first);
                scanner.feed_to_boundary(rest).map_or(data.len(), |bytes| first.len() + bytes)
            }
            None => data.len(),
        };
        self.read_fields(data.get(..read).unwrap_or_default());
        read
    }

    fn read_fields(&mut self, data: &[u8]) {
        if let Some(fields) = &mut self.fields {
            fields.feed(data);
        }
    }

    /// What is for the client of `data`, which was read.
    pub(crate) fn pass(&mut self, data: Bytes) -> Bytes {
        let Some(filter) = &mut self.filter else { return data };
        let mut passed = Bytes::new();
        filter.feed(&data, |piece| passed = join(&passed, piece));
        passed
    }

    /// How far it has come, if a limit can end it.
    pub(crate) fn written_limited(&self) -> Option<Written> {
        let scanner = self.scanner.as_ref().filter(|_| self.is_limited && !self.is_full)?;
        let said = scanner.usage().and_then(|usage| usage.output).unwrap_or(0);
        Some(Written { progress: scanner.progress(), said })
    }

    /// A limit ends it as soon as it can end.
    pub(crate) fn fill(&mut self) {
        self.is_full = true;
    }

    /// No limit ends it any more.
    pub(crate) fn let_pass(&mut self) {
        self.is_limited = false;
        self.is_full = false;
    }

    /// Whether a limit ends it as soon as it can end.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Reads what passes up to where the answer can end; what of it is for the client, and what comes behind, if that was
    /// reached.
    pub(crate) fn read_to_boundary(&mut self, mut data: Bytes) -> (Bytes, Option<Bytes>) {
        let end = self.scanner.as_mut().and_then(|scanner| scanner.feed_to_boundary(&data));
        let rest = end.map(|end| data.split_off(end));
        self.read_fields(&data);
        (self.pass(data), rest)
    }

    /// What ends it where it is, as its dialect ends an answer at a limit; `None` when it can only be cut. Nothing when
    /// it has ended itself but for a little: then that may pass.
    pub(crate) fn final_events(&self) -> Option<Bytes> {
        let scanner = self.scanner.as_ref()?;
        scanner.final_events(scanner.progress(), self.wants_usage).map(Bytes::from)
    }

    /// Whether it can end where it is.
    pub(crate) fn is_at_boundary(&self) -> bool {
        self.scanner.as_ref().is_some_and(Scanner::is_at_boundary)
    }

    /// What is for the client when nothing more comes.
    pub(crate) fn finish(&mut self) -> Bytes {
        if let Some(fields) = &mut self.fields {
            fields.end();
        }
        self.filter.take().and_then(UsageChunkFilter::finish).unwrap_or_default()
    }

    /// Whether it may be another length than the upstream's.
    pub(crate) fn is_edited(&self) -> bool {
        self.filter.is_some() || self.is_limited
    }

    /// What it said so far.
    pub(crate) fn usage(&self) -> Option<TokenUsage> {
        self.scanner.as_ref()?.usage()
    }

    /// The model that it named so far.
    pub(crate) fn model(&self) -> Option<&str> {
        self.scanner.as_ref()?.model()
    }

    /// Whether it said that the model failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.scanner.as_ref().is_some_and(Scanner::has_error)
    }

    /// Tokens that were written so far, as far as that can be told from their text.
    pub(crate) fn written(&self) -> i64 {
        self.scanner.as_ref().map_or(0, |scanner| scanner.progress().output)
    }
}

/// The reader of what the route looks at. `None` when the body cannot be decoded.
fn fields(plan: &Plan, headers: &Headers) -> Option<Box<FieldReader>> {
    let mut codings = headers.all(&header::CONTENT_ENCODING);
    let coding = match codings.next() {
        None => None,
        Some(coding) => Some(headers::text(coding)?),
    };
    let is_one = codings.next().is_none() && !plan.response_fields.is_empty();
    is_one.then(|| plan.response_fields.reader(coding).map(Box::new))?
}

/// One piece of two; copied only where both are there, once or twice in a stream.
pub(crate) fn join(first: &Bytes, second: Bytes) -> Bytes {
    if first.is_empty() { second } else { Bytes::from([&**first, &*second].concat()) }
}

fn is_plain_event_stream(headers: &Headers) -> bool {
    media_type(headers).eq_ignore_ascii_case("text/event-stream") && !is_coded(headers)
}

/// Gemini's streams may be JSON, which everywhere else is an answer that was written before it was sent.
fn is_stream(call: &Call, headers: &Headers) -> bool {
    call.is_stream() || !media_type(headers).eq_ignore_ascii_case("application/json")
}

fn media_type(headers: &Headers) -> &str {
    headers.text(&header::CONTENT_TYPE).and_then(|value| value.split(';').next()).unwrap_or_default().trim()
}
