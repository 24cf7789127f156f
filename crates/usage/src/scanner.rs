//! The scanner: one per response.

use crate::body::Body;
use crate::dialect::Api;
use crate::frames::Frames;
use crate::{Framing, Request, Response, TokenUsage, framing};

/// Bytes that a scanner holds at most.
pub const SCANNER_BYTES_MAX: usize = 4096;

const _: () = assert!(size_of::<Scanner>() + size_of::<Frames>() <= SCANNER_BYTES_MAX);

/// Reads the bytes of one response as they pass, in any chunks.
///
/// ```
/// use tollgate_usage::{Framing, Scanner};
///
/// let mut scanner = Scanner::new(Framing::Json);
/// scanner.feed(br#"{"object":"chat.completion","usage":{"prompt_to"#);
/// scanner.feed(br#"kens":24,"completion_tokens":8,"total_tokens":32}}"#);
/// let usage = scanner.finish().expect("the response has usage");
/// assert_eq!((usage.input, usage.output, usage.total()), (Some(24), Some(8), Some(32)));
/// ```
#[derive(Debug)]
pub struct Scanner {
    body: Body,
    api: Api,
}

impl Scanner {
    /// A scanner for a body framed like this, whatever it answers: its own fields decide what they mean.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        Self { body: Body::new(framing), api: Api::Any }
    }

    /// A scanner for the body of `response`, read as the answer to `request`.
    ///
    /// `None` when nothing can be charged for such a request (a poll, a count, a moderation), or when the body cannot be
    /// scanned.
    #[must_use]
    pub fn of(request: Request<'_>, response: Response<'_>) -> Option<Self> {
        let api = Api::of(request);
        let framing = match framing(response.content_type, response.content_encoding)? {
            Framing::Json if api == Api::GenerateStream => Framing::JsonArray,
            framing => framing,
        };
        (api != Api::Free).then(|| Self { body: Body::new(framing), api })
    }

    /// Reads the body's next bytes.
    pub fn feed(&mut self, chunk: &[u8]) {
        self.body.feed(chunk);
    }

    /// The model that the body named so far, if its name is short.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        self.body.readings().model()
    }

    /// What the body said so far; `None` when it said nothing that can be charged.
    ///
    /// Right at any point of a body that was cut: a number that may go on is not counted.
    #[must_use]
    pub fn finish(self) -> Option<TokenUsage> {
        self.api.usage(self.body.readings())
    }
}
