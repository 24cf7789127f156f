//! What of a stream's documents its last event has to fit: which dialect's events they are, what they call the answer,
//! and which parts of it are open.

use crate::dialect::{Api, Dialect};
use crate::paths::{Mark, Text};
use crate::readings::{Part, Piece, Readings};
use crate::scalar::Reading;
use crate::short::Short;
use crate::written::{Voice, Written};

/// Bytes of an answer's identifier; those of Responses have about 60, and Ollama's times 35.
const ID_BYTES_MAX: usize = 96;

/// Bytes of an event's name; longer ones do not matter here.
const KIND_BYTES_MAX: usize = 40;

/// Whose events a stream is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Chat,
    Completions,
    Responses,
    Anthropic,
    Gemini,
    Converse,
    /// Nova, when it is invoked.
    Nova,
    CohereChat,
    /// Cohere's first version.
    CohereGenerations,
    OllamaChat,
    OllamaGenerate,
}

/// A part of the answer that has begun and not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Open {
    Content(i64),
    /// A call of a tool, where the dialect ends those differently.
    Call(i64),
}

/// What a document's beginning has changed that its end undoes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Remembered {
    kind: Short<KIND_BYTES_MAX>,
    index: i64,
    created: Option<i64>,
}

/// The state of one stream.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    pub(crate) written: Written,
    id: Short<ID_BYTES_MAX>,
    kind: Short<KIND_BYTES_MAX>,
    created: i64,
    sequence: Option<i64>,
    /// What the present document says it is about.
    index: i64,
    open: Option<Open>,
    /// Of a chat, one bit for each choice that has begun, and for each that has ended. Choices after the 64th are
    /// taken for that one.
    choices: u64,
    ended_choices: u64,
    /// The present document says why a choice, or the answer, has ended.
    has_reason: bool,
    shape: Option<Shape>,
    /// Ollama's answer to a prompt rather than to a chat.
    is_generated: bool,
    has_ended: bool,
    /// When the present document says that the answer was begun.
    created_here: Option<i64>,
    /// The present document has changed what its end does not undo.
    is_lasting: bool,
}

impl Stream {
    /// Reads on in a string; [`Text::Model`] and [`Text::Wrapped`] are none of its.
    pub(crate) fn text(&mut self, text: Text, piece: Piece<'_>) {
        self.is_lasting |= !matches!(text, Text::Id | Text::Model | Text::Kind);
        match text {
            Text::Answer => self.written.push(Voice::Answer, piece),
            Text::Generated => {
                self.is_generated = true;
                self.written.push(Voice::Answer, piece);
            }
            Text::Call => self.written.push(Voice::Call, piece),
            Text::Reasoning => self.written.push(Voice::Reasoning, piece),
            Text::ReasoningContent => self.written.push(Voice::ReasoningContent, piece),
            Text::Id if self.id.get().is_empty() => self.id.push(piece),
            Text::Kind => self.kind.push(piece),
            Text::Reason => self.has_reason |= matches!(piece, Piece::Bytes(bytes) if !bytes.is_empty()),
            Text::Id | Text::Model | Text::Wrapped => {}
        }
    }

    /// The name of the present event, where a frame has it.
    pub(crate) fn event(&mut self, name: &[u8]) {
        self.kind.push(Piece::Begin);
        self.kind.push(Piece::Bytes(name));
        self.kind.push(Piece::End);
    }

    pub(crate) fn mark(&mut self, mark: Mark, reading: Reading) {
        let Some(amount) = reading.amount() else { return };
        self.is_lasting |= matches!(mark, Mark::Sequence | Mark::Opened | Mark::Closed);
        match mark {
            Mark::Index => self.index = amount,
            Mark::ChoiceIndex => {
                self.index = amount;
                self.choices |= bit(amount);
            }
            // Azure's first chunk says 0.
            Mark::Created if amount > 0 => (self.created, self.created_here) = (amount, Some(amount)),
            Mark::Sequence => self.sequence = Some(amount),
            Mark::Opened => {
                self.open = Some(Open::Content(amount));
                self.shape = Some(Shape::Nova);
            }
            Mark::Closed => self.open = None,
            Mark::Created | Mark::Choices | Mark::Choice | Mark::Usage => {}
        }
    }

    /// The present document has ended.
    pub(crate) fn next_document(&mut self) {
        match self.kind.get() {
            b"chat.completion.chunk" => self.shape = Some(Shape::Chat),
            b"text_completion" => self.shape = Some(Shape::Completions),
            b"message_start" => self.shape = Some(Shape::Anthropic),
            b"message-start" => self.shape = Some(Shape::CohereChat),
            b"stream-start" => self.shape = Some(Shape::CohereGenerations),
            b"response.created" => self.shape = Some(Shape::Responses),
            b"content_block_start"
            | b"content_block_delta"
            | b"contentBlockStart"
            | b"contentBlockDelta"
            | b"content-start"
            | b"content-delta" => self.open = Some(Open::Content(self.index)),
            b"response.function_call_arguments.done" => self.written.call(),
            b"tool-call-start" | b"tool-call-delta" => self.open = Some(Open::Call(self.index)),
            b"content_block_stop" | b"contentBlockStop" | b"content-end" | b"tool-call-end" => {
                self.open = None;
            }
            b"message_stop"
            | b"messageStop"
            | b"message-end"
            | b"stream-end"
            | b"response.completed"
            | b"response.incomplete"
            | b"response.failed"
            | b"error" => self.has_ended = true,
            _ => {}
        }
        if self.has_reason {
            self.ended_choices |= bit(self.index);
            self.has_ended = self.choices & !self.ended_choices == 0;
        }
        self.kind.clear();
        self.index = 0;
        self.has_reason = false;
        self.created_here = None;
        self.is_lasting = false;
    }

    /// What the present document has changed, if all of that but what stays the same is undone at its end.
    pub(crate) fn remembered(&self) -> Option<Remembered> {
        let Self { kind, index, created_here: created, .. } = *self;
        (!self.is_lasting).then_some(Remembered { kind, index, created })
    }

    /// Changes what a document with the same beginning did.
    pub(crate) fn recall(&mut self, Remembered { kind, index, created }: Remembered) {
        (self.kind, self.index, self.created_here) = (kind, index, created);
        self.created = created.unwrap_or(self.created);
    }

    /// What the answer is called, as a JSON string.
    pub(crate) fn id(&self) -> Option<String> {
        self.id.json()
    }

    /// When the answer was begun, in seconds since the epoch; 0 when it is not known.
    pub(crate) fn created(&self) -> i64 {
        self.created
    }

    /// The number of the next event.
    pub(crate) fn next_sequence(&self) -> i64 {
        self.sequence.map_or(0, |last| last.saturating_add(1))
    }

    pub(crate) fn open(&self) -> Option<Open> {
        self.open
    }

    /// The choices of a chat that go on; the first one when none has begun.
    pub(crate) fn open_choices(&self) -> impl Iterator<Item = u32> {
        let choices = if self.choices == 0 { 1 } else { self.choices };
        let open = choices & !self.ended_choices;
        (0..u64::BITS).filter(move |&choice| open >> choice & 1 == 1)
    }
}

/// The bit of a choice.
fn bit(index: i64) -> u64 {
    1 << index.clamp(0, 63)
}

/// Whose events the answer to `api` is made of, as far as is known.
pub(crate) fn shape(api: Api, readings: &Readings) -> Option<Shape> {
    let stream = readings.stream();
    match api {
        Api::Any | Api::Given | Api::Messages | Api::Invoke => stream.shape,
        Api::Chat if stream.shape == Some(Shape::Completions) => stream.shape,
        Api::Chat => Some(Shape::Chat),
        Api::Responses => stream.shape.filter(|&shape| shape == Shape::Responses),
        Api::GenerateStream => Some(Shape::Gemini),
        Api::Converse => Some(Shape::Converse),
        Api::Ollama if stream.is_generated => Some(Shape::OllamaGenerate),
        Api::Ollama => Some(Shape::OllamaChat),
        Api::Free
        | Api::Embeddings
        | Api::Rerank
        | Api::Generate
        | Api::EmbedContent
        | Api::Interactions
        | Api::CohereEmbed
        | Api::Realtime => None,
    }
}

/// Whether the stream has said its own end, so that what is left of it is short.
pub(crate) fn has_ended(readings: &Readings) -> bool {
    readings.stream().has_ended || readings.of(Dialect::Ollama).has(&[Part::Output])
}
