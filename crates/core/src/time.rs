//! Instants and half-open spans of wall-clock time, in milliseconds since the Unix epoch.

/// A wall-clock instant in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// Earlier than every instant that a clock can give.
    pub const MIN: Self = Self(i64::MIN);
    /// Later than every instant that a clock can give.
    pub const MAX: Self = Self(i64::MAX);

    /// Whole seconds since the epoch, rounded up, as reset times are told to clients.
    #[must_use]
    pub const fn ceil_seconds(self) -> i64 {
        self.0.div_euclid(1000) + (self.0.rem_euclid(1000) != 0) as i64
    }

    /// Milliseconds from `earlier` to `self`; negative when `self` is the earlier one.
    #[must_use]
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The half-open span `start <= t < end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// First instant inside.
    pub start: UnixMillis,
    /// First instant after.
    pub end: UnixMillis,
}

impl Span {
    /// All of time: the window of limits that never reset.
    pub const ALWAYS: Self = Self { start: UnixMillis::MIN, end: UnixMillis::MAX };

    /// Whether `at` lies inside.
    #[must_use]
    pub fn contains(self, at: UnixMillis) -> bool {
        self.start <= at && at < self.end
    }
}
