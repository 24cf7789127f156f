//! The fields of a request that bound what its answer can cost, in each dialect's spelling.
//!
//! Google reads `snake_case` and `camelCase`, and Go's services read keys in any case: keys are compared
//! without case and underscores.

use crate::Request;
use crate::dialect::Api;

/// What a field of the request says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Tokens that one answer has at most.
    Output,
    /// How many answers are written.
    Choices,
    /// Whether the answer is streamed.
    Stream,
    Model,
}

/// The keys to a field, outermost first.
type Keys = &'static [&'static str];

const MODEL: &[Keys] = &[&["model"]];
const STREAM: &[Keys] = &[&["stream"]];

impl Api {
    /// What the field at `keys` says.
    pub(crate) fn asks(self, keys: &[&str]) -> Option<Ask> {
        let is = |known: &Keys| {
            known.len() == keys.len() && keys.iter().zip(*known).all(|(key, plain)| is_spelling(key, plain))
        };
        let fields = [
            (Ask::Model, MODEL),
            (Ask::Stream, STREAM),
            (Ask::Output, self.outputs()),
            (Ask::Choices, self.choices()),
        ];
        fields.into_iter().find(|(_, known)| known.iter().any(is)).map(|(ask, _)| ask)
    }

    /// Whether an answer is streamed where the body does not say.
    pub(crate) fn streams_unasked(self, request: Request<'_>) -> bool {
        let path = request.path.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
        match self {
            Self::GenerateStream => true,
            Self::Ollama => path.ends_with("/chat") || path.ends_with("/generate"),
            Self::Converse | Self::Invoke => path.ends_with("-stream"),
            Self::Any => path.ends_with(":streamRawPredict"),
            Self::Free
            | Self::Chat
            | Self::Embeddings
            | Self::Rerank
            | Self::Responses
            | Self::Messages
            | Self::Generate
            | Self::EmbedContent
            | Self::Interactions
            | Self::CohereEmbed
            | Self::Realtime
            | Self::Given => false,
        }
    }

    /// Whether the answer is a text; if not, no token is written.
    pub(crate) fn writes(self) -> bool {
        !matches!(self, Self::Embeddings | Self::EmbedContent | Self::CohereEmbed | Self::Rerank | Self::Free)
    }

    /// Thoughts are inside these limits, for Anthropic's `thinking.budget_tokens` and Gemini's `thinkingBudget` too.
    fn outputs(self) -> &'static [Keys] {
        match self {
            Self::Free
            | Self::Embeddings
            | Self::EmbedContent
            | Self::CohereEmbed
            | Self::Rerank
            | Self::Realtime
            | Self::Given => &[],
            Self::Chat => &[&["maxtokens"], &["maxcompletiontokens"]],
            Self::Responses => &[&["maxoutputtokens"]],
            Self::Messages => &[&["maxtokens"]],
            Self::Generate | Self::GenerateStream => &[&["generationconfig", "maxoutputtokens"]],
            Self::Interactions => &[&["generationconfig", "maxoutputtokens"], &["maxoutputtokens"]],
            Self::Converse => &[&["inferenceconfig", "maxtokens"]],
            Self::Ollama => &[&["options", "numpredict"]],
            // Anthropic, and before its Messages; Llama; Titan; Nova; Mistral and Cohere; AI21.
            Self::Invoke => &[
                &["maxtokens"],
                &["maxtokenstosample"],
                &["maxcompletiontokens"],
                &["maxgenlen"],
                &["textgenerationconfig", "maxtokencount"],
                &["inferenceconfig", "maxnewtokens"],
                &["inferenceconfig", "maxtokens"],
            ],
            Self::Any => &[
                &["maxtokens"],
                &["maxcompletiontokens"],
                &["maxoutputtokens"],
                &["maxtokenstosample"],
                &["maxnewtokens"],
                &["maxgenlen"],
                &["generationconfig", "maxoutputtokens"],
                &["inferenceconfig", "maxtokens"],
                &["inferenceconfig", "maxnewtokens"],
                &["textgenerationconfig", "maxtokencount"],
                &["options", "numpredict"],
                // Vertex AI's predictions, and Hugging Face.
                &["parameters", "maxoutputtokens"],
                &["parameters", "maxnewtokens"],
            ],
        }
    }

    fn choices(self) -> &'static [Keys] {
        match self {
            Self::Chat | Self::Responses => &[&["n"], &["bestof"]],
            Self::Generate | Self::GenerateStream => &[&["generationconfig", "candidatecount"]],
            Self::Invoke => &[&["n"], &["numgenerations"], &["numresults"]],
            Self::Any => &[
                &["n"],
                &["bestof"],
                &["numgenerations"],
                &["numresults"],
                &["generationconfig", "candidatecount"],
                &["parameters", "candidatecount"],
            ],
            Self::Free
            | Self::Embeddings
            | Self::EmbedContent
            | Self::CohereEmbed
            | Self::Rerank
            | Self::Messages
            | Self::Interactions
            | Self::Converse
            | Self::Ollama
            | Self::Realtime
            | Self::Given => &[],
        }
    }
}

/// Whether `key` is `plain` but for case and underscores.
fn is_spelling(key: &str, plain: &str) -> bool {
    let letters = key.bytes().filter(|&byte| byte != b'_').map(|byte| byte.to_ascii_lowercase());
    letters.eq(plain.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_known_in_every_spelling() {
        let cases: [(Api, &[&str], Option<Ask>); 17] = [
            (Api::Chat, &["max_tokens"], Some(Ask::Output)),
            (Api::Chat, &["max_completion_tokens"], Some(Ask::Output)),
            (Api::Chat, &["best_of"], Some(Ask::Choices)),
            (Api::Responses, &["max_output_tokens"], Some(Ask::Output)),
            (Api::Responses, &["max_tokens"], None),
            (Api::Generate, &["generationConfig", "maxOutputTokens"], Some(Ask::Output)),
            (Api::Generate, &["generation_config", "max_output_tokens"], Some(Ask::Output)),
            (Api::Generate, &["generation_config", "candidateCount"], Some(Ask::Choices)),
            (Api::Converse, &["inferenceConfig", "maxTokens"], Some(Ask::Output)),
            (Api::Converse, &["maxTokens"], None),
            (Api::Ollama, &["options", "num_predict"], Some(Ask::Output)),
            (Api::Invoke, &["textGenerationConfig", "maxTokenCount"], Some(Ask::Output)),
            (Api::Invoke, &["max_gen_len"], Some(Ask::Output)),
            (Api::Embeddings, &["max_tokens"], None),
            (Api::Any, &["num_generations"], Some(Ask::Choices)),
            (Api::Messages, &["model"], Some(Ask::Model)),
            (Api::Messages, &["metadata", "model"], None),
        ];
        for (api, keys, ask) in cases {
            assert_eq!(api.asks(keys), ask, "{api:?} {keys:?}");
        }
    }
}
