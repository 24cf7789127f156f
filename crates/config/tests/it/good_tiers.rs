//! What `tier-limits.toml` can say.

use tollgate_core::{Grace, Limit, Max, OnStoreFailure, OtherMeters, Over, Plans, Scope, Window};

use crate::{GATEWAY, TIERS, good};

fn plans(tiers: &str) -> Plans {
    let upstream = "[upstreams.x]\nurls = [\"http://x\"]\n[[routes]]\npath = \"/\"\nupstream = \"x\"\n";
    good(upstream, tiers).plans
}

fn limits(plans: &Plans, tier: &str, meter: &str) -> Vec<Limit> {
    let tier = &plans.tiers[plans.tier(tier).unwrap().0];
    tier.limits_of(plans.meter(meter).unwrap()).to_vec()
}

fn limit(max: i64, window: Window) -> Limit {
    Limit {
        window,
        max: Max::AtMost(max),
        scope: Scope::User,
        over: Over::Refuse,
        overdraw: 0,
        grace: Grace::None,
        burst: 0,
        queue: None,
        on_store_failure: OnStoreFailure::Lease,
    }
}

#[test]
fn every_way_to_write_a_limit() {
    let day = |max| vec![limit(max, Window::Day)];
    let over = |price: Option<&str>| Over::Charge(price.map(|price| price.parse().unwrap()));
    for (text, expected) in [
        ("\"100/day\"", day(100)),
        ("\" 1_000 / day \"", day(1000)),
        ("\"10k/day\"", day(10_000)),
        ("[\"100/day\"]", day(100)),
        ("\"0/day\"", day(0)),
        ("\"9223372036854775807/day\"", day(i64::MAX)),
        ("\"1/minute\"", vec![limit(1, Window::Minute)]),
        ("\"700/7days\"", vec![limit(700, Window::Days(7))]),
        ("\"700 / 7 days\"", vec![limit(700, Window::Days(7))]),
        ("\"3/lifetime\"", vec![limit(3, Window::Lifetime)]),
        ("0", vec![limit(0, Window::Lifetime)]),
        ("\"0\"", vec![limit(0, Window::Lifetime)]),
        ("\"unlimited\"", vec![]),
        ("{ limit = \"unlimited\" }", vec![]),
        ("\"unlimited/month\"", vec![Limit { max: Max::Unlimited, ..limit(0, Window::Month) }]),
        (
            "[\"10/hour\", { limit = \"20/hour\", scope = \"org\", on_store_failure = \"deny\" }]",
            vec![
                limit(10, Window::Hour),
                Limit {
                    scope: Scope::Org,
                    on_store_failure: OnStoreFailure::Deny,
                    ..limit(20, Window::Hour)
                },
            ],
        ),
        (
            "{ limit = \"5/week\", over = \"charge\", on_store_failure = { allow = \"5s\" } }",
            vec![Limit {
                over: over(None),
                on_store_failure: OnStoreFailure::Allow { seconds_max: 5 },
                ..limit(5, Window::Week)
            }],
        ),
        (
            "{ limit = \"5/billing_month\", over = \"charge\", price = \"0.008 EUR per 10\", on_store_failure = \"allow\" }",
            vec![Limit {
                over: over(Some("0.008 EUR per 10")),
                on_store_failure: OnStoreFailure::Allow { seconds_max: 10 },
                ..limit(5, Window::BillingMonth)
            }],
        ),
    ] {
        let plans = plans(&TIERS.replace("\"10/day\"", text));
        assert_eq!(limits(&plans, "free", "calls"), expected, "{text}");
    }
}

#[test]
fn levels_and_concurrent_meters_have_no_window() {
    for (meter, text, max) in [
        ("storage", "\"25MB\"", 25_000_000),
        ("storage", "1024", 1024),
        ("jobs", "\"5\"", 5),
        ("jobs", "0", 0),
    ] {
        let old = if meter == "jobs" { "jobs = 1" } else { "storage = \"1GiB\"" };
        let plans = plans(&TIERS.replace(old, &format!("{meter} = {text}")));
        assert_eq!(limits(&plans, "free", meter), [limit(max, Window::Lifetime)], "{text}");
    }
}

#[test]
fn a_child_replaces_what_it_says_and_inherits_the_rest() {
    let plans = plans(
        r#"default_tier = "c"
upgrade_url = "https://example.com/upgrade"
[meters]
x = { unit = "calls" }
y = { unit = "calls" }
z = { unit = "calls" }
[tiers.c]
inherits = "b"
max_body = "unlimited"
[tiers.c.limits]
x = "3/day"
[tiers.b]
inherits = "a"
warn_at = []
[tiers.b.limits]
y = "unlimited"
[tiers.a]
warn_at = [95, 50, 80]
max_body = "25MB"
other_meters = "unlimited"
[tiers.a.limits]
x = ["1/minute", "1/day"]
y = "1/day"
"#,
    );
    assert_eq!(plans.tiers[plans.default_tier.0].name.as_ref(), "c");
    assert_eq!(limits(&plans, "c", "x"), [limit(3, Window::Day)], "replaced as a whole");
    assert_eq!(limits(&plans, "b", "x"), [limit(1, Window::Minute), limit(1, Window::Day)]);
    assert_eq!(limits(&plans, "c", "y"), []);
    let [c, b, a] = &plans.tiers[..] else { panic!("{plans:?}") };
    assert_eq!((&a.warn_at[..], &b.warn_at[..], &c.warn_at[..]), (&[50, 80, 95][..], &[][..], &[][..]));
    assert_eq!(
        (a.max_body_bytes, b.max_body_bytes, c.max_body_bytes),
        (Some(25_000_000), Some(25_000_000), None)
    );
    assert_eq!(c.other_meters, OtherMeters::Unlimited);
    assert_eq!(c.limits[2], None, "named nowhere");
    assert_eq!(c.limits[1], Some(vec![]), "named as unlimited");
}

#[test]
fn zero_is_not_absent() {
    let none = good(GATEWAY, &TIERS.replace("\"10/day\"", "0")).plans;
    assert_eq!(limits(&none, "pro", "calls"), [limit(0, Window::Lifetime)]);
    let free = good(GATEWAY, &TIERS.replace("\"10/day\"", "\"unlimited\"")).plans;
    assert_eq!(limits(&free, "pro", "calls"), []);
}

/// The plans of the five systems that the gateway replaces.
#[test]
fn the_plans_of_all_five_systems_can_be_written() {
    let calls = "[meters]\napi_calls = { unit = \"calls\" }\n";
    let ops_center = r#"default_tier = "trial"
METERS
[tiers.trial]
warn_at = [50, 80, 95]
limits = { api_calls = ["100/day", "700/7days"] }
[tiers.professional]
inherits = "trial"
limits = { api_calls = ["334/day", "10000/month"] }
[tiers.vip_founder]
limits = { api_calls = "unlimited" }
"#;
    let ops_center = plans(&ops_center.replace("METERS", calls));
    assert_eq!(
        limits(&ops_center, "trial", "api_calls"),
        [limit(100, Window::Day), limit(700, Window::Days(7))]
    );
    let rest = plans(
        r#"default_tier = "free_trial"
[meters]
agent_minutes = { unit = "minutes" }
storage = { unit = "GB", kind = "level" }
users = { unit = "users", kind = "level" }
ai_tokens = { unit = "tokens" }
mapping_profiles = { unit = "profiles" }
credits = { unit = "minutes" }
jobs = { unit = "jobs", kind = "concurrent" }
[tiers.free_trial]
limits = { agent_minutes = 0, mapping_profiles = "3/lifetime", users = 3 }
[tiers.professional.limits]
storage = { limit = 50, over = "charge", price = "1.50 EUR" }
users = { limit = 10, over = "charge", price = "5 EUR" }
ai_tokens = { limit = "1_000_000/month", scope = "org" }
[tiers.pro]
max_body = "500MB"
limits = { credits = "500/billing_month", jobs = 5 }
"#,
    );
    let storage = limits(&rest, "professional", "storage");
    assert_eq!(storage[0].over, Over::Charge(Some("1.5 EUR per 1".parse().unwrap())));
    assert_eq!(limits(&rest, "free_trial", "agent_minutes"), [limit(0, Window::Lifetime)]);
    assert_eq!(limits(&rest, "free_trial", "mapping_profiles"), [limit(3, Window::Lifetime)]);
    assert_eq!(limits(&rest, "pro", "credits"), [limit(500, Window::BillingMonth)]);
    assert_eq!(rest.tiers[2].max_body_bytes, Some(500_000_000));
}
