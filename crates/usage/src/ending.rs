//! The end of a stream that the gateway stops: the dialect's own last events, which say that a limit was reached.

mod anthropic;
mod bedrock;
mod chat;
mod cohere;
mod frame;
mod gemini;
mod ollama;
mod responses;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::dialect::Api;
use crate::readings::Readings;
use crate::stream::{self, Shape, Stream};
use crate::{Progress, TokenUsage};

/// How a document is put into a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// As an event, after `before`; lines end in `end`.
    Events { before: &'static str, end: &'static str },
    /// As a line.
    Lines,
    /// As the last element of an array, after `before`.
    Array { before: &'static str },
    /// As a frame.
    Frames,
}

/// One of the last events.
#[derive(Debug)]
struct Event {
    /// Its name, where the dialect names its events outside of their data.
    name: Option<&'static str>,
    data: String,
}

impl Event {
    fn named(name: &'static str, data: String) -> Self {
        Self { name: Some(name), data }
    }

    fn unnamed(data: String) -> Self {
        Self { name: None, data }
    }
}

/// What the last events say.
#[derive(Debug)]
struct Ending<'a> {
    stream: &'a Stream,
    /// The model as a JSON string.
    model: String,
    input: i64,
    output: i64,
    /// What the body itself said so far.
    reported: TokenUsage,
    /// The client asked for the chunk that has only usage.
    wants_usage: bool,
}

impl Ending<'_> {
    /// What the answer is called, as a JSON string.
    fn id(&self) -> String {
        self.stream.id().unwrap_or_else(|| "\"\"".to_owned())
    }

    fn total(&self) -> i64 {
        self.input.saturating_add(self.output)
    }

    fn events(&self, shape: Shape) -> Vec<Event> {
        match shape {
            Shape::Chat => chat::chat(self),
            Shape::Completions => chat::completions(self),
            Shape::Responses => responses::events(self),
            Shape::Anthropic => anthropic::events(self),
            Shape::Gemini => gemini::events(self),
            Shape::Converse => bedrock::converse(self),
            Shape::Nova => bedrock::nova(self),
            Shape::CohereChat => cohere::chat(self),
            Shape::CohereGenerations => cohere::generations(self),
            Shape::OllamaChat => ollama::chat(self),
            Shape::OllamaGenerate => ollama::generate(self),
        }
    }
}

/// The last events of the answer to `api`, put at `place`; empty when the stream has said its own.
pub(crate) fn ending(
    api: Api,
    readings: &Readings,
    place: Place,
    progress: Progress,
    wants_usage: bool,
) -> Option<Vec<u8>> {
    let shape = stream::shape(api, readings)?;
    if stream::has_ended(readings) {
        return Some(Vec::new());
    }
    let ending = Ending {
        stream: readings.stream(),
        model: serde_json::to_string(readings.model().unwrap_or_default()).ok()?,
        input: progress.input.unwrap_or(0),
        output: progress.output,
        reported: api.usage(readings).unwrap_or_default(),
        wants_usage,
    };
    let invoked = api == Api::Invoke;
    let mut bytes = Vec::new();
    match place {
        Place::Events { before, end } => {
            bytes.extend_from_slice(before.as_bytes());
            for Event { name, data } in ending.events(shape) {
                if let Some(name) = name {
                    bytes.extend_from_slice(format!("event: {name}{end}").as_bytes());
                }
                bytes.extend_from_slice(format!("data: {data}{end}{end}").as_bytes());
            }
            if matches!(shape, Shape::Chat | Shape::Completions) {
                bytes.extend_from_slice(format!("data: [DONE]{end}{end}").as_bytes());
            }
        }
        Place::Lines => {
            for Event { data, .. } in ending.events(shape) {
                bytes.extend_from_slice(data.as_bytes());
                bytes.push(b'\n');
            }
        }
        Place::Array { before } => {
            let events: Vec<String> = ending.events(shape).into_iter().map(|event| event.data).collect();
            bytes.extend_from_slice(format!("{before}{}]", events.join(",")).as_bytes());
        }
        Place::Frames => {
            for Event { name, data } in ending.events(shape) {
                if invoked {
                    let wrapped = format!("{{\"bytes\":\"{}\"}}", BASE64_STANDARD.encode(data));
                    bytes.extend(frame::frame("chunk", wrapped.as_bytes())?);
                } else {
                    bytes.extend(frame::frame(name?, data.as_bytes())?);
                }
            }
        }
    }
    Some(bytes)
}
