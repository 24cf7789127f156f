//! Mistakes of `tier-limits.toml`, one by one.

use crate::{GATEWAY, TIERS, report};

/// A part of the good file, what stands in its place, and the mistakes that this makes.
const CASES: &[(&str, &str, &[&str])] = &[
    (
        r#"calls = "10/day""#,
        r#"calls = "10/day"#,
        &[r#"tier-limits.toml:8:16: not TOML: invalid basic string, expected `"`"#],
    ),
    (
        r#"default_tier = "free""#,
        r#"default_tier = "free"#,
        &[r#"tier-limits.toml:1:21: not TOML: invalid basic string, expected `"`"#],
    ),
    (
        "[tiers.free.limits]",
        "[tiers.free.limits",
        &["tier-limits.toml:7:19: not TOML: unclosed table, expected `]`"],
    ),
    (
        TIERS,
        "",
        &[
            r#"gateway.toml:6:21: routes[0].charge[0].meter: no meter is called "calls"; declare it first"#,
            r#"tier-limits.toml:1:1: default_tier: missing; add default_tier = "free_trial""#,
            r#"tier-limits.toml:1:1: meters: missing; add the table [meters] with what is counted, as in api_calls = { unit = "calls" }"#,
            "tier-limits.toml:1:1: tiers: missing; add a table for each tier, as in [tiers.free_trial]",
        ],
    ),
    (
        "[tiers.free.limits]",
        "[tiers.free.limts]",
        &[
            r#"tier-limits.toml:7:8: tiers.free.limits.calls: route "/v1/" charges "calls", which tier "free" does not name; add calls = "unlimited", or 0 to forbid it, or a limit; or set other_meters = "unlimited" for the tier"#,
            r#"tier-limits.toml:7:13: tiers.free.limts: unknown key; did you mean "limits"?"#,
        ],
    ),
    (
        r#"default_tier = "free""#,
        r#"default_tier = "fre"
upgrade_url = "example.com""#,
        &[
            r#"tier-limits.toml:1:16: default_tier: no tier is called "fre"; did you mean "free"?"#,
            r#"tier-limits.toml:2:15: upgrade_url: "example.com" is not an http or https URL; write it as in "https://example.com/upgrade""#,
        ],
    ),
    (
        r#"default_tier = "free""#,
        r#"default_teir = "free""#,
        &[r#"tier-limits.toml:1:1: default_teir: unknown key; did you mean "default_tier"?"#],
    ),
    (
        r#"calls = { unit = "calls" }"#,
        r#"Calls = { unit = "" }"#,
        &[
            r#"gateway.toml:6:21: routes[0].charge[0].meter: no meter is called "calls"; did you mean "Calls"?"#,
            r#"tier-limits.toml:3:1: meters.Calls: "Calls" is no name of a meter; use a-z, 0-9 and "_", beginning with a letter"#,
            r#"tier-limits.toml:3:18: meters.Calls.unit: this is not the name of a unit; write a word, such as "calls""#,
            r#"tier-limits.toml:8:1: tiers.free.limits.calls: no meter is called "calls"; did you mean "Calls"?"#,
        ],
    ),
    (
        r#"calls = { unit = "calls" }"#,
        r#"calls = { kind = "gauge" }"#,
        &[
            r#"tier-limits.toml:3:1: meters.calls.unit: missing; add unit = "calls""#,
            r#"tier-limits.toml:3:18: meters.calls.kind: unknown value "gauge"; write one of "count", "level", "concurrent""#,
        ],
    ),
    (
        r#"calls = { unit = "calls" }"#,
        r#"calls = "calls""#,
        &[r#"tier-limits.toml:3:9: meters.calls: must be a table, not a string; write { unit = "calls" }"#],
    ),
    (
        "[tiers.pro]",
        r#"[tiers."p/r o"]"#,
        &[r#"tier-limits.toml:12:8: tiers."p/r o": "p/r o" is no name; use A-Z, a-z, 0-9, "_" and "-""#],
    ),
    (
        "[tiers.pro]",
        "[tiers.ppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppp]",
        &[
            "tier-limits.toml:12:8: tiers.ppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppp: the name is 65 bytes long; use at most 64",
        ],
    ),
    (
        r#"inherits = "free""#,
        r#"inherits = "fre""#,
        &[r#"tier-limits.toml:13:12: tiers.pro.inherits: no tier is called "fre"; did you mean "free"?"#],
    ),
    (
        r#"inherits = "free""#,
        r#"inherits = "pro""#,
        &[
            "tier-limits.toml:13:12: tiers.pro.inherits: inherits from itself: pro → pro; remove one inherits of these tiers",
        ],
    ),
    (
        r#"inherits = "free""#,
        r#"inherits = "a"
[tiers.a]
inherits = "b"
[tiers.b]
inherits = "pro"
[tiers.c]
inherits = "a""#,
        &[
            "tier-limits.toml:13:12: tiers.pro.inherits: inherits from itself: pro → a → b → pro; remove one inherits of these tiers",
        ],
    ),
    (
        r#"inherits = "free""#,
        r#"inherits = "free"
warn_at = [0, 80, 80, 101, 9.5]
max_body = "25mb"
other_meters = true"#,
        &[
            "tier-limits.toml:14:12: tiers.pro.warn_at[0]: 0 is out of bounds; write 1 to 100",
            "tier-limits.toml:14:19: tiers.pro.warn_at[2]: 80 stands here twice; remove one",
            "tier-limits.toml:14:23: tiers.pro.warn_at[3]: 101 is out of bounds; write 1 to 100",
            "tier-limits.toml:14:28: tiers.pro.warn_at[4]: 9.5 is not a whole number; write a whole number, in a smaller unit if need be",
            r#"tier-limits.toml:15:12: tiers.pro.max_body: "25mb" is not a whole number; did you mean "25MB"?"#,
            r#"tier-limits.toml:16:16: tiers.pro.other_meters: must be a string, not true or false; write "unlimited""#,
        ],
    ),
    (
        r#"calls = "10/day""#,
        r#"cals = "10/day""#,
        &[
            r#"tier-limits.toml:8:1: tiers.free.limits.cals: no meter is called "cals"; did you mean "calls"?"#,
        ],
    ),
    (
        r#"calls = "10/day""#,
        "calls = 9223372036854775808",
        &[
            "tier-limits.toml:8:9: tiers.free.limits.calls: 9223372036854775808 is more than can be counted; write at most 9223372036854775807",
        ],
    ),
    (
        r#"calls = "10/day""#,
        r#"calls = "9223372036854775808/day""#,
        &[
            "tier-limits.toml:8:9: tiers.free.limits.calls: 9223372036854775808 is more than can be counted; write at most 9223372036854775807",
        ],
    ),
    (
        r#"calls = "10/day""#,
        "calls = -1",
        &["tier-limits.toml:8:9: tiers.free.limits.calls: -1 is negative; write 0 or more"],
    ),
    (
        r#"calls = "10/day""#,
        r#"calls = "-1/day""#,
        &["tier-limits.toml:8:9: tiers.free.limits.calls: -1 is negative; write 0 or more"],
    ),
    (
        r#"calls = "10/day""#,
        "calls = 1e3",
        &["tier-limits.toml:8:9: tiers.free.limits.calls: 1e3 is not a whole number; write 1000"],
    ),
    (
        r#"calls = "10/day""#,
        r#"calls = "1e3/day""#,
        &["tier-limits.toml:8:9: tiers.free.limits.calls: 1e3 is not a whole number; write 1000"],
    ),
    (
        r#"calls = "10/day""#,
        "calls = 10",
        &[
            r#"tier-limits.toml:8:9: tiers.free.limits.calls: "10" has no window; write "10/day", or "10/lifetime" for a limit in total"#,
        ],
    ),
    (
        r#"calls = "10/day""#,
        r#"calls = "10""#,
        &[
            r#"tier-limits.toml:8:9: tiers.free.limits.calls: "10" has no window; write "10/day", or "10/lifetime" for a limit in total"#,
        ],
    ),
    (
        r#"calls = "10/day""#,
        r#"calls = "10 per day""#,
        &[r#"tier-limits.toml:8:9: tiers.free.limits.calls: "10 per day" is not a limit; write "10/day""#],
    ),
    (
        r#"calls = "10/day""#,
        r#"calls = "10/dya""#,
        &[r#"tier-limits.toml:8:9: tiers.free.limits.calls: "dya" is not a window; did you mean "day"?"#],
    ),
    (
        r#"calls = "10/day""#,
        r#"calls = "10/""#,
        &[
            r#"tier-limits.toml:8:9: tiers.free.limits.calls: "" is not a window; write one of "minute", "hour", "day", "week", "month", "billing_month", "lifetime", "7days""#,
        ],
    ),
    (
        r#"calls = "10/day""#,
        r#"calls = "10/day/user""#,
        &[
            r#"tier-limits.toml:8:9: tiers.free.limits.calls: "day/user" is not a window; write one of "minute", "hour", "day", "week", "month", "billing_month", "lifetime", "7days""#,
        ],
    ),
    (
        r#"calls = "10/day""#,
        r#"calls = "/day""#,
        &[r#"tier-limits.toml:8:9: tiers.free.limits.calls: "" is not a whole number; write it as in 1000"#],
    ),
    (
        r#"calls = "10/day""#,
        r#"calls = "unlimted""#,
        &[
            r#"tier-limits.toml:8:9: tiers.free.limits.calls: "unlimted" is not a whole number; did you mean "unlimited"?"#,
        ],
    ),
    (
        r#"calls = "10/day""#,
        r#"calls = """#,
        &[r#"tier-limits.toml:8:9: tiers.free.limits.calls: "" is not a whole number; write it as in 1000"#],
    ),
    (
        r#"calls = "10/day""#,
        "calls = []",
        &[
            r#"tier-limits.toml:8:9: tiers.free.limits.calls: there is no limit; write "100/day", "unlimited" or 0"#,
        ],
    ),
    (
        r#"calls = "10/day""#,
        "calls = true",
        &[
            r#"tier-limits.toml:8:9: tiers.free.limits.calls: must be a limit, not true or false; write "100/day""#,
        ],
    ),
    (
        r#"calls = "10/day""#,
        r#"calls = ["10/day", "700/7days", "20/day"]"#,
        &[
            "tier-limits.toml:8:33: tiers.free.limits.calls[2]: there are two limits per day; leave one, or give one of them another scope",
        ],
    ),
    (
        r#"calls = "10/day""#,
        r#"calls = ["10/day", "unlimited"]"#,
        &[
            r#"tier-limits.toml:8:20: tiers.free.limits.calls[1]: "unlimited" contradicts the other limits; remove it, or them"#,
        ],
    ),
    (
        r#"calls = "10/day""#,
        r#"calls = [["10/day"]]"#,
        &[
            r#"tier-limits.toml:8:10: tiers.free.limits.calls[0]: must be a limit, not a list; write "100/day""#,
        ],
    ),
    (
        r#"calls = "10/day""#,
        r#"calls = ["1/2days", "1/3days", "1/4days", "1/5days", "1/6days", "1/7days", "1/8days", "1/9days", "1/10days"]"#,
        &["tier-limits.toml:8:9: tiers.free.limits.calls: has 9 elements; write at most 8"],
    ),
    (
        r#"calls = "10/day""#,
        r#"calls = "1GiB/day""#,
        &[
            r#"tier-limits.toml:8:9: tiers.free.limits.calls: "1GiB" is a size, but this meter does not count bytes; write a plain number, or give the meter unit = "bytes""#,
        ],
    ),
    (
        r#"calls = "10/day""#,
        r#"calls = { limt = "10/day" }"#,
        &[r#"tier-limits.toml:8:11: tiers.free.limits.calls.limt: unknown key; did you mean "limit"?"#],
    ),
    (
        r#"calls = "10/day""#,
        r#"calls = { limit = "10/day", price = "1 EUR" }"#,
        &[
            r#"tier-limits.toml:8:29: tiers.free.limits.calls.price: use beyond the limit is refused, so it has no price; add over = "charge", or remove price"#,
        ],
    ),
    (
        r#"calls = "10/day""#,
        r#"calls = { limit = "10/day", over = "charge", price = "1 euro" }"#,
        &[
            r#"tier-limits.toml:8:54: tiers.free.limits.calls.price: "1 euro" is not a price: the currency must be three capital letters; write it as in "0.008 EUR per 10""#,
        ],
    ),
    (
        r#"calls = "10/day""#,
        r#"calls = { limit = "unlimited", over = "charge" }"#,
        &[
            r#"tier-limits.toml:8:1: tiers.free.limits.calls: nothing is beyond "unlimited", so nothing would be charged; write how much is included, or remove over"#,
        ],
    ),
    (
        r#"calls = "10/day""#,
        r#"calls = { limit = "10/day", scope = "organisation", on_store_failure = { allow = "1500ms" } }"#,
        &[
            r#"tier-limits.toml:8:37: tiers.free.limits.calls.scope: unknown value "organisation"; write one of "user", "org""#,
            r#"tier-limits.toml:8:82: tiers.free.limits.calls.on_store_failure.allow: only whole seconds are counted; write it in seconds, as in "5s""#,
        ],
    ),
    (
        r#"calls = "10/day""#,
        r#"calls = { limit = "10/day", over = "bill", on_store_failure = { alow = "5s" } }"#,
        &[
            r#"tier-limits.toml:8:36: tiers.free.limits.calls.over: unknown value "bill"; write one of "refuse", "charge", "throttle""#,
            r#"tier-limits.toml:8:65: tiers.free.limits.calls.on_store_failure.alow: unknown key; did you mean "allow"?"#,
        ],
    ),
    (
        r#"storage = "1GiB""#,
        r#"storage = "10k""#,
        &[
            r#"tier-limits.toml:10:11: tiers.free.limits.storage: "10k" could be decimal or binary; write "10kB" or "10KiB""#,
        ],
    ),
    (
        r#"storage = "1GiB""#,
        r#"storage = "1GiB/month""#,
        &[
            r#"tier-limits.toml:10:11: tiers.free.limits.storage: this meter counts what there is now, so its limit has no window; write "1GiB""#,
        ],
    ),
    (
        r#"storage = "1GiB""#,
        r#"storage = "1.5GiB""#,
        &[
            "tier-limits.toml:10:11: tiers.free.limits.storage: 1.5GiB is not a whole number; write a whole number, in a smaller unit if need be",
        ],
    ),
    (
        r#"storage = "1GiB""#,
        r#"storage = ["1GiB", "2GiB"]"#,
        &[
            "tier-limits.toml:10:20: tiers.free.limits.storage[1]: there are two limits; leave one, or give one of them another scope",
        ],
    ),
    (
        "jobs = 1",
        "jobs = 1.0",
        &["tier-limits.toml:11:8: tiers.free.limits.jobs: 1.0 is not a whole number; write 1"],
    ),
    (
        r#"calls = "10/day"
"#,
        "",
        &[
            r#"tier-limits.toml:7:8: tiers.free.limits.calls: route "/v1/" charges "calls", which tier "free" does not name; add calls = "unlimited", or 0 to forbid it, or a limit; or set other_meters = "unlimited" for the tier"#,
        ],
    ),
];

#[test]
fn every_mistake_is_explained() {
    for (part, instead, mistakes) in CASES {
        assert!(TIERS.contains(part), "{part}");
        let text = TIERS.replacen(part, instead, 1);
        assert_eq!(report(GATEWAY, &text), *mistakes, "{instead}");
    }
}
