//! The scanner: one per response.

use crate::body::Body;
use crate::coding::Coding;
use crate::decoder::Decoder;
use crate::dialect::{Api, faults};
use crate::frames::Frames;
use crate::framing::by_media_type;
use crate::memo::Memo;
use crate::paths::Paths;
use crate::pointers::Shape;
use crate::stream::Remembered;
use crate::{Framing, Progress, Request, Response, TokenUsage, ending};

/// Bytes that a scanner holds at most, besides the window of a decoder when the body is compressed: 16 MiB at most.
pub const SCANNER_BYTES_MAX: usize = 3328;

const _: () = assert!(size_of::<Scanner>() + size_of::<Frames>() <= SCANNER_BYTES_MAX);
const _: () = assert!(size_of::<Scanner>() + size_of::<Memo<Remembered>>() <= SCANNER_BYTES_MAX);

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
    decoder: Decoder<Body>,
    api: Api,
    /// Nothing but the input is looked for.
    is_input_all: bool,
}

impl Scanner {
    /// A scanner for a body framed like this, whatever it answers: its own fields decide what they mean.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        let api = Api::Any;
        let body = Body::new(framing, paths(api, framing));
        Self { decoder: Decoder::new(Coding::Plain, body), api, is_input_all: false }
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
            decoder: Decoder::new(coding, Body::new(framing, paths(api, framing))),
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
        let framing = by_media_type(response.content_type?)?;
        let body = Body::new(framing, if framing.is_stream() { shape.stream_paths() } else { shape.paths() });
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
        self.decoder.sink()?.readings().model()
    }

    /// Whether the body carried an error so far: a response of 200 whose stream says so is no success.
    #[must_use]
    pub fn has_error(&self) -> bool {
        self.decoder.sink().is_some_and(|body| faults::is_there(body.readings()))
    }

    /// How far the stream has come; nothing when the body is no stream, or cannot be read.
    ///
    /// The estimate counts a token for four bytes of the text in the stream's deltas (what the model says and thinks, the
    /// arguments of tools), one for each delta if those are more, and sixteen for each call of a tool. What a model
    /// writes without showing it (hidden reasoning) cannot be seen until the body reports it.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let Some(body) = self.decoder.sink() else { return Progress::default() };
        let reported = self.api.usage(body.readings()).unwrap_or_default();
        let estimate = body.readings().stream().written.tokens();
        Progress { input: reported.input, output: reported.output.unwrap_or(0).max(estimate) }
    }

    /// Whether a stream could end after what was read so far: its last event, line, element or frame is whole. Never
    /// within a compressed body.
    #[must_use]
    pub fn is_at_boundary(&self) -> bool {
        self.decoder.plain().is_some_and(|body| body.place().is_some())
    }

    /// Reads the body's next bytes up to the next boundary, or all; returns how many lie before it, 0 when the body is at
    /// one already, and `None` when there is none.
    pub fn feed_to_boundary(&mut self, chunk: &[u8]) -> Option<usize> {
        match self.decoder.plain_mut() {
            Some(body) => body.feed_to_boundary(chunk),
            None => {
                self.decoder.feed(chunk);
                None
            }
        }
    }

    /// The events that end the stream here as its own dialect does when a limit was reached: the parts that are open are
    /// closed, the reason is `length`, `max_tokens` or how else the dialect says it, and usage is what `progress` says (an
    /// unknown input is 0 there). A chat has the chunk that only has usage if the client asked for it (`wants_usage`).
    ///
    /// Empty when the stream has said its own reason: what is left of it is short and may pass. `None` when the stream is
    /// not [at a boundary](Self::is_at_boundary), or when it cannot be ended so (an unknown dialect, a compressed body, no
    /// stream, an answer that has not begun): then it can only be cut.
    #[must_use]
    pub fn final_events(&self, progress: Progress, wants_usage: bool) -> Option<Vec<u8>> {
        let body = self.decoder.plain()?;
        ending::ending(self.api, body.readings(), body.place()?, progress, wants_usage)
    }

    /// What the body said so far; `None` when it said nothing that can be charged.
    ///
    /// Right at any point of a body that was cut: a number that may go on is not counted. A compressed body that breaks
    /// its coding, or decodes to more than [`DECODED_BYTES_MAX`](crate::DECODED_BYTES_MAX), says nothing.
    #[must_use]
    pub fn usage(&self) -> Option<TokenUsage> {
        let usage = self.api.usage(self.decoder.sink()?.readings())?;
        Some(TokenUsage { input_only: usage.input_only || self.is_input_all, ..usage })
    }

    /// [`Scanner::usage`] at the body's end.
    #[must_use]
    pub fn finish(self) -> Option<TokenUsage> {
        self.usage()
    }
}

/// Where the documents of an answer to `api` are looked at.
fn paths(api: Api, framing: Framing) -> Paths {
    if framing.is_stream() { Paths::stream_of(api) } else { Paths::of(api) }
}
