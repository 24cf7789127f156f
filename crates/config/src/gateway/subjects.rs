//! `[subjects]`: how the table of subjects is looked up.

use std::{ops::RangeInclusive, time::Duration};

use crate::section::Section;

/// Changes are heard of at once; this is for those that are not, because a connection was lost.
const CACHE_DEFAULT: Duration = Duration::from_secs(60);
/// Below a second, busy subjects would be read all the time; an hour is long for a customer who paid for more.
const CACHE_BOUNDS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

/// How the table of subjects is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subjects {
    /// How long a row is taken for granted before it is read again in the background.
    pub cache: Duration,
}

impl Subjects {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self { cache: section.or("cache", CACHE_DEFAULT, |item| item.duration(CACHE_BOUNDS)) }
    }
}
