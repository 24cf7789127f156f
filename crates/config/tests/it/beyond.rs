//! What `tier-limits.toml` can say about use beyond a limit, and how mistakes in it are explained.

use tollgate_config::diff;
use tollgate_core::{Grace, Limit, Max, Over, Queue, Rate, Window};

use crate::{GATEWAY, TIERS, good, report};

fn with(meter: &str, text: &str) -> String {
    let old = match meter {
        "calls" => "calls = \"10/day\"",
        "storage" => "storage = \"1GiB\"",
        _ => "jobs = 1",
    };
    TIERS.replace(old, &format!("{meter} = {text}"))
}

fn limits(meter: &str, text: &str) -> Vec<Limit> {
    let plans = good(GATEWAY, &with(meter, text)).plans;
    plans.tiers[0].limits_of(plans.meter(meter).unwrap()).to_vec()
}

fn limit(meter: &str, text: &str) -> Limit {
    limits(meter, text).remove(0)
}

#[test]
fn grace_is_a_part_an_amount_or_a_time() {
    for (text, grace) in [
        ("\"10%\"", Grace::Units(10)),
        ("\"1 %\"", Grace::Units(1)),
        ("7", Grace::Units(7)),
        ("\"1k\"", Grace::Units(1000)),
        ("\"5M\"", Grace::Units(5_000_000)),
        ("\"5m\"", Grace::Millis(300_000)),
        ("\"3h\"", Grace::Millis(10_800_000)),
    ] {
        assert_eq!(
            limit("calls", &format!("{{ limit = \"100/day\", grace = {text} }}")).grace,
            grace,
            "{text}"
        );
    }
    assert_eq!(limit("storage", "{ limit = \"1GB\", grace = \"50MB\" }").grace, Grace::Units(50_000_000));
    assert_eq!(limit("storage", "{ limit = \"1GB\", grace = \"72h\" }").grace, Grace::Millis(259_200_000));
}

#[test]
fn rates_queues_and_bursts() {
    let throttled = limit("calls", "{ limit = \"10/day\", over = \"throttle\", rate = \"5/minute\" }");
    assert_eq!(throttled.over, Over::Throttle(Rate { requests: 5, seconds: 60 }));
    assert!(!throttled.is_hard());
    let queued = limit("jobs", "{ limit = 2, queue = { length = 10, wait = \"30s\" } }");
    assert_eq!(queued.queue, Some(Queue { length: 10, wait_ms: 30_000 }));
    for (text, window, max) in [("10/minute", Window::Hour, 600), ("10/hour", Window::Day, 240)] {
        let burst = limit("calls", &format!("{{ limit = \"{text}\", burst = 20 }}"));
        let parts: Vec<_> = burst.parts().collect();
        assert_eq!(parts, [(burst.window, Max::AtMost(30)), (window, Max::AtMost(max))], "{text}");
    }
    let plain: Vec<_> = limit("calls", "\"10/minute\"").parts().collect();
    assert_eq!(plain, [(Window::Minute, Max::AtMost(10))]);
}

#[test]
fn prices_of_sizes_and_of_things() {
    let price = |meter: &str, limit_text: &str, price: &str| {
        let text = format!("{{ limit = {limit_text}, over = \"charge\", price = \"{price}\" }}");
        match limit(meter, &text).over {
            Over::Charge(Some(price)) => (price.nanos, price.per),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(price("storage", "\"5GB\"", "2.00 EUR per GB"), (2_000_000_000, 1_000_000_000));
    assert_eq!(price("storage", "\"5GB\"", "1 EUR per 10 GiB"), (1_000_000_000, 10 << 30));
    assert_eq!(price("calls", "\"100/month\"", "0.50 EUR"), (500_000_000, 1));
    assert_eq!(price("calls", "\"100/month\"", "0.008 EUR per 10"), (8_000_000, 10));
}

/// A limit, and the mistakes that it makes.
const MISTAKES: &[(&str, &str, &str)] = &[
    (
        "calls",
        r#"{ limit = "9/day", over = "throttle" }"#,
        r#"8:1: tiers.free.limits.calls.rate: missing; add rate = "5/minute""#,
    ),
    (
        "calls",
        r#"{ limit = "9/day", rate = "5/minute" }"#,
        r#"8:28: tiers.free.limits.calls.rate: only what is slowed down has a rate; add over = "throttle", or remove rate"#,
    ),
    (
        "calls",
        r#"{ limit = "9/day", over = "throttle", rate = "5/minut" }"#,
        r#"8:54: tiers.free.limits.calls.rate: "minut" is no time of a rate; did you mean "minute"?"#,
    ),
    (
        "calls",
        r#"{ limit = "9/day", over = "throttle", rate = "0/minute" }"#,
        r#"8:54: tiers.free.limits.calls.rate: "0/minute" is out of bounds; write 1 to 4294967295 requests"#,
    ),
    (
        "calls",
        r#"{ limit = "9/day", over = "throttle", rate = "5/minute", price = "1 EUR" }"#,
        r#"8:66: tiers.free.limits.calls.price: use beyond the limit is slowed down, so it has no price; write over = "charge" and no rate, or remove price"#,
    ),
    (
        "calls",
        r#"{ limit = "9/day", over = "throttle", rate = "5/minute", grace = 5 }"#,
        r#"8:66: tiers.free.limits.calls.grace: use beyond the limit is let through, only slower; remove grace, or over"#,
    ),
    (
        "jobs",
        r#"{ limit = 1, over = "throttle", rate = "5/minute" }"#,
        r#"11:1: tiers.free.limits.jobs: what runs at once is not let through slower, as it is not over; write queue = { length = 10, wait = "30s" } instead of over"#,
    ),
    (
        "calls",
        r#"{ limit = "9/day", grace = "often" }"#,
        r#"8:36: tiers.free.limits.calls.grace: "often" is not a whole number; write "10%" of the limit, an amount, or a time, such as "3h""#,
    ),
    (
        "calls",
        r#"{ limit = "9/day", grace = "200%" }"#,
        r#"8:36: tiers.free.limits.calls.grace: "200%" is not a whole percentage of the limit; write "1%" to "100%", or an amount"#,
    ),
    (
        "calls",
        r#"{ limit = "9/day", grace = "10%" }"#,
        r#"8:36: tiers.free.limits.calls.grace: 10% of the limit is less than one; write an amount, or remove grace"#,
    ),
    (
        "calls",
        r#"{ limit = "9/hour", grace = "1h" }"#,
        r#"8:37: tiers.free.limits.calls.grace: the window (hour) ends before that, so nothing would ever be refused; write less, or a percentage, or remove the limit"#,
    ),
    (
        "calls",
        r#"{ limit = "unlimited", grace = 5 }"#,
        r#"8:32: tiers.free.limits.calls.grace: nothing is beyond "unlimited"; remove grace, or write a limit"#,
    ),
    (
        "jobs",
        r#"{ limit = 1, grace = 5 }"#,
        r#"11:21: tiers.free.limits.jobs.grace: how many run at once is known beforehand: the limit can be as high as it may be; remove grace"#,
    ),
    (
        "calls",
        r#"{ limit = "9/day", burst = 5 }"#,
        r#"8:28: tiers.free.limits.calls.burst: only limits per minute and per hour have bursts; remove burst, or write a larger limit"#,
    ),
    (
        "calls",
        r#"{ limit = "9/minute", burst = 5, grace = 5 }"#,
        r#"8:42: tiers.free.limits.calls.grace: burst says already how far beyond requests are admitted; remove grace, or burst"#,
    ),
    (
        "calls",
        r#"{ limit = "9/minute", burst = 5, over = "charge" }"#,
        r#"8:31: tiers.free.limits.calls.burst: use beyond the limit is charged, however much it is; remove burst, or over"#,
    ),
    (
        "storage",
        r#"{ limit = "1GB", burst = 5 }"#,
        r#"10:28: tiers.free.limits.storage.burst: this meter counts what there is now, so nothing is saved up for a burst; remove burst"#,
    ),
    (
        "calls",
        r#"{ limit = "9/day", queue = { length = 1, wait = "1s" } }"#,
        r#"8:28: tiers.free.limits.calls.queue: only for what runs at once a slot is worth waiting for; give the meter kind = "concurrent", or remove queue"#,
    ),
    (
        "jobs",
        r#"{ limit = 1, queue = { length = 0, wait = "1s" } }"#,
        r#"11:40: tiers.free.limits.jobs.queue.length: 0 is out of bounds; write 1 to 1000"#,
    ),
    (
        "jobs",
        r#"{ limit = 1, queue = { length = 5 } }"#,
        r#"11:21: tiers.free.limits.jobs.queue.wait: missing; add wait = "30s""#,
    ),
    (
        "calls",
        r#"{ limit = "9/day", over = "charge", price = "1 EUR per GB" }"#,
        r#"8:53: tiers.free.limits.calls.price: "1 EUR per GB" is a price of a size, but this meter does not count bytes; write a plain number behind "per", or give the meter unit = "bytes""#,
    ),
    (
        "calls",
        r#"[{ limit = "9/day", over = "charge", price = "1 EUR" }, { limit = "90/month", over = "charge", price = "1 EUR" }]"#,
        r#"8:65: tiers.free.limits.calls[1]: two limits have a price, so use beyond both would be paid for twice; leave one of the prices"#,
    ),
    (
        "calls",
        r#"{ limit = "9/day", over = "throttle", rate = "1/second", overdraw = 5 }"#,
        r#"8:66: tiers.free.limits.calls.overdraw: use beyond the limit is let through, only slower; remove overdraw, or over"#,
    ),
];

#[test]
fn every_mistake_is_explained() {
    for (meter, text, mistake) in MISTAKES {
        let told = report(GATEWAY, &with(meter, text));
        assert_eq!(told, [format!("tier-limits.toml:{mistake}")], "{text}");
    }
}

#[test]
fn who_gains_and_who_loses() {
    for (meter, old, new, there, back) in [
        (
            "calls",
            "\"10/day\"",
            "{ limit = \"10/day\", grace = \"50%\" }",
            "calls per day: grace none → 5 (gains)",
            "calls per day: grace 5 → none (loses)",
        ),
        (
            "calls",
            "{ limit = \"10/day\", grace = \"90m\" }",
            "{ limit = \"10/day\", grace = \"3h\" }",
            "calls per day: grace 90m → 3h (gains)",
            "calls per day: grace 3h → 90m (loses)",
        ),
        (
            "calls",
            "{ limit = \"10/minute\", burst = 5 }",
            "{ limit = \"10/minute\", burst = 20 }",
            "calls per minute: burst 5 → 20 (gains)",
            "calls per minute: burst 20 → 5 (loses)",
        ),
        (
            "calls",
            "\"10/minute\"",
            "{ limit = \"10/minute\", burst = 20 }",
            "calls per minute: burst 0 → 20",
            "calls per minute: burst 20 → 0",
        ),
        (
            "calls",
            "\"10/day\"",
            "{ limit = \"10/day\", over = \"throttle\", rate = \"5/minute\" }",
            "calls per day: over refuse → throttle 5/minute (gains)",
            "calls per day: over throttle 5/minute → refuse (loses)",
        ),
        (
            "calls",
            "{ limit = \"10/day\", over = \"throttle\", rate = \"5/minute\" }",
            "{ limit = \"10/day\", over = \"throttle\", rate = \"1/second\" }",
            "calls per day: over throttle 5/minute → throttle 1/second (gains)",
            "calls per day: over throttle 1/second → throttle 5/minute (loses)",
        ),
        (
            "jobs",
            "1",
            "{ limit = 1, queue = { length = 10, wait = \"30s\" } }",
            "jobs: queue none → 10 for 30s (gains)",
            "jobs: queue 10 for 30s → none (loses)",
        ),
        (
            "storage",
            "{ limit = \"1GB\", over = \"charge\", price = \"2 EUR per GB\" }",
            "{ limit = \"1GB\", over = \"charge\", price = \"1.50 EUR per GB\" }",
            "storage: over charge 2 EUR per GB → charge 1.5 EUR per GB (gains)",
            "storage: over charge 1.5 EUR per GB → charge 2 EUR per GB (loses)",
        ),
    ] {
        let plans = |text: &str| good(GATEWAY, &with(meter, text)).plans;
        let lines = |change: &str| vec![format!("free: {change}"), format!("pro: {change}")];
        let print =
            |old, new| diff(&plans(old), &plans(new)).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(print(old, new), lines(there), "{new}");
        assert_eq!(print(new, old), lines(back), "{new}");
    }
}
