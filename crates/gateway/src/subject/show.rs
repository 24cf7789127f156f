//! What is set, for people and for programs.

use std::fmt::Write as _;

use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Value, json};
use tollgate_core::{Plans, UnixMillis};
use tollgate_ledger::{LedgerError, Subject, SubjectRow, SubjectTable};

use super::{change::zone, overrides::Meaning};

/// "user ann".
pub(super) fn name(subject: &Subject) -> String {
    match subject {
        Subject::User(id) => format!("user {id}"),
        Subject::Org(id) => format!("org {id}"),
    }
}

/// The row as it is set; a subject without one has nothing set.
pub(super) fn json(subject: &Subject, row: Option<&SubjectRow>) -> Value {
    let (scope, id) = match subject {
        Subject::User(id) => ("user", id),
        Subject::Org(id) => ("org", id),
    };
    let overrides = row.and_then(|row| row.overrides.as_deref());
    json!({
        "scope": scope,
        "id": id,
        "tier": row.and_then(|row| row.tier.as_deref()),
        "org_id": row.and_then(|row| row.org_id.as_deref()),
        "time_zone": row.and_then(|row| row.time_zone.as_deref()),
        "billing_anchor": row.and_then(|row| row.billing_anchor).map(instant),
        "overrides": overrides.and_then(|text| serde_json::from_str::<Value>(text).ok()),
        "updated_at": row.map(|row| instant(row.updated_at)),
    })
}

/// The row, and what holds where it says nothing, for requests without headers.
pub(super) fn text(
    subject: &Subject,
    row: Option<&SubjectRow>,
    table: &SubjectTable,
    meaning: Meaning<'_>,
) -> Result<String, LedgerError> {
    let plans: &Plans = &meaning.config.plans;
    let of = |get: fn(&SubjectRow) -> Option<&str>| row.and_then(get);
    let org = of(|row| row.org_id.as_deref());
    let org_row = match org {
        Some(org) => table.get(&Subject::Org(org.to_owned()))?,
        None => None,
    };
    let inherited =
        |value: Option<String>| value.zip(org).map(|(value, org)| format!("{value}, of organisation {org}"));

    let mut tier = of(|row| row.tier.as_deref()).map(str::to_owned);
    let of_org = org_row.as_ref().and_then(|row| row.tier.clone());
    let effective = tier.clone().or_else(|| of_org.clone());
    tier = tier.or_else(|| inherited(of_org));
    let default = || format!("{}, the default tier", plans.tiers[plans.default_tier.0].name);
    let mut tier = tier.unwrap_or_else(default);
    if effective.is_some_and(|tier| plans.tier(&tier).is_none()) {
        tier.push_str(" (which tier-limits.toml has not: requests are refused)");
    }

    let own_zone = of(|row| row.time_zone.as_deref());
    let org_zone = org_row.as_ref().and_then(|row| row.time_zone.clone());
    let in_zone = zone(own_zone.or(org_zone.as_deref())).unwrap_or(TimeZone::UTC);
    let zone = own_zone.map(str::to_owned).or_else(|| inherited(org_zone)).unwrap_or("UTC".to_owned());

    let date = |at: UnixMillis| {
        let at = Timestamp::from_millisecond(at.0).unwrap_or_default();
        format!("{} ({at})", at.to_zoned(in_zone.clone()).date())
    };
    let anchor = row.and_then(|row| row.billing_anchor).map(date);
    let of_org = org_row.as_ref().and_then(|row| row.billing_anchor).map(date);
    let anchor = anchor.or_else(|| inherited(of_org));
    let anchor = anchor.unwrap_or("none: calendar months; Ndays from 1970-01-05".to_owned());

    let mut lines = vec![("tier", tier)];
    if matches!(subject, Subject::User(_)) {
        lines.push(("organisation", org.unwrap_or("none").to_owned()));
    }
    lines.extend([("time zone", zone), ("billing anchor", anchor)]);
    if let Some(overrides) = of(|row| row.overrides.as_deref()) {
        lines.push(("overrides", overrides.to_owned()));
        let wrong = meaning.mistakes(overrides);
        lines.extend(wrong.into_iter().map(|wrong| ("", format!("which changes nothing: {wrong}"))));
    }
    lines.push(("updated", row.map_or("never: nothing is set".to_owned(), |row| instant(row.updated_at))));
    let mut text = format!("{}\n", name(subject));
    for (key, value) in lines {
        let _ = writeln!(text, "  {key:<15} {value}");
    }
    Ok(text)
}

fn instant(at: UnixMillis) -> String {
    Timestamp::from_millisecond(at.0).unwrap_or_default().to_string()
}
