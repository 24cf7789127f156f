//! Writes what the targets begin with into `corpus`: small inputs, and recorded bodies where they are at hand.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde_json::Value;
use tollgate_usage_fuzz::case::Case;
use tollgate_usage_fuzz::frame;
use tollgate_usage_fuzz::websocket;

/// How the pieces of a seed are cut.
const LENGTHS: [u8; 4] = [7, 0, 1, 30];

/// Bytes of a body that are kept; more only makes each run slower.
const BODY_BYTES_MAX: usize = 4096;

/// Messages of a WebSocket, and payloads of frames.
const MESSAGES: [&str; 6] = [
    r#"{"type":"session.created","session":{"model":"gpt-realtime"}}"#,
    r#"{"type":"response.done","response":{"usage":{"input_tokens":9,"output_tokens":4,"total_tokens":13}}}"#,
    r#"{"usageMetadata":{"promptTokenCount":5,"responseTokenCount":2,"thoughtsTokenCount":1,"totalTokenCount":8}}"#,
    r#"{"type":"message_start","message":{"model":"claude","usage":{"input_tokens":14,"output_tokens":1}}}"#,
    r#"{"contentBlockIndex":1,"delta":{"text":"a"}}"#,
    r#"{"usage":{"inputTokens":5,"outputTokens":7,"totalTokens":12}}"#,
];

const QUESTIONS: [&str; 3] = [
    r#"{"model":"m","stream":true,"stream_options":{"include_usage":false},"max_tokens":5,"n":2,"messages":[]}"#,
    r#"{"str\u0065am":true,"stream_options":null,"prompt":["a","b"],"generationConfig":{"maxOutputTokens":9}}"#,
    "\u{feff}{\"stream\":true}",
];

const POINTERS: &str = "/usage/total_tokens\n/usage/prompt_tokens\n/choices/*/index\n/usage/prompt_tokens_details/cached_tokens\n/r/0\n/model\n";

const FIELDS: [(&str, &str); 4] = [
    ("/items/*/pages", r#"{"items":[{"pages":2},{"pages":"1.5"},{"pages":null}]}"#),
    ("/n", r#"{"a":[true,{"n":1}],"n":-12.5e+3,"x":"\ud83d\ude42\n"}"#),
    ("/a/0/é", r#"{"a":[{"\u00e9":"text"}]}"#),
    ("/*/*", "[[1,2],[],[3]]"),
];

const CHAT: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\r\n\r\n\
                    data: {\"choices\":[],\"usage\":{\"prompt_tokens\":2,\"completion_tokens\":1}}\r\n\r\n\
                    data: [DONE]\r\n\r\n";

fn main() -> io::Result<()> {
    let corpus = Corpus(Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus"));
    for message in MESSAGES {
        corpus.realtime(message.as_bytes())?;
    }
    corpus.frames(&MESSAGES)?;
    for question in QUESTIONS {
        corpus.question("/v1/chat/completions", question.as_bytes())?;
    }
    for (pointer, document) in FIELDS {
        corpus.write("fields", &[pointer.as_bytes(), b"\n", &LENGTHS, document.as_bytes()])?;
    }
    let sse = "text/event-stream";
    corpus.answer("/v1/chat/completions", sse, None, CHAT.as_bytes())?;
    let recorded = std::env::var_os("TOLLGATE_BODIES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../../shared/data/bodies"),
        PathBuf::from,
    );
    let Ok(index) = fs::read(recorded.join("index.json")) else {
        println!("no recorded bodies in {}", recorded.display());
        return Ok(());
    };
    let index: Value = serde_json::from_slice(&index)?;
    for case in index["cases"].as_array().into_iter().flatten() {
        let text = |key: &str| case[key].as_str();
        let path = text("path").unwrap_or_default();
        if let Some(file) = text("request_file") {
            corpus.question(path, &fs::read(recorded.join(file))?)?;
        }
        if let (Some(file), Some(content_type)) = (text("file"), text("content_type")) {
            corpus.answer(path, content_type, text("content_encoding"), &fs::read(recorded.join(file))?)?;
        }
    }
    Ok(())
}

/// The folder that has a folder for each target.
struct Corpus(PathBuf);

impl Corpus {
    fn question(&self, path: &str, body: &[u8]) -> io::Result<()> {
        let Some([path, _]) = Case::head(path, "application/json", None) else { return Ok(()) };
        self.write("ask", &[&[path, 1], cut(body)])
    }

    fn answer(&self, path: &str, content_type: &str, coding: Option<&str>, body: &[u8]) -> io::Result<()> {
        let Some(head) = Case::head(path, content_type, coding) else { return Ok(()) };
        // What is compressed means nothing when it is cut.
        let body = if coding.is_some() { body } else { cut(body) };
        self.write("scanner", &[&head, &LENGTHS, body])?;
        self.write("pointers", &[POINTERS.as_bytes(), &head, &LENGTHS, body])?;
        if coding.is_some() {
            return Ok(());
        }
        for coding in ["gzip", "deflate", "br", "zstd"] {
            let Some(head) = Case::head(path, content_type, Some(coding)) else { continue };
            self.write("decoder", &[&[99, 0], &head, &LENGTHS, body])?;
        }
        self.write("ending", &[&[1, 99, 5, 7], &head, &LENGTHS, body])?;
        if content_type.starts_with("text/event-stream") {
            self.write("usage_chunk", &[&LENGTHS, body])?;
        }
        Ok(())
    }

    fn realtime(&self, message: &[u8]) -> io::Result<()> {
        let (one, two) = message.split_at(message.len() / 2);
        let raw = [websocket::frame(1, None, one), websocket::frame(0x80, Some([1, 2, 3, 4]), two)].concat();
        self.write("realtime", &[&[0], &LENGTHS, &raw])?;
        let length = |bytes: &[u8]| [0, u8::try_from(bytes.len()).unwrap_or(u8::MAX)];
        let framed = [&[1, 0], &length(one)[..], one, &[0x80, 1], &length(two), two].concat();
        self.write("realtime", &[&[1], &LENGTHS, &framed])
    }

    fn frames(&self, messages: &[&str]) -> io::Result<()> {
        let wrapped =
            Case::head("/invoke-with-response-stream", "application/json", None).unwrap_or_default();
        let named = Case::head("/converse-stream", "application/json", None).unwrap_or_default();
        for (head, kind, name) in [(wrapped, 2, "chunk"), (named, 0, "contentBlockDelta"), (named, 4, "x")] {
            let frames = messages.iter().flat_map(|message| {
                let lengths = [name.len(), 0, message.len()].map(|length| u8::try_from(length).unwrap_or(0));
                [&[kind], &lengths[..], name.as_bytes(), message.as_bytes()].concat()
            });
            self.write("frames", &[&head, &LENGTHS, &frames.collect::<Vec<u8>>()])?;
        }
        let frames: Vec<u8> =
            messages.iter().flat_map(|message| frame::event(b"metadata", message.as_bytes())).collect();
        self.answer("/converse-stream", "application/vnd.amazon.eventstream", None, &frames)
    }

    /// Named by what is in it, so that another run writes nothing new.
    fn write(&self, target: &str, parts: &[&[u8]]) -> io::Result<()> {
        let (folder, input) = (self.0.join(target), parts.concat());
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("seed-{:08x}", crc32fast::hash(&input))), input)
    }
}

fn cut(body: &[u8]) -> &[u8] {
    &body[..body.len().min(BODY_BYTES_MAX)]
}
