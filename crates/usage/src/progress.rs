//! How far a stream has come.

/// Tokens of a stream that is still running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// All tokens read, where the body has said so: Anthropic does at the beginning, Gemini with each chunk, most at
    /// the end.
    pub input: Option<i64>,
    /// Tokens written so far: what the body reported of them, or an estimate by its text, whichever is more.
    pub output: i64,
}
