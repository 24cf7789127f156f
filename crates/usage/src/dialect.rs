//! The dialects: one file each, with the paths of its fields and what they mean together.

mod anthropic;
mod api;
mod asks;
mod chat;
mod cohere;
mod converse;
pub(crate) mod faults;
mod gemini;
mod given;
mod interactions;
mod invoke;
mod ollama;
mod realtime;
mod responses;

pub(crate) use api::Api;
pub(crate) use asks::Ask;

use crate::paths::{EACH, Take, Text, Wanted, What};
use crate::readings::Part;

/// Whose field names a response speaks. A dialect that says the same thing in two ways has two entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// OpenAI chat, completions and embeddings, and the many services shaped like them.
    Chat,
    /// Chat where Groq streamed it.
    Groq,
    /// OpenAI Responses, and what shares its field names (images, transcriptions).
    Responses,
    /// Anthropic Messages.
    Anthropic,
    /// The model's turns that an Anthropic message took, each with its own usage.
    Iterations,
    /// Google Gemini: generate, stream and embed.
    Gemini,
    /// Google Gemini interactions.
    Interactions,
    /// Embeddings by a Vertex AI prediction.
    Predictions,
    /// Bedrock Converse, and Nova's own answers.
    Converse,
    /// What Bedrock adds to the last chunk of any model's stream.
    BedrockMetrics,
    /// Amazon Titan.
    Titan,
    /// Meta Llama on Bedrock.
    Llama,
    /// The tokens that Cohere processed.
    CohereTokens,
    /// The units that Cohere bills.
    CohereBilled,
    /// Ollama's own API.
    Ollama,
    /// What every dialect calls an error.
    Faults,
    /// OpenAI Realtime, and Responses over a WebSocket.
    Realtime,
    /// What Gemini Live calls its answer.
    Live,
    /// The fields that a route names.
    Given,
}

/// Keys from a document to a value in it.
pub(crate) type Path = &'static [&'static str];

/// A field: where it is in a document, and which part of the usage it gives.
pub(crate) type Field = (Path, Part);

/// Where strings are that are wanted, in every dialect.
pub(crate) const TEXTS: &[(Path, Text)] = &[
    (&["model"], Text::Model),
    (&["message", "model"], Text::Model),
    (&["response", "model"], Text::Model),
    (&["interaction", "model"], Text::Model),
    (&["modelVersion"], Text::Model),
    (&["bytes"], Text::Wrapped),
];

impl Dialect {
    pub(crate) const ALL: [Self; 19] = [
        Self::Chat,
        Self::Groq,
        Self::Responses,
        Self::Anthropic,
        Self::Iterations,
        Self::Gemini,
        Self::Interactions,
        Self::Predictions,
        Self::Converse,
        Self::BedrockMetrics,
        Self::Titan,
        Self::Llama,
        Self::CohereTokens,
        Self::CohereBilled,
        Self::Ollama,
        Self::Faults,
        Self::Realtime,
        Self::Live,
        Self::Given,
    ];

    /// The dialects of bodies: all but those of WebSockets and of routes, which come last.
    pub(crate) const OF_BODIES: &'static [Self] = Self::ALL.split_at(16).0;

    /// The paths of its fields.
    pub(crate) fn wanted<'a>(self) -> impl Iterator<Item = Wanted<'a>> {
        self.fields().iter().map(move |&(path, part)| {
            let is_element = path.contains(&EACH);
            Wanted::new(path, What::Amount(Take { dialect: self, part, is_element }))
        })
    }

    /// The paths of what only streams have.
    pub(crate) fn stream_wanted<'a>(self) -> impl Iterator<Item = Wanted<'a>> {
        self.stream().iter().map(|&(path, what)| Wanted::new(path, what))
    }

    /// The fields that the dialect looks at.
    pub(crate) fn fields(self) -> &'static [Field] {
        match self {
            Self::Chat => chat::FIELDS,
            Self::Groq => chat::GROQ_FIELDS,
            Self::Responses => responses::FIELDS,
            Self::Anthropic => anthropic::FIELDS,
            Self::Iterations => anthropic::ITERATION_FIELDS,
            Self::Gemini => gemini::FIELDS,
            Self::Interactions => interactions::FIELDS,
            Self::Predictions => gemini::PREDICTION_FIELDS,
            Self::Converse => converse::FIELDS,
            Self::BedrockMetrics => invoke::METRIC_FIELDS,
            Self::Titan => invoke::TITAN_FIELDS,
            Self::Llama => invoke::LLAMA_FIELDS,
            Self::CohereTokens => cohere::TOKEN_FIELDS,
            Self::CohereBilled => cohere::BILLED_FIELDS,
            Self::Ollama => ollama::FIELDS,
            Self::Faults => faults::FIELDS,
            Self::Realtime => realtime::FIELDS,
            Self::Live => realtime::LIVE_FIELDS,
            Self::Given => &[],
        }
    }

    /// What of its streams' documents is looked at besides usage: the text that is written, and what the last event of
    /// a stream has to fit.
    pub(crate) fn stream(self) -> &'static [(Path, What)] {
        match self {
            Self::Chat => chat::STREAM,
            Self::Responses => responses::STREAM,
            Self::Anthropic => anthropic::STREAM,
            Self::Gemini => gemini::STREAM,
            Self::Interactions => interactions::STREAM,
            Self::Converse => converse::STREAM,
            Self::Titan => invoke::TITAN_STREAM,
            Self::Llama => invoke::LLAMA_STREAM,
            Self::CohereTokens => cohere::STREAM,
            Self::Ollama => ollama::STREAM,
            Self::Realtime => realtime::STREAM,
            Self::Groq
            | Self::Iterations
            | Self::Predictions
            | Self::BedrockMetrics
            | Self::CohereBilled
            | Self::Faults
            | Self::Live
            | Self::Given => &[],
        }
    }
}
