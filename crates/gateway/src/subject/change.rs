//! What `tollgate subject set` changes: typed text, checked and explained.

use clap::ValueEnum;
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use tollgate_config::{nearest, suggest};
use tollgate_core::{Plans, UnixMillis};
use tollgate_ledger::{LedgerError, Subject, SubjectRow, SubjectTable};

use super::{
    Values,
    overrides::{Edits, Meaning},
    valid_id,
};

/// A column of the table.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Key {
    Tier,
    Org,
    TimeZone,
    BillingAnchor,
    Overrides,
}

/// Checked changes of a row; none of a column leaves it as it is.
pub(super) struct Change {
    tier: Option<Option<String>>,
    org: Option<Option<String>>,
    zone: Option<Option<TimeZone>>,
    anchor: Option<Option<Anchor>>,
    overrides: Option<Option<String>>,
    edits: Option<Edits>,
}

#[derive(Clone, Copy)]
enum Anchor {
    At(UnixMillis),
    /// In the subject's own time zone.
    On(Date),
}

impl Change {
    /// None, and at least one mistake, when something makes no sense.
    pub(super) fn read(
        meaning: Meaning<'_>,
        values: &Values,
        unset: &[Key],
        mistakes: &mut Vec<String>,
    ) -> Option<Self> {
        let Values { tier, org, time_zone, billing_anchor, limits, override_until, overrides } = values;
        let (is_org, plans) = (meaning.is_org, &meaning.config.plans);
        let before = mistakes.len();
        let mut both = |key: Key, name: &str, value: &Option<String>| {
            let unset = unset.contains(&key);
            if unset && value.is_some() {
                mistakes.push(format!("--{name} and --unset {name} contradict each other"));
            }
            unset
        };
        let unset_tier = both(Key::Tier, "tier", tier);
        let unset_org = both(Key::Org, "org", org);
        let unset_zone = both(Key::TimeZone, "time-zone", time_zone);
        let unset_anchor = both(Key::BillingAnchor, "billing-anchor", billing_anchor);
        let unset_overrides = both(Key::Overrides, "overrides", overrides);
        let edits = Edits::read(limits, override_until.as_deref(), mistakes);
        if let Some(edits) = &edits {
            edits.check(meaning, mistakes);
            if overrides.is_some() {
                mistakes.push("--override and --overrides contradict each other".to_owned());
            }
        }
        if is_org && org.is_some() {
            mistakes.push("--org: an organisation belongs to none; set it for its users".to_owned());
        }
        let change = Self {
            tier: column(tier, unset_tier, |name| valid_tier(name, plans, mistakes)),
            org: column(org, unset_org, |id| valid_id("--org", id, mistakes)),
            zone: column(time_zone, unset_zone, |name| valid_zone(name, mistakes)),
            anchor: column(billing_anchor, unset_anchor, |text| valid_anchor(text, mistakes)),
            overrides: column(overrides, unset_overrides, |text| valid_overrides(text, meaning, mistakes)),
            edits,
        };
        if change.is_nothing() && mistakes.len() == before {
            mistakes.push(
                "nothing to set: give --tier, --org, --time-zone, --billing-anchor, --override or --unset KEY".to_owned(),
            );
        }
        (mistakes.len() == before).then_some(change)
    }

    fn is_nothing(&self) -> bool {
        let Self { tier, org, zone, anchor, overrides, edits } = self;
        let columns = [tier.is_none(), org.is_none(), zone.is_none(), anchor.is_none(), overrides.is_none()];
        columns.into_iter().all(|is_none| is_none) && edits.is_none()
    }

    /// The time zone of the organisation, for a user without one.
    pub(super) fn zone_elsewhere(
        &self,
        table: &SubjectTable,
        subject: &Subject,
    ) -> Result<TimeZone, LedgerError> {
        let org = match &self.org {
            Some(org) => org.clone(),
            None => table.get(subject)?.and_then(|row| row.org_id),
        };
        let row = match org {
            Some(org) => table.get(&Subject::Org(org))?,
            None => None,
        };
        Ok(row.and_then(|row| zone(row.time_zone.as_deref())).unwrap_or(TimeZone::UTC))
    }

    /// Changes `row`. Where it has no time zone, a date is one of `elsewhere`.
    pub(super) fn apply(self, row: &mut SubjectRow, elsewhere: TimeZone) {
        let Self { tier, org, zone: new_zone, anchor, overrides, edits } = self;
        if let Some(tier) = tier {
            row.tier = tier;
        }
        if let Some(org) = org {
            row.org_id = org;
        }
        if let Some(zone) = new_zone {
            row.time_zone = zone.and_then(|zone| zone.iana_name().map(str::to_owned));
        }
        if let Some(anchor) = anchor {
            let zone = zone(row.time_zone.as_deref()).unwrap_or(elsewhere);
            row.billing_anchor = anchor.and_then(|anchor| anchor.instant(&zone));
        }
        if let Some(overrides) = overrides {
            row.overrides = overrides;
        }
        if let Some(edits) = edits {
            row.overrides = edits.apply(row.overrides.as_deref());
        }
    }
}

impl Anchor {
    /// A date's noon, which is on the same date in the zones around too.
    fn instant(self, zone: &TimeZone) -> Option<UnixMillis> {
        match self {
            Self::At(at) => Some(at),
            Self::On(date) => {
                let noon = date.at(12, 0, 0, 0).to_zoned(zone.clone()).ok()?;
                Some(UnixMillis(noon.timestamp().as_millisecond()))
            }
        }
    }
}

/// The time zone of this name, if there is one.
pub(super) fn zone(name: Option<&str>) -> Option<TimeZone> {
    TimeZone::get(name?).ok()
}

fn column<T>(value: &Option<String>, unset: bool, read: impl FnOnce(&str) -> Option<T>) -> Option<Option<T>> {
    match value {
        Some(text) => read(text).map(Some),
        None => unset.then_some(None),
    }
}

fn valid_tier(name: &str, plans: &Plans, mistakes: &mut Vec<String>) -> Option<String> {
    if plans.tier(name).is_some() {
        return Some(name.to_owned());
    }
    let known = plans.tiers.iter().map(|tier| &*tier.name);
    mistakes.push(format!("--tier: no tier is called {name:?}; {}", suggest(name, known)));
    None
}

fn valid_zone(name: &str, mistakes: &mut Vec<String>) -> Option<TimeZone> {
    let zone = zone(Some(name)).filter(|zone| zone.iana_name().is_some());
    if zone.is_none() {
        mistakes.push(format!("--time-zone: no time zone is called {name:?}; {}", zone_meant(name)));
    }
    zone
}

/// The zone of a similar name, or of a city with a similar name.
fn zone_meant(name: &str) -> String {
    let zones: Vec<String> = jiff::tz::db().available().map(|zone| zone.as_str().to_owned()).collect();
    let city = |zone: &'_ String| zone.rsplit('/').next().unwrap_or_default().to_owned();
    let cities: Vec<String> = zones.iter().map(city).collect();
    let wanted = name.replace(' ', "_");
    let whole = nearest(&wanted, zones.iter().map(String::as_str));
    let by_city = || {
        let best = nearest(&wanted, cities.iter().map(String::as_str))?;
        zones.iter().zip(&cities).find(|(_, city)| *city == best).map(|(zone, _)| zone.as_str())
    };
    match whole.or_else(by_city) {
        Some(best) => format!("did you mean {best:?}?"),
        None => "write a name of the IANA time zone database, such as \"Europe/Berlin\"".to_owned(),
    }
}

fn valid_anchor(text: &str, mistakes: &mut Vec<String>) -> Option<Anchor> {
    let date = text.parse::<Date>().ok().filter(|_| text.len() == "2026-01-31".len()).map(Anchor::On);
    let instant = || {
        let at = text.parse::<Timestamp>().ok()?;
        Some(Anchor::At(UnixMillis(at.as_millisecond())))
    };
    let anchor = date.or_else(instant);
    // What is counted from a date goes on from it forever; before 1970 there are no windows.
    let years = 1970..=2999;
    let is_sane = |anchor: &Anchor| {
        let year = match anchor {
            Anchor::On(date) => date.year(),
            Anchor::At(at) => {
                let at = Timestamp::from_millisecond(at.0).unwrap_or(Timestamp::MIN);
                at.to_zoned(TimeZone::UTC).year()
            }
        };
        years.contains(&year)
    };
    match anchor {
        Some(anchor) if is_sane(&anchor) => Some(anchor),
        Some(_) => {
            mistakes
                .push(format!("--billing-anchor: {text:?} is out of bounds; write a date from 1970 to 2999"));
            None
        }
        None => {
            mistakes.push(format!(
                "--billing-anchor: {text:?} is not a date; write year-month-day, such as 2026-01-31, or an instant, \
                 such as 2026-01-31T15:04:05Z"
            ));
            None
        }
    }
}

fn valid_overrides(text: &str, meaning: Meaning<'_>, mistakes: &mut Vec<String>) -> Option<String> {
    let wrong = meaning.mistakes(text);
    let is_good = wrong.is_empty();
    mistakes.extend(wrong.into_iter().map(|wrong| format!("--overrides: {wrong}")));
    let object = serde_json::from_str::<serde_json::Value>(text).ok()?;
    is_good.then(|| object.to_string())
}
