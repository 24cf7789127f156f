//! Charges of everything: where amounts come from, how they are converted, for which requests they are.

use std::time::Duration;

use http::Method;
use proptest::prelude::*;
use tollgate_config::{
    Amount, Condition, Effect, IdPlace, Job, Measure, Measured, Missing, Place, RouteCharge, diff,
};
use tollgate_core::{Conversion, Decimal, MeterIndex, Pointer, Ratio, Rounding, Wanted};

use crate::{GATEWAY, good, report};

const TIERS: &str = r#"default_tier = "free"
[meters]
calls = { unit = "calls" }
seconds = { unit = "seconds" }
bytes = { unit = "bytes" }
spend = { unit = "EUR" }
storage = { unit = "bytes", kind = "level" }
jobs = { unit = "jobs", kind = "concurrent" }
pages = { unit = "pages" }
credits = { unit = "credits", of = { seconds = "1/60", pages = 2, spend = 100 } }
cents = { unit = "cents", of = { calls = 3 } }
[tiers.free]
other_meters = "unlimited"
"#;

fn charges(text: &str) -> Vec<RouteCharge> {
    let gateway = GATEWAY.replace(r#"[{ meter = "calls" }]"#, &format!("[{text}]"));
    good(&gateway, TIERS).gateway.routes[0].charges.clone()
}

fn charge(text: &str) -> RouteCharge {
    charges(text).remove(0)
}

fn measured(text: &str) -> Measured {
    match charge(text).amount {
        Amount::Measured(measured) => measured,
        Amount::Constant(_) => panic!("{text}"),
    }
}

fn pointer(text: &str) -> Pointer {
    text.parse().unwrap()
}

fn ratio(text: &str) -> Ratio {
    text.parse().unwrap()
}

#[test]
fn amounts_come_from_anywhere() {
    let request = |text: &str| Measure::At(Place::RequestJson(pointer(text)));
    for (amount, source, missing) in [
        ("duration", Measure::Duration, Missing::Hold),
        ("response.bytes", Measure::ResponseBytes, Missing::Hold),
        (
            "request.header:X-Rows",
            Measure::At(Place::RequestHeader("x-rows".parse().unwrap())),
            Missing::Refuse,
        ),
        (
            "response.header:X-Pages",
            Measure::At(Place::ResponseHeader("x-pages".parse().unwrap())),
            Missing::Hold,
        ),
        ("request.json:/rows", request("/rows"), Missing::Refuse),
        (
            "response.json:/items/*/pages",
            Measure::At(Place::ResponseJson(pointer("/items/*/pages"))),
            Missing::Hold,
        ),
    ] {
        let read = measured(&format!("{{ meter = \"pages\", amount = \"{amount}\" }}"));
        assert_eq!(read, Measured { source, hold: 1, conversion: Conversion::NONE, missing });
    }
    for (rule, missing) in [
        ("\"refuse\"", Missing::Refuse),
        ("\"nothing\"", Missing::Nothing),
        ("\"hold\"", Missing::Hold),
        ("7", Missing::Instead(7)),
        ("0", Missing::Instead(0)),
    ] {
        let text = format!("{{ meter = \"pages\", amount = \"request.json:/n\", missing = {rule} }}");
        assert_eq!(measured(&text).missing, missing, "{rule}");
    }
}

#[test]
fn units_and_scales_are_one_factor() {
    for (meter, text, factor) in [
        ("seconds", r#"amount = "duration""#, "1/1000"),
        ("seconds", r#"amount = "duration", scale = "1.5""#, "3/2000"),
        ("seconds", r#"amount = "response.json:/m", unit = "minutes""#, "60"),
        ("bytes", r#"amount = "request.header:X-Size", unit = "MiB""#, "1048576"),
        ("bytes", r#"amount = "request.bytes""#, "1"),
        ("bytes", r#"amount = "response.header:X-Size", unit = "bytes", scale = 3"#, "3"),
        ("calls", r#"amount = "duration""#, "1"),
        ("calls", r#"amount = "duration", scale = "1/60_000""#.replace('_', "").as_str(), "1/60000"),
        ("spend", r#"amount = "response.json:/cost""#, "1000000000"),
        ("spend", r#"amount = "request.bytes", scale = "0.000002""#, "2000"),
        ("spend", r#"amount = "upstream""#, "1"),
        ("storage", r#"amount = "response.json:/freed", scale = -1"#, "-1"),
    ] {
        let text = format!("{{ meter = \"{meter}\", {text} }}");
        assert_eq!(measured(&text).conversion.ratio, ratio(factor), "{text}");
    }
    let text = r#"{ meter = "spend", amount = "request.json:/x", round = "half_even", min = "0.50", max = 2, missing = "0.1", hold = "0.2" }"#;
    let read = measured(text);
    let conversion = Conversion {
        ratio: ratio("1000000000"),
        rounding: Rounding::HalfEven,
        min: Some(500_000_000),
        max: Some(2_000_000_000),
    };
    assert_eq!((read.conversion, read.hold), (conversion, 200_000_000));
    assert_eq!(read.missing, Missing::Instead(100_000_000));
}

#[test]
fn memories_are_as_large_as_they_are() {
    let size = |text: &str| match measured(text).source {
        Measure::MemorySize(size) => *size,
        other => panic!("{other:?}"),
    };
    let usual = size(r#"{ meter = "storage", amount = "memory.size" }"#);
    assert_eq!((&usual.text, &usual.tags), (&pointer("/content"), &pointer("/tags")));
    assert_eq!((&usual.metadata, usual.dimensions), (&pointer("/metadata"), 384));
    assert_eq!(usual.fixed_bytes(), 384 * 4 + 162);
    let other = size(
        r#"{ meter = "storage", amount = "memory.size", memory = { text = "/m/text", dimensions = 0 } }"#,
    );
    assert_eq!((other.text, other.tags), (pointer("/m/text"), usual.tags));
    assert_eq!(other.dimensions, 0);
}

#[test]
fn conditions_say_for_which_requests_a_charge_is() {
    let text = r#"{ meter = "calls",
        only_if = { method = ["POST", "PUT"], status = ["2xx", 409], "request.header:X-Tier" = "stm" },
        unless = { "response.json:/items/*/n" = ["a", 3, -1.50, true, "*"], "request.json:/x" = 12 } }"#
        .replace('\n', " ");
    let read = charge(&text);
    let [Condition::Method(methods), Condition::Status(statuses), Condition::Value(place, wanted)] =
        &read.only_if.0[..]
    else {
        panic!("{read:?}")
    };
    assert_eq!(methods, &[Method::POST, Method::PUT]);
    assert!(statuses.includes(Some(204)) && statuses.includes(Some(409)) && !statuses.includes(Some(404)));
    assert_eq!(place, &Place::RequestHeader("x-tier".parse().unwrap()));
    assert_eq!(wanted, &[Wanted::Text("stm".into())]);
    assert_eq!(read.only_if.0.iter().map(Condition::is_of_request).collect::<Vec<_>>(), [true, false, true]);
    let [Condition::Value(place, wanted), _] = &read.unless.unwrap().0[..] else { panic!() };
    assert_eq!(place.to_string(), "response.json:/items/*/n");
    let number = |text: &str| Wanted::Number(Decimal::parse(text).unwrap());
    assert_eq!(
        wanted,
        &[Wanted::Text("a".into()), number("3"), number("-1.5"), Wanted::Boolean(true), Wanted::Present]
    );
    assert_eq!(charge("{ meter = \"calls\" }").unless, None);
}

#[test]
fn resources_and_jobs_have_ids() {
    let id = |text: &str| charge(&format!("{{ meter = \"storage\", amount = 0, resource = \"{text}\" }}"));
    assert_eq!(id("path").resource, Some(IdPlace::Path));
    let at = |place| Some(IdPlace::At(place));
    assert_eq!(id("response.json:/id").resource, at(Place::ResponseJson(pointer("/id"))));
    assert_eq!(id("request.json:/a/0/id").resource, at(Place::RequestJson(pointer("/a/0/id"))));
    assert_eq!(id("request.header:X-Id").resource, at(Place::RequestHeader("x-id".parse().unwrap())));
    let job = |text: &str| charge(&format!("{{ meter = \"jobs\", job = {text} }}")).job.unwrap();
    let start = job(r#"{ id = "response.json:/job_id", time_limit = "2h" }"#);
    let Job::Start { id, time_limit } = &start else { panic!("{start:?}") };
    assert_eq!(id.place(), Some(&Place::ResponseJson(pointer("/job_id"))));
    assert_eq!(*time_limit, Duration::from_secs(7200));
    let status = job(r#"{ id = "path", ended = { "response.json:/status" = ["done", "failed"] } }"#);
    assert_eq!(status.id(), &IdPlace::Path);
    assert!(matches!(status, Job::Status { ended, .. } if ended.0.len() == 1));
}

#[test]
fn a_meter_may_be_charged_in_parts() {
    let read = charges(
        r#"{ meter = "pages", amount = "response.json:/a" }, { meter = "pages", amount = "response.json:/b" }, { meter = "pages" }"#,
    );
    assert_eq!(read.iter().map(|charge| charge.meter).collect::<Vec<_>>(), [MeterIndex(6); 3]);
}

#[test]
fn meters_are_made_of_others() {
    let plans = good(GATEWAY, TIERS).plans;
    let parts = |name: &str| {
        let meter = plans.meter(name).unwrap();
        let parts = plans.meters[meter.0].parts.iter();
        parts.map(|part| (&*plans.meters[part.meter.0].name, part.ratio)).collect::<Vec<_>>()
    };
    assert_eq!(
        parts("credits"),
        [("seconds", ratio("1/60")), ("pages", ratio("2")), ("spend", ratio("1/10000000"))]
    );
    assert_eq!(parts("calls"), []);
}

#[test]
fn tiers_must_know_what_is_made_of_what_is_charged() {
    let tiers =
        TIERS.replace("[tiers.free]\nother_meters = \"unlimited\"", "[tiers.free.limits]\ncalls = \"1/day\"");
    let mistakes = report(GATEWAY, &tiers);
    assert_eq!(
        mistakes,
        [
            "tier-limits.toml:12:8: tiers.free.limits.cents: route \"/v1/\" charges \"cents\", which tier \"free\" does not name; add cents = \"unlimited\", or 0 to forbid it, or a limit; or set other_meters = \"unlimited\" for the tier"
        ]
    );
}

#[test]
fn changes_of_parts_are_shown() {
    let old = good(GATEWAY, TIERS).plans;
    let new = good(GATEWAY, &TIERS.replace("\"1/60\"", "\"1/30\"").replace(", of = { calls = 3 }", "")).plans;
    let changes = diff(&old, &new);
    let shown: Vec<String> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "meter credits: of seconds × 1/60 + pages × 2 + spend × 100 → seconds × 1/30 + pages × 2 + spend × 100",
            "meter cents: of calls × 3 → nothing else",
        ]
    );
    assert!(changes.iter().all(|change| change.effect == Effect::Neutral));
}

proptest! {
    /// Whatever is written is read, or explained.
    #[test]
    fn any_value_is_read_or_a_mistake(
        key in "(amount|scale|unit|round|min|max|missing|hold|resource|job|memory|only_if|unless)",
        value in r#"("[ -!#-\[\]-~]{0,20}"|-?[0-9]{1,20}|[0-9]\.[0-9]|true|\[\]|\{\}|\["a", 1\]|\{ id = "path" \}|\{ status = 3 \}|"(request|response)\.(json|header):/?[a-z*/~]{0,9}")"#,
    ) {
        for meter in ["calls", "spend", "storage", "jobs"] {
            let charge = format!("[{{ meter = \"{meter}\", {key} = {value} }}]");
            let gateway = GATEWAY.replace(r#"[{ meter = "calls" }]"#, &charge);
            let _ = report(&gateway, TIERS);
        }
    }
}
