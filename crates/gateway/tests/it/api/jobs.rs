//! `POST jobs/{id}/end`.

use serde_json::json;
use tollgate_testkit::{Answer, BOUND, Gateway, Origin, Response, Wire, eventually};

use super::{TIERS, limit, post, send, service};
use crate::{
    books,
    scene::{assert_refusal, head},
    support,
};

const ANN: (&str, &str) = ("X-User-Id", "ann");

/// A gateway whose route starts jobs.
fn start() -> (Gateway, Origin) {
    let origin = Origin::builder().otherwise(|_| Answer::json("{}")).start();
    let config = super::config(&origin, "").replace(
        "charge = [{ meter = \"calls\" }]",
        "charge = [{ meter = \"jobs\", job = { id = \"request.header:X-Job\", time_limit = \"1h\" } }]",
    );
    let gateway = support::gateway().config(config).tiers(TIERS).env("TOLLGATE_SERVICE_TOKENS", super::TOKEN);
    (gateway.start(), origin)
}

fn start_job(gateway: &Gateway, id: &str) -> Response {
    let mut wire = Wire::connect(gateway.address());
    wire.send(head("POST", "/jobs", &[ANN, ("X-Job", id)], None));
    wire.response(false, BOUND).expect("an answer")
}

fn running(gateway: &Gateway) -> i64 {
    let current = send(gateway, "GET", "current", &[ANN], "").json();
    limit(&current, "jobs", "lifetime")["used"].as_i64().unwrap()
}

#[test]
fn a_job_is_ended_once_and_its_slot_is_free() {
    let (gateway, _origin) = start();
    assert_eq!(start_job(&gateway, "a/b c").status, 200);
    assert_eq!(start_job(&gateway, "second").status, 200);
    assert_eq!(running(&gateway), 2);
    assert_refusal(&start_job(&gateway, "third"), 429, "too_many_jobs");
    let bob = ("X-User-Id", "bob");
    assert_refusal(&post(&gateway, "jobs/second/end", &[bob], &json!({})), 404, "not_found");
    assert_eq!(running(&gateway), 2);
    let ended = post(&gateway, "jobs/second/end", &[ANN, ("Idempotency-Key", "k")], &json!({}));
    assert_eq!((ended.status, ended.json()), (200, json!({ "id": "second", "ended": true })));
    let again = post(&gateway, "jobs/second/end", &[ANN, ("Idempotency-Key", "k")], &json!({}));
    assert_eq!(again.body, ended.body);
    assert_refusal(&post(&gateway, "jobs/second/end", &[ANN], &json!({})), 404, "not_found");
    assert_eq!(running(&gateway), 1);
    assert_eq!(start_job(&gateway, "third").status, 200);
    let ended = post(&gateway, "jobs/third/end", &[service()], &json!({ "user_id": "ann" }));
    assert_eq!(ended.status, 200);
    assert!(eventually(BOUND, || running(&gateway) == 1));
    books::assert_clean(&gateway);
}

#[test]
fn what_is_no_job_is_not_ended() {
    let (gateway, _origin) = start();
    let hold = post(&gateway, "holds", &[ANN], &json!({ "meter": "jobs", "amount": 1 }));
    let id = hold.json()["id"].as_str().unwrap().to_owned();
    assert_refusal(&post(&gateway, &format!("jobs/hold:{id}/end"), &[ANN], &json!({})), 404, "not_found");
    assert_eq!(running(&gateway), 1);
    assert_refusal(&post(&gateway, "jobs/x/end", &[ANN], &json!({ "force": true })), 400, "bad_request");
}
