//! Differences between two tiers files.

use tollgate_config::{Effect, diff};

use crate::{GATEWAY, TIERS, good};

/// What the difference between two tiers files prints, one way and the other.
fn both_ways(old: &str, new: &str) -> (Vec<String>, Vec<String>) {
    let (old, new) = (good(GATEWAY, old).plans, good(GATEWAY, new).plans);
    let print = |changes: Vec<tollgate_config::Change>| changes.iter().map(ToString::to_string).collect();
    (print(diff(&old, &new)), print(diff(&new, &old)))
}

#[test]
fn nothing_has_changed() {
    let (there, back) = both_ways(TIERS, &format!("# a comment\n{TIERS}"));
    assert_eq!((there.len(), back.len()), (0, 0));
}

#[test]
fn who_gains_and_who_loses() {
    // `pro` inherits all of `free`, and so every change of its limits.
    for (part, instead, there, back) in [
        ("\"10/day\"", "\"20/day\"", "calls per day 10 → 20 (gains)", "calls per day 20 → 10 (loses)"),
        (
            "\"10/day\"",
            "\"unlimited\"",
            "calls per day 10 → unlimited (gains)",
            "calls per day unlimited → 10 (loses)",
        ),
        (
            "\"10/day\"",
            "[\"10/day\", \"50/7days\"]",
            "calls per 7days none → 50 (loses)",
            "calls per 7days 50 → none (gains)",
        ),
        (
            "\"10/day\"",
            "[\"10/day\", { limit = \"5/day\", scope = \"org\" }]",
            "calls per day of the organisation none → 5 (loses)",
            "calls per day of the organisation 5 → none (gains)",
        ),
        ("\"1GiB\"", "\"25MB\"", "storage 1GiB → 25MB (loses)", "storage 25MB → 1GiB (gains)"),
        ("jobs = 1", "jobs = 2", "jobs 1 → 2 (gains)", "jobs 2 → 1 (loses)"),
        ("jobs = 1\n", "", "jobs 1 → not named", "jobs not named → 1"),
        (
            "\"10/day\"",
            "{ limit = \"10/day\", over = \"charge\", price = \"1 EUR\" }",
            "calls per day: over refuse → charge 1 EUR per 1 (gains)",
            "calls per day: over charge 1 EUR per 1 → refuse (loses)",
        ),
        (
            "\"10/day\"",
            "{ limit = \"10/day\", on_store_failure = { allow = \"5s\" } }",
            "calls per day: on_store_failure lease → allow 5s",
            "calls per day: on_store_failure allow 5s → lease",
        ),
    ] {
        let lines = |change: &str| vec![format!("free: {change}"), format!("pro: {change}")];
        let changes = both_ways(TIERS, &TIERS.replace(part, instead));
        assert_eq!(changes, (lines(there), lines(back)), "{instead}");
    }
}

#[test]
fn a_lower_price_is_a_gain() {
    let priced = |price: &str| {
        let charged = format!("{{ limit = \"10/day\", over = \"charge\", price = \"{price}\" }}");
        TIERS.replace("\"10/day\"", &charged)
    };
    let effect = |old: &str, new: &str| {
        let (old, new) = (good(GATEWAY, &priced(old)).plans, good(GATEWAY, &priced(new)).plans);
        diff(&old, &new)[0].effect
    };
    assert_eq!(effect("0.01 EUR", "0.09 EUR per 10"), Effect::Gains);
    assert_eq!(effect("0.01 EUR", "0.11 EUR per 10"), Effect::Loses);
    assert_eq!(effect("0.01 EUR", "0.1 EUR per 10"), Effect::Neutral);
    assert_eq!(effect("0.01 EUR", "0.001 USD"), Effect::Neutral);
}

#[test]
fn what_is_not_a_limit() {
    for (part, instead, there, back) in [
        (
            "= \"free\"\n[meters]",
            "= \"pro\"\n[meters]",
            vec!["default_tier free → pro"],
            vec!["default_tier pro → free"],
        ),
        (
            "[meters]",
            "upgrade_url = \"https://x.example\"\n[meters]",
            vec!["upgrade_url none → https://x.example"],
            vec!["upgrade_url https://x.example → none"],
        ),
        (
            "inherits = \"free\"\n",
            "inherits = \"free\"\nwarn_at = [80]\nmax_body = \"25MB\"\nother_meters = \"unlimited\"\n",
            vec![
                "pro: max_body unlimited → 25MB (loses)",
                "pro: warn_at [] → [80]",
                "pro: other_meters forbidden → unlimited (gains)",
            ],
            vec![
                "pro: max_body 25MB → unlimited (gains)",
                "pro: warn_at [80] → []",
                "pro: other_meters unlimited → forbidden (loses)",
            ],
        ),
        (
            "[tiers.pro]\n",
            "[tiers.vip]\n",
            vec!["pro: the tier is removed (loses)", "vip: the tier is new"],
            vec!["vip: the tier is removed (loses)", "pro: the tier is new"],
        ),
        (
            "jobs = { unit = \"jobs\"",
            "seats = { unit = \"seats\", kind = \"level\" }\njobs = { unit = \"tasks\"",
            vec!["meter jobs: unit jobs → tasks", "meter seats is new"],
            vec!["meter seats is removed", "meter jobs: unit tasks → jobs"],
        ),
    ] {
        let (found_there, found_back) = both_ways(TIERS, &TIERS.replace(part, instead));
        let sorted = |mut lines: Vec<String>| {
            lines.sort();
            lines
        };
        let expected = |lines: Vec<&str>| sorted(lines.into_iter().map(str::to_owned).collect());
        assert_eq!(sorted(found_there), expected(there), "{instead}");
        assert_eq!(sorted(found_back), expected(back), "{instead}");
    }
}

#[test]
fn a_new_meter_with_limits_is_a_loss() {
    let new = TIERS.replace("jobs = {", "seats = { unit = \"seats\", kind = \"level\" }\njobs = {");
    let new = new.replace("jobs = 1", "jobs = 1\nseats = 3");
    let (there, back) = both_ways(TIERS, &new);
    assert_eq!(
        there,
        ["meter seats is new", "free: seats not counted → 3 (loses)", "pro: seats not counted → 3 (loses)"]
    );
    assert_eq!(
        back,
        [
            "meter seats is removed",
            "free: seats 3 → not counted (gains)",
            "pro: seats 3 → not counted (gains)"
        ]
    );
}
