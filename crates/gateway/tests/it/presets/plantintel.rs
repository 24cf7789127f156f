//! plantintel: limits per organisation.

use std::{
    collections::HashSet,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::{Value, json};
use tollgate_testkit::{Answer, BOUND, Origin, Received, Reply, Response, eventually};

use super::{calls::Who, cells::Limit, preset::Preset, preset::decided};
use crate::scene::request_id;

/// The limits of trial and pilot; in total where there is no month.
const CELLS: [(&str, &str, i64, i64); 6] = [
    ("csv_uploads", "month", 5, 50),
    ("csv_rows", "month", 1000, 50_000),
    ("analyses", "month", 10, 100),
    ("chat_messages", "month", 50, 500),
    ("ai_tokens", "month", 100_000, 1_000_000),
    ("mapping_profiles", "lifetime", 3, 20),
];

/// The event types, the request that each is of, and the meter and amount that it is.
const EVENTS: [(&str, &str, &str, i64); 11] = [
    ("csv_upload", "POST /api/v1/csv", "csv_uploads", 1),
    ("csv_row_processed", "POST /api/v1/csv", "csv_rows", 7),
    ("analysis_run", "POST /api/v1/analyses", "analyses", 1),
    ("analyzer_execution", "POST /api/v1/analyses", "analyzer_executions", 4),
    ("chat_message", "POST /api/v1/chat", "chat_messages", 1),
    ("ai_tokens_input", "POST /api/v1/chat", "ai_tokens_input", 6),
    ("ai_tokens_output", "POST /api/v1/chat", "ai_tokens_output", 4),
    ("mapping_profile_created", "POST /api/v1/mapping-profiles", "mapping_profiles", 1),
    ("mapping_profile_used", "POST /api/v1/mapping-profiles/1/apply", "mapping_profile_uses", 1),
    ("export_pdf", "GET /api/v1/export/pdf", "pdf_exports", 1),
    ("export_csv", "GET /api/v1/export/csv", "csv_exports", 1),
];

/// The application: uploads of 7 rows, analyses of 4 analyzers, messages of 6 and 4 tokens, profiles.
fn app() -> Origin {
    let (last, profiles) = (AtomicU64::new(0), Mutex::new(HashSet::<String>::new()));
    let answer = move |received: &Received| {
        let reply = |status, body: Value| Answer::Reply(Reply::json(status, body.to_string()));
        match (&*received.method, received.path()) {
            _ if received.header("x-sample-fails").is_some() => reply(422, json!({ "rows": 7 })),
            ("POST", "/api/v1/csv") => reply(200, json!({ "upload_id": "u-1", "rows": 7 })),
            ("POST", "/api/v1/analyses") => reply(202, json!({ "analyzers_run": 4 })),
            ("POST", "/api/v1/chat") => {
                reply(200, json!({ "message_id": "c-1", "usage": { "input_tokens": 6, "output_tokens": 4 } }))
            }
            ("POST", "/api/v1/mapping-profiles") => {
                let id = format!("p-{}", last.fetch_add(1, Ordering::SeqCst));
                profiles.lock().unwrap().insert(id.clone());
                reply(201, json!({ "id": id }))
            }
            ("DELETE", path) => {
                let was_there = profiles.lock().unwrap().remove(path.rsplit('/').next().unwrap());
                Answer::status(if was_there { 204 } else { 404 })
            }
            _ => reply(200, json!({ "ok": true })),
        }
    };
    Origin::builder().otherwise(answer).start()
}

struct World {
    preset: Preset,
    origin: Origin,
}

impl World {
    fn start() -> Self {
        let origin = app();
        Self { preset: Preset::start("plantintel", &[("app", &origin)]), origin }
    }

    /// Sends the request that uses some of a meter.
    fn use_some(&self, who: Who<'_>, meter: &str) -> Response {
        self.preset.call(who, user_of(meter).0, &json!({}))
    }
}

/// The request that uses some of a meter, and how much it uses.
fn user_of(meter: &str) -> (&'static str, i64) {
    if meter == "ai_tokens" {
        return ("POST /api/v1/chat", 10);
    }
    let (_, line, _, amount) = EVENTS.iter().find(|(_, _, of, _)| *of == meter).unwrap();
    (line, *amount)
}

#[test]
fn l1_every_event_type_is_metered_with_quantity_and_metadata() {
    decided(
        World::start,
        |world| &world.preset,
        |world| {
            for (event, line, meter, amount) in EVENTS {
                let (user, org) = (format!("user-{event}"), format!("org-{event}"));
                let who = Who::of(&user, &org, "trial");
                let answer = world.preset.call(who, line, &json!({}));
                assert!((200..300).contains(&answer.status), "{event}: {answer:?}");
                let of = format!("FROM usage_ledger WHERE org_id = '{org}' AND meter = '{meter}'");
                world.preset.until(&format!("SELECT amount, user_id {of}"), &format!("{amount}|{user}"));
                if meter == "mapping_profiles" {
                    continue;
                }
                // As a service reports it itself.
                let report = json!({
                    "user_id": user, "org_id": org, "tier": "trial", "meter": meter, "amount": 2,
                    "metadata": { "model": "small-1", "message_id": "c-2" },
                });
                assert_eq!(world.preset.serve("POST track", &[], &report).status, 200);
                world.preset.until(
                    &format!(
                        "SELECT amount, metadata->>'model', metadata->>'message_id' {of} AND amount = 2"
                    ),
                    "2|small-1|c-2",
                );
            }
            // What fails is not used.
            let who = Who::of("fails", "fails", "trial");
            for (_, line, _, _) in EVENTS {
                let answer = world.preset.send(who, line, &[("X-Sample-Fails", "1")], "{}");
                assert_eq!(answer.status, 422, "{line}: {answer:?}");
            }
            world
                .preset
                .until("SELECT count(*) > 0, sum(amount) FROM usage_ledger WHERE org_id = 'fails'", "t|0");
        },
    );
}

#[test]
fn l1_limits_are_the_organisations_and_refuse_the_first_beyond() {
    let world = World::start();
    for (meter, window, trial, pilot) in CELLS {
        for (tier, limit) in [("trial", trial), ("pilot", pilot)] {
            let limit = Limit { meter, window, limit };
            world.preset.exactly(|attempt| walk(&world, tier, limit, attempt));
        }
        let org = format!("subscription-{meter}");
        let who = Who::of("ann", &org, "subscription");
        let reported = if meter == "ai_tokens" { "ai_tokens_output" } else { meter };
        world.preset.report(who, reported, 1_000_000_000, None);
        assert!((200..300).contains(&world.use_some(who, meter).status), "{meter}: unlimited");
    }
}

fn walk(world: &World, tier: &str, limit: Limit<'_>, attempt: usize) {
    let meter = limit.meter;
    let org = format!("{tier}-{meter}-{attempt}");
    let (ann, bob) = (Who::of("ann", &org, tier), Who::of("bob", &org, tier));
    // Tokens are reported as they come: as input, as output.
    let reported = if meter == "ai_tokens" { "ai_tokens_input" } else { meter };
    world.preset.report(ann, reported, limit.limit - user_of(meter).1, None);
    world.preset.last_and_first(bob, limit, || world.use_some(bob, meter));
    let before = world.origin.requests();
    world.preset.refused(ann, limit, world.use_some(ann, meter));
    assert_eq!(world.origin.requests(), before, "{meter}: the service does not see it");
}

#[test]
fn l1_a_profile_that_is_deleted_makes_room_for_one() {
    decided(
        World::start,
        |world| &world.preset,
        |world| {
            for (tier, limit) in [("trial", 3), ("pilot", 20)] {
                let org = format!("org-{tier}");
                let (ann, bob) = (Who::of("ann", &org, tier), Who::of("bob", &org, tier));
                let create = |who| world.preset.call(who, "POST /api/v1/mapping-profiles", &json!({}));
                let profiles: Vec<_> = (0..limit).map(|_| create(ann).json()["id"].clone()).collect();
                let total = Limit { meter: "mapping_profiles", window: "lifetime", limit };
                world.preset.refused(bob, total, create(bob));
                let delete = |id: &Value| {
                    let path = format!("DELETE /api/v1/mapping-profiles/{}", id.as_str().unwrap());
                    world.preset.call(bob, &path, &Value::Null).status
                };
                // Another user of the organisation deletes it, and asks again: it makes room once.
                assert_eq!([delete(&profiles[0]), delete(&profiles[0])], [204, 404], "{tier}");
                world.preset.last_and_first(ann, total, || create(ann));
                for id in &profiles[1..] {
                    assert_eq!(delete(id), 204, "{tier}");
                }
                for _ in 1..limit {
                    assert_eq!(create(bob).status, 201, "{tier}");
                }
                world.preset.refused(ann, total, create(ann));
            }
        },
    );
}

#[test]
fn l1_organisations_have_nothing_to_do_with_each_other() {
    decided(
        World::start,
        |world| &world.preset,
        |world| {
            let (one, other) = (Who::of("ann", "one", "trial"), Who::of("ann", "other", "trial"));
            world.preset.report(one, "csv_uploads", 5, None);
            let uploads = Limit { meter: "csv_uploads", window: "month", limit: 5 };
            world.preset.refused(one, uploads, world.use_some(one, "csv_uploads"));
            assert_eq!(world.use_some(other, "csv_uploads").status, 200, "the same user, elsewhere");
            for (org, used) in [("one", 5), ("other", 1)] {
                let sql = format!(
                    "SELECT sum(amount) FROM usage_ledger WHERE org_id = '{org}' AND meter = 'csv_uploads'"
                );
                world.preset.until(&sql, &used.to_string());
            }
        },
    );
}

#[test]
fn l3_trouble_with_tracking_fails_no_request() {
    let World { mut preset, origin } = World::start();
    let (ann, stranger) = (Who::of("ann", "acme", "pilot"), Who::of("eve", "new", "pilot"));
    let lines = [
        "POST /api/v1/csv",
        "POST /api/v1/analyses",
        "POST /api/v1/chat",
        "GET /api/v1/export/pdf",
        "GET /api/v1/x",
    ];
    let all_served = |preset: &Preset, who: Who<'_>| {
        for line in lines {
            let answer = preset.call(who, line, &json!({}));
            assert!((200..300).contains(&answer.status), "{who:?} {line}: {answer:?}");
        }
    };
    all_served(&preset, ann);
    // An answer that does not say what it should is counted, and passes.
    origin.set("/api/v1/csv", Answer::json(r#"{"rows":"many"}"#));
    let unsaid = preset.call(ann, lines[0], &json!({}));
    assert_eq!((unsaid.status, &*unsaid.text()), (200, r#"{"rows":"many"}"#));
    let missing = "tollgate_amounts_missing_total{route=\"csv_upload\",meter=\"csv_rows\"}";
    assert!(
        eventually(BOUND, || preset.gateway.metric(missing) == Some(1.0)),
        "{}",
        preset.gateway.metrics()
    );

    preset.redis.as_mut().unwrap().kill();
    all_served(&preset, ann);
    all_served(&preset, stranger);
    preset.postgres.as_mut().unwrap().stop();
    all_served(&preset, ann);
    preset.postgres.as_mut().unwrap().start();
    preset.redis.as_mut().unwrap().restart();
    let sum = |org: &str| {
        format!("SELECT sum(amount) FROM usage_ledger WHERE org_id = '{org}' AND meter = 'analyses'")
    };
    preset.until(&sum("acme"), "3");
    preset.until(&sum("new"), "1");
    let id = request_id(&unsaid);
    preset.until(&format!("SELECT sum(amount) FROM usage_ledger WHERE request_id = '{id}'"), "1");
}
