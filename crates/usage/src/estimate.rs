//! The tokens that a model will read, estimated from above before a request is forwarded.
//!
//! The estimate is what the strings that the model reads come to ([`text`](crate::text)), with the marks around each message
//! and tool, with what providers add to a request ([`overheads`](crate::overheads)), and with stated amounts for images, sounds
//! and files ([`media`](crate::media)). Strings that the model does not read (names of models, options, roles) cost nothing;
//! a key that is not known is taken for something that it reads ([`places`](crate::places)). JSON that the model reads, such
//! as a tool's schema, costs its keys and marks too. Integers in place of a text are tokens already.

use crate::json::{self, Bracket, Chars, Event};
use crate::media::{self, Kind, Medium};
use crate::overheads::Overheads;
use crate::places::Place;
use crate::text::Cost;

/// Marks around a message and its role: 3 to 6 in the templates that are known.
const MESSAGE_TOKENS: i64 = 7;
/// Marks around a tool: about 10.
const TOOL_TOKENS: i64 = 12;
/// A tool of the provider's own, with the prompt about it; what it finds is not known.
const OWN_TOOL_TOKENS: i64 = 640;
/// Characters of sealed thoughts that are at most one token: they are base64 of what was at least three characters.
const SEALED_CHARS_PER_TOKEN: i64 = 4;

/// What was read of a request so far.
#[derive(Debug)]
pub(crate) struct Input {
    cost: Cost,
    image_tokens: i64,
    /// What is open, and what it is; as deep as [`json::DEPTH_MAX`].
    open: Vec<(Place, Bracket)>,
    /// What the value of the present key is.
    at: Place,
    prompts: i64,
    has_tools: bool,
    has_shape: bool,
    reads_elsewhere: bool,
}

impl Input {
    /// Of a document whose opening bracket was read.
    pub(crate) fn new() -> Self {
        Self {
            cost: Cost::default(),
            image_tokens: 0,
            open: vec![(Place::Document, Bracket::Object)],
            at: Place::Settings,
            prompts: 0,
            has_tools: false,
            has_shape: false,
            reads_elsewhere: false,
        }
    }

    /// Tokens that are read, at least 1.
    pub(crate) fn tokens(&self, overheads: Overheads) -> i64 {
        let tools = if self.has_tools { overheads.tools } else { 0 };
        let shape = if self.has_shape { overheads.shape } else { 0 };
        let images = self.image_tokens.saturating_mul(overheads.image_times);
        let beside = Cost::of_tokens(images.saturating_add(overheads.base + tools + shape));
        self.cost.plus(beside).tokens().max(1)
    }

    /// Prompts that are answered each, at least 1.
    pub(crate) fn prompts(&self) -> i64 {
        self.prompts.max(1)
    }

    /// Whether the model also reads what is not in the request.
    pub(crate) fn reads_elsewhere(&self) -> bool {
        self.reads_elsewhere
    }

    /// Reads the document's next event.
    pub(crate) fn read(&mut self, event: Event<'_>) {
        let (parent, bracket) = self.open.last().copied().unwrap_or((Place::Settings, Bracket::Object));
        let here = if bracket == Bracket::Array { parent.element() } else { self.at };
        if bracket == Bracket::Array
            && parent == Place::Prompts
            && matches!(event, Event::Text(_) | Event::Open(_))
        {
            self.prompts = self.prompts.saturating_add(1);
        }
        match event {
            Event::Key(key) => self.key(parent, key),
            Event::Open(bracket) => self.open(parent, here, bracket),
            Event::Close => {
                self.open.pop();
            }
            Event::Text(text) => self.text(here, text),
            Event::Scalar(scalar) => self.scalar(here, scalar),
        }
    }

    fn key(&mut self, parent: Place, key: &str) {
        self.at = parent.child(&json::plain(key));
        if self.at == Place::Json || self.at == Place::OwnTool {
            // The key, and the marks between it and its value.
            self.add(Cost::of(Chars::new(key)).plus(Cost::of_tokens(1)));
        }
    }

    fn open(&mut self, parent: Place, here: Place, bracket: Bracket) {
        match (parent, bracket) {
            (Place::Messages, Bracket::Object) => self.add_tokens(MESSAGE_TOKENS),
            (Place::Tools, Bracket::Object) => {
                self.has_tools = true;
                self.add_tokens(TOOL_TOKENS);
            }
            _ => {}
        }
        match here {
            Place::Shape => self.has_shape = true,
            Place::OwnTool => self.own_tool(),
            Place::Elsewhere => self.reads_elsewhere = true,
            _ => {}
        }
        self.open.push((here, bracket));
    }

    fn text(&mut self, here: Place, text: &str) {
        match here {
            Place::Settings | Place::Generation | Place::ToolSettings => {}
            Place::Document | Place::Content | Place::Messages | Place::Prompts => {
                self.add(Cost::of(Chars::new(text)));
            }
            // With the marks around it.
            Place::Json | Place::Shape | Place::Tools | Place::Tool => {
                self.add(Cost::of(Chars::new(text)).plus(Cost::of_tokens(1)));
            }
            Place::ToolKind if matches!(text, "function" | "custom") => {}
            Place::ToolKind | Place::OwnTool => self.own_tool(),
            Place::Image => self.medium(text, Kind::Image),
            Place::Sound => self.medium(text, Kind::Sound),
            Place::Media => self.medium(text, Kind::Any),
            Place::Sealed => self.add_tokens(length(text) / SEALED_CHARS_PER_TOKEN + 1),
            Place::Elsewhere => self.reads_elsewhere |= !text.is_empty(),
        }
    }

    fn scalar(&mut self, here: Place, scalar: &str) {
        match here {
            // A token's number.
            Place::Document | Place::Content | Place::Messages | Place::Prompts => self.add_tokens(1),
            Place::Json | Place::Tool => self.add(Cost::of(scalar.chars()).plus(Cost::of_tokens(1))),
            Place::Elsewhere => self.reads_elsewhere |= !matches!(scalar, "null" | "false"),
            Place::Settings
            | Place::Generation
            | Place::Shape
            | Place::Tools
            | Place::ToolKind
            | Place::ToolSettings
            | Place::OwnTool
            | Place::Image
            | Place::Sound
            | Place::Media
            | Place::Sealed => {}
        }
    }

    fn own_tool(&mut self) {
        self.reads_elsewhere = true;
        self.add_tokens(OWN_TOOL_TOKENS);
    }

    fn medium(&mut self, quoted: &str, kind: Kind) {
        match media::medium(&json::plain(quoted), kind) {
            Medium::Image(tokens) => self.image_tokens = self.image_tokens.saturating_add(tokens),
            Medium::Other(tokens) => self.add_tokens(tokens),
            Medium::Elsewhere => self.reads_elsewhere = true,
            Medium::Text => self.add(Cost::of(Chars::new(quoted))),
        }
    }

    fn add(&mut self, cost: Cost) {
        self.cost = self.cost.plus(cost);
    }

    fn add_tokens(&mut self, tokens: i64) {
        self.add(Cost::of_tokens(tokens));
    }
}

fn length(text: &str) -> i64 {
    i64::try_from(text.len()).unwrap_or(i64::MAX)
}
