//! The tokens that a response says were used.

/// Tokens as the provider reported them, in one vocabulary for all dialects.
///
/// `None` means that the provider did not say, or said something that is not a count. It is never zero in disguise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenUsage {
    /// All tokens read, cache reads and writes included.
    pub input: Option<i64>,
    /// All tokens written, reasoning included.
    pub output: Option<i64>,
    /// The provider's own sum.
    pub total_reported: Option<i64>,
    /// The part of `input` that came from a cache.
    pub cached_read: Option<i64>,
    /// The part of `input` that was written to a cache.
    pub cache_write: Option<i64>,
    /// The part of `output` that the client does not see.
    pub reasoning: Option<i64>,
    /// The call writes nothing and its answer says so by leaving `output` out (an embedding, a ranking), so that
    /// `input` is the whole.
    pub input_only: bool,
}

impl TokenUsage {
    /// Everything consumed, at least zero.
    ///
    /// `input` and `output` together, or the provider's own sum where that is larger (it then counts tokens that no
    /// field of its own names) or where one of the two is unknown; `input` alone if it is the whole. `None` when neither is known, or when the sum
    /// passes `i64::MAX`.
    #[must_use]
    pub fn total(&self) -> Option<i64> {
        if self.input_only && self.output.is_none() {
            return self.input.or(self.total_reported);
        }
        let Some((input, output)) = self.input.zip(self.output) else {
            return self.total_reported;
        };
        let sum = input.checked_add(output)?;
        Some(self.total_reported.map_or(sum, |reported| reported.max(sum)))
    }

    /// Whether the provider said nothing that can be charged.
    pub(crate) fn is_silent(&self) -> bool {
        self.input.is_none() && self.output.is_none() && self.total_reported.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(input: Option<i64>, output: Option<i64>, total_reported: Option<i64>) -> TokenUsage {
        TokenUsage { input, output, total_reported, ..TokenUsage::default() }
    }

    #[test]
    fn total_is_checked_and_absent_is_not_zero() {
        assert_eq!(usage(Some(2), Some(3), None).total(), Some(5));
        assert_eq!(usage(Some(2), Some(3), Some(9)).total(), Some(9));
        assert_eq!(usage(Some(2), Some(3), Some(4)).total(), Some(5));
        assert_eq!(usage(Some(2), None, None).total(), None);
        assert_eq!(usage(None, Some(2), Some(12)).total(), Some(12));
        assert_eq!(usage(Some(0), Some(0), None).total(), Some(0));
        assert_eq!(usage(Some(i64::MAX), Some(1), None).total(), None);
        assert_eq!(usage(Some(i64::MAX), Some(0), None).total(), Some(i64::MAX));
        let embedding = TokenUsage { input_only: true, ..usage(Some(2), None, None) };
        assert_eq!(embedding.total(), Some(2));
    }
}
