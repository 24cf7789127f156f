//! `[api]`: what services report to and ask, beside the routes.

use std::{ops::RangeInclusive, time::Duration};

use super::{Route, path};
use crate::{report::Flaw, section::Section, text::quote};

const PATH_DEFAULT: &str = "/api/v1/usage/";
const TOKENS_ENV_DEFAULT: &str = "TOLLGATE_SERVICE_TOKENS";

/// A service that was away over a long weekend reports what it did.
const LATE_MAX_DEFAULT: Duration = Duration::from_secs(7 * 86_400);
/// The ledger keeps what a month's use was made of in its own partition, and is exact that far back.
const LATE_MAX_BOUNDS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(31 * 86_400);

/// Work that a service does for itself has ended after a day.
const HOLDS_MAX_DEFAULT: Duration = Duration::from_secs(86_400);
/// A hold is settled at its beginning, which must not be too late for a report.
const HOLDS_MAX_BOUNDS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30 * 86_400);

/// What services report to and ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// Whether it is served.
    pub enabled: bool,
    /// Normal path with a final `/`; everything below is the API.
    pub path: Box<str>,
    /// How old an event may be when it is reported.
    pub late_max: Duration,
    /// How long a hold may last.
    pub holds_max: Duration,
    /// Who may report, hold and end.
    pub writers: Writers,
    /// The environment variable with the tokens of services, which may be missing.
    pub service_tokens_env: Box<str>,
}

/// Who may change what is used: report events, hold, end holds and jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writers {
    /// Whoever a trusted peer names, for themselves; and services.
    Everyone,
    /// Only who has a service token.
    Services,
}

impl Api {
    pub(super) fn read(section: &mut Section<'_>, routes: &[Route]) -> Self {
        let writers = [("everyone", Writers::Everyone), ("services", Writers::Services)];
        let enabled = section.or("enabled", true, |item| item.boolean());
        let path = section.or("path", PATH_DEFAULT.into(), |item| {
            let path = item.parsed("\"/api/v1/usage/\"", path::check)?;
            if path.len() < 2 || !path.ends_with('/') {
                let message = format!("{} does not stand for what is below it", quote(&path));
                item.wrong(Flaw::new(message, "write a path that ends with \"/\", and not \"/\" itself"));
            }
            Some(path)
        });
        if let Some(route) = routes.iter().find(|route| enabled && is_shadowed(&route.path, &path)) {
            let message =
                format!("the route {} would never be reached: {path} is the API's", quote(&route.name));
            let suggestion = "give [api] or the route another path, or set api.enabled = false";
            section.wrong(Flaw::new(message, suggestion));
        }
        Self {
            enabled,
            path,
            late_max: section.or("late_max", LATE_MAX_DEFAULT, |item| item.duration(LATE_MAX_BOUNDS)),
            holds_max: section.or("holds_max", HOLDS_MAX_DEFAULT, |item| item.duration(HOLDS_MAX_BOUNDS)),
            writers: section.or("writers", Writers::Everyone, |item| item.one_of(&writers)),
            service_tokens_env: section
                .maybe("service_tokens_env", super::environment_name)
                .unwrap_or(TOKENS_ENV_DEFAULT.into()),
        }
    }
}

/// Whether what `route` is there for is below the API's path. One that serves all above it is not.
fn is_shadowed(route: &str, api: &str) -> bool {
    route.starts_with(api) || api.strip_suffix('/') == Some(route)
}
