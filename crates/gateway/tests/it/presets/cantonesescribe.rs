//! cantonesescribe: audio credits and jobs.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use serde_json::{Value, json};
use tollgate_testkit::{Answer, BOUND, Origin, Received, Reply, Response, Wire, eventually};

use super::{calls::Who, cells::Limit, preset::Preset, preset::decided};
use crate::scene::{all_at_once, assert_refusal, head, request_id};

/// Credits a month, bytes of a file, jobs at once, and the plan that takes larger files.
const PLANS: [(&str, i64, usize, i64, Option<&str>); 4] = [
    ("free", 30, 25_000_000, 1, Some("starter")),
    ("starter", 150, 100_000_000, 2, Some("pro")),
    ("pro", 500, 500_000_000, 5, Some("enterprise")),
    ("enterprise", 2000, 1_000_000_000, 10, None),
];

/// How many may wait for a slot.
const QUEUE: usize = 10;

const UPLOAD: &str = "POST /api/v1/transcriptions";

/// The jobs of the service, and what each says of itself.
type Jobs = Arc<Mutex<HashMap<String, &'static str>>>;

/// The transcription service: audio of as many seconds as the request's header says, a job for each.
fn scribe(jobs: &Jobs) -> Origin {
    let (last, jobs) = (AtomicU64::new(0), Arc::clone(jobs));
    let answer = move |received: &Received| {
        let mut jobs = jobs.lock().unwrap();
        let id = received.path().strip_prefix("/transcriptions/").unwrap_or_default();
        let reply = |status, body: Value| Answer::Reply(Reply::json(status, body.to_string()));
        match &*received.method {
            "POST" if received.body == b"noise" => reply(415, json!({ "detail": "no audio" })),
            "POST" => {
                let seconds: i64 = received.header("x-sample-seconds").unwrap_or("60").parse().unwrap();
                let id = format!("job-{}", last.fetch_add(1, Ordering::SeqCst));
                jobs.insert(id.clone(), "processing");
                reply(202, json!({ "job_id": id, "duration_seconds": seconds }))
            }
            "DELETE" if jobs.remove(id).is_some() => Answer::status(204),
            "GET" if jobs.contains_key(id) => reply(200, json!({ "job_id": id, "status": jobs[id] })),
            _ => reply(404, json!({ "detail": "no such job" })),
        }
    };
    Origin::builder().otherwise(answer).start()
}

struct World {
    preset: Preset,
    origin: Origin,
    jobs: Jobs,
}

impl World {
    fn start() -> Self {
        let jobs = Jobs::default();
        let origin = scribe(&jobs);
        Self { preset: Preset::start("cantonesescribe", &[("scribe", &origin)]), origin, jobs }
    }

    /// Uploads audio of so many seconds.
    fn upload(&self, who: Who<'_>, seconds: i64) -> Response {
        self.preset.send(who, UPLOAD, &[("X-Sample-Seconds", &seconds.to_string())], "audio")
    }

    /// The state of a job.
    fn ask(&self, who: Who<'_>, job: &str) -> Response {
        self.preset.call(who, &format!("GET /api/v1/transcriptions/{job}"), &Value::Null)
    }

    fn cancel(&self, who: Who<'_>, job: &str) {
        let answer = self.preset.call(who, &format!("DELETE /api/v1/transcriptions/{job}"), &Value::Null);
        assert_eq!(answer.status, 204, "{answer:?}");
    }

    /// What a service is told when it asks whether `who` may.
    fn check(&self, who: Who<'_>, meter: &str, amount: i64) -> Value {
        let ask = json!({ "user_id": who.user, "tier": who.tier, "meter": meter, "amount": amount });
        let answer = self.preset.serve("POST check", &[], &ask);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    fn has_slot(&self, who: Who<'_>) -> bool {
        self.check(who, "jobs", 1)["allowed"] == json!(true)
    }

    /// Begins a request that waits for a slot; its connection.
    fn wait_in_line(&self, who: Who<'_>) -> Wire {
        let mut wire = Wire::connect(self.preset.gateway.address());
        let headers = [("X-User-Id", who.user), ("X-User-Tier", who.tier.unwrap())];
        wire.send(head("POST", "/api/v1/transcriptions", &headers, Some(5)) + "audio");
        wire
    }

    fn waiting(&self) -> f64 {
        self.preset.gateway.metric("tollgate_requests_waiting").unwrap_or_default()
    }
}

fn job(answer: &Response) -> String {
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json()["job_id"].as_str().unwrap().to_owned()
}

#[test]
fn c1_a_job_is_one_record_that_is_never_charged_twice() {
    decided(
        World::start,
        |world| &world.preset,
        |world| {
            let who = Who::on("ann", "free");
            let answer = world.upload(who, 90);
            let (job, id) = (job(&answer), request_id(&answer).to_owned());
            let of = format!("FROM usage_ledger WHERE request_id = '{id}'");
            world.preset.until(
        &format!("SELECT meter, amount, user_id, tier, status, estimated {of} ORDER BY meter"),
        "audio_seconds|90|ann|free|202|f\ncredits|2|ann|free|202|f\njobs|1|ann|free|202|f\nupload_bytes|5|ann|free|202|f",
    );

            // Tokens and cost are known when the job is done. Its id is the key: whatever is repeated counts once.
            let report = |cost: &str| {
                let event = |meter: &str, amount: Value| json!({ "user_id": "ann", "tier": "free", "meter": meter, "amount": amount, "metadata": { "job_id": job, "model": "small-1" } });
                let events = [event("llm_tokens", json!(1234)), event("cost", json!(cost))];
                world.preset.serve("POST track", &[("Idempotency-Key", &job)], &json!({ "events": events }))
            };
            let first = report("0.0125");
            assert_eq!(first.status, 200, "{first:?}");
            let answers = Mutex::new(Vec::new());
            let statuses = all_at_once(8, 3, |_| {
                let again = report("0.0125");
                answers.lock().unwrap().push(again.text());
                again
            });
            assert_eq!(statuses, [200; 24]);
            assert!(
                answers.into_inner().unwrap().iter().all(|again| *again == first.text()),
                "the same answer"
            );
            assert_eq!(report("0.0126").status, 409, "the same key with another body");
            let reported = "FROM usage_ledger WHERE meter IN ('llm_tokens', 'cost')";
            world.preset.until(
        &format!(
            "SELECT meter, amount, metadata->>'job_id', metadata->>'model' {reported} ORDER BY meter DESC"
        ),
        &format!("llm_tokens|1234|{job}|small-1\ncost|12500000|{job}|small-1"),
    );
            // The end of the job frees its slot and charges nothing more.
            world.jobs.lock().unwrap().insert(job.clone(), "completed");
            for _ in 0..3 {
                assert_eq!(world.ask(who, &job).status, 200);
            }
            world.preset.until("SELECT sum(amount) FROM usage_ledger WHERE meter = 'credits'", "2");
            world.preset.until("SELECT sum(amount) FROM usage_ledger WHERE meter = 'jobs'", "0");
            // What is no audio is no job and costs nothing.
            let noise = world.preset.send(who, UPLOAD, &[], "noise");
            assert_eq!(noise.status, 415);
            world.preset.until(
                &format!(
                    "SELECT count(*) > 0, sum(amount) FROM usage_ledger WHERE request_id = '{}'",
                    request_id(&noise)
                ),
                "t|0",
            );
            let audit = world.preset.audit();
            assert!(audit.code == Some(0) && audit.out.ends_with("\nclean\n"), "{audit:?}");
        },
    );
}

#[test]
fn c2_credits_are_checked_before_the_upload() {
    let world = World::start();
    for (plan, credits, _, _, _) in PLANS {
        world.preset.exactly(|attempt| walk_credits(&world, plan, credits, attempt));
    }
}

fn walk_credits(world: &World, plan: &str, credits: i64, attempt: usize) {
    let user = format!("{plan}-{attempt}");
    let who = Who::on(&user, plan);
    world.preset.report(who, "audio_seconds", (credits - 1) * 60, None);
    assert_eq!(world.check(who, "credits", 1)["allowed"], json!(true), "{plan}");
    let told = world.check(who, "audio_seconds", 61);
    assert_eq!(told["allowed"], json!(false), "{plan}: two credits of one: {told}");
    let limit = Limit { meter: "credits", window: "billing_month", limit: credits };
    let refusal = world.preset.last_and_first(who, limit, || {
        let answer = world.upload(who, 60);
        if answer.status == 202 {
            world.cancel(who, &job(&answer));
        }
        answer
    });
    let message = refusal["message"].as_str().unwrap();
    assert!(message.contains("credits") && message.contains("upgrade"), "{message}");
}

#[test]
fn c2_files_are_refused_by_size_before_they_are_sent() {
    let world = World::start();
    let sizes = ["25MB", "100MB", "500MB", "1GB"];
    for ((plan, _, bytes, _, larger), size) in PLANS.into_iter().zip(sizes) {
        let who = Who::on(plan, plan);
        let headers = [("X-User-Id", who.user), ("X-User-Tier", plan)];
        let before = world.origin.requests();
        let mut wire = Wire::connect(world.preset.gateway.address());
        wire.send(head("POST", "/api/v1/transcriptions", &headers, Some(bytes + 1)));
        let refused = wire.response(false, BOUND).expect("an answer without a byte of the file");
        let refusal = assert_refusal(&refused, 413, "body_too_large");
        let message = refusal["message"].as_str().unwrap();
        assert!(message.contains(&format!("the {size} that tier {plan} allows")), "{message}");
        match larger {
            Some(larger) => {
                assert!(message.contains(larger), "who takes more: {message}");
                assert!(message.contains("https://example.com/upgrade"), "{message}");
            }
            None => assert!(message.contains("no tier allows more"), "{message}"),
        }
        assert_eq!(world.origin.requests(), before, "{plan}");

        // One byte less is taken.
        let mut wire = Wire::connect(world.preset.gateway.address());
        wire.send(head("POST", "/api/v1/transcriptions", &headers, Some(bytes)));
        let piece = vec![b'a'; 1_000_000];
        for _ in 0..3 {
            assert!(wire.send_within(&piece, BOUND), "{plan}: the file is read");
        }
        assert!(world.origin.wait_requests(before + 1, BOUND), "{plan}: the service gets it");
    }
    // All of it, and by its pieces where the length is not said.
    let who = Who::on("whole", "free");
    assert_eq!(world.preset.send(who, UPLOAD, &[], &"a".repeat(25_000_000)).status, 202);
    let headers = [("X-User-Id", "pieces"), ("X-User-Tier", "free"), ("Transfer-Encoding", "chunked")];
    let mut wire = Wire::connect(world.preset.gateway.address());
    wire.send(head("POST", "/api/v1/transcriptions", &headers, None));
    let piece = format!("{:x}\r\n{}\r\n", 1_000_000, "a".repeat(1_000_000));
    for _ in 0..25 {
        assert!(wire.send_within(&piece, BOUND));
    }
    wire.send("1\r\na\r\n");
    let refused = wire.response(false, BOUND).expect("an answer before the end");
    assert_refusal(&refused, 413, "body_too_large");
}

#[test]
fn c2_slots_are_checked_before_the_upload() {
    let world = World::start();
    for (plan, _, _, slots, _) in PLANS {
        world.preset.exactly(|attempt| walk_slots(&world, plan, slots, attempt));
    }
}

fn walk_slots(world: &World, plan: &str, slots: i64, attempt: usize) {
    let user = format!("{plan}-{attempt}");
    let who = Who::on(&user, plan);
    let jobs: Vec<_> = (0..slots).map(|_| job(&world.upload(who, 1))).collect();
    assert!(!world.has_slot(who), "{plan}");
    // The first two one after the other, the rest as they come.
    assert!(eventually(BOUND, || world.waiting() == 0.0), "nobody waits yet");
    let mut line: Vec<Wire> = Vec::new();
    for length in [1, 2, QUEUE] {
        while line.len() < length {
            line.push(world.wait_in_line(who));
        }
        let wanted = f64::from(u32::try_from(length).unwrap());
        let are_there = eventually(BOUND, || world.waiting() == wanted);
        let last = line.last_mut().unwrap();
        assert!(are_there, "{plan}: {length} in line: {:?}", last.response(false, Duration::ZERO));
    }
    let refused = world.upload(who, 1);
    let refusal = assert_refusal(&refused, 429, "too_many_jobs");
    for (field, value) in [
        ("meter", json!("jobs")),
        ("tier", json!(plan)),
        ("used", json!(slots)),
        ("limit", json!(slots)),
        ("remaining", json!(0)),
    ] {
        assert_eq!(refusal[field], value, "{refusal}");
    }
    assert!(refusal["message"].as_str().unwrap().contains("upgrade"), "{refusal}");

    // A job that ends makes room for the one that waits longest, and for no other.
    let mut last = jobs[0].clone();
    for place in 1..=2_usize {
        world.cancel(who, &last);
        let admitted = line[0].response(false, BOUND).expect("the first in line");
        last = job(&admitted);
        assert_eq!(admitted.header("x-queue-position"), Some(&*place.to_string()), "{plan}: {admitted:?}");
        line.remove(0);
    }
    // Who leaves is not waited for.
    drop(line);
    assert!(eventually(BOUND, || world.waiting() == 0.0), "{plan}: nobody waits");
    assert!(!world.has_slot(who), "{plan}");
    for job in jobs[1..].iter().chain([&last]) {
        world.cancel(who, job);
    }
    assert!(world.has_slot(who), "{plan}");
}

#[test]
fn c3_credits_start_again_on_the_anniversary_in_the_accounts_time_zone() {
    decided(
        World::start,
        |world| &world.preset,
        |world| {
            let mut accounts = Vec::new();
            for (user, zone) in
                [("hong-kong", "Asia/Hong_Kong"), ("los-angeles", "America/Los_Angeles"), ("utc", "Etc/UTC")]
            {
                let zone_of = TimeZone::get(zone).unwrap();
                // The account's month began on the day before yesterday.
                let date = Timestamp::now().to_zoned(zone_of.clone()).date() - 2.days();
                let start = date.to_zoned(zone_of.clone()).unwrap().timestamp();
                let end = date.checked_add(1.month()).unwrap().to_zoned(zone_of).unwrap().timestamp();
                let anchor = start + Duration::from_secs(5 * 3600);
                accounts.push((
                    user,
                    format!("('user', '{user}', 'free', NULL, '{zone}', '{anchor}', NULL)"),
                    start,
                    end,
                ));
            }
            let rows: Vec<_> = accounts.iter().map(|(_, row, _, _)| row.clone()).collect();
            world.preset.set_subjects(&rows.join(", "));
            for (user, _, start, end) in accounts {
                let who = Who { user, org: None, tier: None };
                let second = Duration::from_secs(1);
                // The last second of the month before does not count; the first of this one does.
                world.preset.report(who, "audio_seconds", 20 * 60, Some(start - second));
                world.preset.report(who, "audio_seconds", 28 * 60, Some(start));
                let current =
                    world.preset.serve(&format!("GET current?user_id={user}"), &[], &Value::Null).json();
                let limits = current["limits"].as_array().unwrap();
                let credits = limits.iter().find(|limit| limit["meter"] == json!("credits")).unwrap();
                assert_eq!(
                    (&credits["used"], &credits["limit"]),
                    (&json!(28), &json!(30)),
                    "{user}: {credits}"
                );
                let reset: Timestamp = credits["reset_at"].as_str().unwrap().parse().unwrap();
                assert_eq!(reset, end, "{user}");
                let answer = world.upload(who, 120);
                world.cancel(who, &job(&answer));
                let limit = Limit { meter: "credits", window: "billing_month", limit: 30 };
                world.preset.refused(Who { user, org: None, tier: None }, limit, world.upload(who, 1));
            }
        },
    );
}

#[test]
fn c4_slots_are_held_until_jobs_are_done_whatever_restarts() {
    decided(
        World::start,
        |world| &world.preset,
        |world| {
            let who = Who::on("ann", "free");
            let first = job(&world.upload(who, 1));
            assert!(!world.has_slot(who));
            assert_eq!(world.ask(who, &first).json()["status"], json!("processing"));
            assert!(!world.has_slot(who), "it runs on");
            world.preset.gateway.restart();
            assert!(!world.has_slot(who), "also when the gateway was killed");
            world.jobs.lock().unwrap().insert(first.clone(), "failed");
            assert_eq!(world.ask(who, &first).json()["status"], json!("failed"));
            assert!(world.has_slot(who));

            // A worker can say that it is done, twice; a job that the service has forgotten is done, too.
            let second = job(&world.upload(who, 1));
            assert!(!world.has_slot(who));
            for status in [200, 404] {
                let body = json!({ "user_id": "ann", "tier": "free" });
                let ended = world.preset.serve(&format!("POST jobs/{second}/end"), &[], &body);
                assert_eq!(ended.status, status, "{ended:?}");
                assert!(world.has_slot(who));
            }
            let third = job(&world.upload(who, 1));
            world.jobs.lock().unwrap().remove(&third);
            assert_eq!(world.ask(who, &third).status, 404);
            assert!(world.has_slot(who));
            world.preset.until(
                "SELECT sum(amount), count(*) FROM usage_ledger WHERE meter = 'jobs' AND amount <> 0",
                "0|6",
            );
        },
    );
}

#[test]
fn c4_stuck_jobs_are_found_and_released() {
    decided(
        World::start,
        |world| &world.preset,
        |world| {
            let who = Who::on("ann", "free");
            let stuck = job(&world.upload(who, 1));
            let line = format!("meter = 'jobs' AND resource = '{stuck}'");
            world.preset.until(&format!("SELECT amount FROM usage_ledger WHERE {line}"), "1");
            // Its two hours are over: the gateway was away meanwhile.
            world.preset.gateway.terminate();
            assert!(world.preset.gateway.wait_exit(BOUND * 2).is_some_and(|exit| exit.success()));
            world.preset.sql(&format!(
        "UPDATE usage_ledger SET metadata = jsonb_set(metadata, '{{expires_at}}', '\"2020-01-01T00:00:00Z\"') WHERE {line}"
    ));
            world.preset.gateway.restart();
            assert!(eventually(BOUND * 2, || world.has_slot(who)), "it is released");
            world.preset.until(
        &format!("SELECT sum(amount), max(metadata->>'job') FILTER (WHERE amount < 0) FROM usage_ledger WHERE {line}"),
        "0|expired",
    );
            assert_eq!(world.preset.gateway.metric("tollgate_jobs_expired_total"), Some(1.0));
            let logs = world.preset.gateway.logs();
            assert!(
                logs.lines().any(|line| line.contains("\"WARN\"") && line.contains(&*stuck)),
                "it is told"
            );
            job(&world.upload(who, 1));
        },
    );
}

#[test]
fn c6_enforcement_can_be_switched_to_observing() {
    decided(
        World::start,
        |world| &world.preset,
        |world| {
            let who = Who::on("ann", "free");
            world.preset.report(who, "audio_seconds", 30 * 60, None);
            let limit = Limit { meter: "credits", window: "billing_month", limit: 30 };
            world.preset.refused(who, limit, world.upload(who, 60));
            let enforcing = world.preset.config().to_owned();
            let observing = enforcing.replace("enforcement = \"enforce\"", "enforcement = \"observe\"");
            assert_ne!(enforcing, observing);
            world.preset.gateway.write_config(&observing);
            // By all its threads, beyond credits and slots alike; all of it is counted.
            let observed = || (0..8).all(|_| world.upload(who, 60).status == 202);
            assert!(eventually(BOUND, observed), "without a restart");
            let used = 30 + world.jobs.lock().unwrap().len();
            world
                .preset
                .until("SELECT sum(amount) FROM usage_ledger WHERE meter = 'credits'", &used.to_string());
            world.preset.gateway.write_config(&enforcing);
            let enforced = || world.upload(who, 60).status == 429;
            assert!(eventually(BOUND, enforced), "and back");
        },
    );
}

#[test]
fn c6_without_stores_it_degrades_gracefully() {
    let World { mut preset, origin: _origin, jobs } = World::start();
    let (ann, stranger) = (Who::on("ann", "enterprise"), Who::on("eve", "starter"));
    // Nobody is refused for it; who finds out that a store is away may have to come again.
    let upload = |preset: &Preset, who| {
        let mut last = None;
        let served = eventually(BOUND, || {
            let answer = preset.send(who, UPLOAD, &[("X-Sample-Seconds", "60")], "audio");
            assert!([202, 503].contains(&answer.status), "{who:?}: {answer:?}");
            let is_served = answer.status == 202;
            last = Some(answer.text());
            is_served
        });
        assert!(served, "{who:?}: {last:?}");
    };
    upload(&preset, ann);
    preset.redis.as_mut().unwrap().kill();
    upload(&preset, ann);
    upload(&preset, stranger);
    preset.redis.as_mut().unwrap().restart();
    assert!(eventually(BOUND, || preset.gateway.admin_get("/readyz").json()["counters"] == json!("ok")));
    // Redis has lost what it knew: what was used before comes from the ledger, if that is there.
    let is_known = || preset.send(ann, "GET /api/v1/usage/current", &[], "").status == 200;
    assert!(eventually(BOUND, is_known), "counters are rebuilt");
    preset.postgres.as_mut().unwrap().stop();
    upload(&preset, ann);
    preset.postgres.as_mut().unwrap().start();
    let all = jobs.lock().unwrap().len().to_string();
    preset.until("SELECT sum(amount) FROM usage_ledger WHERE meter = 'credits'", &all);
    upload(&preset, ann);
    upload(&preset, stranger);
}
