//! The usage API: what services report to and ask.

mod beyond;
mod holds;
mod idempotency;
mod isolation;
mod jobs;
mod levels;
mod queries;
mod refused;
mod reports;
mod shared;
mod tokens;

use std::sync::LazyLock;

use serde_json::{Value, json};
use tollgate_testkit::{Answer, BOUND, Gateway, Origin, Response, Wire};

use crate::{scene, support};

/// What services have.
const TOKEN: &str = "service-token-canary-7f3a9c51e2d84b60";
const OTHER_TOKEN: &str = "another-service-token-0b1d2c3e4f5a6978";

const TIERS: &str = r#"
default_tier = "free"
upgrade_url = "https://example.com/upgrade"
[meters]
calls   = { unit = "calls" }
tokens  = { unit = "tokens" }
spend   = { unit = "USD" }
storage = { unit = "bytes", kind = "level" }
jobs    = { unit = "jobs", kind = "concurrent" }
secret  = { unit = "things" }
audio   = { unit = "seconds" }
pages   = { unit = "pages" }
credits = { unit = "credits", of = { audio = "1/60", pages = 2 } }
[tiers.free]
warn_at = [50, 80]
max_body = "1MB"
[tiers.free.limits]
calls   = ["1000/hour", "5000/month"]
tokens  = "100/lifetime"
spend   = "5.00/month"
storage = "1000"
jobs    = 2
audio   = "unlimited"
pages   = "unlimited"
credits = "10/month"
[tiers.pro]
other_meters = "unlimited"
[tiers.pro.limits]
calls   = { limit = "10/month", over = "charge", price = "0.008 EUR per 10" }
tokens  = { limit = "500/lifetime", scope = "org" }
"#;

/// A gateway whose API is used.
struct Desk {
    gateway: Gateway,
    _origin: Origin,
}

/// More tables of gateway.toml.
fn config(origin: &Origin, tables: &str) -> String {
    format!(
        "data_dir = \"@DATA@\"\nworkers = 2\n[listen]\naddress = \"@LISTEN@\"\n[admin]\naddress = \"@ADMIN@\"\n\
         [log]\nlevel = \"debug\"\nrequests = true\n{tables}\n[upstreams.origin]\nurls = [\"http://{}\"]\n\
         [[routes]]\nname = \"x\"\npath = \"/\"\nupstream = \"origin\"\ncharge = [{{ meter = \"calls\" }}]\n",
        origin.address()
    )
}

impl Desk {
    fn open() -> Self {
        Self::with("")
    }

    fn with(tables: &str) -> Self {
        let origin = Origin::builder().otherwise(|_| Answer::json("{}")).start();
        let tokens = format!("{OTHER_TOKEN},\n{TOKEN}");
        let gateway = support::gateway().config(config(&origin, tables)).tiers(TIERS);
        Self { gateway: gateway.env("TOLLGATE_SERVICE_TOKENS", &tokens).start(), _origin: origin }
    }

    fn get(&self, what: &str, headers: &[(&str, &str)]) -> Response {
        send(&self.gateway, "GET", what, headers, "")
    }

    fn post(&self, what: &str, headers: &[(&str, &str)], body: &Value) -> Response {
        post(&self.gateway, what, headers, body)
    }

    /// What is used of the limit of `meter` with this window.
    fn used(&self, user: &str, meter: &str, window: &str) -> i64 {
        let answer = self.get("current", &[("X-User-Id", user)]);
        limit(&answer.json(), meter, window)["used"].as_i64().unwrap()
    }
}

fn post(gateway: &Gateway, what: &str, headers: &[(&str, &str)], body: &Value) -> Response {
    let headers = [headers, &[("Content-Type", "application/json")]].concat();
    send(gateway, "POST", what, &headers, &body.to_string())
}

/// A request to the API on a connection of its own. Answers that have a schema are held against it.
fn send(gateway: &Gateway, method: &str, what: &str, headers: &[(&str, &str)], body: &str) -> Response {
    let mut wire = Wire::connect(gateway.address());
    let target = format!("/api/v1/usage/{what}");
    wire.send(scene::head(method, &target, headers, Some(body.len())) + body);
    let answer = wire.response(method == "HEAD", BOUND).expect("an answer");
    assert_eq!(answer.all("x-request-id").len(), 1, "{answer:?}");
    if method != "HEAD" {
        let name = match what.split(['/', '?']).collect::<Vec<_>>()[..] {
            _ if answer.status >= 300 => "error".to_owned(),
            ["holds"] => "hold_answer".to_owned(),
            ["holds", ..] => "hold_end_answer".to_owned(),
            ["jobs", ..] => "job_end_answer".to_owned(),
            [name, ..] => format!("{name}_answer"),
            [] => String::new(),
        };
        assert_fits(&name, &answer.json());
    }
    answer
}

/// Who is calling, and that it is a service.
fn service() -> (&'static str, &'static str) {
    ("Authorization", "Bearer service-token-canary-7f3a9c51e2d84b60")
}

/// The limit of `meter` with this window in an answer that has limits.
fn limit<'a>(answer: &'a Value, meter: &str, window: &str) -> &'a Value {
    let limits = answer["limits"].as_array().unwrap_or_else(|| panic!("no limits: {answer}"));
    let wanted = |limit: &&Value| limit["meter"] == *meter && limit["window"] == *window;
    limits.iter().find(wanted).unwrap_or_else(|| panic!("no {meter} per {window}: {answer}"))
}

/// The published schema.
static SCHEMA: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../docs/usage-api.schema.json")).unwrap());

/// What the schema finds wrong in `value`, as the definition `name`.
fn misfits(name: &str, value: &Value) -> Vec<String> {
    assert!(SCHEMA["$defs"].get(name).is_some(), "the schema has no {name}");
    let schema = json!({
        "$schema": SCHEMA["$schema"],
        "$ref": format!("#/$defs/{name}"),
        "$defs": SCHEMA["$defs"],
    });
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

fn assert_fits(name: &str, value: &Value) {
    let misfits = misfits(name, value);
    assert!(misfits.is_empty(), "no {name}: {misfits:?}\n{value:#}");
}
