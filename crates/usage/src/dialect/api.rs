//! What a request asked for, which decides what its response means.

use crate::dialect::{
    Dialect, anthropic, chat, cohere, converse, gemini, given, interactions, invoke, ollama, realtime,
    responses,
};
use crate::readings::{Part, Readings};
use crate::{Request, TokenUsage};

/// The operations whose responses differ in meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Api {
    /// Not known: the fields that only one dialect has decide.
    #[default]
    Any,
    /// Nothing that can be charged: polls, counts, moderations.
    Free,
    Chat,
    Embeddings,
    Rerank,
    Responses,
    Messages,
    Generate,
    /// Gemini's answer as an array that grows.
    GenerateStream,
    EmbedContent,
    Interactions,
    Converse,
    Invoke,
    CohereEmbed,
    Ollama,
    /// The messages of a WebSocket.
    Realtime,
    /// Whatever a route names the fields of.
    Given,
}

impl Api {
    pub(crate) const ALL: [Self; 17] = [
        Self::Any,
        Self::Free,
        Self::Chat,
        Self::Embeddings,
        Self::Rerank,
        Self::Responses,
        Self::Messages,
        Self::Generate,
        Self::GenerateStream,
        Self::EmbedContent,
        Self::Interactions,
        Self::Converse,
        Self::Invoke,
        Self::CohereEmbed,
        Self::Ollama,
        Self::Realtime,
        Self::Given,
    ];

    /// The dialects that the response may be in; no other's fields are looked at.
    pub(crate) fn dialects(self) -> &'static [Dialect] {
        match self {
            Self::Any => Dialect::OF_BODIES,
            Self::Free => &[],
            Self::Chat | Self::Embeddings => &[Dialect::Chat, Dialect::Groq, Dialect::Faults],
            Self::Rerank => &[Dialect::Chat, Dialect::CohereTokens, Dialect::CohereBilled, Dialect::Faults],
            Self::Responses => &[Dialect::Responses, Dialect::Faults],
            Self::Messages => &[Dialect::Anthropic, Dialect::Iterations, Dialect::Faults],
            Self::Generate | Self::GenerateStream | Self::EmbedContent => {
                &[Dialect::Gemini, Dialect::Predictions, Dialect::Faults]
            }
            Self::Interactions => &[Dialect::Interactions, Dialect::Faults],
            Self::Converse => &[Dialect::Converse, Dialect::Faults],
            Self::Invoke => &[
                Dialect::Anthropic,
                Dialect::Iterations,
                Dialect::Chat,
                Dialect::Converse,
                Dialect::BedrockMetrics,
                Dialect::Titan,
                Dialect::Llama,
                Dialect::Faults,
            ],
            Self::CohereEmbed => &[Dialect::CohereTokens, Dialect::CohereBilled, Dialect::Faults],
            Self::Ollama => &[Dialect::Ollama, Dialect::Faults],
            Self::Realtime => &[Dialect::Realtime, Dialect::Gemini, Dialect::Live],
            Self::Given => &[Dialect::Given, Dialect::Faults],
        }
    }

    /// What `request` asks for, by its method and the end of its path.
    pub(crate) fn of(request: Request<'_>) -> Self {
        // Whatever is read again was charged when it was made.
        if !request.method.eq_ignore_ascii_case("POST") {
            return Self::Free;
        }
        let path = request.path.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
        let mut segments = path.rsplit('/');
        let (last, parent) = (segments.next().unwrap_or_default(), segments.next().unwrap_or_default());
        match (parent, last) {
            ("responses", "input_tokens") => Self::Free,
            (_, "count_tokens" | "count-tokens" | "tokenize" | "detokenize" | "moderations") => Self::Free,
            (_, "batches" | "cancel") => Self::Free,
            (_, "completions") => Self::Chat,
            ("api", "chat" | "generate" | "embed" | "embeddings") => Self::Ollama,
            // Voyage has more names that end so.
            (_, last) if last.ends_with("embeddings") => Self::Embeddings,
            (_, "rerank") => Self::Rerank,
            (_, "responses") | ("responses", "compact") => Self::Responses,
            ("images", "generations" | "edits" | "variations") => Self::Responses,
            ("audio", "transcriptions" | "translations" | "speech") => Self::Responses,
            (_, "messages") => Self::Messages,
            (_, "interactions") => Self::Interactions,
            (_, "converse" | "converse-stream") => Self::Converse,
            (_, "invoke" | "invoke-with-response-stream") => Self::Invoke,
            ("v1" | "v2", "embed") => Self::CohereEmbed,
            _ => last.rsplit_once(':').map_or(Self::Any, |(model, verb)| Self::of_verb(model, verb)),
        }
    }

    /// Google puts the verb after the model.
    fn of_verb(model: &str, verb: &str) -> Self {
        match verb {
            "generateContent" => Self::Generate,
            "streamGenerateContent" => Self::GenerateStream,
            "embedContent" | "batchEmbedContents" => Self::EmbedContent,
            "countTokens" | "computeTokens" | "batchGenerateContent" | "asyncBatchEmbedContent" => Self::Free,
            // How Vertex AI counts the tokens of other providers' models.
            "rawPredict" if model.starts_with("count-tokens") => Self::Free,
            _ => Self::Any,
        }
    }

    /// Whether a JSON body may be an array of documents, or several one after the other.
    pub(crate) fn is_many(self) -> bool {
        match self {
            Self::GenerateStream | Self::Ollama => true,
            Self::Any
            | Self::Free
            | Self::Chat
            | Self::Embeddings
            | Self::Rerank
            | Self::Responses
            | Self::Messages
            | Self::Generate
            | Self::EmbedContent
            | Self::Interactions
            | Self::Converse
            | Self::Invoke
            | Self::CohereEmbed
            | Self::Realtime
            | Self::Given => false,
        }
    }

    /// What the response says; `None` when it says nothing that can be charged.
    pub(crate) fn usage(self, readings: &Readings) -> Option<TokenUsage> {
        let usage = match self {
            Self::Any => any(readings),
            Self::Free => TokenUsage::default(),
            Self::Chat => chat::read(readings),
            Self::Embeddings => chat::read_embeddings(readings),
            Self::Rerank if readings.of(Dialect::Chat).has(&[Part::Input, Part::Total]) => {
                chat::read_embeddings(readings)
            }
            Self::Rerank | Self::CohereEmbed => cohere::read_embeddings(readings),
            Self::Responses => responses::read(readings),
            Self::Messages => anthropic::read(readings),
            Self::Generate | Self::GenerateStream => gemini::read(readings),
            Self::EmbedContent => gemini::read(readings),
            Self::Interactions => interactions::read(readings),
            Self::Converse => converse::read(readings),
            Self::Invoke => invoke::read(readings),
            Self::Ollama => ollama::read(readings),
            Self::Realtime => realtime::read(readings),
            Self::Given => given::read(readings),
        };
        (!usage.is_silent()).then_some(usage)
    }
}

/// Some OpenAI-shaped services repeat Anthropic's cache fields, so chat is asked first; Responses and Anthropic share
/// the rest of their names, and their arithmetic without caches.
fn any(readings: &Readings) -> TokenUsage {
    const BOTH: &[Part] = &[Part::Input, Part::Output];
    let has = |dialect, parts: &[Part]| readings.of(dialect).has(parts);
    if has(Dialect::Chat, BOTH) || has(Dialect::Groq, BOTH) {
        chat::read(readings)
    } else if has(Dialect::Iterations, BOTH) || has(Dialect::Anthropic, &[Part::CachedRead, Part::CacheWrite])
    {
        anthropic::read(readings)
    } else if has(Dialect::Interactions, BOTH) {
        interactions::read(readings)
    } else if has(Dialect::Gemini, &[Part::Input, Part::Output, Part::Total])
        || has(Dialect::Predictions, &[Part::Input])
    {
        gemini::read(readings)
    } else if has(Dialect::Converse, &[Part::Input, Part::Output, Part::Total]) {
        converse::read(readings)
    } else if has(Dialect::CohereTokens, BOTH) || has(Dialect::CohereBilled, BOTH) {
        cohere::read(readings)
    } else if has(Dialect::Ollama, BOTH) {
        ollama::read(readings)
    } else if has(Dialect::Responses, &[Part::Total, Part::CachedRead, Part::Reasoning]) {
        responses::read(readings)
    } else {
        invoke::read(readings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_have_the_places_of_their_array() {
        for (place, api) in Api::ALL.into_iter().enumerate() {
            assert_eq!(api as usize, place, "{api:?}");
        }
    }

    #[test]
    fn the_end_of_the_path_decides() {
        for (path, api) in [
            ("/v1/chat/completions", Api::Chat),
            ("//openai/deployments/x/chat/completions?api-version=2023-07-01-preview", Api::Chat),
            ("/api/v1/embeddings/", Api::Embeddings),
            ("/api/embeddings", Api::Ollama),
            ("/api/chat", Api::Ollama),
            ("/v1/multimodalembeddings", Api::Embeddings),
            // Cohere's and Writer's.
            ("/v1/chat", Api::Any),
            ("/v1/messages", Api::Messages),
            ("/v1/messages/count_tokens", Api::Free),
            ("/v1/responses/input_tokens", Api::Free),
            ("/v1/responses/compact", Api::Responses),
            ("/v1beta/models/gemini:streamGenerateContent?alt=sse", Api::GenerateStream),
            ("/v1beta/models/gemini:countTokens", Api::Free),
            ("/publishers/anthropic/models/count-tokens:rawPredict", Api::Free),
            ("/publishers/anthropic/models/claude:rawPredict", Api::Any),
            ("/model/amazon.titan-embed-text-v2:0/invoke", Api::Invoke),
            ("/model/anthropic.claude:0/count-tokens", Api::Free),
            ("", Api::Any),
            ("/", Api::Any),
        ] {
            assert_eq!(Api::of(Request { method: "POST", path }), api, "{path}");
            assert_eq!(Api::of(Request { method: "GET", path }), Api::Free, "{path}");
        }
    }
}
