//! Usage from a WebSocket: what each answer within it says, as it arrives.

use crate::TokenUsage;
use crate::dialect::{Api, Dialect};
use crate::document::Document;
use crate::model::Model;
use crate::paths::{Paths, Take, Text};
use crate::readings::{Part, Piece, Readings, Sink};
use crate::scalar::Reading;
use crate::short::Short;
use crate::websocket::Messages;

/// Bytes that a reader of a WebSocket holds.
pub const REALTIME_BYTES_MAX: usize = 3072;

const _: () = assert!(size_of::<Realtime>() <= REALTIME_BYTES_MAX);

/// Bytes of the name of a message; the longest that matters has 53.
const KIND_BYTES_MAX: usize = 56;

/// Reads one direction of a WebSocket as it passes, in any chunks: the bytes after the upgrade, without extensions.
///
/// OpenAI says what an answer used in `response.done` (the Responses API in `response.completed` and the like), and what a
/// transcription used when it is completed. Each says what that answer alone is charged for: its input is the whole
/// conversation again, so the answers of a session are added.
///
/// Gemini Live has `usageMetadata` in one message of each turn. It counts the turn, not the session: prompts grow
/// because each turn reads the conversation again and is charged for that, so the turns are added too. Thoughts are
/// beside what was answered.
///
/// ```
/// use tollgate_usage::Realtime;
///
/// let message = br#"{"type":"response.done","response":{"usage":{"input_tokens":9,"output_tokens":4}}}"#;
/// let mut frame = vec![0x81, message.len() as u8];
/// frame.extend(message);
/// let mut totals = Vec::new();
/// Realtime::new().feed(&frame, |usage| totals.push(usage.total()));
/// assert_eq!(totals, [Some(13)]);
/// ```
#[derive(Debug)]
pub struct Realtime {
    messages: Messages,
    document: Document,
    message: Message,
}

impl Default for Realtime {
    fn default() -> Self {
        Self::new()
    }
}

impl Realtime {
    /// A reader at the beginning of a WebSocket.
    #[must_use]
    pub fn new() -> Self {
        Self {
            messages: Messages::new(),
            document: Document::new(Paths::stream_of(Api::Realtime)),
            message: Message::default(),
        }
    }

    /// Reads the next bytes; `each` is given what each answer used, once, when its message is whole.
    pub fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(TokenUsage)) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let read = self.step(rest, &mut each);
            rest = rest.get(read..).unwrap_or_default();
        }
    }

    /// Reads the next bytes up to the end of the present frame, or all; returns how many those are, 0 when no frame has
    /// begun, and `None` when the frame goes on.
    pub fn feed_to_boundary(&mut self, bytes: &[u8], mut each: impl FnMut(TokenUsage)) -> Option<usize> {
        let mut read = 0;
        while !self.is_at_boundary() {
            let rest = bytes.get(read..).filter(|rest| !rest.is_empty())?;
            read += self.step(rest, &mut each);
        }
        Some(read)
    }

    /// Whether a frame could be put here: the last one is whole. Control frames may lie within a message.
    #[must_use]
    pub fn is_at_boundary(&self) -> bool {
        self.messages.is_between()
    }

    /// The model that a message named last (`session.model`, `setup.model`, `response.model`), if its name is short.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        self.message.model.name()
    }

    /// Whether something passed that could not be read, so that usage may be missing: a compressed message, or frames
    /// that do not add up, after which nothing is read any more.
    #[must_use]
    pub fn has_unread(&self) -> bool {
        self.messages.has_unread()
    }

    fn step(&mut self, rest: &[u8], each: &mut impl FnMut(TokenUsage)) -> usize {
        let read = self.messages.step(rest, &mut self.document, &mut self.message);
        if let Some(usage) = self.message.usage.take() {
            each(usage);
        }
        read
    }
}

/// What the present message says.
#[derive(Debug, Default)]
struct Message {
    readings: Readings,
    kind: Short<KIND_BYTES_MAX>,
    /// Something was read into `readings`.
    is_read: bool,
    names: Model,
    /// The last model that a message named.
    model: Model,
    /// What the last message said.
    usage: Option<TokenUsage>,
}

impl Message {
    /// Whether the message ends something that is charged: others repeat what was said, or will say more.
    fn is_end(&self) -> bool {
        let is_live = !self.readings.of(Dialect::Realtime).has(&[Part::Input, Part::Output, Part::Total]);
        is_live
            || matches!(
                self.kind.get(),
                b"response.done"
                    | b"response.completed"
                    | b"response.incomplete"
                    | b"response.failed"
                    | b"conversation.item.input_audio_transcription.completed"
            )
    }
}

impl Sink for Message {
    fn take(&mut self, takes: &[Take], reading: Reading) {
        self.is_read |= reading.is_present();
        self.readings.take(takes, reading);
    }

    fn text(&mut self, text: Text, piece: Piece<'_>) {
        match text {
            Text::Model => self.names.push(piece),
            Text::Kind => self.kind.push(piece),
            Text::Wrapped
            | Text::Answer
            | Text::Generated
            | Text::Call
            | Text::Reasoning
            | Text::ReasoningContent
            | Text::Id
            | Text::Reason => {}
        }
    }

    fn next_document(&mut self) {
        if self.names.name().is_some() {
            self.model = std::mem::take(&mut self.names);
        }
        if self.is_read {
            self.usage = if self.is_end() { Api::Realtime.usage(&self.readings) } else { None };
            self.readings = Readings::default();
            self.is_read = false;
        }
        self.kind.clear();
    }
}
