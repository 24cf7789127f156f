//! The fields that a route names, where no dialect is known.

use crate::TokenUsage;
use crate::dialect::Dialect;
use crate::readings::{Part, Readings};

pub(super) fn read(readings: &Readings) -> TokenUsage {
    let parts = readings.of(Dialect::Given);
    TokenUsage {
        input: parts.amount(Part::Input),
        output: parts.amount(Part::Output),
        total_reported: parts.amount(Part::Total),
        cached_read: parts.amount(Part::CachedRead),
        cache_write: parts.amount(Part::CacheWrite),
        reasoning: parts.amount(Part::Reasoning),
        input_only: false,
    }
}
