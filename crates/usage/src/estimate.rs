//! The tokens that a model will read, estimated from a request before it is forwarded.

use crate::dialect::Api;
use crate::json::{self, Bracket, Chars, Event};
use crate::media::{self, Kind, Medium};
use crate::places::Place;
use crate::text;

/// Marks before the first message and after the last, and the prompt that some services put before all.
const BASE_TOKENS: i64 = 80;
/// Marks around a message, and its role.
const MESSAGE_TOKENS: i64 = 8;
/// The prompt about tools that some providers add: 530 for Claude 3 Opus.
const TOOLS_TOKENS: i64 = 560;
/// Marks around a tool.
const TOOL_TOKENS: i64 = 16;
/// The prompt about the shape of the answer that some providers add.
const SHAPE_TOKENS: i64 = 640;

/// What was read of a request so far.
#[derive(Debug)]
pub(crate) struct Input {
    tokens: i64,
    /// What is open, and what it is.
    open: Vec<(Place, Bracket)>,
    /// What the value of the present key is.
    at: Place,
    prompts: i64,
    has_tools: bool,
    has_shape: bool,
    reads_elsewhere: bool,
    api: Api,
}

impl Input {
    pub(crate) fn new(api: Api) -> Self {
        Self {
            tokens: 0,
            open: vec![(Place::Document, Bracket::Object)],
            at: Place::Document,
            prompts: 0,
            has_tools: false,
            has_shape: false,
            reads_elsewhere: false,
            api,
        }
    }

    /// Reads the next event of a document that is open.
    pub(crate) fn read(&mut self, event: Event<'_>) {
        let here = match self.open.last() {
            Some((place, Bracket::Array)) => place.element(),
            _ => self.at,
        };
        if self.is_prompt(event) {
            self.prompts = self.prompts.saturating_add(1);
        }
        match event {
            Event::Key(key) => {
                let parent = self.open.last().map_or(Place::Document, |(place, _)| *place);
                self.at = parent.child(&json::plain(key));
                if parent == Place::Json || parent == Place::Shape || self.at == Place::Json {
                    self.add(text::tokens(Chars::new(key)) + 1);
                }
            }
            Event::Open(bracket) => {
                let in_array = matches!(self.open.last(), Some((_, Bracket::Array)));
                let parent = self.open.last().map_or(Place::Document, |(place, _)| *place);
                match (parent, bracket) {
                    (Place::Messages, Bracket::Object) => self.add(MESSAGE_TOKENS),
                    (Place::Tools, Bracket::Object) => self.add(TOOL_TOKENS),
                    _ => {}
                }
                match here {
                    Place::Json => self.add(1),
                    Place::Shape => self.has_shape = true,
                    _ => {}
                }
                if parent == Place::Tools {
                    self.has_tools = true;
                }
                let here = if in_array && parent == Place::Tools { Place::ToolKind } else { here };
                self.open.push((here, bracket));
            }
            Event::Close => {
                self.open.pop();
            }
            Event::Text(text) => self.text(here, text),
            Event::Scalar(scalar) => match here {
                Place::Content | Place::Messages | Place::Prompts => self.add(1),
                Place::Json | Place::Shape => self.add(text::tokens(scalar.chars()) + 1),
                Place::Elsewhere => self.reads_elsewhere |= !matches!(scalar, "null" | "false"),
                _ => {}
            },
        }
    }

    /// Whether it begins one of several prompts: a text, or the numbers of its tokens.
    fn is_prompt(&self, event: Event<'_>) -> bool {
        let begins = matches!(event, Event::Text(_) | Event::Open(Bracket::Array));
        begins && self.open.last() == Some(&(Place::Prompts, Bracket::Array))
    }

    fn text(&mut self, here: Place, text: &str) {
        match here {
            Place::Content | Place::Messages | Place::Prompts | Place::Json | Place::Shape => {
                self.add(text::tokens(Chars::new(text)) + 1);
            }
            Place::ToolKind => {
                if !matches!(text, "function" | "custom") {
                    self.reads_elsewhere = true;
                }
            }
            Place::Image => self.medium(text, Kind::Image),
            Place::Sound => self.medium(text, Kind::Sound),
            Place::Media => self.medium(text, Kind::Any),
            Place::Sealed => self.add(i64::try_from(text.len()).unwrap_or(i64::MAX) / 4 + 1),
            Place::Elsewhere => self.reads_elsewhere |= !text.is_empty(),
            _ => {}
        }
    }

    fn medium(&mut self, quoted: &str, kind: Kind) {
        match media::medium(&json::plain(quoted), kind) {
            Medium::Tokens(tokens) => self.add(tokens),
            Medium::ImageElsewhere => {
                self.add(media::IMAGE_TOKENS_MAX);
            }
            Medium::Elsewhere => self.reads_elsewhere = true,
            Medium::Text => self.add(text::tokens(Chars::new(quoted)) + 1),
        }
    }

    fn add(&mut self, tokens: i64) {
        self.tokens = self.tokens.saturating_add(tokens);
    }

    pub(crate) fn tokens(&self) -> i64 {
        let base = if self.api.writes() { BASE_TOKENS } else { 4 };
        let tools = if self.has_tools { TOOLS_TOKENS } else { 0 };
        let shape = if self.has_shape { SHAPE_TOKENS } else { 0 };
        self.tokens.saturating_add(base + tools + shape)
    }

    pub(crate) fn prompts(&self) -> i64 {
        self.prompts.max(1)
    }

    pub(crate) fn reads_elsewhere(&self) -> bool {
        self.reads_elsewhere
    }
}

#[cfg(test)]
mod tests {
    use crate::{Request, ask};

    #[test]
    fn each_prompt_is_answered() {
        for (prompt, choices) in [
            (r#""a b""#, 2),
            (r#"["a"]"#, 2),
            (r#"["a","b","c"]"#, 6),
            ("[1,2,3]", 2),
            ("[[1,2],[3]]", 4),
            ("[]", 2),
        ] {
            let body = format!(r#"{{"model":"m","n":2,"prompt":{prompt},"other":["a","b"]}}"#);
            let request = Request { method: "POST", path: "/v1/completions" };
            let asked = ask(request, None, body.as_bytes()).unwrap();
            assert_eq!(asked.choices, choices, "{prompt}");
        }
    }
}
