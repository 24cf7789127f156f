//! The headers that clients and upstreams get.

mod forwarded;

use serde_json::Value;
use tollgate_testkit::{Answer, Origin, OriginBuilder, Reply, Response, Wire};

use crate::scene::{Scene, assert_refusal, clear_of_window_edges, now_seconds, number};

const TIERS: &str = r#"
default_tier = "free"
[meters]
calls = { unit = "calls" }
tokens = { unit = "tokens" }
storage = { unit = "bytes", kind = "level" }
[tiers.free]
other_meters = "unlimited"
[tiers.limited.limits]
calls = ["10/hour", "12/7days"]
tokens = "1000/lifetime"
storage = "1MB"
[tiers.huge.limits]
calls = "9223372036854775807/day"
tokens = "unlimited"
storage = "unlimited"
"#;

const ROUTES: &str = r#"
[[routes]]
path = "/x/"
upstream = "origin"
charge = [{ meter = "calls" }, { meter = "tokens", amount = "upstream", hold = 5 }, { meter = "storage", amount = "upstream", hold = 0 }]
[[routes]]
path = "/open/"
upstream = "origin"
"#;

const LIMITS: [&str; 3] = ["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"];
const IETF: [&str; 2] = ["RateLimit-Policy", "RateLimit"];

fn scene() -> Scene {
    scene_with(Origin::builder(), "")
}

fn scene_with(origin: OriginBuilder, more: &str) -> Scene {
    Scene::start(origin, &format!("{ROUTES}{more}"), TIERS)
}

/// Untrusted clients, served on the tier `free`.
const OUTSIDE: &str = "[identity]\ntrusted_peers = [\"192.0.2.0/24\"]\nanonymous = \"free\"\n";

/// A List of Strings with Integer parameters (RFC 9651), parsed strictly.
fn list(value: &str) -> Vec<(String, Vec<(String, i64)>)> {
    let item = |text: &str| {
        let (name, parameters) = text.strip_prefix('"').unwrap().split_once('"').unwrap();
        assert!(name.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'\\'), "{value}");
        let parameter = |text: &str| {
            let (key, number) = text.split_once('=').unwrap();
            assert!(number.len() <= 15, "an Integer has at most 15 digits: {value}");
            (key.to_owned(), number.parse().unwrap())
        };
        let (nothing, parameters) = parameters.split_once(';').unwrap();
        assert_eq!(nothing, "", "{value}");
        (name.to_owned(), parameters.split(';').map(parameter).collect())
    };
    value.split(", ").map(item).collect()
}

fn one<'a>(answer: &'a Response, header: &str) -> &'a str {
    let all = answer.all(header);
    assert_eq!(all.len(), 1, "{header}: {answer:?}");
    all[0]
}

fn parameter(items: &[(String, Vec<(String, i64)>)], item: &str, key: &str) -> Option<i64> {
    let (_, parameters) = items.iter().find(|(name, _)| name == item).unwrap();
    parameters.iter().find(|(name, _)| name == key).map(|(_, number)| *number)
}

#[test]
fn a_metered_answer_tells_the_limit_that_is_closest_to_its_end() {
    clear_of_window_edges();
    let scene = scene();
    for used in 1..=10 {
        let answer = scene.get("/x/", "ann", "limited");
        assert_eq!(answer.status, 200);
        // 9 of 10 are a smaller part than 11 of 12, and so on.
        assert_eq!(number(&answer, "X-RateLimit-Limit"), 10);
        assert_eq!(number(&answer, "X-RateLimit-Remaining"), 10 - used);
        let hour_end = (now_seconds() / 3600 + 1) * 3600;
        assert_eq!(number(&answer, "X-RateLimit-Reset"), i64::try_from(hour_end).unwrap());
        LIMITS.iter().chain(&IETF).for_each(|header| drop(one(&answer, header).to_owned()));
    }
}

#[test]
fn the_closest_limit_may_be_of_another_meter_and_then_has_no_reset() {
    clear_of_window_edges();
    let used = Reply::json(200, "{}").header("X-Usage-tokens", "900");
    let scene = scene_with(Origin::builder().on("/x/", Answer::Reply(used)), "");
    assert_eq!(scene.get("/x/", "ann", "limited").status, 200);
    let answer = scene.get("/x/", "ann", "limited");
    assert_eq!(number(&answer, "X-RateLimit-Limit"), 1000);
    assert_eq!(number(&answer, "X-RateLimit-Remaining"), 95, "900 used, 5 held");
    assert_eq!(one(&answer, "X-RateLimit-Reset"), "unlimited");
}

#[test]
fn a_job_that_is_served_does_not_stand_in_its_own_way() {
    let meters = "calls = { unit = \"calls\" }\njobs = { unit = \"jobs\", kind = \"concurrent\" }";
    let tiers = format!(
        "default_tier = \"free\"\n[meters]\n{meters}\n[tiers.free.limits]\ncalls = \"10/lifetime\"\njobs = 1\n"
    );
    let routes = "[[routes]]\npath = \"/job/\"\nupstream = \"origin\"\n\
                  charge = [{ meter = \"jobs\" }, { meter = \"calls\" }]\n";
    let scene = Scene::start(Origin::builder(), routes, &tiers);
    for left in [9, 8] {
        let answer = scene.get("/job/", "ann", "free");
        assert_eq!(answer.status, 200);
        let told = LIMITS.map(|header| one(&answer, header).to_owned());
        assert_eq!(told, ["10".to_owned(), left.to_string(), "unlimited".to_owned()]);
        let limits = list(one(&answer, "RateLimit"));
        assert_eq!(parameter(&limits, "jobs", "r"), Some(1), "once this one has ended");
    }
}

#[test]
fn without_a_limit_the_headers_say_unlimited() {
    let scene = scene();
    let answer = scene.get("/x/", "ann", "free");
    assert_eq!(answer.status, 200);
    for header in LIMITS {
        assert_eq!(one(&answer, header), "unlimited", "{header}");
    }
    for header in IETF {
        assert_eq!(answer.header(header), None, "there is no policy to tell: {header}");
    }
}

#[test]
fn ratelimit_policy_names_every_limit_and_ratelimit_tells_where_each_stands() {
    clear_of_window_edges();
    let scene = scene();
    let before = now_seconds();
    let answer = scene.get("/x/", "ann", "limited");
    let after = now_seconds();
    let policy = list(one(&answer, "RateLimit-Policy"));
    let names: Vec<_> = policy.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["calls-hour", "calls-7days", "tokens-lifetime", "storage"]);
    let quota = |name: &str| (parameter(&policy, name, "q"), parameter(&policy, name, "w"));
    assert_eq!(quota("calls-hour"), (Some(10), Some(3600)));
    assert_eq!(quota("calls-7days"), (Some(12), Some(604_800)));
    assert_eq!(quota("tokens-lifetime"), (Some(1000), None), "a lifetime has no length");
    assert_eq!(quota("storage"), (Some(1_000_000), None));

    let limits = list(one(&answer, "RateLimit"));
    assert_eq!(limits.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), names, "each policy in its order");
    let remaining: Vec<_> = names.iter().map(|name| parameter(&limits, name, "r").unwrap()).collect();
    assert_eq!(remaining, [9, 11, 995, 1_000_000]);
    let hour_left = |now: u64| 3600 - i64::try_from(now % 3600).unwrap();
    let t = parameter(&limits, "calls-hour", "t").unwrap();
    assert!((hour_left(after)..=hour_left(before)).contains(&t), "{t} {before} {after}");
    assert!(parameter(&limits, "calls-7days", "t").unwrap() >= t);
    assert_eq!(parameter(&limits, "tokens-lifetime", "t"), None, "what never resets has no time left");
}

#[test]
fn numbers_beyond_what_structured_fields_hold_stay_at_their_bound() {
    clear_of_window_edges();
    let scene = scene();
    let answer = scene.get("/x/", "ann", "huge");
    assert_eq!(number(&answer, "X-RateLimit-Limit"), i64::MAX);
    let policy = list(one(&answer, "RateLimit-Policy"));
    assert_eq!(parameter(&policy, "calls-day", "q"), Some(999_999_999_999_999));
    let limits = list(one(&answer, "RateLimit"));
    assert_eq!(parameter(&limits, "calls-day", "r"), Some(999_999_999_999_999));
}

#[test]
fn a_refusal_by_a_limit_tells_the_limits_too() {
    clear_of_window_edges();
    let scene = scene();
    let admitted: Vec<_> = (0..10).map(|_| scene.get("/x/", "ann", "limited")).collect();
    let refused = scene.get("/x/", "ann", "limited");
    assert_refusal(&refused, 429, "rate_limited");
    assert_eq!(number(&refused, "X-RateLimit-Remaining"), 0);
    assert_eq!(number(&refused, "X-RateLimit-Limit"), 10);
    assert_eq!(one(&refused, "RateLimit-Policy"), one(&admitted[9], "RateLimit-Policy"));
    let limits = list(one(&refused, "RateLimit"));
    assert_eq!(parameter(&limits, "calls-hour", "r"), Some(0));
    assert_eq!(parameter(&limits, "tokens-lifetime", "r"), Some(950), "the refused request holds nothing");
    assert_eq!(parameter(&limits, "calls-hour", "t"), Some(number(&refused, "Retry-After")));
}

#[test]
fn an_unmetered_route_tells_no_limits() {
    let scene = scene();
    let answer = scene.get("/open/", "ann", "limited");
    assert_eq!(answer.status, 200);
    for header in LIMITS.iter().chain(&IETF) {
        assert_eq!(answer.header(header), None, "{header}");
    }
    assert!(answer.header("x-request-id").is_some());
    assert_eq!(scene.lines_of(&answer), []);
}

#[test]
fn what_the_upstream_says_about_limits_does_not_stand_beside_the_gateways_own() {
    clear_of_window_edges();
    let own = Reply::json(200, "{}").header("X-RateLimit-Limit", "7").header("RateLimit", "\"theirs\";r=7");
    let scene = scene_with(Origin::builder().on("/x/", Answer::Reply(own)), "");
    let answer = scene.get("/x/", "ann", "limited");
    assert_eq!(one(&answer, "X-RateLimit-Limit"), "10");
    assert!(!one(&answer, "RateLimit").contains("theirs"));
}

#[test]
fn hop_by_hop_headers_do_not_reach_the_upstream() {
    let scene = scene();
    let hops = [
        ("X-User-Id", "ann"),
        ("Connection", "keep-alive, X-Hop"),
        ("X-Hop", "secret"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("Proxy-Authorization", "Basic c2VjcmV0"),
        ("TE", "gzip"),
        ("Upgrade", "h2c"),
        ("X-Usage-tokens", "-1000"),
    ];
    assert_eq!(scene.send("GET", "/x/", &hops, "").status, 200);
    let seen = scene.origin.last();
    for (name, value) in &hops[1..] {
        assert!(!seen.all(name).contains(value), "{name}: {value}");
    }
}

#[test]
fn hop_by_hop_headers_do_not_reach_the_client_and_all_others_do() {
    let reply = Reply::json(200, "{}")
        .header("Connection", "X-Hop")
        .header("X-Hop", "secret")
        .header("Keep-Alive", "timeout=5")
        .header("Proxy-Connection", "keep-alive")
        .header("Upgrade", "h2c")
        .header("Set-Cookie", "a=1")
        .header("Set-Cookie", "b=2")
        .header("X-Custom", "stays");
    let scene = scene_with(Origin::builder().on("/x/", Answer::Reply(reply)), "");
    let answer = scene.get("/x/", "ann", "free");
    assert_eq!(answer.status, 200);
    for absent in ["Connection", "X-Hop", "Keep-Alive", "Proxy-Connection", "Upgrade"] {
        assert_eq!(answer.header(absent), None, "{absent}");
    }
    assert_eq!(answer.all("Set-Cookie"), ["a=1", "b=2"]);
    assert_eq!(answer.all("X-Custom"), ["stays"]);
}

#[test]
fn an_upstream_that_closes_its_connection_does_not_close_the_clients() {
    let reply = Reply::json(200, "{}").header("Connection", "close");
    let scene = scene_with(Origin::builder().on("/x/", Answer::Reply(reply)), "");
    let mut wire = Wire::connect(scene.gateway.address());
    for _ in 0..2 {
        wire.send(crate::scene::head("GET", "/x/", &[("X-User-Id", "ann")], None));
        let answer = wire.response(false, tollgate_testkit::BOUND).unwrap();
        assert_eq!((answer.status, answer.header("connection")), (200, None));
    }
}

#[test]
fn what_the_upstream_reports_is_charged_and_kept_from_the_client() {
    let reply = Reply::json(200, r#"{"ok":true}"#)
        .header("X-Usage-tokens", "42")
        .header("x-usage-storage", "-7")
        .header("X-Usage-unknown", "1");
    let scene = scene_with(Origin::builder().on("/x/", Answer::Reply(reply)), "");
    let answer = scene.get("/x/", "ann", "free");
    assert!(answer.headers.iter().all(|(name, _)| !name.to_ascii_lowercase().starts_with("x-usage")));
    assert_eq!(answer.json(), serde_json::from_str::<Value>(r#"{"ok":true}"#).unwrap());
    let lines = scene.lines_of(&answer);
    let charged: Vec<_> = lines.iter().map(|line| (&*line.meter, line.amount, line.estimated)).collect();
    assert_eq!(charged, [("calls", 1, false), ("tokens", 42, false), ("storage", -7, false)]);
}
