//! Limits of one subject's own.

use proptest::prelude::*;
use tollgate_config::overrides;
use tollgate_core::{Grace, Limit, Max, Over, Plans, Scope, UnixMillis, Window};

use crate::{GATEWAY, TIERS, good};

fn plans() -> Plans {
    good(GATEWAY, TIERS).plans
}

fn limits(json: &str, scope: Scope) -> Vec<Limit> {
    let (read, mistakes) = overrides(json, scope, &plans());
    assert!(mistakes.is_empty(), "{json}: {mistakes:?}");
    assert_eq!(read.len(), 1, "{json}");
    read[0].limits.clone()
}

#[test]
fn they_are_written_as_in_the_file() {
    let spans = |json: &str| -> Vec<(Window, Max)> {
        limits(json, Scope::User).iter().map(|limit| (limit.window, limit.max)).collect()
    };
    let day = |max| (Window::Day, Max::AtMost(max));
    assert_eq!(spans(r#"{"calls": "5_000/day"}"#), [day(5000)]);
    assert_eq!(spans(r#"{"calls": ["5/minute", "10/day"]}"#), [(Window::Minute, Max::AtMost(5)), day(10)]);
    assert_eq!(spans(r#"{"calls": {"limit": "5/day"}}"#), [day(5)]);
    assert_eq!(spans(r#"{"calls": "unlimited"}"#), []);
    assert_eq!(spans(r#"{"calls": 0}"#), [(Window::Lifetime, Max::AtMost(0))]);
    assert_eq!(spans(r#"{"storage": "5GiB"}"#), [(Window::Lifetime, Max::AtMost(5 << 30))]);
    assert_eq!(spans(r#"{"jobs": 7}"#), [(Window::Lifetime, Max::AtMost(7))]);
    let all = r#"{"calls": {"limit": "5/day", "grace": "100%", "on_store_failure": {"allow": "5s"}}}"#;
    assert_eq!(limits(all, Scope::User)[0].grace, Grace::Units(5));
    let priced = r#"{"calls": {"limit": "5/day", "over": "charge", "price": "1 EUR"}}"#;
    assert_eq!(limits(priced, Scope::User)[0].over, Over::Charge(Some("1 EUR".parse().unwrap())));
}

#[test]
fn they_are_limits_of_whose_row_it_is() {
    for json in [r#"{"calls": "5/day"}"#, r#"{"calls": {"limit": "5/day", "scope": "org"}}"#] {
        assert_eq!(limits(json, Scope::Org)[0].scope, Scope::Org);
    }
    for json in [r#"{"calls": "5/day"}"#, r#"{"calls": {"limit": "5/day", "scope": "user"}}"#] {
        assert_eq!(limits(json, Scope::User)[0].scope, Scope::User);
    }
}

#[test]
fn they_end_with_a_day_or_at_an_instant() {
    for (json, until, count) in [
        (r#"{"calls": {"limit": "5/day", "until": "2026-12-31"}}"#, "2027-01-01", 1),
        (r#"{"calls": {"limit": "5/day", "until": "2026-12-31T15:00:00Z"}}"#, "2026-12-31T15:00:00Z", 1),
        (r#"{"calls": {"limit": ["5/day", "2/hour"], "until": "2026-12-31"}}"#, "2027-01-01", 2),
        (r#"{"calls": {"limit": {"limit": "5/day", "grace": 1}, "until": "2026-12-31"}}"#, "2027-01-01", 1),
        (r#"{"calls": {"limit": "unlimited", "until": "2026-12-31"}}"#, "2027-01-01", 0),
    ] {
        let (read, mistakes) = overrides(json, Scope::User, &plans());
        assert!(mistakes.is_empty(), "{json}: {mistakes:?}");
        assert_eq!((read[0].until, read[0].limits.len()), (UnixMillis::parse(until), count), "{json}");
    }
}

#[test]
fn what_has_a_mistake_is_left_out_and_explained() {
    for (json, scope, mistake) in [
        (
            r#"{"cals": "5/day"}"#,
            Scope::User,
            "overrides: cals: no meter is called \"cals\"; did you mean \"calls\"?",
        ),
        (
            r#"{"calls": "5/dya"}"#,
            Scope::User,
            "overrides: calls: \"dya\" is not a window; did you mean \"day\"?",
        ),
        (
            r#"{"calls": {"limt": "5/day"}}"#,
            Scope::User,
            "overrides: calls.limt: unknown key; did you mean \"limit\"?",
        ),
        (
            r#"{"calls": {"limit": "5/day", "until": "31.12.2026"}}"#,
            Scope::User,
            "overrides: calls.until: \"31.12.2026\" is not a date; write \"2026-12-31\", whose end in UTC is meant, or \
             an instant as \"2026-12-31T15:00:00Z\"",
        ),
        (
            r#"{"calls": {"limit": "5/day", "scope": "org"}}"#,
            Scope::User,
            "overrides: calls: this row has the limits of the user; remove scope, or set it for the organisation",
        ),
        (
            r#"{"calls": ["5/hour", {"limit": "5/day", "scope": "user"}]}"#,
            Scope::Org,
            "overrides: calls: this row has the limits of the organisation; remove scope, or set it for the user",
        ),
        (
            r#"{"calls": null}"#,
            Scope::User,
            "overrides: calls: null is not a limit; write \"unlimited\", or leave it out",
        ),
        (
            r#"{"calls": 5.5}"#,
            Scope::User,
            "overrides: calls: 5.5 is not a whole number; write a whole number, in a smaller unit if need be",
        ),
        (
            r#"{"calls": []}"#,
            Scope::User,
            "overrides: calls: there is no limit; write \"100/day\", \"unlimited\" or 0",
        ),
    ] {
        let with_good = json.replacen('{', "{\"jobs\": 3, ", 1);
        let (read, mistakes) = overrides(&with_good, scope, &plans());
        let told: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        assert_eq!(told, [mistake], "{json}");
        assert_eq!(read.len(), 1, "the other one is read: {json}");
    }
    for json in ["", "[]", "5", "{\"calls\": \"5/day\"", "null"] {
        let (read, mistakes) = overrides(json, Scope::User, &plans());
        assert!(read.is_empty() && mistakes.len() == 1, "{json}: {mistakes:?}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_explained(text in any::<String>(), value in ".{0,40}") {
        let _ = overrides(&text, Scope::User, &plans());
        let json = serde_json::json!({ "calls": { "limit": value.clone(), "until": value.clone() }, "jobs": value });
        let (read, mistakes) = overrides(&json.to_string(), Scope::Org, &plans());
        prop_assert_eq!(read.len() + mistakes.iter().map(|m| m.key.split('.').next().map(str::to_owned))
            .collect::<std::collections::BTreeSet<_>>().len(), 2);
    }
}
