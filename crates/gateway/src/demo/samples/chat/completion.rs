//! Chat completions, whole and streamed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Refusal, tokens};
use crate::demo::samples::http1::{self, Body, header_or};

/// Words of the question that the answer repeats.
const REPEATED_WORDS_MAX: usize = 40;

/// Between two words of a stream, so that one sees it stream.
const WORD_GAP: Duration = Duration::from_millis(30);

/// What a client asks; fields that are not here are ignored.
#[derive(Deserialize)]
pub(super) struct Question {
    model: Option<String>,
    #[serde(default)]
    messages: Vec<Message>,
    #[serde(default)]
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<i64>,
    max_completion_tokens: Option<i64>,
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    #[serde(default)]
    content: Option<Content>,
}

/// A message's content: text, or parts of which only the text counts.
#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    text: Option<String>,
}

impl Message {
    fn text(&self) -> String {
        match &self.content {
            None => String::new(),
            Some(Content::Text(text)) => text.clone(),
            Some(Content::Parts(parts)) => {
                parts.iter().filter_map(|part| part.text.as_deref()).collect::<Vec<_>>().join(" ")
            }
        }
    }
}

/// What is answered, before it has a shape.
struct Completion {
    id: String,
    created_s: u64,
    model: String,
    words: Vec<String>,
    finish_reason: &'static str,
    usage: Value,
}

/// Answers a question as JSON or as a stream.
pub(super) fn answer(question: Question, headers: &HeaderMap) -> Result<Response<Body>, Refusal> {
    let streams = question.stream.unwrap_or(false);
    let with_usage =
        question.stream_options.as_ref().and_then(|options| options.include_usage).unwrap_or(false);
    if with_usage && !streams {
        let message = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
        return Err(Refusal::invalid("stream_options", message));
    }
    let completion = complete(question, headers)?;
    Ok(if streams {
        stream(completion, with_usage)
    } else {
        http1::json(StatusCode::OK, &whole(&completion))
    })
}

fn complete(question: Question, headers: &HeaderMap) -> Result<Completion, Refusal> {
    let Question { model, messages, stream: _, stream_options: _, max_tokens, max_completion_tokens } =
        question;
    let Some(model) = model else {
        return Err(Refusal::invalid("model", "you must provide a model parameter"));
    };
    let last = messages.iter().rev().find(|message| message.role == "user").or(messages.last());
    let Some(last) = last else { return Err(Refusal::invalid("messages", "'messages' must not be empty.")) };
    let limit = match max_completion_tokens.or(max_tokens).map(usize::try_from) {
        None => usize::MAX,
        Some(Ok(limit)) if limit > 0 => limit,
        Some(_) => return Err(Refusal::invalid("max_tokens", "'max_tokens' must be at least 1.")),
    };
    let all = words(&last.text(), headers);
    let finish_reason = if all.len() > limit { "length" } else { "stop" };
    let words: Vec<String> = all.into_iter().take(limit).collect();
    let prompt: usize = messages.iter().map(|message| tokens(&message.text())).sum();
    let usage = json!({
        "prompt_tokens": prompt, "completion_tokens": words.len(), "total_tokens": prompt + words.len(),
        "prompt_tokens_details": { "cached_tokens": 0 }, "completion_tokens_details": { "reasoning_tokens": 0 },
    });
    let created_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Ok(Completion {
        id: format!("chatcmpl-{}", Uuid::now_v7().simple()),
        created_s,
        model,
        words,
        finish_reason,
        usage,
    })
}

/// The answer's words, each but the first with the space before it.
fn words(question: &str, headers: &HeaderMap) -> Vec<String> {
    let user = header_or(headers, "x-user-id", "whoever you are");
    let tier = match headers.get("x-user-tier") {
        Some(_) => format!(
            "You are on the {} tier: the gateway says so in X-User-Tier.",
            header_or(headers, "x-user-tier", "?")
        ),
        None => "Nobody told me your tier: no X-User-Tier reached me.".to_owned(),
    };
    let repeated: Vec<&str> = question.split_whitespace().take(REPEATED_WORDS_MAX).collect();
    let text = format!("Hello {user}! {tier} You said: {}", repeated.join(" "));
    let spaced = |(at, word): (usize, &str)| if at == 0 { word.to_owned() } else { format!(" {word}") };
    text.split_whitespace().enumerate().map(spaced).collect()
}

fn whole(completion: &Completion) -> Value {
    let Completion { id, created_s, model, words, finish_reason, usage } = completion;
    json!({
        "id": id, "object": "chat.completion", "created": created_s, "model": model,
        "choices": [{
            "index": 0, "logprobs": null, "finish_reason": finish_reason,
            "message": { "role": "assistant", "content": words.concat(), "refusal": null },
        }],
        "usage": usage,
    })
}

fn stream(completion: Completion, with_usage: bool) -> Response<Body> {
    let Completion { id, created_s, model, words, finish_reason, usage } = completion;
    let chunk = |choices: Value, usage: Value| {
        let mut chunk = json!({
            "id": id, "object": "chat.completion.chunk", "created": created_s, "model": model, "choices": choices,
        });
        if with_usage {
            chunk["usage"] = usage;
        }
        format!("data: {chunk}\n\n")
    };
    let delta = |delta: Value, finish: Option<&str>| {
        chunk(json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish }]), Value::Null)
    };
    let mut events = vec![delta(json!({ "role": "assistant", "content": "" }), None)];
    events.extend(words.iter().map(|word| delta(json!({ "content": word }), None)));
    events.push(delta(json!({}), Some(finish_reason)));
    if with_usage {
        events.push(chunk(json!([]), usage));
    }
    events.push("data: [DONE]\n\n".to_owned());
    let frames = stream::iter(events).then(|event| async move {
        tokio::time::sleep(WORD_GAP).await;
        Ok(Frame::data(Bytes::from(event)))
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    let content_type = HeaderValue::from_static("text/event-stream; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}
