//! Units of time and of size, and how one becomes another.

use tollgate_core::Ratio;

/// What units can be converted into each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dimension {
    Time,
    Size,
}

/// A unit: how many milliseconds or bytes it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SourceUnit {
    dimension: Dimension,
    of_smallest: i64,
}

/// Of a duration.
pub(super) const MILLISECONDS: SourceUnit = SourceUnit { dimension: Dimension::Time, of_smallest: 1 };
/// Of a body.
pub(super) const BYTES: SourceUnit = SourceUnit { dimension: Dimension::Size, of_smallest: 1 };

/// As charges write them.
const NAMES: [(&str, SourceUnit); 11] = [
    ("ms", MILLISECONDS),
    ("seconds", time(1000)),
    ("minutes", time(60_000)),
    ("hours", time(3_600_000)),
    ("bytes", BYTES),
    ("kB", size(1000)),
    ("MB", size(1_000_000)),
    ("GB", size(1_000_000_000)),
    ("KiB", size(1 << 10)),
    ("MiB", size(1 << 20)),
    ("GiB", size(1 << 30)),
];

/// What else meters call their units.
const OTHER_NAMES: [(&str, &str); 12] = [
    ("milliseconds", "ms"),
    ("millisecond", "ms"),
    ("second", "seconds"),
    ("s", "seconds"),
    ("sec", "seconds"),
    ("minute", "minutes"),
    ("min", "minutes"),
    ("hour", "hours"),
    ("h", "hours"),
    ("byte", "bytes"),
    ("B", "bytes"),
    ("KB", "kB"),
];

const fn time(of_smallest: i64) -> SourceUnit {
    SourceUnit { dimension: Dimension::Time, of_smallest }
}

const fn size(of_smallest: i64) -> SourceUnit {
    SourceUnit { dimension: Dimension::Size, of_smallest }
}

impl SourceUnit {
    /// All that a charge may write.
    pub(super) const CHOICES: &[(&'static str, Self)] = &NAMES;

    /// What a meter's unit is, if it can be converted.
    pub(super) fn of_meter(unit: &str) -> Option<Self> {
        let name = OTHER_NAMES.iter().find(|(other, _)| *other == unit).map_or(unit, |(_, name)| name);
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, unit)| *unit)
    }

    /// As charges write it.
    pub(super) fn name(self) -> &'static str {
        NAMES.iter().find(|(_, unit)| *unit == self).map_or("", |(name, _)| name)
    }

    /// What one of it is in `other`; `None` where they measure different things.
    pub(super) fn in_terms_of(self, other: Self) -> Option<Ratio> {
        (self.dimension == other.dimension).then(|| Ratio::new(self.of_smallest, other.of_smallest))?
    }
}
