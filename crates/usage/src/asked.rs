//! What a request asks for, read from its body before it is forwarded.

use crate::dialect::{Api, Ask};
use crate::estimate::Input;
use crate::json::{self, Bracket, Broken, Event, Json, Step};
use crate::overheads::Overheads;
use crate::scalar::{Reading, Scalar};
use crate::{IncludeUsage, Request};

/// Bytes of a model's name in a body at most; identifiers of Bedrock's inference profiles have about 130.
const MODEL_BYTES_MAX: usize = 192;

/// What a request asks for at most.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Asked {
    /// The model that the path names, in its spelling, else the body: services that have it in the path do not look for
    /// it in the body.
    pub model: Option<String>,
    /// Tokens that the model reads, estimated so that it is hardly ever more; at least 1.
    pub input_tokens: i64,
    /// The model also reads what is not in the body (an earlier answer, a stored file, what its provider's tools find), of
    /// which `input_tokens` has nothing.
    pub reads_elsewhere: bool,
    /// Tokens that one choice has at most, as the body says; zero where nothing is written. `None` when it does not say, or
    /// not clearly: then only the model's own limit holds.
    pub output_tokens: Option<i64>,
    /// Answers that are written, at least 1: to each of several prompts, as many as are asked for.
    pub choices: i64,
    /// The answer is streamed.
    pub is_stream: bool,
    /// The edit with which a stream of OpenAI's shape says its usage; `None` when it does so anyway.
    pub include_usage: Option<IncludeUsage>,
}

/// What `body`, the whole and uncompressed body of `request`, asks for.
///
/// `None` when it cannot be read: it is no JSON object, broken, cut, nested deeper than 256 levels, or a form. A request
/// that [is not billable](Request::is_billable) may well be read.
#[must_use]
pub fn ask(request: Request<'_>, content_type: Option<&str>, body: &[u8]) -> Option<Asked> {
    if content_type.is_some_and(is_form) {
        return None;
    }
    let api = Api::of(request);
    let text = std::str::from_utf8(body).ok()?;
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let found = Found::of(api, body).ok()??;
    let is_stream = match found.stream {
        Some(stream) => stream,
        None => api.streams_unasked(request),
    };
    // Bedrock embeds where it writes; its models say what they are.
    let writes =
        api.writes() && !(api == Api::Invoke && request.model().is_some_and(|model| model.contains("embed")));
    let model = request.model().map(str::to_owned).or(found.model);
    Some(Asked {
        input_tokens: found.input.tokens(Overheads::of(api, request, model.as_deref())),
        model,
        reads_elsewhere: found.input.reads_elsewhere(),
        output_tokens: if writes { found.output.amount().filter(|&tokens| tokens > 0) } else { Some(0) },
        choices: found.choices.max(1).saturating_mul(found.input.prompts()),
        is_stream,
        include_usage: (api == Api::Chat && is_stream).then(|| IncludeUsage::of(text)).flatten(),
    })
}

/// curl says that a body is an encoded form unless it is told, so that alone means nothing.
fn is_form(content_type: &str) -> bool {
    content_type.trim_start().get(..10).is_some_and(|start| start.eq_ignore_ascii_case("multipart/"))
}

/// What the fields of a body say.
#[derive(Debug)]
struct Found {
    model: Option<String>,
    output: Reading,
    choices: i64,
    stream: Option<bool>,
    input: Input,
}

impl Found {
    /// `None` for a document that is no object.
    fn of(api: Api, body: &str) -> Result<Option<Self>, Broken> {
        let mut json = Json::new(body);
        if json.next()?.map(|step| step.event) != Some(Event::Open(Bracket::Object)) {
            return Ok(None);
        }
        let mut found =
            Self { model: None, output: Reading::Missing, choices: 1, stream: None, input: Input::new() };
        let mut fields = Fields::default();
        while let Some(Step { event, .. }) = json.next()? {
            if let Some(ask) = fields.next(event).and_then(|keys| ask_of(api, keys)) {
                found.say(ask, event);
            }
            found.input.read(event);
        }
        Ok(Some(found))
    }

    /// Of a field that is there twice, in one spelling or in two, the larger counts.
    fn say(&mut self, ask: Ask, event: Event<'_>) {
        let count = match event {
            Event::Scalar(scalar) => scalar.bytes().fold(Scalar::Empty, Scalar::push).end(),
            _ => Reading::Unreadable,
        };
        match ask {
            Ask::Output => self.output = larger(self.output, count),
            Ask::Choices => self.choices = self.choices.max(count.amount().unwrap_or(1)),
            Ask::Stream => {
                let is_stream = matches!(event, Event::Scalar("true"));
                self.stream = Some(is_stream || self.stream.unwrap_or(false));
            }
            Ask::Model => {
                if let Event::Text(name) = event {
                    self.model = model(name);
                }
            }
        }
    }
}

/// What the field at `keys`, as they stand between their quotes, says.
fn ask_of(api: Api, keys: &[&str]) -> Option<Ask> {
    match *keys {
        [key] => api.asks(&[json::plain(key).as_ref()]),
        [outer, inner] => api.asks(&[json::plain(outer).as_ref(), json::plain(inner).as_ref()]),
        _ => None,
    }
}

/// What is not clear once stays so.
fn larger(one: Reading, two: Reading) -> Reading {
    match (one, two) {
        (Reading::Missing, other) | (other, Reading::Missing) => other,
        (Reading::Amount(one), Reading::Amount(two)) => Reading::Amount(one.max(two)),
        (Reading::Unreadable, _) | (_, Reading::Unreadable) => Reading::Unreadable,
    }
}

/// A name that is neither empty nor too long.
fn model(quoted: &str) -> Option<String> {
    // Six bytes may write one.
    if quoted.len() > 6 * MODEL_BYTES_MAX {
        return None;
    }
    let name = json::plain(quoted);
    let is_name = !name.is_empty() && name.len() <= MODEL_BYTES_MAX && !name.contains(char::is_control);
    is_name.then(|| name.into_owned())
}

/// The keys of the fields that a document has at its first two levels.
#[derive(Debug, Default)]
struct Fields<'a> {
    keys: [&'a str; 2],
    /// What is open in the document: for fields of the second level, one object.
    depth: usize,
    in_array: bool,
}

impl<'a> Fields<'a> {
    /// The keys to the value that `event` begins, if it is a field of the first two levels.
    fn next(&mut self, event: Event<'a>) -> Option<&[&'a str]> {
        let depth = self.depth;
        match event {
            Event::Key(key) => {
                if let Some(slot) = self.keys.get_mut(depth) {
                    *slot = key;
                }
                return None;
            }
            Event::Close => {
                self.depth = depth.saturating_sub(1);
                return None;
            }
            Event::Open(_) => self.depth += 1,
            Event::Text(_) | Event::Scalar(_) => {}
        }
        let was_in_array = self.in_array && depth > 0;
        if depth == 0 {
            self.in_array = event == Event::Open(Bracket::Array);
        }
        if was_in_array { None } else { self.keys.get(..=depth) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHAT: &str = "/v1/chat/completions";

    fn ask_at(path: &str, body: &str) -> Option<Asked> {
        ask(Request { method: "POST", path }, Some("application/json"), body.as_bytes())
    }

    fn output(path: &str, body: &str) -> Option<i64> {
        ask_at(path, body).unwrap().output_tokens
    }

    #[test]
    fn the_output_is_bounded_in_each_dialect() {
        for (path, body) in [
            (CHAT, r#"{"max_tokens":7}"#),
            (CHAT, r#"{"max_completion_tokens":7,"max_tokens":null}"#),
            (CHAT, r#"{"max_completion_tokens":7,"max_tokens":3}"#),
            ("/v1/completions", r#"{"max_tokens":7.0}"#),
            ("/v1/responses", r#"{"max_output_tokens":7,"max_tokens":9}"#),
            ("/v1/messages", r#"{"max_tokens":7,"thinking":{"type":"enabled","budget_tokens":5}}"#),
            ("/v1beta/models/g:generateContent", r#"{"generationConfig":{"maxOutputTokens":7}}"#),
            (
                "/v1/models/g:streamGenerateContent",
                r#"{"generation_config":{"max_output_tokens":7,"thinkingConfig":{"thinkingBudget":5}}}"#,
            ),
            ("/model/m/converse", r#"{"inferenceConfig":{"maxTokens":7}}"#),
            ("/model/m/invoke", r#"{"max_tokens_to_sample":7}"#),
            ("/model/m/invoke", r#"{"textGenerationConfig":{"maxTokenCount":7}}"#),
            ("/model/m/invoke", r#"{"max_gen_len":7}"#),
            ("/api/chat", r#"{"options":{"num_predict":7}}"#),
            ("/v2/chat", r#"{"max_tokens":7}"#),
            // Said twice: the larger counts.
            (CHAT, r#"{"max_tokens":7,"max_tokens":5}"#),
            (CHAT, r#"{"max_tokens":5,"max_\u0074okens":7}"#),
        ] {
            assert_eq!(output(path, body), Some(7), "{path} {body}");
        }
    }

    #[test]
    fn what_is_no_bound_is_none() {
        for body in [
            "{}",
            r#"{"max_tokens":0}"#,
            r#"{"max_tokens":-1}"#,
            r#"{"max_tokens":1.5}"#,
            r#"{"max_tokens":1e309}"#,
            r#"{"max_tokens":"12"}"#,
            r#"{"max_tokens":18446744073709551616}"#,
            r#"{"max_tokens":{"":5}}"#,
            r#"{"max_tokens":[5]}"#,
            r#"{"max_tokens":5,"max_tokens":"6"}"#,
            r#"{"max_tokens":true,"max_tokens":5}"#,
            r#"{"x":{"max_tokens":5}}"#,
            r#"{"x":[{"max_tokens":5}]}"#,
        ] {
            assert_eq!(output(CHAT, body), None, "{body}");
        }
        for number in ["-1", "-2", "0"] {
            assert_eq!(
                output("/api/generate", &format!(r#"{{"options":{{"num_predict":{number}}}}}"#)),
                None
            );
        }
        for path in ["/v1/embeddings", "/api/v1/rerank", "/model/amazon.titan-embed-text-v2:0/invoke"] {
            assert_eq!(output(path, r#"{"max_tokens":5}"#), Some(0), "{path}");
        }
    }

    #[test]
    fn every_choice_of_every_prompt_is_written() {
        for (path, body, choices) in [
            (CHAT, r#"{"n":3}"#, 3),
            (CHAT, r#"{"n":null}"#, 1),
            (CHAT, r#"{"n":0}"#, 1),
            (CHAT, r#"{"n":-5}"#, 1),
            (CHAT, r#"{"n":2,"n":9,"n":"x"}"#, 9),
            ("/v1/completions", r#"{"n":2,"best_of":5,"prompt":"a"}"#, 5),
            ("/v1/completions", r#"{"n":2,"prompt":["a","b"]}"#, 4),
            ("/v1/completions", r#"{"prompt":[1,2,3]}"#, 1),
            ("/v1/completions", r#"{"prompt":[[1,2],[3]]}"#, 2),
            ("/v1beta/models/g:generateContent", r#"{"generationConfig":{"candidateCount":4}}"#, 4),
            ("/v1/generate", r#"{"num_generations":4}"#, 4),
            ("/v1/completions", r#"{"n":9223372036854775807,"prompt":["a","b"]}"#, i64::MAX),
        ] {
            assert_eq!(ask_at(path, body).unwrap().choices, choices, "{body}");
        }
    }

    #[test]
    fn streams_are_known_by_body_and_path() {
        for (path, body, is_stream) in [
            (CHAT, r#"{"stream":true}"#, true),
            (CHAT, r#"{"stream":false,"stream":true}"#, true),
            (CHAT, r#"{"x":{"stream":true}}"#, false),
            (CHAT, "{}", false),
            ("/api/chat", "{}", true),
            ("/api/chat", r#"{"stream":false}"#, false),
            ("/api/embed", "{}", false),
            ("/v1/models/g:streamGenerateContent?alt=sse", "{}", true),
            ("/model/m/converse-stream", "{}", true),
            ("/model/m/converse", "{}", false),
        ] {
            assert_eq!(ask_at(path, body).unwrap().is_stream, is_stream, "{path} {body}");
        }
    }

    #[test]
    fn only_openai_shapes_are_asked_for_usage() {
        for (path, is_asked) in [
            (CHAT, true),
            ("/v1/completions", true),
            ("/openai/deployments/d/chat/completions", true),
            ("/v1/messages", false),
            ("/v1/responses", false),
            ("/api/chat", false),
            ("/v2/chat", false),
        ] {
            let asked = ask_at(path, r#"{"stream":true}"#).unwrap();
            assert_eq!(asked.include_usage.is_some(), is_asked, "{path}");
        }
    }

    #[test]
    fn the_model_is_the_bodys_or_the_paths() {
        let long = format!(r#"{{"model":"{}"}}"#, "m".repeat(MODEL_BYTES_MAX + 1));
        for (path, body, model) in [
            (CHAT, r#"{"model":"gpt-x"}"#, Some("gpt-x")),
            (CHAT, r#"{"model":"a\/b\u002d1"}"#, Some("a/b-1")),
            ("/model/titan/invoke", r#"{"x":{"model":"no"}}"#, Some("titan")),
            (CHAT, r#"{"model":""}"#, None),
            (CHAT, r#"{"model":7}"#, None),
            (CHAT, &long, None),
            (CHAT, r#"{"model":"a\nb"}"#, None),
        ] {
            assert_eq!(ask_at(path, body).unwrap().model.as_deref(), model, "{body}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_none() {
        let deep = |depth| format!(r#"{{"messages":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        assert!(ask_at(CHAT, &deep(200)).is_some());
        for body in
            [&deep(1000), &deep(1_000_000), "", "[]", "7", "{", r#"{"a":1}{}"#, r#"{"a":NaN}"#, "model=x"]
        {
            assert_eq!(ask_at(CHAT, body), None);
        }
        let request = Request { method: "POST", path: CHAT };
        assert_eq!(ask(request, None, b"{\"a\":\"\xff\"}"), None);
        assert_eq!(ask(request, None, b"\x1f\x8b\x08\0"), None);
        assert_eq!(ask(request, Some("multipart/form-data; boundary=x"), b"{}"), None);
        assert!(ask(request, Some("application/x-www-form-urlencoded"), b"{}").is_some());
        assert!(ask(request, None, b"\xef\xbb\xbf {} ").is_some());
    }

    #[test]
    fn what_is_not_billable_is_told_apart() {
        let is_billable = |method, path| Request { method, path }.is_billable();
        assert!(is_billable("POST", CHAT) && is_billable("POST", "/v1/unknown"));
        assert!(!is_billable("GET", CHAT) && !is_billable("POST", "/v1/messages/count_tokens"));
        assert!(!is_billable("POST", "/v1/moderations") && !is_billable("POST", "/v1/responses/r/cancel"));
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_not(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
            parts in prop::collection::vec(prop::sample::select(vec![
                "{", "}", "[", "]", ",", ":", "\"a\"", "\"messages\":", "\"content\":", "\"stream\":", "true", "null",
                "\"max_tokens\":", "99999999999999999999", "\"tools\":", "\"image_url\":", "\"data:image/png;base64,\\u00\"",
                "\"\\ud800\"", "\"prompt\":", "1", "\"source\":", "\"type\":",
            ]), 0..40),
        ) {
            for path in [CHAT, "/v1/messages", "/model/m/invoke", "/x"] {
                let request = Request { method: "POST", path };
                for body in [&bytes, parts.concat().as_bytes()] {
                    let asked = ask(request, None, body);
                    prop_assert!(asked.is_none_or(|asked| asked.input_tokens > 0 && asked.choices > 0));
                }
            }
        }
    }
}
