//! Advisory locks, and the order in which a transaction takes its locks.
//!
//! 1. An advisory lock, at most one; whoever waits for it holds nothing else.
//! 2. Lines, in the order of their ids.
//! 3. Sums: minutes, hours, days, resources; each in the order of their keys.
//! 4. The watermark, which is the journal's own.
//!
//! All transactions keep this order, so none of them waits for one that waits for it.

/// Held while tables and partitions are made.
pub(super) const SCHEMA: i64 = i64::from_be_bytes(*b"tollgate");
/// Shared by those who add to minutes, held alone by who merges them.
pub(super) const MINUTES: i64 = SCHEMA + 1;
