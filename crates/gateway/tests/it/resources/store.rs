//! A service that stores documents and runs jobs, and the clients that use it through gateways.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use serde_json::{Value, json};
use tollgate_testkit::{Answer, BOUND, Ending, Gateway, Origin, Received, Reply, Response, Wire, eventually};

use crate::support;

/// What the service has.
#[derive(Debug, Default)]
pub(crate) struct Things {
    /// Bytes of each document, by owner and id.
    pub(crate) docs: HashMap<(String, String), i64>,
    /// Whether each job is done, by owner and id.
    pub(crate) jobs: HashMap<(String, String), bool>,
    /// Documents that were given an id here.
    created: usize,
}

/// The service, which remembers.
pub(crate) struct Store {
    pub(crate) things: Arc<Mutex<Things>>,
    pub(crate) origin: Origin,
}

/// One request to the store.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    pub(crate) user: String,
    pub(crate) org: Option<String>,
    pub(crate) method: &'static str,
    pub(crate) target: String,
    pub(crate) body: String,
    /// More header lines.
    pub(crate) lines: String,
}

impl Store {
    pub(crate) fn start() -> Self {
        let things = Arc::new(Mutex::new(Things::default()));
        let kept = Arc::clone(&things);
        let origin = Origin::builder().otherwise(move |received| answer(&kept, received)).start();
        Self { things, origin }
    }

    pub(crate) fn things(&self) -> MutexGuard<'_, Things> {
        self.things.lock().unwrap()
    }

    /// Bytes that an owner has.
    pub(crate) fn bytes_of(&self, owner: &str) -> i64 {
        self.things().docs.iter().filter(|((of, _), _)| of == owner).map(|(_, bytes)| bytes).sum()
    }

    /// Jobs of an owner that run.
    pub(crate) fn running(&self, owner: &str) -> i64 {
        let things = self.things();
        let running = things.jobs.iter().filter(|((of, _), done)| of == owner && !**done).count();
        i64::try_from(running).unwrap()
    }

    /// Ends a job.
    pub(crate) fn finish(&self, owner: &str, id: &str) {
        self.things().jobs.insert((owner.to_owned(), id.to_owned()), true);
    }
}

/// Documents are upserted, changed and deleted; jobs begin and are asked for. `X-Fail` says what goes wrong instead.
fn answer(things: &Mutex<Things>, received: &Received) -> Answer {
    if let Some(status) = received.header("x-fail") {
        return Answer::status(status.parse().unwrap());
    }
    let owner = received.header("x-org-id").or(received.header("x-user-id")).unwrap_or_default().to_owned();
    let body: Value = serde_json::from_slice(&received.body).unwrap_or(Value::Null);
    let path = received.path().to_owned();
    let mut things = things.lock().unwrap();
    let reply = |status, value: Value| Answer::Reply(Reply::json(status, value.to_string()));
    let bytes = body["bytes"].as_i64().unwrap_or(0);
    match (&*received.method, path.trim_start_matches('/').split_once('/')) {
        ("POST", Some(("docs", ""))) => {
            let id = body["id"].as_str().unwrap_or_default().to_owned();
            things.docs.insert((owner, id.clone()), bytes);
            reply(201, json!({"id": id, "bytes": bytes}))
        }
        ("POST", Some(("notes", ""))) => {
            things.created += 1;
            let id = format!("note-{}", things.created);
            things.docs.insert((owner, id.clone()), bytes);
            reply(201, json!({"id": id, "bytes": bytes}))
        }
        ("PUT", Some(("docs", id))) => match things.docs.get_mut(&(owner, id.to_owned())) {
            Some(kept) => {
                *kept = bytes;
                reply(200, json!({"id": id, "bytes": bytes}))
            }
            None => Answer::status(404),
        },
        ("DELETE", Some(("docs", id))) => match things.docs.remove(&(owner, id.to_owned())) {
            Some(_) => Answer::status(204),
            None => Answer::status(404),
        },
        ("GET", Some(("docs", _))) => reply(200, json!({})),
        ("POST", Some(("jobs", ""))) => {
            let id = body["id"].as_str().unwrap_or_default().to_owned();
            things.jobs.entry((owner, id.clone())).or_insert(false);
            reply(202, json!({"job_id": id}))
        }
        ("GET", Some(("jobs", id))) => match things.jobs.get(&(owner, id.to_owned())) {
            Some(true) => reply(200, json!({"status": "done"})),
            Some(false) => reply(200, json!({"status": "running"})),
            None => Answer::status(404),
        },
        _ => Answer::status(405),
    }
}

pub(crate) const TIERS: &str = r#"
default_tier = "basic"
[meters]
calls   = { unit = "calls" }
storage = { unit = "bytes", kind = "level" }
shared  = { unit = "bytes", kind = "level" }
jobs    = { unit = "jobs", kind = "concurrent" }
[tiers.basic]
other_meters = "unlimited"
[tiers.basic.limits]
storage = "1_000_000"
shared  = { limit = "1_000_000", scope = "org" }
jobs    = 3
"#;
/// What [`TIERS`] allows of `storage`.
pub(crate) const STORAGE_MAX: i64 = 1_000_000;
/// What is held for whoever writes.
pub(crate) const HOLD: i64 = 10;
/// What [`TIERS`] allows of `jobs`.
pub(crate) const JOBS_MAX: i64 = 3;

/// The text of gateway.toml before its routes.
pub(crate) const TOP: &str = r#"
data_dir = "@DATA@"
workers = 2
[listen]
address = "@LISTEN@"
[admin]
address = "@ADMIN@"
"#;

/// The routes in front of the store; documents are counted by `meter`.
pub(crate) fn routes(store: &Store, meter: &str, time_limit: &str) -> String {
    format!(
        r#"
[upstreams.store]
urls = ["http://{}"]
[[routes]]
name = "docs"
path = "/docs/"
upstream = "store"
charge = [
  {{ meter = "{meter}", amount = "response.json:/bytes", resource = "request.json:/id", hold = {HOLD}, only_if = {{ method = ["POST"] }} }},
  {{ meter = "{meter}", amount = "response.json:/bytes", resource = "path", hold = {HOLD}, only_if = {{ method = ["PUT"] }} }},
  {{ meter = "{meter}", amount = 0, resource = "path", only_if = {{ method = ["DELETE"] }} }},
  {{ meter = "calls" }},
]
[[routes]]
name = "notes"
path = "/notes/"
upstream = "store"
charge = [
  {{ meter = "{meter}", amount = "response.json:/bytes", resource = "response.json:/id", hold = {HOLD} }},
  {{ meter = "calls" }},
]
[[routes]]
name = "start"
path = "/jobs/"
methods = ["POST"]
upstream = "store"
charge = [{{ meter = "jobs", job = {{ id = "response.json:/job_id", time_limit = "{time_limit}" }} }}]
[[routes]]
name = "state"
path = "/jobs/"
methods = ["GET"]
upstream = "store"
charge = [{{ meter = "jobs", job = {{ id = "path", ended = {{ "response.json:/status" = ["done", "failed"] }} }} }}]
"#,
        store.origin.address()
    )
}

/// A gateway of its own in front of the store.
pub(crate) fn gateway(store: &Store, meter: &str, time_limit: &str) -> Gateway {
    support::gateway().config(format!("{TOP}{}", routes(store, meter, time_limit))).tiers(TIERS).start()
}

impl Op {
    pub(crate) fn new(method: &'static str, user: &str, target: impl Into<String>) -> Self {
        let (body, lines) = (String::new(), String::new());
        Self { user: user.to_owned(), org: None, method, target: target.into(), body, lines }
    }

    /// Creates or replaces a document.
    pub(crate) fn post(user: &str, id: &str, bytes: i64) -> Self {
        Self { body: json!({"id": id, "bytes": bytes}).to_string(), ..Self::new("POST", user, "/docs/") }
    }

    /// Creates a document that the service names.
    pub(crate) fn create(user: &str, bytes: i64) -> Self {
        Self { body: json!({"bytes": bytes}).to_string(), ..Self::new("POST", user, "/notes/") }
    }

    /// Changes a document.
    pub(crate) fn put(user: &str, id: &str, bytes: i64) -> Self {
        let body = json!({"bytes": bytes}).to_string();
        Self { body, ..Self::new("PUT", user, format!("/docs/{id}")) }
    }

    pub(crate) fn delete(user: &str, id: &str) -> Self {
        Self::new("DELETE", user, format!("/docs/{id}"))
    }

    /// Starts a job.
    pub(crate) fn start(user: &str, id: &str) -> Self {
        Self { body: json!({"id": id}).to_string(), ..Self::new("POST", user, "/jobs/") }
    }

    /// Asks for a job's state.
    pub(crate) fn state(user: &str, id: &str) -> Self {
        Self::new("GET", user, format!("/jobs/{id}"))
    }

    /// In an organisation.
    pub(crate) fn in_org(self, org: &str) -> Self {
        Self { org: Some(org.to_owned()), ..self }
    }

    /// With this header line.
    pub(crate) fn with(mut self, line: &str) -> Self {
        self.lines.push_str(line);
        self.lines.push_str("\r\n");
        self
    }

    pub(crate) fn bytes(&self) -> String {
        let Self { user, org, method, target, body, lines } = self;
        let org = org.as_ref().map(|org| format!("X-Org-Id: {org}\r\n")).unwrap_or_default();
        let length = body.len();
        format!(
            "{method} {target} HTTP/1.1\r\nHost: gateway\r\nX-User-Id: {user}\r\n{org}{lines}\
             Content-Length: {length}\r\n\r\n{body}"
        )
    }

    /// The answer; none when the connection ends before it does.
    pub(crate) fn send(&self, address: SocketAddr) -> Option<Response> {
        let mut wire = Wire::try_connect(address).ok()?;
        wire.send(self.bytes());
        wire.response(self.method == "HEAD", BOUND).filter(|answer| answer.ending != Ending::Cut)
    }

    /// Sends it and goes away without an answer.
    pub(crate) fn abandon(&self, address: SocketAddr, after: Duration) {
        if let Ok(mut wire) = Wire::try_connect(address) {
            wire.send(self.bytes());
            std::thread::sleep(after);
        }
    }

    /// Sends it until it is answered and not with 503 or by a gateway that cannot reach the service.
    pub(crate) fn insist(&self, address: SocketAddr) -> Response {
        let mut last = None;
        let answered = eventually(BOUND * 3, || {
            last = self.send(address);
            last.as_ref().is_some_and(|answer| answer.status < 500)
        });
        assert!(answered, "{self:?}: {last:?}");
        last.unwrap()
    }
}

/// What is left, as the answer tells it.
pub(crate) fn remaining(answer: &Response) -> i64 {
    let text = answer.header("x-ratelimit-remaining").unwrap_or_else(|| panic!("{answer:?}"));
    text.parse().unwrap()
}
