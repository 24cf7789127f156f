//! Mistakes about models, prices and money, one by one.

use crate::report;

const GATEWAY: &str = r#"[models]
"gpt-4o*" = { context = 128_000, max_output = 16_384 }
[upstreams.llm]
urls = ["http://127.0.0.1:9101"]
[[routes]]
path = "/v1/"
upstream = "llm"
charge = [{ meter = "calls" }, { meter = "spend", amount = "llm.cost" }]
llm = { max_output_tokens = 4096 }
"#;

const TIERS: &str = r#"default_tier = "free"
[meters]
calls = { unit = "calls", models = ["gpt-4*"] }
spend = { unit = "USD" }
jobs = { unit = "jobs", kind = "concurrent" }
[prices]
currency = "USD"
"gpt-4o*" = { input = "2.50", output = "10" }
[tiers.free.limits]
calls = "10/day"
spend = "5.00/day"
jobs = 1
"#;

/// A part of `gateway.toml`, what stands in its place, and the mistakes that this makes.
const GATEWAY_CASES: &[(&str, &str, &[&str])] = &[
    (
        r#"[models]"#,
        "[llm]\nlook_bytes_max = 100\ndrains_max = 1e3\ndrain_timeout = 5\n[models]",
        &[
            r#"gateway.toml:2:18: llm.look_bytes_max: "100B" is out of bounds; write "1KiB" to "16MiB""#,
            "gateway.toml:3:14: llm.drains_max: 1e3 is not a whole number; write 1000",
            r#"gateway.toml:4:17: llm.drain_timeout: has no unit; write "5s" or "5ms""#,
        ],
    ),
    (
        r#"[models]"#,
        "[llm]\nlook_bytes = \"1MiB\"\n[models]",
        &[r#"gateway.toml:2:1: llm.look_bytes: unknown key; did you mean "look_bytes_max"?"#],
    ),
    (
        "{ context = 128_000, max_output = 16_384 }",
        "{}",
        &[
            r#"gateway.toml:2:13: models."gpt-4o*": there is no limit; write { context = 128_000, max_output = 16_384 }"#,
        ],
    ),
    (
        "{ context = 128_000, max_output = 16_384 }",
        "{ context = 0, max_ouput = 5 }",
        &[
            r#"gateway.toml:2:25: models."gpt-4o*".context: 0 is out of bounds; write 1 to 1000000000"#,
            r#"gateway.toml:2:28: models."gpt-4o*".max_ouput: unknown key; did you mean "max_output"?"#,
        ],
    ),
    (
        "{ context = 128_000, max_output = 16_384 }",
        "{ context = 1000, max_output = 1001 }",
        &[
            r#"gateway.toml:2:13: models."gpt-4o*": max_output is more than context, of which it is a part; write at most 1000"#,
        ],
    ),
    (
        "\"gpt-4o*\" =",
        "\"\" =",
        &[
            r#"gateway.toml:2:1: models."": the pattern is empty; write the name of a model, with * for any run, as in "gpt-4*""#,
        ],
    ),
    (
        "\"gpt-4o*\" =",
        "\"gpt 4\" = { context = 5 }\n\"GPT-4O*\" = { context = 5 }\n\"gpt-4o*\" =",
        &[
            r#"gateway.toml:2:1: models."gpt 4": the pattern has a space or a control character; write the name of a model, with * for any run, as in "gpt-4*""#,
            r#"gateway.toml:4:1: models."gpt-4o*": the same pattern stands here twice, whatever the case of its letters; remove one"#,
        ],
    ),
    (
        "urls",
        "provider = \"Open AI\"\nurls",
        &[
            r#"gateway.toml:4:12: upstreams.llm.provider: "Open AI" is no name; use A-Z, a-z, 0-9, "_" and "-""#,
        ],
    ),
    (
        "\"llm.cost\"",
        "\"llm.total_tokens\"",
        &[
            r#"gateway.toml:8:60: routes[0].charge[1].amount: the meter counts USD, which this is not; write "llm.cost" or "upstream", or what one costs as in scale = "0.002""#,
        ],
    ),
    (
        "\"llm.cost\"",
        "\"request.bytes\"",
        &[
            r#"gateway.toml:8:60: routes[0].charge[1].amount: the meter counts USD, which this is not; write "llm.cost" or "upstream", or what one costs as in scale = "0.002""#,
        ],
    ),
    (
        ", amount = \"llm.cost\"",
        "",
        &[
            r#"gateway.toml:8:32: routes[0].charge[1]: the meter counts USD, and what a request costs is not said; add amount = "llm.cost", or a sum as in amount = "0.05""#,
        ],
    ),
    (
        "\"llm.cost\"",
        "\"5 USD\"",
        &[
            r#"gateway.toml:8:60: routes[0].charge[1].amount: "5 USD" is not a sum of money; write the number alone, as in "5.00""#,
        ],
    ),
    (
        "\"llm.cost\"",
        "0.05",
        &[
            r#"gateway.toml:8:60: routes[0].charge[1].amount: 0.05 is a float, which is not exact enough for money; write it as text: "0.05""#,
        ],
    ),
    (
        "\"llm.cost\"",
        "\"0.00\"",
        &[
            "gateway.toml:8:60: routes[0].charge[1].amount: 0 charges nothing; remove this charge, or write a sum",
        ],
    ),
    (
        "\"llm.cost\"",
        "\"-0.05\"",
        &["gateway.toml:8:60: routes[0].charge[1].amount: -0.05 is negative; write 0 or more"],
    ),
    (
        "\"llm.cost\"",
        "\"llm.costs\"",
        &[
            r#"gateway.toml:8:60: routes[0].charge[1].amount: "llm.costs" is not measured; did you mean "llm.cost"?"#,
        ],
    ),
    (
        "\"llm.cost\"",
        "\"llm.cost\", hold = \"$1\"",
        &[
            r#"gateway.toml:8:79: routes[0].charge[1].hold: "$1" is not a sum of money; write the number alone, as in "5.00""#,
        ],
    ),
    (
        "\"llm.cost\"",
        "\"llm.cost\", hold = 0.5",
        &[
            r#"gateway.toml:8:79: routes[0].charge[1].hold: 0.5 is a float, which is not exact enough for money; write it as text: "0.5""#,
        ],
    ),
    (
        "{ meter = \"calls\" }",
        "{ meter = \"calls\", amount = \"llm.cost\" }",
        &[
            r#"gateway.toml:8:39: routes[0].charge[0].amount: costs are in USD, and the meter does not count it; give the meter unit = "USD", or charge another"#,
        ],
    ),
    (
        "{ meter = \"calls\" }",
        "{ meter = \"jobs\", amount = \"llm.cost\" }",
        &[
            "gateway.toml:8:38: routes[0].charge[0].amount: how many run at once is known beforehand, not measured; write a whole number, or remove amount to count 1",
        ],
    ),
    (
        "[{ meter = \"calls\" }, { meter = \"spend\", amount = \"llm.cost\" }]",
        "[{ meter = \"jobs\" }]",
        &[
            r#"gateway.toml:9:1: routes[0].llm: the route charges nothing that a model's work is measured for; charge an amount such as "llm.total_tokens", or remove llm"#,
        ],
    ),
    (
        "{ max_output_tokens = 4096 }",
        "{ client_gone = \"drian\", include_usage = \"yes\", max_output_tokens = 0, image_tokens = 5 }",
        &[
            r#"gateway.toml:9:23: routes[0].llm.client_gone: unknown value "drian"; did you mean "drain"?"#,
            "gateway.toml:9:48: routes[0].llm.include_usage: must be true or false, not a string; write true",
            "gateway.toml:9:75: routes[0].llm.max_output_tokens: 0 is out of bounds; write 1 to 1000000000",
            r#"gateway.toml:9:78: routes[0].llm.image_tokens: unknown key; write one of "client_gone", "include_usage", "max_output_tokens", "usage""#,
        ],
    ),
    (
        "{ max_output_tokens = 4096 }",
        "true",
        &[
            r#"gateway.toml:9:7: routes[0].llm: must be a table, not true or false; write { client_gone = "drain" }"#,
        ],
    ),
    (
        "{ max_output_tokens = 4096 }",
        "{ usage = {} }",
        &[
            r#"gateway.toml:9:17: routes[0].llm.usage: this names no place; write as in { total = "/usage/total_tokens" }, or remove usage"#,
        ],
    ),
    (
        "{ max_output_tokens = 4096 }",
        "{ usage = { totl = \"/t\", input = \"usage.input\", output = \"/a~2\", model = \"/m/*/name\" } }",
        &[
            r#"gateway.toml:9:19: routes[0].llm.usage.totl: unknown key; did you mean "total"?"#,
            r#"gateway.toml:9:40: routes[0].llm.usage.input: "usage.input" is no JSON pointer: it must begin with "/"; write it as in "/usage/total_tokens" or "/items/*/pages""#,
            r#"gateway.toml:9:64: routes[0].llm.usage.output: "/a~2" is no JSON pointer: "~" is written "~0", and "/" in a key "~1"; write it as in "/usage/total_tokens" or "/items/*/pages""#,
            r#"gateway.toml:9:80: routes[0].llm.usage.model: a request has one model, not one for each element of a list; write the index of an element in place of "*", as in "/0/model""#,
        ],
    ),
];

/// The same of `tier-limits.toml`.
const TIERS_CASES: &[(&str, &str, &[&str])] = &[
    (
        "[\"gpt-4*\"]",
        "[]",
        &[
            "tier-limits.toml:3:36: meters.calls.models: no request would count; remove models, so that all do",
        ],
    ),
    (
        "[\"gpt-4*\"]",
        "\"gpt-4*\"",
        &[r#"tier-limits.toml:3:36: meters.calls.models: must be a list, not a string; write ["gpt-4*"]"#],
    ),
    (
        "[\"gpt-4*\"]",
        "[\"gpt-4*\", \"GPT-4*\", \"a b\", 4]",
        &[
            "tier-limits.toml:3:47: meters.calls.models[1]: the same pattern stands here twice, whatever the case of its letters; remove one",
            r#"tier-limits.toml:3:57: meters.calls.models[2]: the pattern has a space or a control character; write the name of a model, with * for any run, as in "gpt-4*""#,
            r#"tier-limits.toml:3:64: meters.calls.models[3]: must be a string, not an integer; write "gpt-4*""#,
        ],
    ),
    (
        "unit = \"USD\"",
        "unit = \"EUR\"",
        &[
            r#"gateway.toml:8:60: routes[0].charge[1].amount: costs are in USD, and the meter does not count it; give the meter unit = "USD", or charge another"#,
        ],
    ),
    (
        "unit = \"USD\"",
        "unit = \"usd\"",
        &[
            r#"gateway.toml:8:60: routes[0].charge[1].amount: costs are in USD, and the meter does not count it; give the meter unit = "USD", or charge another"#,
            "tier-limits.toml:11:9: tiers.free.limits.spend: 5.00 is not a whole number; write 5",
        ],
    ),
    (
        "[prices]\ncurrency = \"USD\"\n\"gpt-4o*\" = { input = \"2.50\", output = \"10\" }\n",
        "",
        &[
            "gateway.toml:8:60: routes[0].charge[1].amount: tokens have no price; add [prices] with a currency and the prices of models to the tiers file",
        ],
    ),
    (
        "currency = \"USD\"\n",
        "",
        &[r#"tier-limits.toml:6:2: prices.currency: missing; add currency = "USD""#],
    ),
    (
        "currency = \"USD\"\n",
        "currency = \"usd\"\n",
        &[r#"tier-limits.toml:7:12: prices.currency: "usd" is not a currency; write "USD""#],
    ),
    (
        "currency = \"USD\"\n",
        "currency = \"XXX\"\n",
        &[
            r#"tier-limits.toml:7:12: prices.currency: "XXX" is not a currency; write its three capital letters, as in "USD""#,
        ],
    ),
    (
        "\"gpt-4o*\" = { input = \"2.50\", output = \"10\" }\n",
        "",
        &[
            r#"tier-limits.toml:6:2: prices: no model has a price; add "gpt-4o*" = { input = "2.50", output = "10" }"#,
        ],
    ),
    (
        "[prices]",
        "[[prices]]",
        &[
            "tier-limits.toml:6:1: prices: must be a table, not a list; write [prices] on a line of its own",
            r#"tier-limits.toml:6:3: prices: no model has a price; add "gpt-4o*" = { input = "2.50", output = "10" }"#,
        ],
    ),
    (
        "{ input = \"2.50\", output = \"10\" }",
        "\"2.50\"",
        &[
            r#"tier-limits.toml:8:13: prices."gpt-4o*": must be a table, not a string; write { input = "2.50", output = "10" }"#,
        ],
    ),
    (
        "{ input = \"2.50\", output = \"10\" }",
        "[]",
        &[
            r#"tier-limits.toml:8:13: prices."gpt-4o*": there is no price; write { input = "2.50", output = "10" }"#,
        ],
    ),
    (
        "{ input = \"2.50\", output = \"10\" }",
        "{ input = 2.5, ouput = \"10\" }",
        &[
            r#"tier-limits.toml:8:23: prices."gpt-4o*".input: 2.5 is a float, which is not exact enough for money; write it as text: "2.5""#,
            r#"tier-limits.toml:8:28: prices."gpt-4o*".ouput: unknown key; did you mean "output"?"#,
        ],
    ),
    (
        "{ input = \"2.50\", output = \"10\" }",
        "{ input = \"2,50\", output = \"$10\", cached_read = \"-1\", cache_write = \"0.0000000001\" }",
        &[
            r#"tier-limits.toml:8:23: prices."gpt-4o*".input: "2,50" is not a sum of money; write a point before the decimals and nothing between thousands, as in "1000.50""#,
            r#"tier-limits.toml:8:40: prices."gpt-4o*".output: "$10" is not a sum of money; write the number alone, as in "5.00""#,
            r#"tier-limits.toml:8:61: prices."gpt-4o*".cached_read: -1 is negative; write 0 or more"#,
            r#"tier-limits.toml:8:81: prices."gpt-4o*".cache_write: "0.0000000001" has more than 9 decimal places; write at most 9"#,
        ],
    ),
    (
        "{ input = \"2.50\", output = \"10\" }",
        "{ input = \"2.50\", output = true, from = \"1 January\" }",
        &[
            r#"tier-limits.toml:8:40: prices."gpt-4o*".output: must be a sum of money, not true or false; write "5.00""#,
            r#"tier-limits.toml:8:53: prices."gpt-4o*".from: "1 January" is neither a date nor an instant; write it as in "2026-01-01" (from midnight in UTC) or "2026-01-01T12:00:00Z""#,
        ],
    ),
    (
        "{ input = \"2.50\", output = \"10\" }",
        "{ input = \"2.50\", output = \"10\", from = 2026-01-01T00:00:00 }",
        &[
            r#"tier-limits.toml:8:53: prices."gpt-4o*".from: "2026-01-01T00:00:00" is neither a date nor an instant; write it as in "2026-01-01" (from midnight in UTC) or "2026-01-01T12:00:00Z""#,
        ],
    ),
    (
        "{ input = \"2.50\", output = \"10\" }",
        "{ input = \"2.50\", output = \"10\", from = 2026 }",
        &[
            r#"tier-limits.toml:8:53: prices."gpt-4o*".from: must be a date, not an integer; write "2026-01-01""#,
        ],
    ),
    (
        "{ input = \"2.50\", output = \"10\" }",
        "[{ input = 1, output = 2 }, { input = 1, output = 3 }]",
        &[
            r#"tier-limits.toml:8:41: prices."gpt-4o*"[1]: two prices hold from the beginning; give one of them another date, as in from = "2026-01-01""#,
        ],
    ),
    (
        "{ input = \"2.50\", output = \"10\" }",
        "[{ from = \"2026-01-01\", input = 1, output = 2 }, { from = 2026-01-01T01:00:00+01:00, input = 1, output = 3 }]",
        &[
            r#"tier-limits.toml:8:62: prices."gpt-4o*"[1]: two prices hold from 2026-01-01; give one of them another date, as in from = "2026-01-01""#,
        ],
    ),
    (
        "\"gpt-4o*\" =",
        "\"GPT-4o*\" = { input = 1, output = 2 }\n\"gpt-4o*\" =",
        &[
            r#"tier-limits.toml:9:1: prices."gpt-4o*": the same pattern stands here twice, whatever the case of its letters; remove one"#,
        ],
    ),
    (
        "\"5.00/day\"",
        "\"5.00\"",
        &[
            r#"tier-limits.toml:11:9: tiers.free.limits.spend: "5.00" has no window; write "5.00/day", or "5.00/lifetime" for a limit in total"#,
        ],
    ),
    (
        "\"5.00/day\"",
        "5",
        &[
            r#"tier-limits.toml:11:9: tiers.free.limits.spend: "5" has no window; write "5/day", or "5/lifetime" for a limit in total"#,
        ],
    ),
    (
        "\"5.00/day\"",
        "5.5",
        &[
            r#"tier-limits.toml:11:9: tiers.free.limits.spend: 5.5 is a float, which is not exact enough for money; write it as text: "5.5""#,
        ],
    ),
    (
        "\"5.00/day\"",
        "\"5 USD/day\"",
        &[
            r#"tier-limits.toml:11:9: tiers.free.limits.spend: "5 USD" is not a sum of money; write the number alone, as in "5.00""#,
        ],
    ),
    (
        "\"5.00/day\"",
        "\"5,00/day\"",
        &[
            r#"tier-limits.toml:11:9: tiers.free.limits.spend: "5,00" is not a sum of money; write a point before the decimals and nothing between thousands, as in "1000.50""#,
        ],
    ),
    (
        "\"5.00/day\"",
        "\"10k/day\"",
        &[r#"tier-limits.toml:11:9: tiers.free.limits.spend: "10k" is not a sum of money; write "10000""#],
    ),
    (
        "\"5.00/day\"",
        "\"9223372036.854775808/day\"",
        &[
            r#"tier-limits.toml:11:9: tiers.free.limits.spend: "9223372036.854775808" is more than can be counted; write at most "9223372036.854775807""#,
        ],
    ),
    (
        "\"5.00/day\"",
        "\"5.0000000001/day\"",
        &[
            r#"tier-limits.toml:11:9: tiers.free.limits.spend: "5.0000000001" has more than 9 decimal places; write at most 9"#,
        ],
    ),
    (
        "\"5.00/day\"",
        "[]",
        &[
            r#"tier-limits.toml:11:9: tiers.free.limits.spend: there is no limit; write "5.00/day", "unlimited" or 0"#,
        ],
    ),
    (
        "\"5.00/day\"",
        "\"unlimted\"",
        &[
            r#"tier-limits.toml:11:9: tiers.free.limits.spend: "unlimted" is not a sum of money; did you mean "unlimited"?"#,
        ],
    ),
    (
        "calls = \"10/day\"",
        "calls = \"10.50/day\"",
        &[
            "tier-limits.toml:10:9: tiers.free.limits.calls: 10.50 is not a whole number; write a whole number, in a smaller unit if need be",
        ],
    ),
    (
        "calls = \"10/day\"",
        "calls = { limit = \"10/day\", overdraw = \"5%\" }",
        &[
            "tier-limits.toml:10:40: tiers.free.limits.calls.overdraw: 5% of the limit is less than one; write an amount, or remove overdraw",
        ],
    ),
    (
        "calls = \"10/day\"",
        "calls = { limit = \"10/day\", overdraw = \"101%\" }",
        &[
            r#"tier-limits.toml:10:40: tiers.free.limits.calls.overdraw: "101%" is not a whole percentage of the limit; write "1%" to "100%", or an amount"#,
        ],
    ),
    (
        "calls = \"10/day\"",
        "calls = { limit = \"10/day\", overdraw = \"1.5%\" }",
        &[
            r#"tier-limits.toml:10:40: tiers.free.limits.calls.overdraw: "1.5%" is not a whole percentage of the limit; write "1%" to "100%", or an amount"#,
        ],
    ),
    (
        "calls = \"10/day\"",
        "calls = { limit = \"10/day\", overdraw = -1 }",
        &["tier-limits.toml:10:40: tiers.free.limits.calls.overdraw: -1 is negative; write 0 or more"],
    ),
    (
        "calls = \"10/day\"",
        "calls = { limit = \"10/dya\", overdraw = \"x\" }",
        &[
            r#"tier-limits.toml:10:19: tiers.free.limits.calls.limit: "dya" is not a window; did you mean "day"?"#,
            r#"tier-limits.toml:10:40: tiers.free.limits.calls.overdraw: "x" is not a whole number; write it as in 1000"#,
        ],
    ),
    (
        "calls = \"10/day\"",
        "calls = { limit = \"10/day\", overdraw = 5, over = \"charge\" }",
        &[
            "tier-limits.toml:10:29: tiers.free.limits.calls.overdraw: use beyond the limit is charged, however much it is; remove overdraw, or over",
        ],
    ),
    (
        "calls = \"10/day\"",
        "calls = { limit = \"unlimited/day\", overdraw = 5 }",
        &[
            r#"tier-limits.toml:10:36: tiers.free.limits.calls.overdraw: nothing is beyond "unlimited"; remove overdraw, or write a limit"#,
        ],
    ),
    (
        "calls = \"10/day\"",
        "calls = { limit = \"unlimited\", overdraw = \"5%\" }",
        &[
            r#"tier-limits.toml:10:32: tiers.free.limits.calls.overdraw: nothing is beyond "unlimited"; remove overdraw, or write a limit"#,
        ],
    ),
    (
        "calls = \"10/day\"",
        "calls = { limit = \"9223372036854775807/day\", overdraw = 1 }",
        &[
            "tier-limits.toml:10:57: tiers.free.limits.calls.overdraw: limit and overdraw together are more than can be counted; write less",
        ],
    ),
    (
        "spend = \"5.00/day\"",
        "spend = { limit = \"5.00/day\", overdraw = 0.5 }",
        &[
            r#"tier-limits.toml:11:42: tiers.free.limits.spend.overdraw: 0.5 is a float, which is not exact enough for money; write it as text: "0.5""#,
        ],
    ),
    (
        "jobs = 1",
        "jobs = { limit = 1, overdraw = 1 }",
        &[
            "tier-limits.toml:12:21: tiers.free.limits.jobs.overdraw: how many run at once is known beforehand, and nothing carries it further; remove overdraw",
        ],
    ),
];

#[test]
fn every_mistake_is_explained() {
    for (part, instead, mistakes) in GATEWAY_CASES {
        assert!(GATEWAY.contains(part), "{part}");
        let text = GATEWAY.replacen(part, instead, 1);
        assert_eq!(report(&text, TIERS), *mistakes, "{instead}");
    }
    for (part, instead, mistakes) in TIERS_CASES {
        assert!(TIERS.contains(part), "{part}");
        let text = TIERS.replacen(part, instead, 1);
        assert_eq!(report(GATEWAY, &text), *mistakes, "{instead}");
    }
}

/// Billionths leave less room below what counters in Redis can count to.
#[test]
fn sums_that_redis_cannot_count_are_explained() {
    let shared = "[counters]\nstore = \"redis://localhost\"\n[ledger]\nstore = \"postgres://me@db/usage\"\n";
    let gateway = format!("{shared}{GATEWAY}");
    assert_eq!(report(&gateway, TIERS), [""; 0]);
    let tiers = |limit: &str| TIERS.replace("\"5.00/day\"", limit);
    assert_eq!(report(&gateway, &tiers("\"9007199.254740992/day\"")), [""; 0]);
    let mistake = "tier-limits.toml:9:8: tiers.free.limits.spend: counters in Redis count to 9007199.254740992 USD; \
                   write a smaller limit, or \"unlimited\"";
    for limit in ["\"9007199.254740993/day\"", "{ limit = \"9_000_000/day\", overdraw = \"1%\" }"] {
        assert_eq!(report(&gateway, &tiers(limit)), [mistake], "{limit}");
    }
}

#[test]
fn patterns_are_bounded() {
    let entries = |value: &str| -> String { (0..513).map(|n| format!("\"m{n}\" = {value}\n")).collect() };
    let limits = GATEWAY
        .replace("\"gpt-4o*\" = { context = 128_000, max_output = 16_384 }", &entries("{ context = 1 }"));
    assert_eq!(report(&limits, TIERS), ["gateway.toml:1:2: models: there are 513 patterns; use at most 512"]);
    let prices = "\"gpt-4o*\" = { input = \"2.50\", output = \"10\" }\n";
    let many = TIERS.replace(prices, &entries("{ input = 1, output = 1 }"));
    assert_eq!(
        report(GATEWAY, &many),
        ["tier-limits.toml:6:2: prices: there are 513 patterns; use at most 512"]
    );
    let long = TIERS.replace("[\"gpt-4*\"]", &format!("[\"{}\"]", "a".repeat(129)));
    let mistake = "tier-limits.toml:3:37: meters.calls.models[0]: the pattern is longer than 128 bytes; \
                   write the name of a model, with * for any run, as in \"gpt-4*\"";
    assert_eq!(report(GATEWAY, &long), [mistake]);
    let list = TIERS.replace("[\"gpt-4*\"]", &format!("[{}]", "\"a\", ".repeat(33)));
    let mistake = "tier-limits.toml:3:36: meters.calls.models: has 33 elements; write at most 32";
    assert_eq!(report(GATEWAY, &list), [mistake]);
    let dates: String =
        (0..61).map(|n| format!("{{ from = \"{}-01-01\", input = 1, output = 1 }}, ", 2000 + n)).collect();
    let dated = TIERS.replace("{ input = \"2.50\", output = \"10\" }", &format!("[{dates}]"));
    let mistake = "tier-limits.toml:8:13: prices.\"gpt-4o*\": has 61 elements; write at most 60";
    assert_eq!(report(GATEWAY, &dated), [mistake]);
}

/// What cannot be known because of another mistake is not a second one.
#[test]
fn one_mistake_is_reported_once() {
    let charge = "[{ meter = \"calls\" }, { meter = \"spend\", amount = \"llm.cost\" }]";
    let with = |instead: &str| GATEWAY.replace(charge, instead);
    for (charge, mistake) in [
        (
            "[{ meter = \"spnd\", amount = \"llm.cost\", hold = \"0.10\" }]",
            "gateway.toml:8:21: routes[0].charge[0].meter: no meter is called \"spnd\"; did you mean \"spend\"?",
        ),
        (
            "[{ meter = \"spend\", amount = \"llm.costs\" }]",
            "gateway.toml:8:39: routes[0].charge[0].amount: \"llm.costs\" is not measured; did you mean \"llm.cost\"?",
        ),
    ] {
        assert_eq!(report(&with(charge), TIERS), [mistake]);
    }
    let unread =
        with("[{ meter = \"calls\" }, { meter = \"spend\", amount = \"llm.cost\", hold = \"0.10\" }]");
    let mistake = "tier-limits.toml:1:7: not TOML: unclosed table, expected `]`";
    assert_eq!(report(&unread, "[tiers"), [mistake]);
    assert_eq!(report(&with("[{ meter = \"calls\" }]"), "[tiers"), [mistake]);
}
