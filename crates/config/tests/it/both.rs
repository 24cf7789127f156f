//! Mistakes in both files at once, and between them.

use crate::{GATEWAY, TIERS, report};

#[test]
fn all_mistakes_are_reported_at_once_in_the_order_of_files_and_lines() {
    let gateway = r#"enforcment = "observe"
[listen]
address = "localhost"
header_timeout = 5
[upstreams.llm]
urls = ["127.0.0.1:9101"]
[[routes]]
path = "/v1/"
upstream = "lmm"
charge = [{ meter = "call" }, { meter = "tokens" }]
"#;
    let tiers = r#"default_tier = "fre"
[meters]
calls = { unit = "calls" }
tokens = { unit = "tokens", knd = "count" }
[tiers.free]
warn_at = [101]
[tiers.free.limits]
calls = "10/dya"
[tiers.pro]
inherits = "fee"
"#;
    let expected = r#"gateway.toml:1:1: enforcment: unknown key; did you mean "enforcement"?
gateway.toml:3:11: listen.address: "localhost" is not an IP address with a port; write it as in "127.0.0.1:8080" or "[::1]:8080"
gateway.toml:4:18: listen.header_timeout: has no unit; write "5s" or "5ms"
gateway.toml:6:9: upstreams.llm.urls[0]: the URL has no scheme; write "http://" or "https://" first, as in "http://127.0.0.1:9101"
gateway.toml:9:12: routes[0].upstream: no upstream is called "lmm"; did you mean "llm"?
gateway.toml:10:21: routes[0].charge[0].meter: no meter is called "call"; did you mean "calls"?
tier-limits.toml:1:16: default_tier: no tier is called "fre"; did you mean "free"?
tier-limits.toml:4:29: meters.tokens.knd: unknown key; did you mean "kind"?
tier-limits.toml:5:8: tiers.free.limits.tokens: route "/v1/" charges "tokens", which tier "free" does not name; add tokens = "unlimited", or 0 to forbid it, or a limit; or set other_meters = "unlimited" for the tier
tier-limits.toml:6:12: tiers.free.warn_at[0]: 101 is out of bounds; write 1 to 100
tier-limits.toml:8:9: tiers.free.limits.calls: "dya" is not a window; did you mean "day"?
tier-limits.toml:10:12: tiers.pro.inherits: no tier is called "fee"; did you mean "free"?"#;
    assert_eq!(report(gateway, tiers).join("\n"), expected);
}

#[test]
fn a_file_that_is_not_toml_does_not_hide_the_mistakes_of_the_other() {
    let gateway = GATEWAY.replace("\"llm\"", "\"lmm\"").replace("calls", "anything");
    assert_eq!(
        report(&gateway, "default_tier = \"free\"\n[tiers\n"),
        [
            r#"gateway.toml:5:12: routes[0].upstream: no upstream is called "lmm"; did you mean "llm"?"#,
            "tier-limits.toml:2:7: not TOML: unclosed table, expected `]`",
        ]
    );
}

#[test]
fn a_charged_meter_that_a_tier_does_not_name_is_reported_once_where_it_can_be_cured() {
    let charged = GATEWAY.replace("{ meter = \"calls\" }", "{ meter = \"calls\" }, { meter = \"tokens\" }");
    let tiers = TIERS.replace("tokens = \"1000/day\"\n", "");
    let mistakes = report(&charged, &tiers);
    assert_eq!(mistakes.len(), 1, "pro inherits the gap from free: {mistakes:?}");
    assert!(
        mistakes[0].starts_with("tier-limits.toml:7:8: tiers.free.limits.tokens: route \"/v1/\" charges")
    );
    let cured = tiers
        .replace("[tiers.free.limits]", "[tiers.free]\nother_meters = \"unlimited\"\n[tiers.free.limits]");
    assert_eq!(report(&charged, &cured), [""; 0]);
    // What no route charges, no tier needs to name.
    assert_eq!(report(GATEWAY, &tiers), [""; 0]);
}

#[test]
fn a_request_has_a_bounded_number_of_limits() {
    let days =
        |count: usize| (2..2 + count).map(|n| format!("\"10/{n}days\"")).collect::<Vec<_>>().join(", ");
    let gateway = GATEWAY.replace(
        "{ meter = \"calls\" }",
        "{ meter = \"calls\" }, { meter = \"tokens\" }, { meter = \"jobs\" }",
    );
    let tiers = TIERS.replace("\"10/day\"", &format!("[{}]", days(8)));
    assert_eq!(report(&gateway, &tiers.replace("\"1000/day\"", &format!("[{}]", days(7)))), [""; 0]);
    let mistake =
        "a request to route \"/v1/\" would have 17 limits; use at most 16 for all the meters of one route";
    assert_eq!(
        report(&gateway, &tiers.replace("\"1000/day\"", &format!("[{}]", days(8)))),
        [
            format!("tier-limits.toml:7:8: tiers.free.limits: {mistake}"),
            format!("tier-limits.toml:12:8: tiers.pro.limits: {mistake}"),
        ]
    );
}
