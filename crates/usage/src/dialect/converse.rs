//! Bedrock Converse: `usage` at the top, in streams of the `metadata` event. Nova says the same when it is invoked.

use crate::TokenUsage;
use crate::dialect::{Dialect, Field, Path};
use crate::paths::{Mark, Text, What};
use crate::readings::{Part, Readings};

pub(super) const FIELDS: &[Field] = &[
    (&["usage", "inputTokens"], Part::Input),
    (&["usage", "outputTokens"], Part::Output),
    (&["usage", "totalTokens"], Part::Total),
    (&["usage", "cacheReadInputTokens"], Part::CachedRead),
    (&["usage", "cacheReadInputTokenCount"], Part::CachedReadElsewhere),
    (&["usage", "cacheWriteInputTokens"], Part::CacheWrite),
    (&["usage", "cacheWriteInputTokenCount"], Part::CacheWriteElsewhere),
    (&["metadata", "usage", "inputTokens"], Part::Input),
    (&["metadata", "usage", "outputTokens"], Part::Output),
    (&["metadata", "usage", "totalTokens"], Part::Total),
    (&["metadata", "usage", "cacheReadInputTokens"], Part::CachedRead),
    (&["metadata", "usage", "cacheReadInputTokenCount"], Part::CachedReadElsewhere),
    (&["metadata", "usage", "cacheWriteInputTokens"], Part::CacheWrite),
    (&["metadata", "usage", "cacheWriteInputTokenCount"], Part::CacheWriteElsewhere),
];

/// Nova has each event in a field of its name; Converse has the name in the frame.
pub(super) const STREAM: &[(Path, What)] = &[
    (&["delta", "text"], What::Text(Text::Answer)),
    (&["delta", "reasoningContent", "text"], What::Text(Text::Reasoning)),
    (&["delta", "toolUse", "input"], What::Text(Text::Answer)),
    (&["start", "toolUse", "name"], What::Text(Text::Call)),
    (&["contentBlockIndex"], What::Mark(Mark::Index)),
    (&["contentBlockDelta", "delta", "text"], What::Text(Text::Answer)),
    (&["contentBlockDelta", "delta", "toolUse", "input"], What::Text(Text::Answer)),
    (&["contentBlockDelta", "contentBlockIndex"], What::Mark(Mark::Opened)),
    (&["contentBlockStart", "start", "toolUse", "name"], What::Text(Text::Call)),
    (&["contentBlockStart", "contentBlockIndex"], What::Mark(Mark::Opened)),
    (&["contentBlockStop", "contentBlockIndex"], What::Mark(Mark::Closed)),
    (&["messageStop", "stopReason"], What::Text(Text::Reason)),
];

/// Cache reads and writes are beside the input.
pub(super) fn read(readings: &Readings) -> TokenUsage {
    let parts = readings.of(Dialect::Converse);
    let reads = if parts.has(&[Part::CachedRead]) { Part::CachedRead } else { Part::CachedReadElsewhere };
    let writes = if parts.has(&[Part::CacheWrite]) { Part::CacheWrite } else { Part::CacheWriteElsewhere };
    TokenUsage {
        input: parts.sum(Part::Input, &[reads, writes]),
        output: parts.amount(Part::Output),
        total_reported: parts.amount(Part::Total),
        cached_read: parts.amount(reads),
        cache_write: parts.amount(writes),
        ..TokenUsage::default()
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::scan;

    #[test]
    fn caches_are_beside_the_input_and_said_twice() {
        let usage = scan(
            "/model/x/converse",
            r#"{"output":{},"usage":{"cacheReadInputTokenCount":5,"cacheReadInputTokens":5,"cacheWriteInputTokenCount":7,
            "inputTokens":3,"outputTokens":2,"totalTokens":17}}"#,
        )
        .unwrap();
        assert_eq!((usage.input, usage.output, usage.total()), (Some(15), Some(2), Some(17)));
        assert_eq!((usage.cached_read, usage.cache_write, usage.reasoning), (Some(5), Some(7), None));
    }
}
