//! What a model reads beside the request: marks, and the prompts that its provider adds.

use crate::Request;
use crate::dialect::Api;

/// Tokens that are added, by what the request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overheads {
    /// To every request.
    pub(crate) base: i64,
    /// To one with tools.
    pub(crate) tools: i64,
    /// To one that says which shape the answer must have.
    pub(crate) shape: i64,
    /// An image counts so many times what others count for it.
    pub(crate) image_times: i64,
}

/// Marks around a text that is embedded or ranked.
const EMBEDDING: Overheads = Overheads { base: 4, tools: 0, shape: 0, image_times: 1 };

/// Anthropic states 159 to 530 tokens for its prompt about tools, and was seen to add some 110 about a shape.
const ANTHROPIC: Overheads = Overheads { base: 16, tools: 560, shape: 240, image_times: 1 };

/// Tools and shapes are counted as they stand.
const GOOGLE: Overheads = Overheads { base: 8, tools: 32, shape: 32, image_times: 1 };

/// Tools and shapes are read in a shorter notation.
const OPENAI: Overheads = Overheads { base: 16, tools: 64, shape: 64, image_times: 1 };

/// An image costs as much money as with GPT-4o, of cheaper tokens.
const GPT_4O_MINI: Overheads = Overheads { image_times: 34, ..OPENAI };

/// A conversation is made shorter by a prompt that was seen to have about 100 tokens.
const COMPACT: Overheads = Overheads { base: 160, ..OPENAI };

/// Cohere's preamble was seen to have 496 tokens.
const COHERE: Overheads = Overheads { base: 560, tools: 560, shape: 640, image_times: 1 };

/// A prompt that is completed stands alone.
const COMPLETION: Overheads = Overheads { base: 8, ..ANY };

/// Any model behind any service: Harmony's prompt has about 70 tokens and Llama 3.2's 26; Nova was seen to add some 310 about
/// tools, and a service in front of Claude some 600 about a shape.
const ANY: Overheads = Overheads { base: 80, tools: 560, shape: 640, image_times: 1 };

impl Overheads {
    /// Those of a request, by its API and the model that it names.
    pub(crate) fn of(api: Api, request: Request<'_>, model: Option<&str>) -> Self {
        match api {
            Api::Messages => ANTHROPIC,
            Api::Generate | Api::GenerateStream | Api::Interactions => GOOGLE,
            Api::Embeddings | Api::EmbedContent | Api::CohereEmbed | Api::Rerank | Api::Free => EMBEDDING,
            Api::Responses if ends(request, &["/compact"]) => COMPACT,
            // Cohere's own chat.
            Api::Any if ends(request, &["/v1/chat", "/v2/chat"]) => COHERE,
            Api::Any if ends(request, &["/v1/generate"]) => COMPLETION,
            Api::Chat if !ends(request, &["/chat/completions"]) => COMPLETION,
            Api::Responses if model.is_none() => OPENAI,
            Api::Any
            | Api::Chat
            | Api::Responses
            | Api::Converse
            | Api::Invoke
            | Api::Ollama
            | Api::Realtime
            | Api::Given => model.map_or(ANY, Self::of_model),
        }
    }

    /// A service may offer any provider's model; what others add to it is unknown, but for these.
    fn of_model(model: &str) -> Self {
        let name = model.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
        let has = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
        let begins = |starts: &[&str]| starts.iter().any(|start| name.starts_with(start));
        if has(&["embed"]) {
            EMBEDDING
        } else if begins(&["gemini"]) {
            GOOGLE
        } else if begins(&["gpt-oss"]) {
            ANY
        } else if has(&["4o-mini"]) {
            GPT_4O_MINI
        } else if begins(&["gpt-", "chatgpt", "o1", "o3", "o4"]) {
            OPENAI
        } else if begins(&["command", "c4ai"]) {
            COHERE
        } else {
            ANY
        }
    }
}

fn ends(request: Request<'_>, ends: &[&str]) -> bool {
    let path = request.path.split(['?', '#']).next().unwrap_or_default();
    ends.iter().any(|end| path.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_decides_and_then_the_model() {
        for (path, model, overheads) in [
            ("/v1/messages", Some("gpt-4o"), ANTHROPIC),
            ("/v1/models/g:generateContent", None, GOOGLE),
            ("/v1/embeddings", Some("gpt-4o"), EMBEDDING),
            ("/v1/chat/completions", Some("gpt-4.1"), OPENAI),
            ("/v1/chat/completions", Some("openai/gpt-4o-mini-2024-07-18"), GPT_4O_MINI),
            ("/v1/chat/completions", Some("openai/gpt-oss-120b"), ANY),
            ("/v1/chat/completions", Some("anthropic/claude-haiku-4.5"), ANY),
            ("/v1/chat/completions", None, ANY),
            ("/v1/completions", Some("gpt-3.5-turbo-instruct"), COMPLETION),
            ("/v1/responses", None, OPENAI),
            ("/v1/responses/compact?x=1", Some("gpt-4o"), COMPACT),
            ("/v1/chat", None, COHERE),
            ("/v1/generate", Some("command"), COMPLETION),
            ("/model/amazon.titan-embed-text-v1/invoke", Some("amazon.titan-embed-text-v1"), EMBEDDING),
            ("/api/chat", Some("llama3"), ANY),
        ] {
            let request = Request { method: "POST", path };
            assert_eq!(Overheads::of(Api::of(request), request, model), overheads, "{path} {model:?}");
        }
    }
}
