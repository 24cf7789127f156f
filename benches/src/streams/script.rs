//! What is asked for and what is answered: streams as the services write them, cut into one write per chunk.

use std::fmt::Write as _;
use std::net::SocketAddr;

/// Words of an answer, each a token; taken in turn.
const TOKENS: [&str; 8] = ["The", " capital", " of", " France", " is", " Paris", ",", " which"];
/// The header that says which of the client's streams a request is for. Every proxy passes it on.
pub(super) const STREAM_HEADER: &str = "x-stream";

const HEAD: &str = "HTTP/1.1 200 OK\r\nDate: Wed, 01 Jan 2025 00:00:00 GMT\r\n\
                    Content-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n\
                    Transfer-Encoding: chunked\r\n\r\n";

/// What kind of stream is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Shape {
    /// A chat of OpenAI's, whose client does not ask for usage: the gateway asks, and takes the answer out again.
    Chat,
    /// The same, whose client asks for usage.
    ChatUsage,
    /// Messages of Anthropic's.
    Messages,
}

impl Shape {
    pub(crate) const ALL: [Self; 3] = [Self::Chat, Self::ChatUsage, Self::Messages];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::ChatUsage => "chat-usage",
            Self::Messages => "messages",
        }
    }

    /// Whether the gateway has to ask for usage.
    pub(crate) fn lacks_usage(self) -> bool {
        self == Self::Chat
    }

    /// The request for the stream `slot` by the proxy at `target`.
    pub(super) fn request(self, target: SocketAddr, user: u16, slot: usize) -> Vec<u8> {
        const ASKED: &str = r#""messages":[{"role":"user","content":"What is the capital of France, and what is it known for? Answer at length."}],"max_tokens":1024,"temperature":0.2,"stream":true"#;
        let (path, header, more) = match self {
            Self::Chat => ("chat/completions", "", ""),
            Self::ChatUsage => ("chat/completions", "", r#","stream_options":{"include_usage":true}"#),
            Self::Messages => ("messages", "anthropic-version: 2023-06-01\r\n", ""),
        };
        let body = format!(r#"{{"model":"bench-1",{ASKED}{more}}}"#);
        format!(
            "POST /api/v1/llm/{path} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: tollgate-bench\r\n\
             Accept: text/event-stream\r\nContent-Type: application/json\r\n{header}X-User-Id: user-{user}\r\n\
             X-User-Tier: bench\r\n{STREAM_HEADER}: {slot}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }
}

/// An answer, write by write.
pub(super) struct Script {
    writes: Vec<Vec<u8>>,
    /// Bytes of the body up to the end of each write.
    body_lens: Vec<usize>,
    /// Bytes of the event that the stream has only because usage was asked for. It leaves with the last write.
    usage_event_len: usize,
}

impl Script {
    /// The answer to `shape` with `chunks` chunks of text, where usage is asked for or not.
    pub(super) fn new(shape: Shape, has_usage: bool, chunks: u16) -> Self {
        match shape {
            Shape::Chat | Shape::ChatUsage => Self::chat(has_usage, chunks),
            Shape::Messages => Self::messages(chunks),
        }
    }

    fn chat(has_usage: bool, chunks: u16) -> Self {
        let usage = if has_usage { r#","usage":null"# } else { "" };
        let event = |rest: &str| {
            format!(
                r#"data: {{"id":"chatcmpl-CbQ2vHk7cTq0ZtS4n1mYxWd9LrUeJ","object":"chat.completion.chunk","created":1735689600,"model":"bench-1-2025-01-01","system_fingerprint":"fp_34a54ae93c",{rest}}}"#
            ) + "\n\n"
        };
        let choice = |delta: &str, reason: &str| {
            let choice = format!(r#"{{"index":0,"delta":{{{delta}}},"finish_reason":{reason}}}"#);
            event(&format!(r#""choices":[{choice}]{usage}"#))
        };
        let mut writes = vec![choice(r#""role":"assistant","content":"","refusal":null"#, "null")];
        writes.extend(tokens(chunks).map(|token| choice(&format!(r#""content":"{token}""#), "null")));
        writes.push(choice("", r#""stop""#));
        let usage_event = if has_usage {
            let total = u32::from(chunks) + 21;
            event(&format!(
                r#""choices":[],"usage":{{"prompt_tokens":21,"completion_tokens":{chunks},"total_tokens":{total},"prompt_tokens_details":{{"cached_tokens":0,"audio_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}}"#
            ))
        } else {
            String::new()
        };
        let usage_event_len = usage_event.len();
        writes.push(usage_event + "data: [DONE]\n\n");
        Self::of(&writes, usage_event_len)
    }

    fn messages(chunks: u16) -> Self {
        let event =
            |kind: &str, rest: &str| format!("event: {kind}\ndata: {{\"type\":\"{kind}\"{rest}}}\n\n");
        let start = event(
            "message_start",
            r#","message":{"id":"msg_01XFDUDYJgAACzvnptvVoYEL","type":"message","role":"assistant","model":"bench-1","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":21,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":1}}"#,
        ) + &event(
            "content_block_start",
            r#","index":0,"content_block":{"type":"text","text":""}"#,
        ) + &event("ping", "");
        let delta = |token| {
            let rest = format!(r#","index":0,"delta":{{"type":"text_delta","text":"{token}"}}"#);
            event("content_block_delta", &rest)
        };
        let mut writes = vec![start];
        writes.extend(tokens(chunks).map(delta));
        writes.push(event("content_block_stop", r#","index":0"#));
        let stopped = format!(
            r#","delta":{{"stop_reason":"end_turn","stop_sequence":null}},"usage":{{"output_tokens":{chunks}}}"#
        );
        writes.push(event("message_delta", &stopped) + &event("message_stop", ""));
        Self::of(&writes, 0)
    }

    /// Frames what is written as the chunks of an answer, the head before the first of them.
    fn of(texts: &[String], usage_event_len: usize) -> Self {
        let (mut framed, mut body_lens, mut body_len) = (Vec::new(), Vec::new(), 0);
        for (number, text) in texts.iter().enumerate() {
            let mut bytes = if number == 0 { HEAD.to_owned() } else { String::new() };
            // Writing to a string cannot fail.
            let _ = write!(bytes, "{:x}\r\n{text}\r\n", text.len());
            if number + 1 == texts.len() {
                bytes += "0\r\n\r\n";
            }
            body_len += text.len();
            framed.push(bytes.into_bytes());
            body_lens.push(body_len);
        }
        Self { writes: framed, body_lens, usage_event_len }
    }

    /// Writes of one answer.
    pub(super) fn len(&self) -> usize {
        self.writes.len()
    }

    pub(super) fn write(&self, number: usize) -> Option<&[u8]> {
        self.writes.get(number).map(Vec::as_slice)
    }

    /// Bytes of the body once `written` writes have arrived.
    pub(super) fn body_len(&self, written: usize) -> usize {
        written.checked_sub(1).map_or(0, |last| self.body_lens[last])
    }

    /// Bytes of the body that a client sees who did or did not ask for usage.
    pub(super) fn body_len_seen(&self, wants_usage: bool) -> usize {
        self.body_len(self.len()) - if wants_usage { 0 } else { self.usage_event_len }
    }

    /// Bytes of one chunk of text, framing included.
    pub(crate) fn chunk_len(&self) -> usize {
        self.writes.get(1).map_or(0, Vec::len)
    }
}

fn tokens(count: u16) -> impl Iterator<Item = &'static str> {
    TOKENS.into_iter().cycle().take(usize::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_counts_the_bytes_of_its_body() {
        for (shape, has_usage) in [(Shape::Chat, false), (Shape::Chat, true), (Shape::Messages, true)] {
            let script = Script::new(shape, has_usage, 5);
            assert_eq!(script.len(), 8);
            let all: Vec<u8> =
                (0..script.len()).flat_map(|number| script.write(number).unwrap()).copied().collect();
            let mut answer = super::super::answer::Answer::default();
            answer.feed(&all).unwrap();
            assert!(answer.is_over());
            assert_eq!(answer.body_len(), script.body_len_seen(true), "{shape:?}");
        }
    }

    #[test]
    fn only_usage_that_was_asked_for_is_missed() {
        let (without, with) = (Script::new(Shape::Chat, false, 5), Script::new(Shape::Chat, true, 5));
        assert_eq!(without.body_len_seen(false), without.body_len_seen(true));
        // Each of the seven other events has `,"usage":null`.
        assert_eq!(with.body_len_seen(false), without.body_len_seen(false) + 7 * 13);
    }
}
