//! What of an exchange's heads decides how its body is read.

use crate::dialect::Api;

/// The request that a response answers, as the upstream was sent it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method; only the answer to a `POST` can be charged.
    pub method: &'a str,
    /// The path, with its query or without; its end says which operation it is.
    pub path: &'a str,
}

/// Bytes of a model's name in a path at most; identifiers of Bedrock's inference profiles have about 130.
const PATH_MODEL_BYTES_MAX: usize = 192;

impl<'a> Request<'a> {
    /// Whether its answer can be charged at all: polls, counts, moderations and the making of a batch can not.
    #[must_use]
    pub fn is_billable(self) -> bool {
        Api::of(self) != Api::Free
    }

    /// The model that the path names, as it stands there: Bedrock, Google and Azure have it in their paths, and their
    /// responses do not always repeat it. `None` when the path has none, or a long one.
    #[must_use]
    pub fn model(self) -> Option<&'a str> {
        let path = self.path.split(['?', '#']).next()?;
        let mut segments = path.split('/');
        let name = match segments.find(|segment| matches!(*segment, "model" | "models" | "deployments"))? {
            // The verb comes after the name, which may have colons of its own elsewhere.
            "models" => segments.next()?.rsplit_once(':')?.0,
            _ => {
                let name = segments.next()?;
                // What is done with the model.
                segments.next()?;
                name
            }
        };
        (!name.is_empty() && name.len() <= PATH_MODEL_BYTES_MAX).then_some(name)
    }
}

/// The headers of a response that say how its body is to be read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Response<'a> {
    /// `Content-Type`.
    pub content_type: Option<&'a str>,
    /// `Content-Encoding`.
    pub content_encoding: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_found_in_paths() {
        let long = format!("/model/{}/converse", "m".repeat(193));
        for (path, model) in [
            ("/model/amazon.titan-embed-text-v2:0/invoke", Some("amazon.titan-embed-text-v2:0")),
            ("/model/amazon.nova-micro-v1%3A0/converse-stream", Some("amazon.nova-micro-v1%3A0")),
            ("/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse", Some("gemini-2.5-pro")),
            ("/v1/projects/p/locations/l/publishers/google/models/g:predict", Some("g")),
            ("/openai/deployments/my-gpt/chat/completions?api-version=1", Some("my-gpt")),
            ("/v1/chat/completions", None),
            ("/v1/models", None),
            ("/v1/models/gpt", None),
            ("/models/chat/completions", None),
            ("/model//converse", None),
            (long.as_str(), None),
        ] {
            assert_eq!(Request { method: "POST", path }.model(), model, "{path}");
        }
    }
}
