//! The tokens that a model will read, estimated from above before a request is forwarded.
//!
//! The estimate is what the strings that the model reads come to ([`text`](crate::text)), with the marks around each message
//! and tool, with what providers add to a request ([`overheads`](crate::overheads)), and with stated amounts for images, sounds
//! and files ([`media`]). Strings that the model does not read (names of models, options, roles) cost nothing;
//! a key that is not known is taken for something that it reads ([`places`](crate::places)). JSON that the model reads, such
//! as a tool's schema, costs its keys and marks too. Integers in place of a text are tokens already.

use crate::json::{self, Bracket, Event};
use crate::media::{self, Kind, Medium};
use crate::overheads::Overheads;
use crate::places::Place;
use crate::text::Cost;

/// Marks around a message and its role: 3 to 6 in the templates that are known.
const MESSAGE_TOKENS: i64 = 7;
/// Marks around one of several texts that are embedded.
const TEXT_TOKENS: i64 = 2;
/// Marks around a tool: about 10.
const TOOL_TOKENS: i64 = 12;
/// Marks around a document that is quoted or ranked.
const DOCUMENT_TOKENS: i64 = 4;
/// A tool of the provider's own, with the prompt about it; what it finds is not known.
const OWN_TOOL_TOKENS: i64 = 640;
/// Characters of sealed thoughts that are at most one token: they are base64 of what was at least three characters.
const SEALED_CHARS_PER_TOKEN: i64 = 4;

/// What was read of a request so far.
#[derive(Debug)]
pub(crate) struct Input {
    cost: Cost,
    /// The part of it that is read with each document.
    query: Cost,
    documents: i64,
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
            query: Cost::default(),
            documents: 0,
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
        self.cost.plus(self.query.times(self.documents.max(1))).plus(beside).tokens().max(1)
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
        if bracket == Bracket::Array && matches!(event, Event::Text(_) | Event::Open(_)) {
            self.element(parent, event == Event::Open(Bracket::Object));
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

    /// A text, an object or an array is next in the array that is `parent`.
    fn element(&mut self, parent: Place, is_object: bool) {
        match parent {
            Place::Messages => self.add_tokens(if is_object { MESSAGE_TOKENS } else { TEXT_TOKENS }),
            Place::Prompts => self.prompts = self.prompts.saturating_add(1),
            Place::Documents => {
                self.documents = self.documents.saturating_add(1);
                self.add_tokens(DOCUMENT_TOKENS);
            }
            Place::Tools => {
                self.has_tools = true;
                self.add_tokens(TOOL_TOKENS);
            }
            _ => {}
        }
    }

    fn key(&mut self, parent: Place, key: &str) {
        self.at = parent.child(&json::plain(key));
        if self.at == Place::Json || self.at == Place::OwnTool {
            // The key, and the marks between it and its value.
            self.add(Cost::of(key).plus(Cost::of_tokens(1)));
        }
    }

    fn open(&mut self, parent: Place, here: Place, bracket: Bracket) {
        match here {
            // One that the provider keeps.
            Place::Prompts if bracket == Bracket::Object => self.reads_elsewhere = true,
            Place::Elsewhere => self.reads_elsewhere |= bracket == Bracket::Object,
            Place::OwnTool => self.own_tool(),
            // More than the name of a kind.
            _ => self.has_shape |= parent == Place::Shape,
        }
        self.open.push((here, bracket));
    }

    fn text(&mut self, here: Place, text: &str) {
        match here {
            Place::Settings | Place::Generation | Place::ToolSettings => {}
            Place::Document | Place::Content | Place::Messages | Place::Prompts => {
                self.add(Cost::of(text));
            }
            Place::Query => self.query = self.query.plus(Cost::of(text)),
            Place::PartKind => self.reads_elsewhere |= text == "item_reference",
            // With the marks around it.
            Place::Json | Place::Documents | Place::Shape | Place::Tools | Place::Tool => {
                self.add(Cost::of(text).plus(Cost::of_tokens(1)));
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
            Place::Json | Place::Documents | Place::Tool => {
                self.add(Cost::of(scalar).plus(Cost::of_tokens(1)));
            }
            Place::Elsewhere => self.reads_elsewhere |= !matches!(scalar, "null" | "false"),
            Place::Settings
            | Place::Generation
            | Place::PartKind
            | Place::Query
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
            Medium::Elsewhere => {
                self.reads_elsewhere = true;
                // Some show the address to the model.
                self.add(Cost::of(quoted));
            }
            Medium::Text => self.add(Cost::of(quoted)),
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

#[cfg(test)]
mod tests {
    use crate::{Asked, Request, ask};

    fn asked(path: &str, body: &str) -> Asked {
        ask(Request { method: "POST", path }, None, body.as_bytes()).unwrap()
    }

    /// What `body` costs more with `inner` in the place of `@` than without.
    fn cost_of(path: &str, body: &str, inner: &str) -> i64 {
        let tokens = |inner| asked(path, &body.replace('@', inner)).input_tokens;
        tokens(inner) - tokens("")
    }

    const CHAT: &str = "/v1/chat/completions";
    const RESPONSES: &str = "/v1/responses";
    const MESSAGES: &str = "/v1/messages";
    const GENERATE: &str = "/v1beta/models/gemini-2.5-pro:generateContent";
    const CONVERSE: &str = "/model/m/converse";

    #[test]
    fn every_text_that_is_read_counts() {
        for (path, body) in [
            (CHAT, r#"{"messages":[{"role":"user","content":"@"}]}"#),
            (CHAT, r#"{"messages":[{"role":"user","content":[{"type":"text","text":"@"}]}]}"#),
            (CHAT, r#"{"messages":[{"tool_calls":[{"function":{"name":"f","arguments":"@"}}]}]}"#),
            (CHAT, r#"{"tools":[{"type":"function","function":{"name":"f","description":"@"}}]}"#),
            (CHAT, r#"{"tools":[{"type":"function","function":{"parameters":{"properties":{"@":{}}}}}]}"#),
            (CHAT, r#"{"functions":[{"name":"f","description":"@"}]}"#),
            (CHAT, r#"{"response_format":{"type":"json_schema","json_schema":{"schema":{"title":"@"}}}}"#),
            (CHAT, r#"{"prediction":{"type":"content","content":"@"}}"#),
            (CHAT, r#"{"what_is_this":{"x":["@"]}}"#),
            ("/v1/completions", r#"{"prompt":"@"}"#),
            ("/v1/completions", r#"{"prompt":["a","@"]}"#),
            ("/v1/embeddings", r#"{"input":"@"}"#),
            ("/v1/embeddings", r#"{"input":["a","@"]}"#),
            (RESPONSES, r#"{"instructions":"@"}"#),
            (RESPONSES, r#"{"input":"@"}"#),
            (RESPONSES, r#"{"input":[{"role":"user","content":[{"type":"input_text","text":"@"}]}]}"#),
            (RESPONSES, r#"{"input":[{"type":"function_call_output","output":"@"}]}"#),
            (RESPONSES, r#"{"text":{"format":{"schema":{"description":"@"}}}}"#),
            (MESSAGES, r#"{"system":"@"}"#),
            (MESSAGES, r#"{"system":[{"type":"text","text":"@"}]}"#),
            (MESSAGES, r#"{"messages":[{"content":[{"type":"tool_use","input":{"data":"@"}}]}]}"#),
            (MESSAGES, r#"{"messages":[{"content":[{"type":"tool_result","content":"@"}]}]}"#),
            (
                MESSAGES,
                r#"{"messages":[{"content":[{"type":"document","source":{"type":"text","data":"@"}}]}]}"#,
            ),
            (MESSAGES, r#"{"tools":[{"name":"f","input_schema":{"description":"@"}}]}"#),
            (GENERATE, r#"{"systemInstruction":{"parts":[{"text":"@"}]}}"#),
            (GENERATE, r#"{"contents":[{"parts":[{"text":"@"}]}]}"#),
            (GENERATE, r#"{"contents":{"parts":{"functionResponse":{"response":{"x":"@"}}}}}"#),
            (GENERATE, r#"{"tools":[{"functionDeclarations":[{"name":"f","description":"@"}]}]}"#),
            (GENERATE, r#"{"generation_config":{"response_schema":{"description":"@"}}}"#),
            (CONVERSE, r#"{"system":[{"text":"@"}],"messages":[]}"#),
            (CONVERSE, r#"{"messages":[{"content":[{"toolResult":{"content":[{"json":{"x":"@"}}]}}]}]}"#),
            (CONVERSE, r#"{"toolConfig":{"tools":[{"toolSpec":{"description":"@"}}]}}"#),
            ("/model/m/invoke", r#"{"inputText":"@"}"#),
            ("/model/m/invoke", r#"{"prompt":"@"}"#),
            ("/api/chat", r#"{"messages":[{"content":"@"}]}"#),
            ("/api/generate", r#"{"system":"@","format":{"type":"object"}}"#),
            ("/v1/chat", r#"{"message":"a","chat_history":[{"role":"USER","message":"@"}]}"#),
            ("/v2/chat", r#"{"messages":[],"documents":[{"data":{"text":"@"}}]}"#),
            ("/v2/embed", r#"{"texts":["@"]}"#),
            ("/v2/rerank", r#"{"query":"@","documents":["a"]}"#),
            ("/unknown", r#"{"x":"@"}"#),
        ] {
            // Longer than any key that is known.
            let cost = cost_of(path, body, "Tell me a long story about many grey cats, 日本 and their dogs.");
            assert!((20..40).contains(&cost), "{cost}: {path} {body}");
        }
    }

    #[test]
    fn what_is_not_read_costs_nothing() {
        for (path, body) in [
            (CHAT, r#"{"model":"@"}"#),
            (CHAT, r#"{"metadata":{"x":"@"},"user":"@"}"#),
            (CHAT, r#"{"messages":[{"role":"@"}]}"#),
            (CHAT, r#"{"stop":["@"]}"#),
            (GENERATE, r#"{"generationConfig":{"responseMimeType":"@"}}"#),
            (CONVERSE, r#"{"toolConfig":{"toolChoice":{"tool":{"name":"@"}}}}"#),
        ] {
            assert_eq!(cost_of(path, body, "many grey cats"), 0, "{path} {body}");
        }
    }

    #[test]
    fn media_cost_stated_amounts() {
        let png = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAIAQMAAAD".to_owned() + &"A".repeat(100_000);
        let (text, sound) = (format!("JVBERi0{}", "A".repeat(3993)), "SUQz".repeat(1000));
        let url = format!("data:image/png;base64,{png}");
        let escaped = url.replace('/', r"\/");
        for (path, body, medium, tokens) in [
            (CHAT, r#"{"messages":[{"content":[{"type":"image_url","image_url":{"url":"@"}}]}]}"#, &url, 266),
            (
                CHAT,
                r#"{"messages":[{"content":[{"type":"image_url","image_url":{"url":"@"}}]}]}"#,
                &escaped,
                266,
            ),
            (
                CHAT,
                r#"{"model":"gpt-4o-mini","messages":[{"content":[{"image_url":{"url":"@"}}]}]}"#,
                &url,
                34 * 266,
            ),
            (RESPONSES, r#"{"input":[{"content":[{"type":"input_image","image_url":"@"}]}]}"#, &url, 266),
            (MESSAGES, r#"{"messages":[{"content":[{"source":{"type":"base64","data":"@"}}]}]}"#, &png, 266),
            (GENERATE, r#"{"contents":[{"parts":[{"inlineData":{"data":"@"}}]}]}"#, &png, 266),
            (GENERATE, r#"{"contents":[{"parts":[{"inline_data":{"data":"@"}}]}]}"#, &png, 266),
            ("/v1beta/interactions", r#"{"input":[{"type":"image","data":"@"}]}"#, &png, 266),
            (CONVERSE, r#"{"messages":[{"content":[{"image":{"source":{"bytes":"@"}}}]}]}"#, &png, 266),
            (
                CONVERSE,
                r#"{"messages":[{"content":[{"toolResult":{"content":[{"image":{"source":{"bytes":"@"}}}]}}]}]}"#,
                &png,
                266,
            ),
            ("/api/chat", r#"{"messages":[{"images":["@"]}]}"#, &png, 266),
            ("/v2/embed", r#"{"images":["@"]}"#, &url, 266),
            // Files cost a token for each byte, sounds for each 32.
            (
                MESSAGES,
                r#"{"messages":[{"content":[{"type":"document","source":{"data":"@"}}]}]}"#,
                &text,
                3003,
            ),
            (CHAT, r#"{"messages":[{"content":[{"type":"file","file":{"file_data":"@"}}]}]}"#, &text, 3003),
            (CHAT, r#"{"messages":[{"content":[{"input_audio":{"data":"@","format":"mp3"}}]}]}"#, &sound, 94),
        ] {
            let with_nothing = asked(path, &body.replace('@', " ")).input_tokens;
            let tokens = tokens + with_nothing - 1;
            let seen = asked(path, &body.replace('@', medium)).input_tokens;
            assert!((tokens..=tokens + 1).contains(&seen), "{seen}, not {tokens}: {path} {body}");
        }
        let address = r#"{"messages":[{"content":[{"image_url":{"url":"https://example.com/a.png"}}]}]}"#;
        assert!(asked(CHAT, address).input_tokens > 4_784);
    }

    #[test]
    fn what_is_elsewhere_is_told() {
        for (path, body, is_elsewhere) in [
            (RESPONSES, r#"{"previous_response_id":"r"}"#, true),
            (RESPONSES, r#"{"previous_response_id":null,"tools":[],"conversation":null}"#, false),
            (RESPONSES, r#"{"conversation":{"id":"c"}}"#, true),
            (RESPONSES, r#"{"prompt":{"id":"p"}}"#, true),
            (RESPONSES, r#"{"input":[{"type":"item_reference","id":"i"}]}"#, true),
            (RESPONSES, r#"{"tools":[{"type":"function","name":"f"},{"type":"custom","name":"g"}]}"#, false),
            (RESPONSES, r#"{"tools":[{"type":"web_search"}]}"#, true),
            (MESSAGES, r#"{"tools":[{"name":"f","input_schema":{"type":"object"}}]}"#, false),
            (MESSAGES, r#"{"tools":[{"type":"web_search_20250305","name":"web_search"}]}"#, true),
            (MESSAGES, r#"{"messages":[{"content":[{"source":{"type":"file","file_id":"f"}}]}]}"#, true),
            (
                MESSAGES,
                r#"{"messages":[{"content":[{"source":{"type":"url","url":"https://e.org/"}}]}]}"#,
                true,
            ),
            (CHAT, r#"{"web_search_options":{}}"#, true),
            (CHAT, r#"{"plugins":[]}"#, false),
            (GENERATE, r#"{"tools":[{"googleSearch":{}}]}"#, true),
            (GENERATE, r#"{"tools":[{"functionDeclarations":[]}]}"#, false),
            (GENERATE, r#"{"cachedContent":"cachedContents/c"}"#, true),
            (GENERATE, r#"{"contents":[{"parts":[{"fileData":{"fileUri":"gs://b/f"}}]}]}"#, true),
            (
                CONVERSE,
                r#"{"messages":[{"content":[{"video":{"source":{"s3Location":{"uri":"s3://b"}}}}]}]}"#,
                true,
            ),
        ] {
            assert_eq!(asked(path, body).reads_elsewhere, is_elsewhere, "{body}");
        }
    }

    #[test]
    fn tokens_are_tokens_and_queries_are_read_with_each_document() {
        assert_eq!(cost_of("/v1/embeddings", r#"{"input":[@]}"#, "1,22,333"), 3);
        assert_eq!(cost_of("/v1/embeddings", r#"{"input":[[@],[5]]}"#, "1,22,333"), 3);
        let query = |documents: &str| {
            let body = r#"{"query":"@","documents":[#]}"#.replace('#', documents);
            cost_of("/v1/rerank", &body, "ten grey cats")
        };
        assert!(query(r#""a","b","c""#) >= 3 * query(r#""a""#) - 3);
    }
}
