//! phase 12: LLM tokens, memory storage, agent minutes behind a gateway.

use std::{
    collections::HashMap,
    sync::{Mutex, atomic::AtomicU64, atomic::Ordering},
};

use serde_json::{Value, json};
use tollgate_testkit::{Answer, Origin, Received, Reply, Response};

use super::{calls::Who, cells::Limit, preset::Preset};
use crate::scene::{assert_refusal, number, request_id};

/// llm_tokens a day, bytes of memory, agent minutes a month.
const TIERS: [(&str, i64, i64, i64); 2] = [("free_trial", 1000, 1 << 30, 0), ("basic", 50_000, 10 << 30, 60)];

const CREATE: &str = "POST /api/memory";
const CHAT: &str = "POST /api/llm/chat/completions";
const RUN: &str = "POST /api/agents/run";

/// What a row of a memory takes beside its text, tags and metadata: the vector and the row.
const ROW_BYTES: i64 = 384 * 4 + 162;

struct World {
    preset: Preset,
    usage: Origin,
    memory: Origin,
    llm: Origin,
    _agents: Origin,
}

/// The memory service: it keeps what it is given, under ids of its own.
fn memory() -> Origin {
    let (last, kept) = (AtomicU64::new(0), Mutex::new(HashMap::<String, Vec<u8>>::new()));
    let answer = move |received: &Received| {
        let mut kept = kept.lock().unwrap();
        let id = received.path().strip_prefix("/memory/").unwrap_or_default().to_owned();
        let reply = |status, body: &Value| Answer::Reply(Reply::json(status, body.to_string()));
        match &*received.method {
            "POST" if received.body.windows(8).any(|window| window == b"too much") => reply(422, &json!({})),
            "POST" => {
                let id = format!("m-{}", last.fetch_add(1, Ordering::SeqCst));
                kept.insert(id.clone(), received.body.clone());
                reply(201, &json!({ "id": id, "stored": true }))
            }
            "PUT" if kept.contains_key(&id) => {
                kept.insert(id.clone(), received.body.clone());
                reply(200, &json!({ "id": id }))
            }
            "DELETE" if kept.remove(&id).is_some() => Answer::status(204),
            "GET" if kept.contains_key(&id) => reply(200, &json!({ "id": id })),
            _ => reply(404, &json!({ "detail": "no such memory" })),
        }
    };
    Origin::builder().otherwise(answer).start()
}

/// Models that use as many tokens as the request's header says.
fn llm() -> Origin {
    let answer = |received: &Received| {
        let total: i64 = received.header("x-sample-tokens").unwrap_or("1").parse().unwrap();
        let usage = json!({ "prompt_tokens": 1, "completion_tokens": total - 1, "total_tokens": total });
        let choice = json!({ "index": 0, "message": { "role": "assistant", "content": "ok" }, "finish_reason": "stop" });
        Answer::json(
            json!({ "object": "chat.completion", "model": "small-1", "choices": [choice], "usage": usage })
                .to_string(),
        )
    };
    Origin::builder().otherwise(answer).start()
}

/// Agents: a run that is done at once, a task of a minute and a half.
fn agents() -> Origin {
    let answer = |received: &Received| match received.path() {
        "/agents/tasks" => Answer::json(r#"{"task_id":"t-1","duration_seconds":90.5}"#),
        _ => Answer::json(r#"{"result":"done"}"#),
    };
    Origin::builder().otherwise(answer).start()
}

impl World {
    fn start() -> Self {
        let (usage, memory, llm, agents) = (Origin::echo(), memory(), llm(), agents());
        let upstreams = [("usage", &usage), ("memory", &memory), ("llm", &llm), ("agents", &agents)];
        let preset = Preset::start("phase-12", &upstreams);
        Self { preset, usage, memory, llm, _agents: agents }
    }

    /// A memory that takes exactly `bytes`.
    fn remember(&self, who: Who<'_>, bytes: i64) -> Response {
        let (tags, metadata) = (json!([]), json!({}));
        let rest = bytes - ROW_BYTES - 4;
        let content = "m".repeat(usize::try_from(rest).unwrap());
        self.preset.call(
            who,
            CREATE,
            &json!({ "content": content, "tags": tags, "metadata": metadata, "tier": "ltm" }),
        )
    }

    fn forget(&self, who: Who<'_>, id: &str) -> Response {
        self.preset.call(who, &format!("DELETE /api/memory/{id}"), &Value::Null)
    }

    fn chat(&self, who: Who<'_>, tokens: i64) -> Response {
        let body = json!({ "model": "small-1", "max_tokens": 16, "messages": [{ "role": "user", "content": "hi" }] });
        let headers = [("Content-Type", "application/json"), ("X-Sample-Tokens", &*tokens.to_string())];
        self.preset.send(who, CHAT, &headers, &body.to_string())
    }

    /// What the usage API says is used of a level or in the current window.
    fn used(&self, who: Who<'_>, meter: &str) -> i64 {
        let tier = who.tier.unwrap();
        let path = format!("GET current?user_id={}&tier={tier}", who.user);
        let json = self.preset.serve(&path, &[], &Value::Null).json();
        let limits = json["limits"].as_array().unwrap();
        let limit = limits.iter().find(|limit| limit["meter"] == json!(meter)).unwrap();
        limit["used"].as_i64().unwrap()
    }
}

fn id(answer: &Response) -> String {
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()["id"].as_str().unwrap().to_owned()
}

#[test]
fn p1_usage_and_memory_are_proxied_with_identity_and_tier() {
    let world = World::start();
    let identity = [("X-User-Email", "ann@example.com"), ("X-User-Role", "admin")];
    let ann = Who { user: "ann", org: None, tier: None };
    for (tier, row) in [("free_trial", ""), ("basic", "('user', 'ann', 'basic', NULL, NULL, NULL, NULL)")] {
        if !row.is_empty() {
            world.preset.set_subjects(row);
        }
        for (line, origin, target) in [
            ("GET /api/usage", &world.usage, "/usage"),
            ("GET /api/usage/stats?days=7", &world.usage, "/usage/stats?days=7"),
            ("POST /api/memory", &world.memory, "/memory"),
            ("GET /api/memory/m-0", &world.memory, "/memory/m-0"),
        ] {
            let body = json!({ "content": "x", "tier": "stm" }).to_string();
            let answer = world.preset.send(ann, line, &identity, &body);
            assert!((200..300).contains(&answer.status), "{line}: {answer:?}");
            let seen = origin.last();
            assert_eq!(seen.target, target);
            for (header, value) in [
                ("x-user-id", "ann"),
                ("x-user-email", "ann@example.com"),
                ("x-user-role", "admin"),
                ("x-user-tier", tier),
            ] {
                assert_eq!(seen.all(header), [value], "{line}");
            }
        }
    }
}

#[test]
fn p1_a_service_that_is_away_is_503_and_charges_nothing() {
    let World { preset, mut usage, mut memory, mut llm, _agents } = World::start();
    usage.stop();
    memory.stop();
    llm.stop();
    let ann = Who::on("ann", "basic");
    let body = json!({ "content": "x", "tags": [], "metadata": {}, "tier": "ltm" });
    for line in ["GET /api/usage/stats", CREATE, CHAT] {
        assert_refusal(&preset.call(ann, line, &body), 503, "upstream_unavailable");
    }
    preset.until("SELECT count(*) > 0, coalesce(sum(abs(amount)), 0) FROM usage_ledger", "1|0");
}

#[test]
fn p2_one_ledger_has_who_what_how_much_when_and_gives_back_with_negative_amounts() {
    let world = World::start();
    let ann = Who::on("ann", "basic");
    let memory = id(&world.remember(ann, 3000));
    assert_eq!(world.forget(ann, &memory).status, 204);
    assert_eq!(world.chat(ann, 42).status, 200);
    assert_eq!(world.preset.call(ann, RUN, &json!({})).status, 200);
    world.preset.until(
        "SELECT user_id, meter, amount FROM usage_ledger ORDER BY id",
        "ann|memory_storage|3000\nann|memory_storage|-3000\nann|llm_tokens|42\nann|agent_minutes|1",
    );
    let resource = "SELECT DISTINCT resource FROM usage_ledger WHERE meter = 'memory_storage'";
    assert_eq!(world.preset.sql(resource), memory);
    let metadata = world.preset.sql("SELECT metadata FROM usage_ledger WHERE meter = 'llm_tokens'");
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    assert_eq!(metadata["model"], json!("small-1"), "{metadata}");
    let recent = "SELECT count(*) FROM usage_ledger WHERE at > (unixepoch() - 600) * 1000 AND at <= (unixepoch() + 5) * 1000";
    assert_eq!(world.preset.sql(recent), "4");
}

#[test]
fn p3_a_memory_takes_its_text_vector_tags_metadata_and_row() {
    let world = World::start();
    for (number, (content, tags, metadata)) in [
        ("plain", json!(["a", "b"]), json!({ "source": "chat" })),
        ("grüße 香港 🙂", json!(["ä"]), json!({ "n": { "deep": [1, 2.5, null] } })),
        ("", json!([]), json!({})),
    ]
    .into_iter()
    .enumerate()
    {
        let user = format!("user-{number}");
        let who = Who::on(&user, "basic");
        let size = content.len() + tags.to_string().len() + metadata.to_string().len();
        let size = i64::try_from(size).unwrap() + ROW_BYTES;
        let body = json!({ "content": content, "tags": tags, "metadata": metadata, "tier": "itm" });
        // As people write it: white space is not what it takes.
        let pretty = serde_json::to_string_pretty(&body).unwrap();
        let answer = world.preset.send(who, CREATE, &[("Content-Type", "application/json")], &pretty);
        let memory = id(&answer);
        let sql = format!("SELECT amount, resource FROM usage_ledger WHERE user_id = '{user}'");
        world.preset.until(&sql, &format!("{size}|{memory}"));
    }
}

#[test]
fn p3_short_term_memories_are_free_and_deleting_gives_the_bytes_back_once() {
    let world = World::start();
    let who = Who::on("ann", "basic");
    let body = |tier: &str| json!({ "content": "x".repeat(500), "tags": [], "metadata": {}, "tier": tier });
    let size = ROW_BYTES + 500 + 4;
    let short = id(&world.preset.call(who, CREATE, &body("stm")));
    assert_eq!(world.used(who, "memory_storage"), 0, "stm");
    let middle = id(&world.preset.call(who, CREATE, &body("itm")));
    let long = id(&world.preset.call(who, CREATE, &body("ltm")));
    assert_eq!(world.used(who, "memory_storage"), 2 * size, "itm and ltm");

    // A failed write takes nothing.
    let failed =
        world.preset.call(who, CREATE, &json!({ "content": "too much", "tags": [], "metadata": {} }));
    assert_eq!(failed.status, 422);
    assert_eq!(world.used(who, "memory_storage"), 2 * size);

    // An update charges the difference, whatever is repeated; a memory that becomes short-term is free.
    let put = |id: &str, body: &Value| world.preset.call(who, &format!("PUT /api/memory/{id}"), body).status;
    let larger = json!({ "content": "x".repeat(800), "tags": [], "metadata": {}, "tier": "itm" });
    for _ in 0..2 {
        assert_eq!(put(&middle, &larger), 200);
        assert_eq!(world.used(who, "memory_storage"), 2 * size + 300);
    }
    for _ in 0..2 {
        assert_eq!(put(&middle, &body("stm")), 200);
        assert_eq!(world.used(who, "memory_storage"), size);
    }
    assert_eq!(put(&short, &body("ltm")), 200);
    assert_eq!(world.used(who, "memory_storage"), 2 * size, "a short-term memory becomes a long-term one");

    for (id, left) in [(&long, size), (&short, 0), (&middle, 0)] {
        assert_eq!(world.forget(who, id).status, 204);
        assert_eq!(world.used(who, "memory_storage"), left);
        assert_eq!(world.forget(who, id).status, 404);
        assert_eq!(world.used(who, "memory_storage"), left, "once, whatever is retried");
    }
    world.preset.until("SELECT sum(amount) FROM usage_ledger WHERE user_id = 'ann'", "0");
}

#[test]
fn tiers_of_llm_tokens_a_day() {
    let world = World::start();
    for (tier, limit, _, _) in TIERS {
        let who = Who::on(tier, tier);
        world.preset.report(who, "llm_tokens", limit - 200, None);
        let limit = Limit { meter: "llm_tokens", window: "day", limit };
        world.preset.last_and_first(who, limit, || world.chat(who, 200));
    }
    let pro = Who::on("pro", "pro");
    world.preset.report(pro, "llm_tokens", 1_000_000_000, None);
    let answer = world.chat(pro, 200);
    assert_eq!((answer.status, answer.header("x-ratelimit-limit")), (200, Some("unlimited")));
}

#[test]
fn tiers_of_memory_storage() {
    let world = World::start();
    for (tier, _, limit, _) in TIERS {
        let who = Who::on(tier, tier);
        world.preset.report(who, "memory_storage", limit - 5000, None);
        let level = Limit { meter: "memory_storage", window: "lifetime", limit };
        let mut memory = String::new();
        let send = || {
            let answer = world.remember(who, 5000);
            if answer.status == 201 {
                memory = id(&answer);
            }
            answer
        };
        world.preset.last_and_first(who, level, send);
        // What is short-term needs no room; what is deleted gives room.
        let short = json!({ "content": "x", "tags": [], "metadata": {}, "tier": "stm" });
        assert_eq!(world.preset.call(who, CREATE, &short).status, 201, "{tier}");
        assert_eq!(world.forget(who, &memory).status, 204, "{tier}");
        let refused = world.remember(who, 5001);
        assert_eq!(refused.status, 429, "one byte more than there is room for: {refused:?}");
        assert_eq!(refused.json()["used"], json!(limit - 5000), "{refused:?}");
        world.preset.last_and_first(who, level, || world.remember(who, 5000));
    }
    let pro = Who::on("pro", "pro");
    world.preset.report(pro, "memory_storage", 1 << 50, None);
    assert_eq!(world.remember(pro, 5000).status, 201);
}

#[test]
fn tiers_of_agent_minutes_a_month() {
    let world = World::start();
    for (tier, _, _, limit) in TIERS {
        let who = Who::on(tier, tier);
        let minutes = Limit { meter: "agent_minutes", window: "month", limit };
        if limit == 0 {
            let json = assert_refusal(&world.preset.call(who, RUN, &json!({})), 429, "quota_exceeded");
            let shown = [&json["tier"], &json["used"], &json["limit"], &json["remaining"]];
            assert_eq!(shown, [&json!(tier), &json!(0), &json!(0), &json!(0)]);
            continue;
        }
        world.preset.report(who, "agent_minutes", limit - 1, None);
        world.preset.last_and_first(who, minutes, || world.preset.call(who, RUN, &json!({})));
    }
    let who = Who::on("ann", "basic");
    let task = world.preset.call(who, "POST /api/agents/tasks", &json!({}));
    assert_eq!(task.status, 200);
    let sql = format!("SELECT amount FROM usage_ledger WHERE request_id = '{}'", request_id(&task));
    world.preset.until(&sql, "2");
    let next = world.preset.call(who, RUN, &json!({}));
    assert_eq!(number(&next, "x-ratelimit-remaining"), 60 - 2 - 1, "a minute that has begun counts");
    let pro = Who::on("pro", "pro");
    world.preset.report(pro, "agent_minutes", 1_000_000, None);
    assert_eq!(world.preset.call(pro, RUN, &json!({})).status, 200);
}
