//! The scanner: one per response.

use crate::body::Body;
use crate::coding::Coding;
use crate::decoder::Decoder;
use crate::dialect::{Api, faults};
use crate::frames::Frames;
use crate::framing::by_media_type;
use crate::paths::Paths;
use crate::pointers::Shape;
use crate::{Framing, Request, Response, TokenUsage};

/// Bytes that a scanner holds at most, besides the window of a decoder when the body is compressed: 16 MiB at most.
pub const SCANNER_BYTES_MAX: usize = 3072;

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
    decoder: Decoder,
    api: Api,
    /// Nothing but the input is looked for.
    is_input_all: bool,
}

impl Scanner {
    /// A scanner for a body framed like this, whatever it answers: its own fields decide what they mean.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        let api = Api::Any;
        Self {
            decoder: Decoder::new(Coding::Plain, Body::new(framing, Paths::of(api))),
            api,
            is_input_all: false,
        }
    }

    /// A scanner for the body of `response`, read as the answer to `request`; gzip, deflate, br and zstd are decoded.
    ///
    /// `None` when nothing can be charged for such a request (a poll, a count, a moderation), or when the body cannot be
    /// scanned.
    #[must_use]
    pub fn of(request: Request<'_>, response: Response<'_>) -> Option<Self> {
        let api = Api::of(request);
        let coding = Coding::of(response.content_encoding)?;
        let framing = match by_media_type(response.content_type?)? {
            Framing::Json if api.is_many() => Framing::JsonArray,
            framing => framing,
        };
        (api != Api::Free).then(|| Self {
            decoder: Decoder::new(coding, Body::new(framing, Paths::of(api))),
            api,
            is_input_all: false,
        })
    }

    /// A scanner for the body of `response`, of which a route names the fields; the codings are those of [`Scanner::of`].
    ///
    /// `None` when the body cannot be scanned.
    #[must_use]
    pub fn with_pointers(shape: &Shape, response: Response<'_>) -> Option<Self> {
        let coding = Coding::of(response.content_encoding)?;
        let body = Body::new(by_media_type(response.content_type?)?, shape.paths());
        Some(Self {
            decoder: Decoder::new(coding, body),
            api: Api::Given,
            is_input_all: shape.is_input_all(),
        })
    }

    /// Reads the body's next bytes.
    pub fn feed(&mut self, chunk: &[u8]) {
        self.decoder.feed(chunk);
    }

    /// The model that the body named so far, if its name is short.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        self.decoder.body()?.readings().model()
    }

    /// Whether the body carried an error so far: a response of 200 whose stream says so is no success.
    #[must_use]
    pub fn has_error(&self) -> bool {
        self.decoder.body().is_some_and(|body| faults::is_there(body.readings()))
    }

    /// What the body said so far; `None` when it said nothing that can be charged.
    ///
    /// Right at any point of a body that was cut: a number that may go on is not counted. A compressed body that breaks
    /// its coding, or decodes to more than [`DECODED_BYTES_MAX`](crate::DECODED_BYTES_MAX), says nothing.
    #[must_use]
    pub fn finish(self) -> Option<TokenUsage> {
        let usage = self.api.usage(self.decoder.body()?.readings())?;
        Some(TokenUsage { input_only: usage.input_only || self.is_input_all, ..usage })
    }
}
