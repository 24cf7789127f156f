//! Meters: the things that are counted.

/// A thing counted, as `[meters]` of `tier-limits.toml` declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meter {
    /// Its name in files, headers and the ledger.
    pub name: Box<str>,
    /// What one of it is called ("tokens", "bytes").
    pub unit: Box<str>,
    /// How it adds up.
    pub kind: MeterKind,
}

/// How a meter's amounts add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MeterKind {
    /// Adds up within a window and starts again at zero.
    Count,
    /// What exists now: never resets, and negative amounts give back.
    Level,
    /// What runs now: taken at the start, given back at the end.
    Concurrent,
}
