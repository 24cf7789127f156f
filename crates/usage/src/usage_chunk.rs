//! The chunk that a chat stream has only because `include_usage` asked for it, taken out for clients who did not ask.
//!
//! The chunk is an event of its own: its `choices` are empty and it has `usage`. The other chunks may then have
//! `"usage":null`; they are left as they are, because clients ignore it and a copy of each chunk would cost more.

use std::sync::LazyLock;

use bytes::Bytes;

use crate::document::Document;
use crate::memo::Recall;
use crate::paths::{EACH, Mark, Paths, Take, Text, Tree, Wanted, What};
use crate::readings::{Piece, Sink};
use crate::scalar::Reading;
use crate::sse::EventStream;

/// Bytes of an event that is held back or taken out; the largest such chunks that are known have about 1 KiB.
pub const USAGE_CHUNK_BYTES_MAX: usize = 8192;

static TREE: LazyLock<Tree> = LazyLock::new(|| {
    Tree::new(vec![
        Wanted::new(&["choices"], What::Mark(Mark::Choices)),
        Wanted::new(&["choices", EACH], What::Mark(Mark::Choice)),
        Wanted::new(&["usage"], What::Mark(Mark::Usage)),
    ])
});

/// Passes an uncompressed chat or completions stream on, all but the chunk that only has usage.
///
/// Bytes leave in the call that brings them, as slices of what came. Only the beginning of an event stays behind, when
/// a chunk ends within it before its first choice: such an event may still be the one. It is copied, at most
/// [`USAGE_CHUNK_BYTES_MAX`] of it; longer events pass. What leaves is the same for any chunking.
///
/// ```
/// use bytes::Bytes;
/// use tollgate_usage::UsageChunkFilter;
///
/// let mut filter = UsageChunkFilter::new();
/// let stream = "data: {\"choices\":[{}]}\n\ndata: {\"choices\":[],\"usage\":{}}\n\ndata: [DONE]\n\n";
/// let mut seen = Vec::new();
/// filter.feed(&Bytes::from(stream), |bytes| seen.extend_from_slice(&bytes));
/// assert_eq!(seen, b"data: {\"choices\":[{}]}\n\ndata: [DONE]\n\n");
/// assert_eq!(filter.finish(), None);
/// ```
#[derive(Debug)]
pub struct UsageChunkFilter {
    events: EventStream<Seen>,
    document: Document,
    seen: Seen,
    /// The beginning of the present event, which came in earlier chunks.
    held: Vec<u8>,
    /// Bytes of the present event so far.
    event_bytes: usize,
    /// The present event is not the one.
    passes: bool,
    /// The last event was the one: an LF that belongs to its end goes too.
    took_out: bool,
}

impl Default for UsageChunkFilter {
    fn default() -> Self {
        Self::new()
    }
}

impl UsageChunkFilter {
    /// A filter at the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self {
            events: EventStream::new(),
            document: Document::new(Paths::Known(&TREE)),
            seen: Seen::default(),
            held: Vec::new(),
            event_bytes: 0,
            passes: false,
            took_out: false,
        }
    }

    /// Passes the stream's next bytes on to `out`, which is never given nothing.
    pub fn feed(&mut self, chunk: &Bytes, mut out: impl FnMut(Bytes)) {
        let mut out = |bytes: Bytes| {
            if !bytes.is_empty() {
                out(bytes);
            }
        };
        // What is before `start` has left; what is from `event` on belongs to the present event.
        let (mut start, mut event, mut at) = (0, 0, 0);
        while at < chunk.len() {
            let is_whole = self.document.is_whole();
            let ends_cr = self.events.is_after_cr() && chunk[at] == b'\n';
            let read = self.events.step(&chunk[at..], &mut self.document, &mut self.seen);
            at += read;
            self.event_bytes += read;
            if std::mem::take(&mut self.seen.is_over) {
                self.took_out = is_whole && self.is_usage_chunk();
                if self.took_out {
                    out(chunk.slice(start..event));
                    self.held.clear();
                    start = at;
                } else {
                    out(Bytes::from(std::mem::take(&mut self.held)));
                }
                event = at;
                self.next_event();
            } else if !self.events.in_event() {
                // Comments, empty lines, and the LF of the CR before it.
                if std::mem::take(&mut self.took_out) && ends_cr {
                    start = at;
                }
                event = at;
                self.event_bytes = 0;
            } else if !self.passes && !self.may_be_usage_chunk() {
                self.passes = true;
                self.document.abandon();
                out(Bytes::from(std::mem::take(&mut self.held)));
            }
        }
        if self.events.in_event() && !self.passes {
            out(chunk.slice(start..event));
            self.held.extend_from_slice(&chunk[event..]);
        } else {
            out(chunk.slice(start..));
        }
    }

    /// What is held back when the stream ends: an event that was cut. The chunk itself stays out even without the
    /// empty line after it.
    #[must_use]
    pub fn finish(self) -> Option<Bytes> {
        let is_usage_chunk = self.document.is_whole() && self.is_usage_chunk();
        (!self.held.is_empty() && !is_usage_chunk).then(|| Bytes::from(self.held))
    }

    /// Whether the present event is the one, if its document is whole.
    fn is_usage_chunk(&self) -> bool {
        let Seen { choices, choice, usage, is_over: _ } = self.seen;
        choices && !choice && usage && !self.passes && self.event_bytes <= USAGE_CHUNK_BYTES_MAX
    }

    fn may_be_usage_chunk(&self) -> bool {
        let is_read = self.document.is_over();
        let may_be = !self.seen.choice && self.event_bytes <= USAGE_CHUNK_BYTES_MAX;
        may_be && (!is_read || self.document.is_whole() && self.is_usage_chunk())
    }

    fn next_event(&mut self) {
        self.seen = Seen::default();
        self.event_bytes = 0;
        self.passes = false;
    }
}

/// What of an event decides.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    choices: bool,
    choice: bool,
    usage: bool,
    /// The event has ended.
    is_over: bool,
}

impl Sink for Seen {
    fn take(&mut self, _takes: &[Take], _reading: Reading) {}

    fn text(&mut self, _text: Text, _piece: Piece<'_>) {}

    fn mark(&mut self, mark: Mark, reading: Reading) {
        match mark {
            Mark::Choice => self.choice = true,
            Mark::Usage => self.usage |= reading.is_present(),
            // Not an array.
            Mark::Choices
            | Mark::Index
            | Mark::ChoiceIndex
            | Mark::Created
            | Mark::Sequence
            | Mark::Opened
            | Mark::Closed => {}
        }
    }

    fn begin(&mut self, mark: Mark) {
        self.choices |= mark == Mark::Choices;
    }

    fn next_document(&mut self) {
        self.is_over = true;
    }
}

impl Recall for Seen {
    type Memory = Self;

    fn memory(&self) -> Option<Self> {
        Some(*self)
    }

    fn recall(&mut self, memory: Self) {
        *self = memory;
    }
}
