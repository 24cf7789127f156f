//! What a request asks for, read from its body before it is forwarded.

use crate::dialect::{Api, Ask};
use crate::estimate::Input;
use crate::json::{self, Bracket, Broken, Event, Json, Step};
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
    Some(Asked {
        model: request.model().map(str::to_owned).or(found.model),
        input_tokens: found.input.tokens(),
        reads_elsewhere: found.input.reads_elsewhere(),
        output_tokens: if api.writes() {
            found.output.amount().filter(|&tokens| tokens > 0)
        } else {
            Some(0)
        },
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
            Self { model: None, output: Reading::Missing, choices: 1, stream: None, input: Input::new(api) };
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
