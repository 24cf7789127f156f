//! ops-center: API-call plans in front of an LLM service.

use jiff::ToSpan as _;
use serde_json::{Value, json};
use tollgate_testkit::{Answer, BOUND, Origin, Received, Response, eventually};

use super::{calls::Who, cells::Limit, clock::Zone, preset::Preset};
use crate::scene::{number, request_id};

const CALL: &str = "POST /api/v1/llm/chat/completions";

/// Per day, and per a longer period; nothing for the unlimited.
const TIERS: [(&str, i64, (i64, &str)); 3] = [
    ("trial", 100, (700, "7days")),
    ("starter", 34, (1000, "month")),
    ("professional", 334, (10_000, "month")),
];
const UNLIMITED: [&str; 3] = ["enterprise", "vip_founder", "byok"];

/// The LLM service: a completion, an error for who asks for one.
fn llm() -> Origin {
    let answer = |received: &Received| match received.path() {
        "/v1/fails" => Answer::status(500),
        _ => Answer::json(r#"{"object":"chat.completion","usage":{"total_tokens":7}}"#),
    };
    Origin::builder().otherwise(answer).start()
}

struct World {
    preset: Preset,
    origin: Origin,
    zone: Zone,
}

impl World {
    /// The preset, and in its table of subjects users named `day-TIER` and `long-TIER`, for whom today is not the first day
    /// of any period.
    fn start() -> Self {
        let origin = llm();
        let preset = Preset::start("ops-center", &[("llm", &origin)]);
        let zone = Zone::pick();
        let anchor = zone.noon(3);
        let row = |user: String| format!("('user', '{user}', NULL, NULL, '{}', '{anchor}', NULL)", zone.name);
        let mut users: Vec<_> = TIERS.iter().map(|(tier, _, _)| format!("day-{tier}")).collect();
        for attempt in 0..5 {
            let of = |kind: &str| TIERS.map(|(tier, _, _)| format!("{kind}-{tier}-{attempt}"));
            users.extend(of("day").into_iter().chain(of("long")));
        }
        let rows: Vec<_> = users.into_iter().map(row).collect();
        preset.set_subjects(&rows.join(", "));
        Self { preset, origin, zone }
    }

    fn call(&self, who: Who<'_>) -> Response {
        self.preset.call(who, CALL, &json!({ "messages": [] }))
    }

    /// When a period of a user in the table ends, in seconds.
    fn end(&self, window: &str) -> i64 {
        let end = match window {
            "day" => self.zone.tomorrow(),
            "7days" => self.zone.midnight(self.zone.today() + 4.days()),
            _ => self.zone.next_month(),
        };
        end.as_second()
    }
}

#[test]
fn o1_over_the_limit_is_429_with_the_fields() {
    let world = World::start();
    for (tier, per_day, (limit, window)) in TIERS {
        world.preset.exactly(|attempt| walk_day(&world, tier, per_day, attempt));
        world.preset.exactly(|attempt| walk_longer(&world, tier, (limit, window), attempt));
    }
    for tier in UNLIMITED {
        let who = Who::on(tier, tier);
        world.preset.report(who, "api_calls", 1_000_000, None);
        assert_eq!(world.call(who).status, 200, "{tier}");
    }
}

fn walk_day(world: &World, tier: &str, per_day: i64, attempt: usize) {
    let user = format!("day-{tier}-{attempt}");
    let who = Who::on(&user, tier);
    for used in 1..per_day {
        let answer = world.call(who);
        let left = number(&answer, "x-ratelimit-remaining");
        assert_eq!((answer.status, left), (200, per_day - used), "{tier}");
    }
    let before = world.origin.requests();
    let day = Limit { meter: "api_calls", window: "day", limit: per_day };
    let refusal = world.preset.last_and_first(who, day, || world.call(who));
    assert_eq!(world.origin.requests(), before + 1, "{tier}: the check comes before the work");
    assert!(refusal["message"].as_str().unwrap().contains("upgrade"), "{refusal}");
}

/// A user who has used nearly all of the longer period before today.
fn walk_longer(world: &World, tier: &str, (limit, window): (i64, &str), attempt: usize) {
    let user = format!("long-{tier}-{attempt}");
    let who = Who::on(&user, tier);
    world.preset.report(who, "api_calls", limit - 1, Some(world.zone.noon(1)));
    let long = Limit { meter: "api_calls", window, limit };
    let refusal = world.preset.last_and_first(who, long, || world.call(who));
    let reset: jiff::Timestamp = refusal["reset_at"].as_str().unwrap().parse().unwrap();
    assert_eq!(reset.as_second(), world.end(window), "{tier}");
}

#[test]
fn o1_every_call_is_metered_by_service() {
    let world = World::start();
    let who = Who::on("ann", "professional");
    let paths = [
        ("chat", "/api/v1/llm/chat/completions", "/v1/chat/completions"),
        ("search", "/api/v1/llm/search?q=x", "/v1/search?q=x"),
        ("tts", "/api/v1/llm/audio/speech", "/v1/audio/speech"),
        ("stt", "/api/v1/llm/audio/transcriptions", "/v1/audio/transcriptions"),
        ("llm", "/api/v1/llm/models", "/v1/models"),
        ("llm", "/api/v1/llm/fails", "/v1/fails"),
    ];
    for (route, path, seen) in paths {
        let answer = world.preset.call(who, &format!("POST {path}"), &json!({}));
        assert_eq!(world.origin.last().target, seen);
        let amount = i32::from(answer.status == 200);
        let id = request_id(&answer);
        let sql =
            format!("SELECT route, meter, amount, user_id, tier FROM usage_ledger WHERE request_id = '{id}'");
        world.preset.until(&sql, &format!("{route}|api_calls|{amount}|ann|professional"));
    }
    assert_eq!(world.preset.call(who, "GET /api/v1/other", &Value::Null).status, 404, "no way around it");
}

#[test]
fn o2_every_response_says_limit_remaining_and_reset() {
    let world = World::start();
    for (tier, per_day, _) in TIERS {
        world.preset.exactly(|attempt| follow_headers(&world, tier, per_day, attempt));
    }
    for tier in UNLIMITED {
        let answer = world.call(Who::on(tier, tier));
        for header in ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"] {
            assert_eq!(answer.header(header), Some("unlimited"), "{tier}: {answer:?}");
        }
    }
}

fn follow_headers(world: &World, tier: &str, per_day: i64, attempt: usize) {
    let user = format!("day-{tier}-{attempt}");
    let who = Who::on(&user, tier);
    let first = world.call(who);
    assert_eq!(number(&first, "x-ratelimit-limit"), per_day);
    assert_eq!(number(&first, "x-ratelimit-remaining"), per_day - 1);
    assert_eq!(number(&first, "x-ratelimit-reset"), world.end("day"));
    let failed = world.preset.call(who, "POST /api/v1/llm/fails", &json!({}));
    assert_eq!(failed.status, 500);
    assert_eq!(number(&failed, "x-ratelimit-limit"), per_day, "{failed:?}");
    let user = format!("long-{tier}-{attempt}");
    let who = Who::on(&user, tier);
    world.preset.report(who, "api_calls", per_day, None);
    let refused = world.call(who);
    assert_eq!(refused.status, 429, "{refused:?}");
    assert_eq!(number(&refused, "x-ratelimit-limit"), per_day);
    assert_eq!(number(&refused, "x-ratelimit-remaining"), 0);
    assert_eq!(number(&refused, "x-ratelimit-reset"), world.end("day"));
}

#[test]
fn o3_redis_counts_until_the_period_ends_and_postgres_keeps_it() {
    let World { preset, origin, zone: _ } = World::start();
    let redis = preset.redis.as_ref().unwrap();
    let who = Who::on("day-starter", "starter");
    for _ in 0..30 {
        assert_eq!(preset.call(who, CALL, &json!({})).status, 200);
    }
    let words = |text: &str, begin: &str| {
        text.lines().filter(|line| line.starts_with(begin)).map(str::to_owned).collect::<Vec<_>>()
    };
    let mut keys = Vec::new();
    // They come there once Redis has an epoch; until then calls are served.
    let are_there = eventually(BOUND, || {
        keys = words(&redis.command(&["KEYS", "tollgate:1:*:counter:*:day-starter"]), "tollgate");
        !keys.is_empty()
    });
    assert!(are_there, "counters are in Redis");
    for key in &keys {
        let left: i64 = redis.command(&["TTL", key]).trim().trim_start_matches(':').parse().unwrap();
        assert!((1..=32 * 86_400).contains(&left), "{key} does not expire with its period: {left}");
    }
    preset.until("SELECT sum(amount) FROM usage_ledger WHERE user_id = 'day-starter'", "30");

    // Redis forgets everything; Postgres does not.
    let _ = redis.command(&["FLUSHALL"]);
    let mut answer = preset.call(who, CALL, &json!({}));
    let counted = eventually(BOUND, || {
        answer = preset.call(who, CALL, &json!({}));
        answer.status == 429
    });
    assert!(counted, "{answer:?}");
    preset.refused(who, Limit { meter: "api_calls", window: "day", limit: 34 }, answer);
    assert_eq!(origin.requests(), 34);
}

#[test]
fn o3_without_redis_nobody_is_locked_out() {
    let World { mut preset, origin, zone: _ } = World::start();
    let known = Who::on("day-professional", "professional");
    assert_eq!(preset.call(known, CALL, &json!({})).status, 200);
    preset.redis.as_mut().unwrap().kill();
    for number in 0..40 {
        for who in [known, Who::on(&format!("stranger-{number}"), "trial"), Who::on("vip", "vip_founder")] {
            let answer = preset.call(who, CALL, &json!({}));
            assert_eq!(answer.status, 200, "{who:?}: {answer:?}");
        }
    }
    preset.redis.as_mut().unwrap().restart();
    assert!(eventually(BOUND, || preset.gateway.admin_get("/readyz").json()["counters"] == json!("ok")));
    // All that was served meanwhile is charged, and counts.
    preset.until("SELECT sum(amount) FROM usage_ledger", &origin.requests().to_string());
    let mut answer = preset.call(known, CALL, &json!({}));
    let caught_up = eventually(BOUND, || {
        answer = preset.call(known, CALL, &json!({}));
        answer.status == 200
    });
    assert!(caught_up, "{answer:?}");
    let used = 334 - number(&answer, "x-ratelimit-remaining");
    preset
        .until("SELECT sum(amount) FROM usage_ledger WHERE user_id = 'day-professional'", &used.to_string());
}
