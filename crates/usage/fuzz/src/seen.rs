//! What a scanner says of what it has read.

use tollgate_usage::{Progress, Scanner, TokenUsage};

/// All of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    pub usage: Option<TokenUsage>,
    pub model: Option<String>,
    pub has_error: bool,
    pub progress: Progress,
    pub is_at_boundary: bool,
}

impl Seen {
    /// What `scanner` says now; panics when that makes no sense whatever was read.
    pub fn of(scanner: &Scanner) -> Self {
        let usage = scanner.usage();
        let progress = scanner.progress();
        if let Some(usage) = usage {
            let TokenUsage {
                input,
                output,
                total_reported,
                cached_read,
                cache_write,
                reasoning,
                input_only: _,
            } = usage;
            let amounts = [input, output, total_reported, cached_read, cache_write, reasoning];
            assert!(amounts.into_iter().flatten().all(|amount| amount >= 0), "{usage:?}");
            assert!(input.or(output).or(total_reported).is_some(), "it says nothing that can be charged");
            assert!(usage.total().is_none_or(|total| total >= 0), "{usage:?}");
            assert_eq!(progress.input, input);
            assert!(output.is_none_or(|output| progress.output >= output), "{usage:?} {progress:?}");
        }
        assert!(progress.output >= 0, "{progress:?}");
        assert_ne!(scanner.model(), Some(""));
        Self {
            usage,
            model: scanner.model().map(str::to_owned),
            has_error: scanner.has_error(),
            progress,
            is_at_boundary: scanner.is_at_boundary(),
        }
    }
}
