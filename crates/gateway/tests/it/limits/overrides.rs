//! Limits of a subject's own, in the table of subjects.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use tollgate_testkit::{BOUND, Response, eventually};

use super::{TIERS, reload, scene};
use crate::{
    books::{Said, tollgate},
    scene::{Scene, assert_refusal, tiers},
};

/// `tollgate subject`, on the table of this gateway.
fn subject(scene: &Scene, arguments: &[&str]) -> Said {
    let config = scene.gateway.config_path();
    let config = ["--config", config.to_str().unwrap()];
    tollgate(["subject"].into_iter().chain(arguments.iter().copied()).chain(config))
}

fn set(scene: &Scene, arguments: &[&str]) {
    let arguments: Vec<&str> = ["set"].into_iter().chain(arguments.iter().copied()).collect();
    let said = subject(scene, &arguments);
    assert_eq!(said.code, Some(0), "{said:?}");
}

/// The limit that the answers to a user name, as far as there is one.
fn limit(scene: &Scene, user: &str, tier: &str) -> Option<String> {
    scene.get("/x/", user, tier).header("X-RateLimit-Limit").map(str::to_owned)
}

fn assert_limit(scene: &Scene, user: &str, tier: &str, wanted: &str) {
    let mut last = None;
    let reached = eventually(BOUND, || {
        last = limit(scene, user, tier);
        last.as_deref() == Some(wanted)
    });
    assert!(reached, "{last:?} instead of {wanted}");
}

#[test]
fn a_row_raises_lowers_and_lifts_limits_while_the_gateway_runs() {
    let scene = scene();
    assert_eq!(limit(&scene, "ann", "strict").unwrap(), "4");
    set(&scene, &["user", "ann", "--override", "calls=7/lifetime"]);
    assert_limit(&scene, "ann", "strict", "7");
    assert_eq!(limit(&scene, "bob", "strict").unwrap(), "4", "others have the tier's");
    // What is used is kept, whatever holds.
    let left = || scene.get("/x/", "ann", "strict");
    let mut last = left();
    assert!(eventually(BOUND, || {
        last = left();
        last.status == 429
    }));
    let json = assert_refusal(&last, 429, "quota_exceeded");
    assert_eq!((&json["limit"], &json["used"]), (&json!(7), &json!(7)));
    assert_eq!(last.header("RateLimit-Policy"), Some("\"calls-lifetime\";q=7"));
    set(&scene, &["user", "ann", "--override", "calls=unlimited"]);
    assert_limit(&scene, "ann", "strict", "unlimited");
    set(&scene, &["user", "ann", "--override", "calls=2/lifetime"]);
    assert_limit(&scene, "ann", "strict", "2");
    assert_eq!(scene.get("/x/", "ann", "strict").status, 429);
    set(&scene, &["user", "ann", "--override", "calls="]);
    assert_limit(&scene, "ann", "strict", "4");
    assert_eq!(scene.gateway.metric("tollgate_overrides_wrong_total").unwrap_or(0.0).to_string(), "0");
}

#[test]
fn all_that_limits_can_say_overrides_can() {
    let scene = scene();
    let all = r#"{"calls": {"limit": "1/lifetime", "grace": 2}, "jobs": {"limit": 0}, "tokens": ["5/hour", "100/day"]}"#;
    set(&scene, &["user", "ann", "--overrides", all]);
    let mut refused = scene.get("/job/", "ann", "free");
    assert!(eventually(BOUND, || {
        refused = scene.get("/job/", "ann", "free");
        refused.status == 429
    }));
    assert_refusal(&refused, 429, "too_many_jobs");
    let graces: Vec<_> = (0..3)
        .map(|_| {
            let answer = scene.get("/x/", "ann", "free");
            assert_eq!(answer.status, 200);
            answer.header("X-RateLimit-Grace").map(str::to_owned)
        })
        .collect();
    let left = |left: i64| Some(format!("\"calls-lifetime\";r={left}"));
    assert_eq!(graces, [None, left(1), left(0)]);
    assert_refusal(&scene.get("/x/", "ann", "free"), 429, "quota_exceeded");
    assert_eq!(scene.get("/x/", "bob", "free").header("X-RateLimit-Limit"), Some("unlimited"));
}

fn of_org(scene: &Scene, user: &str, org: Option<&str>, tier: &str) -> Response {
    let mut identity = vec![("X-User-Id", user), ("X-User-Tier", tier)];
    identity.extend(org.map(|org| ("X-Org-Id", org)));
    scene.send("GET", "/x/", &identity, "")
}

#[test]
fn a_users_row_has_the_users_limits_and_an_organisations_row_its_own() {
    let shared = "[tiers.shared]\nother_meters = \"unlimited\"\n\
                  limits.calls = [\"50/lifetime\", { limit = \"80/lifetime\", scope = \"org\" }]\n[tiers.strict]";
    let tiers = TIERS.replace("[tiers.strict]", shared);
    let scene = Scene::start(tollgate_testkit::Origin::builder(), super::ROUTES, &tiers);
    let policy = |user: &str, org: Option<&str>| {
        of_org(&scene, user, org, "shared").header("RateLimit-Policy").unwrap_or("none").to_owned()
    };
    let until = |user: &str, org: Option<&str>, wanted: &str| {
        let mut last = String::new();
        let reached = eventually(BOUND, || {
            last = policy(user, org);
            last == wanted
        });
        assert!(reached, "{last} instead of {wanted}");
    };
    let acme = Some("acme");
    assert_eq!(policy("ann", acme), "\"calls-lifetime\";q=50, \"calls-lifetime-org\";q=80");
    set(&scene, &["org", "acme", "--override", "calls=90/lifetime"]);
    until("ann", acme, "\"calls-lifetime\";q=50, \"calls-lifetime-org\";q=90");
    until("bob", acme, "\"calls-lifetime\";q=50, \"calls-lifetime-org\";q=90");
    set(&scene, &["user", "ann", "--override", "calls=60/lifetime"]);
    until("ann", acme, "\"calls-lifetime\";q=60, \"calls-lifetime-org\";q=90");
    until("bob", acme, "\"calls-lifetime\";q=50, \"calls-lifetime-org\";q=90");
    // Without an organisation, its limits would be the user's own, and so would be replaced.
    until("ann", None, "\"calls-lifetime\";q=60");
    set(&scene, &["org", "acme", "--override", "calls=unlimited"]);
    until("ann", acme, "\"calls-lifetime\";q=60");
    set(&scene, &["user", "ann", "--override", "calls=unlimited"]);
    until("ann", acme, "none");
    set(&scene, &["org", "acme", "--unset", "overrides"]);
    until("ann", acme, "\"calls-lifetime-org\";q=80");
}

#[test]
fn an_override_ends_by_itself() {
    let scene = scene();
    let at = |seconds: i64| {
        let at = Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
        at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    };
    set(&scene, &["user", "old", "--override", "calls=9/lifetime", "--override-until", &at(-60)]);
    set(&scene, &["user", "new", "--override", "calls=9/lifetime", "--override-until", "2999-12-31"]);
    assert_limit(&scene, "new", "strict", "9");
    assert_eq!(limit(&scene, "old", "strict").unwrap(), "4");
    set(&scene, &["user", "ann", "--override", "calls=9/lifetime", "--override-until", &at(4)]);
    assert_limit(&scene, "ann", "strict", "9");
    let ended = || limit(&scene, "ann", "strict").as_deref() == Some("4");
    assert!(eventually(Duration::from_secs(30), ended), "nobody edits the row");
}

#[test]
fn what_makes_no_sense_changes_nothing_and_is_told() {
    let scene = scene();
    // As SQL can write it; the command would not.
    let path = scene.gateway.data_dir().join("ledger.sqlite3");
    let ledger = rusqlite::Connection::open(path).unwrap();
    ledger.busy_timeout(BOUND).unwrap();
    ledger
        .execute_batch(
            "INSERT INTO subjects (scope, id, overrides, updated_at) VALUES
             ('user', 'ann', '{\"calls\": \"many\", \"tokens\": \"3/lifetime\"}', 0)",
        )
        .unwrap();
    let wrong = || scene.gateway.metric("tollgate_overrides_wrong_total");
    let tokens = || {
        let answer = scene.get("/two/", "ann", "strict");
        answer.header("RateLimit-Policy").unwrap_or_default().to_owned()
    };
    let both = "\"calls-lifetime\";q=4, \"tokens-lifetime\";q=3";
    assert!(eventually(BOUND, || tokens() == both), "what is good holds: {}", tokens());
    assert!(eventually(BOUND, || wrong() == Some(1.0)), "{:?}", wrong());
    let logs = scene.gateway.logs();
    assert!(logs.contains("overrides: calls:") && logs.contains("the tier's limits hold"), "{logs}");
    assert_eq!(logs.matches("makes no sense").count(), 1, "once: {logs}");
    let said = subject(&scene, &["show", "user", "ann"]);
    assert!(said.out.contains("changes nothing: calls: "), "{said:?}");
}

#[test]
fn an_override_stands_over_tiers_that_change() {
    let scene = scene();
    set(&scene, &["user", "ann", "--override", "calls=9/lifetime"]);
    assert_limit(&scene, "ann", "strict", "9");
    reload(&scene, "limits.calls = \"4/lifetime\"", "limits.calls = \"6/lifetime\"");
    assert_limit(&scene, "bob", "strict", "6");
    assert_eq!(limit(&scene, "ann", "strict").unwrap(), "9");
    // A meter that is gone takes the override with it, and gives it back.
    scene.gateway.write_tiers(&tiers(&TIERS.replace("unit = \"calls\" }", "unit = \"bytes\" }")));
    assert_limit(&scene, "bob", "strict", "4");
    assert_eq!(limit(&scene, "ann", "strict").unwrap(), "9", "bytes are written alike");
}

#[test]
fn the_command_explains_overrides_that_make_no_sense() {
    let scene = scene();
    for (arguments, part) in [
        (&["--override", "cals=5/day"][..], "no meter is called \"cals\"; did you mean \"calls\"?"),
        (&["--override", "calls=5/dya"], "\"dya\" is not a window; did you mean \"day\"?"),
        (&["--override", "calls"], "\"calls\" has no limit; write it as in llm_tokens=5000/day"),
        (&["--override", "calls=5/day", "--override", "calls=9/day"], "calls stands there twice"),
        (&["--override", "calls=5/day", "--override-until", "soon"], "\"soon\" is not a date"),
        (&["--override-until", "2026-12-31"], "give --override METER=LIMIT with it"),
        (&["--override", "calls=5/day", "--overrides", "{}"], "contradict each other"),
        (&["--overrides", "{\"calls\": {}}"], "calls.limit: missing"),
    ] {
        let arguments: Vec<&str> = ["set", "user", "ann"].iter().chain(arguments).copied().collect();
        let said = subject(&scene, &arguments);
        assert_eq!(said.code, Some(2), "{arguments:?}: {said:?}");
        assert!(said.out.contains(part), "{arguments:?}: {said:?}");
    }
    let said = subject(
        &scene,
        &["set", "user", "ann", "--override", "calls=10/minute,100/day", "--override", "jobs=3"],
    );
    assert!(said.out.contains(r#"{"calls":["10/minute","100/day"],"jobs":"3"}"#), "{said:?}");
    assert_limit(&scene, "ann", "strict", "10");
}
